/** What the selected step is: its symbol and file, its cost by op, and the state behind it in words. */
import type { Survey } from "../../review/survey.ts";
import { cycles } from "../ui/format.ts";
import { VALUE_TEXT } from "./lanes.tsx";
import type { OutlineRow } from "./outline.ts";

const KIND_TEXT = {
	function: "function",
	step: "step",
	if: "guard",
	else: "other branch",
	loop: "loop",
	break: "leaves the loop",
	return: "returns",
} as const;

/** A count: whole, or with one decimal where it is a mean. */
const count = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(1));

/** The details of a row. */
export function Details({ outline, survey }: { readonly outline: OutlineRow; readonly survey: Survey }) {
	const { row, seen, cycles: inclusive } = outline;
	const hasInside = row.end > outline.index + 1;
	return (
		<section class="details" aria-label="the selected step" aria-live="polite">
			<h2>
				<code>{row.name}</code>
			</h2>
			<p class="where">
				{KIND_TEXT[row.kind]}
				{row.kind === "function" ? null : (
					<>
						{" "}
						in <code>{row.flow}()</code>
					</>
				)}
				<br />
				<code>arch/x86/kvm/{row.file}</code>
			</p>
			{seen === null ? (
				<p>Not passed in this run.</p>
			) : (
				<>
					<dl class="facts">
						<dt>cost</dt>
						<dd>
							<b>{cycles(hasInside ? inclusive : seen.cycles)}</b> cycles a passage
							{hasInside ? " with all below it" : ""}
						</dd>
						<dt>passed</dt>
						<dd>
							{seen.passages} × in {survey.exits} exits
						</dd>
						<dt>changes</dt>
						<dd>{seen.changes.length === 0 ? "none of the bands" : seen.changes.join(", ")}</dd>
					</dl>
					{seen.ops.length === 0 ? null : (
						<table class="ops">
							<caption>ops of the step itself</caption>
							<tbody>
								{seen.ops.map(({ op, count: times, cycles: cost }) => (
									<tr key={op}>
										<th scope="row">
											<code>{op === "code" ? "plain instructions" : op}</code>
										</th>
										<td>{count(times)} ×</td>
										<td>{cycles(cost)}</td>
									</tr>
								))}
							</tbody>
						</table>
					)}
					<table class="ops">
						<caption>loaded behind it</caption>
						<tbody>
							{survey.lanes.map(({ name, title }, at) => (
								<tr key={name} class={seen.changes.includes(name) ? "changed" : ""}>
									<th scope="row" title={title}>
										{name}
									</th>
									<td colSpan={2}>{VALUE_TEXT[seen.lanes[at] ?? ""] ?? ""}</td>
								</tr>
							))}
						</tbody>
					</table>
				</>
			)}
		</section>
	);
}
