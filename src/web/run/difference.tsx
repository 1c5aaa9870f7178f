/** What the events change: this run against the same run without them. */
import type { Recording } from "../../review/recording/recording.ts";
import { go } from "../state/app.ts";
import { leftOutBefore } from "./quiet-diff.ts";
import { diff, nextDifference, quiet, schedule } from "./run-state.ts";

const some = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** Names, each once with how often. */
function counted(names: readonly string[]): string {
	const counts = new Map<string, number>();
	for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
	return [...counts].map(([name, count]) => (count === 1 ? name : `${count} × ${name}`)).join(", ");
}

/** One line, and a way to the next difference. */
export function Difference({ run, at }: { readonly run: Recording; readonly at: number }) {
	if (schedule.value.length === 0)
		return <p class="difference dim">No event arrives in this run. Go to a frame and drop one.</p>;
	const now = diff.value;
	if (now === null || quiet.value === null)
		return <p class="difference dim">Running it without events, to compare …</p>;
	const { extra, missing, changed } = now;
	const left = leftOutBefore(now, quiet.value, at);
	return (
		<div class="difference">
			<p>
				Against the same run without events: <b>+{some(extra, "frame")}</b>, <b>−{missing}</b>,{" "}
				<b>≠ {changed}</b> with other registers or state
				{quiet.value.end === run.end ? "" : `; without events ${quiet.value.end}`}.
				{left.length === 0 ? null : (
					<span class="left-out-names">
						{" "}
						Left out before this frame: <code>{counted(left)}</code>
					</span>
				)}
			</p>
			<button class="plain" type="button" onClick={() => go({ at: nextDifference(run, at) })}>
				next difference <kbd>d</kbd>
			</button>
		</div>
	);
}
