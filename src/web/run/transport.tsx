/** Play, step, scrub. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Recording } from "../../review/recording/recording.ts";
import { go } from "../state/app.ts";
import { kindAt, nearest, nextDifference, position } from "./run-state.ts";

const playing = signal(false);
/** Milliseconds a frame. */
const FRAME_MS = 90;

const seek = (at: number) => go({ at });

/** Goes to a frame by a key; j and k step, n and p jump to events and violations. */
export function transportKey(event: KeyboardEvent, run: Recording): boolean {
	const at = position.value;
	const to: Readonly<Record<string, () => number>> = {
		ArrowRight: () => at + 1,
		ArrowLeft: () => at - 1,
		j: () => nearest(run, at, 1, ["step"]),
		k: () => nearest(run, at, -1, ["step"]),
		g: () => nearest(run, at, 1, ["guest"]),
		n: () => nearest(run, at, 1, ["event", "violation"]),
		p: () => nearest(run, at, -1, ["event", "violation"]),
		d: () => nextDifference(run, at),
		Home: () => 0,
		End: () => run.count - 1,
	};
	const move = event.ctrlKey || event.metaKey || event.altKey ? undefined : to[event.key];
	if (move === undefined) return false;
	seek(Math.max(0, Math.min(run.count - 1, move())));
	return true;
}

/** Marks on the scrubber: events and violations. */
function Marks({ run }: { readonly run: Recording }) {
	const marks = [...run.kind.keys()].filter((at) => ["event", "violation"].includes(kindAt(run, at)));
	return (
		<svg class="scrub-marks" aria-hidden="true" viewBox="0 0 1000 10" preserveAspectRatio="none">
			{marks.map((at) => {
				const x = (at / Math.max(1, run.count - 1)) * 1000;
				return <rect key={at} class={`mark-${kindAt(run, at)}`} x={x - 1.5} width="3" height="10" />;
			})}
		</svg>
	);
}

/** The controls. */
export function Transport({ run }: { readonly run: Recording }) {
	const at = position.value;
	useEffect(() => {
		if (!playing.value) return;
		const timer = setInterval(() => {
			if (position.value >= run.count - 1) playing.value = false;
			else seek(position.value + 1);
		}, FRAME_MS);
		return () => clearInterval(timer);
	}, [playing.value, run]);
	const button = (label: string, sign: string, to: () => number) => (
		<button class="plain" type="button" aria-label={label} title={label} onClick={() => seek(to())}>
			{sign}
		</button>
	);
	return (
		<div class="transport">
			{button("to the start", "|◀", () => 0)}
			{button("one step of the loop back", "◀", () => nearest(run, at, -1, ["step"]))}
			<button
				class="plain play"
				type="button"
				aria-pressed={playing.value}
				onClick={() => {
					playing.value = !playing.value;
				}}
			>
				{playing.value ? "‖ pause" : "▶ play"}
			</button>
			{button("one step of the loop on", "▶", () => nearest(run, at, 1, ["step"]))}
			{button("to the next instruction of the guest", "G", () => nearest(run, at, 1, ["guest"]))}
			<div class="scrub">
				<input
					type="range"
					aria-label="position in the run"
					min={0}
					max={run.count - 1}
					value={at}
					aria-valuetext={`${at} of ${run.count - 1}: ${run.texts[run.text[at]!]}`}
					onInput={({ currentTarget }) => seek(Number(currentTarget.value))}
				/>
				<Marks run={run} />
			</div>
			<output class="figure position">
				{at} / {run.count - 1}
			</output>
		</div>
	);
}
