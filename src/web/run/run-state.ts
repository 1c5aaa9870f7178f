/** The recording that the tab "Run" plays, asked for whenever tree, guest, events or configuration change. */
import { computed, effect, signal } from "@preact/signals";
import { FRAME_KINDS, type FrameKind } from "../../profile/timeline/frames.ts";
import type { Recording } from "../../review/recording/recording.ts";
import { engine, go, state, target } from "../state/app.ts";
import { unpack } from "../state/pack.ts";
import { readEvents } from "../state/schedule.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { setImageBytes, imageBytes } from "../state/image.ts";

export const recording = signal<Recording | null>(null);
export const problem = signal("");
export const isRecording = signal(false);

/** The guest that runs when none is chosen. */
const usual = (vendor: Vendor) => (vendor === "tdx" ? "script" : "mixed");

export const guest = computed(() => state.value.guest || usual(state.value.vendor));
export const schedule = computed(() => readEvents(state.value.events));
/** The frame that is shown. */
export const position = computed(() =>
	Math.min(state.value.at, Math.max(0, (recording.value?.count ?? 1) - 1)),
);

let asked = "";

/** The bytes of a dropped image: those that are there, or those of the address. */
async function imageOf(name: string, packed: string): Promise<Uint8Array | null> {
	if (!name.startsWith("file:")) return null;
	const known = imageBytes(name);
	if (known !== undefined) return known;
	const bytes = packed === "" ? null : await unpack(packed);
	if (bytes !== null) setImageBytes(name, bytes);
	return bytes;
}

effect(() => {
	const { tab, image, configuration } = state.value;
	if (tab !== "run") return;
	const question = { ...target.value, guest: guest.value, schedule: schedule.value, configuration };
	const key = JSON.stringify([question, image]);
	if (key === asked) return;
	asked = key;
	isRecording.value = true;
	void imageOf(question.guest, image)
		.then((bytes) => engine.ask("record", { ...question, image: bytes }))
		.then(
			(answer) => {
				if (asked !== key) return;
				recording.value = answer;
				problem.value = "";
				isRecording.value = false;
				// A link to a violation opens at it.
				const [violation] = answer.violations;
				if (violation !== undefined && state.value.at === 0) go({ at: violation.frame });
			},
			(error: Error) => {
				if (asked !== key) return;
				problem.value = error.message;
				isRecording.value = false;
			},
		);
});

/** What a frame shows. */
export function kindAt(run: Recording, frame: number): FrameKind {
	return FRAME_KINDS[run.kind[frame]!]!;
}

/** The nearest frame of one of the kinds from a place on; the place itself if there is none. */
export function nearest(run: Recording, from: number, step: 1 | -1, kinds: readonly FrameKind[]): number {
	for (let at = from + step; at >= 0 && at < run.count; at += step)
		if (kinds.includes(kindAt(run, at))) return at;
	return from;
}
