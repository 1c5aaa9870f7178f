/** The recording that the tab "Run" plays, asked for whenever tree, guest, events or configuration change. */
import { batch, computed, effect, signal } from "@preact/signals";
import { FRAME_KINDS, type FrameKind } from "../../profile/timeline/frames.ts";
import type { Recording } from "../../review/recording/recording.ts";
import { catalogue, engine, go, state, target } from "../state/app.ts";
import { unpack } from "../state/pack.ts";
import { readEvents } from "../state/schedule.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { setImageBytes, imageBytes } from "../state/image.ts";
import type { RunQuestion } from "../worker/api.ts";
import { type RunDiff, compareRuns } from "./quiet-diff.ts";

export const recording = signal<Recording | null>(null);
/** The same run without events; null if there are none, or until it is there. */
export const quiet = signal<Recording | null>(null);
/** What the events change. */
export const diff = computed<RunDiff | null>(() =>
	recording.value === null || quiet.value === null ? null : compareRuns(recording.value, quiet.value),
);
export const problem = signal("");
export const isRecording = signal(false);

/** The guest that runs when none is chosen. */
const usual = (vendor: Vendor) => (vendor === "tdx" ? "script" : "mixed");

/** The guest that is chosen; a workload of "Profile", or one that the vendor does not have, gives way to the usual one. */
export const guest = computed(() => {
	const { guest: name, vendor } = state.value;
	const known = catalogue.value;
	const own = known?.guests.find((one) => one.name === name);
	if (own !== undefined) return own.vendors.includes(vendor) ? name : usual(vendor);
	const isWorkload = known?.workloads.some((one) => one.name === name) === true;
	return name === "" || isWorkload ? usual(vendor) : name;
});
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

/** The run without events that was recorded last, by its question. */
let lastQuiet: { readonly key: string; readonly run: Recording } | null = null;

async function record(question: RunQuestion, key: string): Promise<void> {
	const quietQuestion = { ...question, schedule: [] };
	const quietKey = JSON.stringify({ ...quietQuestion, image: null });
	const run = await engine.ask("record", question);
	if (asked !== key) return;
	const isQuiet = question.schedule.length === 0;
	if (isQuiet) lastQuiet = { key: quietKey, run };
	batch(() => {
		recording.value = run;
		quiet.value = !isQuiet && lastQuiet?.key === quietKey ? lastQuiet.run : null;
		problem.value = "";
		isRecording.value = false;
		// A link to a violation opens at it.
		const [violation] = run.violations;
		if (violation !== undefined && state.value.at === 0) go({ at: violation.frame });
	});
	if (isQuiet || quiet.value !== null) return;
	const without = await engine.ask("record", quietQuestion);
	if (asked !== key) return;
	lastQuiet = { key: quietKey, run: without };
	quiet.value = without;
}

effect(() => {
	const { tab, image } = state.value;
	if (tab !== "run") return;
	const question = { ...target.value, guest: guest.value, schedule: schedule.value };
	const key = JSON.stringify([question, image]);
	if (key === asked) return;
	asked = key;
	isRecording.value = true;
	void imageOf(question.guest, image)
		.then((bytes) => record({ ...question, image: bytes }, key))
		.catch((error: Error) => {
			if (asked !== key) return;
			problem.value = error.message;
			isRecording.value = false;
		});
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

/** The next frame that is not as in the run without events; the place itself if there is none. */
export function nextDifference(run: Recording, from: number): number {
	const now = diff.value;
	if (now === null) return from;
	const isOther = (at: number) => now.pairs[at]! < 0 || now.left[at]! > 0 || now.differs[at] === 1;
	for (let at = from + 1; at < run.count; at++) if (isOther(at)) return at;
	return from;
}
