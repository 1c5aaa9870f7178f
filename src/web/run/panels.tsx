/** What the tab "Run" shows of one frame: the way here, the guest, the state, the call stack. */
import { REGISTER_NAMES, type Recording } from "../../review/recording/recording.ts";
import { go } from "../state/app.ts";
import { registerOf } from "./quiet-diff.ts";
import { diff, kindAt, quiet } from "./run-state.ts";

/** Lines before and behind the frame that are shown. */
const AROUND = 13;
const SIGNS = { step: "", op: "·", guest: "▸", event: "⚡", violation: "✘" } as const;

/** The frames around the one that is shown. Keys walk it: arrows by frames, j and k by steps, n and p by events. */
export function Frames({
	run,
	at,
	onKeyDown,
}: {
	readonly run: Recording;
	readonly at: number;
	readonly onKeyDown: (event: KeyboardEvent) => void;
}) {
	const first = Math.max(0, Math.min(at - AROUND, run.count - 2 * AROUND - 1));
	const lines = Array.from({ length: Math.min(2 * AROUND + 1, run.count) }, (_, line) => first + line);
	return (
		<div
			class="panel frames"
			role="listbox"
			tabIndex={0}
			aria-label="what happens"
			aria-activedescendant={`frame-${at}`}
			onKeyDown={onKeyDown}
		>
			{lines.map((frame) => {
				const kind = kindAt(run, frame);
				const now = diff.value;
				const isOwn = now !== null && now.pairs[frame]! < 0;
				const differs = now?.differs[frame] === 1;
				const left = now?.left[frame] ?? 0;
				const depth = Math.max(0, run.stacks[run.stack[frame]!]!.split(" › ").length - 1);
				return (
					// biome-ignore lint/a11y/useKeyWithClickEvents: the list has the keys
					// biome-ignore lint/a11y/useFocusableInteractive: the list has the focus
					<div
						key={frame - first}
						id={`frame-${frame}`}
						class={`frame frame-${kind} ${isOwn ? "is-own" : differs ? "is-other" : ""}`}
						role="option"
						aria-selected={frame === at}
						style={{ "--depth": kind === "guest" ? 0 : depth }}
						onClick={() => go({ at: frame })}
					>
						<span class="sign" aria-hidden="true">
							{SIGNS[kind]}
						</span>
						<span class="name">{run.texts[run.text[frame]!]}</span>
						{left === 0 ? null : (
							<span class="left-out" title={`left out of the run without events: ${left}`}>
								−{left}
							</span>
						)}
						<span class="mark">
							{isOwn ? "+" : differs ? "≠" : ""}
							{isOwn || differs ? (
								<span class="offscreen">
									{isOwn ? " not in the run without events" : " other values than without events"}
								</span>
							) : null}
						</span>
						<span class="figure">{Math.round(run.cycles[frame]!)}</span>
					</div>
				);
			})}
		</div>
	);
}

const wide = (value: bigint) => value.toString(16).padStart(16, "0");

/** The frame of the run without events that a frame is; null if there is none. */
function quietFrame(at: number): { readonly run: Recording; readonly at: number } | null {
	const pair = diff.value?.pairs[at] ?? -1;
	return quiet.value === null || pair < 0 ? null : { run: quiet.value, at: pair };
}

/** The guest's registers; what the last set changed is bold and has a mark. */
export function Registers({ run, at }: { readonly run: Recording; readonly at: number }) {
	const set = run.registers[at]!;
	const other = quietFrame(at);
	return (
		<table class="registers">
			<caption>registers of the guest</caption>
			<tbody>
				{REGISTER_NAMES.map((name, register) => {
					const value = registerOf(run, set, register);
					const before = set === 0 ? value : registerOf(run, set - 1, register);
					const changed = before !== value;
					const without =
						other === null ? value : registerOf(other.run, other.run.registers[other.at]!, register);
					return (
						<tr key={name} class={`${changed ? "changed" : ""} ${without === value ? "" : "is-other"}`}>
							<th scope="row">{name}</th>
							<td title={without === value ? undefined : `without events: ${wide(without)}`}>
								{wide(value)}
								{changed ? <span class="offscreen"> changed</span> : null}
								{without === value ? null : (
									<span class="without">
										{" "}
										≠ <span class="offscreen">without events </span>
										{without.toString(16)}
									</span>
								)}
							</td>
						</tr>
					);
				})}
			</tbody>
		</table>
	);
}

/** The guest's code around RIP. */
export function Disassembly({ run, at }: { readonly run: Recording; readonly at: number }) {
	const rip = run.registerSets[run.registers[at]! * REGISTER_NAMES.length + 16] ?? 0n;
	const here = run.code.findIndex((line) => line.rip >= rip);
	const first = Math.max(0, Math.min(here < 0 ? 0 : here - 4, run.code.length - 9));
	const lines = run.code.slice(first, first + 9);
	return (
		<section aria-label="code of the guest">
			<h2>code of the guest</h2>
			<ol class="code">
				{lines.map((line, place) => (
					<li key={`line ${place}`} aria-current={line.rip === rip ? "true" : undefined}>
						<span aria-hidden="true">{line.rip === rip ? "▸" : " "}</span>
						<span class="dim">{line.rip.toString(16)}</span> {line.text}
					</li>
				))}
			</ol>
		</section>
	);
}

/** Whose a value is, in a word or two, so that no line is ever too long. */
const WHOSE: Readonly<Record<string, string>> = {
	host: "host’s",
	guest: "guest’s",
	both: "both’s",
	neither: "neither’s",
	on: "on",
	off: "off",
};

/** Cycle counter, state, call stack. */
export function Host({ run, at }: { readonly run: Recording; readonly at: number }) {
	const state = run.states[run.state[at]!]!;
	const before = at === 0 ? state : run.states[run.state[at - 1]!]!;
	const stack = run.stacks[run.stack[at]!]!;
	const other = quietFrame(at);
	const without = other === null ? state : other.run.states[other.run.state[other.at]!]!;
	return (
		<section aria-label="state of the processor">
			<h2>
				cycle <b class="figure">{Math.round(run.cycles[at]!)}</b>, op <b class="figure">{run.ops[at]}</b>
			</h2>
			<table class="ops state">
				<tbody>
					{run.lanes.map((name, lane) => {
						const { value, whose } = state[lane]!;
						const changed = before[lane]!.value !== value || before[lane]!.whose !== whose;
						const quietLane = without[lane]!;
						const isOther = quietLane.value !== value || quietLane.whose !== whose;
						return (
							<tr key={name} class={`whose-${whose} ${changed ? "is-new" : ""} ${isOther ? "is-other" : ""}`}>
								<th scope="row">{name}</th>
								<td>
									<code>{value}</code>
								</td>
								<td>
									{WHOSE[whose]}
									{isOther ? (
										<span class="without">
											{" "}
											≠ <span class="offscreen">without events </span>
											{quietLane.value || WHOSE[quietLane.whose]}
										</span>
									) : null}
								</td>
							</tr>
						);
					})}
				</tbody>
			</table>
			<h2>call stack</h2>
			<ol class="stack">
				{(stack === "" ? [] : stack.split(" › ")).reverse().map((name, depth) => (
					<li key={`${depth} ${name}`}>
						<code>{name}</code>
					</li>
				))}
			</ol>
		</section>
	);
}
