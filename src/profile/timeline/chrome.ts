/** A timeline in the Trace Event Format: a process each tree, a thread each lane. */
import { type ChromeFile, ChromeTrace } from "../exports/chrome.ts";
import { SPAN_LANES, type Span } from "./spans.ts";
import type { Timeline, TimelineRun } from "./timeline.ts";

const INSTANTS: readonly Span["kind"][] = ["arrival", "violation"];

/** The file. */
export function chromeTimeline({ guest, hz, runs }: Timeline): ChromeFile {
	const trace = new ChromeTrace(hz);
	for (const [at, run] of runs.entries()) addRun(trace, at + 1, run);
	return trace.file({ exporter: "reenter", guest });
}

function addRun(trace: ChromeTrace, pid: number, { tree, vendor, cpu, spans, bands }: TimelineRun): void {
	trace.process(pid, `${tree} on ${vendor}, ${cpu}`);
	for (const [at, lane] of SPAN_LANES.entries()) trace.thread(pid, at + 1, lane);
	for (const [at, { name }] of bands.entries()) trace.thread(pid, SPAN_LANES.length + at + 1, name);
	for (const { lane, kind, name, note, fromCycles, toCycles } of spans) {
		const slice = { pid, tid: SPAN_LANES.indexOf(lane) + 1, name, cat: kind, fromCycles };
		if (INSTANTS.includes(kind)) trace.instant(slice);
		else
			trace.slice({
				...slice,
				toCycles,
				args: note === "" ? {} : { [kind === "guest" ? "exit" : "rip"]: note },
			});
	}
	for (const [at, { segments }] of bands.entries()) {
		for (const { whose, value, fromCycles, toCycles } of segments) {
			const args: Record<string, string> = value === "" ? {} : { value };
			trace.slice({
				pid,
				tid: SPAN_LANES.length + at + 1,
				name: whose,
				cat: "band",
				fromCycles,
				toCycles,
				args,
			});
		}
	}
}
