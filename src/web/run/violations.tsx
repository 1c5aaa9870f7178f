/** What a run violates: the properties, where, the call stack; and the shortest schedules that the check finds for this tree. */
import { effect, signal } from "@preact/signals";
import type { Violation } from "../../check/types.ts";
import type { Recording } from "../../review/recording/recording.ts";
import { checks, go, state, target } from "../state/app.ts";
import { Overtaken } from "../state/engine.ts";
import { eventsText } from "../state/schedule.ts";
import { kindAt, nearest, recording } from "./run-state.ts";

/** The least schedules that the check has found for a tree. */
const shortest = signal<{
	readonly key: string;
	/** null while it is searched. */
	readonly violations: readonly Violation[] | Error | null;
} | null>(null);
const treeKey = () => JSON.stringify(target.value);

async function findShortest(): Promise<void> {
	const key = treeKey();
	shortest.value = { key, violations: null };
	try {
		const { check } = await checks.check(target.value);
		if (treeKey() === key) shortest.value = { key, violations: check.violations };
	} catch (error) {
		if (treeKey() !== key) return;
		shortest.value = error instanceof Overtaken ? null : { key, violations: error as Error };
	}
}

/** Whoever sees a violation wants the shortest way to it. */
effect(() => {
	const violated = (recording.value?.violations.length ?? 0) > 0;
	if (state.value.tab === "run" && violated && shortest.peek()?.key !== treeKey()) void findShortest();
});

/** One schedule, to be clicked: its events, and the violation that they lead to. */
function Schedule({ violation: { property, schedule, callStack } }: { readonly violation: Violation }) {
	const text = eventsText(schedule);
	const isShown = text === state.value.events && recording.value !== null;
	const open = (at: number) => go({ guest: "script", image: "", events: text, at }, true);
	const run = recording.value;
	/** The frame of an event of the schedule; 0, which opens at the violation, while another run is shown. */
	const eventFrame = (number: number) => {
		let at = -1;
		if (isShown && run !== null) for (let one = 0; one <= number; one++) at = nearest(run, at, 1, ["event"]);
		return Math.max(0, at);
	};
	const violationFrame = () => {
		if (!isShown || run === null) return 0;
		const frame = run.violations.find((one) => one.property === property)?.frame;
		return frame !== undefined && kindAt(run, frame) === "violation" ? frame : 0;
	};
	return (
		<li>
			<ol class="schedule" aria-label={`shortest schedule that violates ${property}`}>
				{schedule.map((one, number) => (
					<li key={eventsText([one])}>
						<button class="plain" type="button" onClick={() => open(eventFrame(number))}>
							⚡ {eventsText([one])}
						</button>
					</li>
				))}
				<li>
					<button class="plain bad" type="button" onClick={() => open(violationFrame())}>
						✘ {property}
					</button>{" "}
					{callStack.length === 0 ? null : (
						<span class="dim">
							in <code>{callStack[0]}</code>
						</span>
					)}
				</li>
			</ol>
		</li>
	);
}

/** The shortest schedules that violate the tree. */
export function Shortest() {
	const found = shortest.value?.key === treeKey() ? shortest.value.violations : undefined;
	return (
		<section class="shortest" aria-label="shortest schedules" aria-live="polite">
			<h2>shortest schedules that violate</h2>
			{found === undefined ? (
				<button class="plain" type="button" onClick={() => void findShortest()}>
					search, one event a run
				</button>
			) : found === null ? (
				<p class="dim">searching …</p>
			) : found instanceof Error ? (
				<p class="bad">{found.message}</p>
			) : found.length === 0 ? (
				<p class="good">✔ none: no schedule of one event violates this tree.</p>
			) : (
				<ul>
					{found.map((violation) => (
						<Schedule key={violation.property} violation={violation} />
					))}
				</ul>
			)}
		</section>
	);
}

/** What the run violates, or how it ended. */
export function Violations({ run }: { readonly run: Recording }) {
	if (run.violations.length === 0)
		return (
			<p class="end">
				{run.exits} exits; {run.end}.
			</p>
		);
	return (
		<div class="violation" role="alert">
			{run.violations.map(({ property, detail, callStack, frame }) => (
				<p key={property}>
					<button class="plain" type="button" onClick={() => go({ at: frame })}>
						✘ {property}
					</button>{" "}
					{detail}
					{callStack.length === 0 ? null : (
						<span class="dim">
							{" "}
							in <code>{callStack.join(" ← ")}</code>
						</span>
					)}
				</p>
			))}
		</div>
	);
}
