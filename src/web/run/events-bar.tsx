/** The events of the run: those that arrive, and one more at the frame that is shown. */
import { useState } from "preact/hooks";
import type { EventKind, Injection } from "../../check/types.ts";
import type { Recording } from "../../review/recording/recording.ts";
import { catalogue, go, state } from "../state/app.ts";
import { eventsText } from "../state/schedule.ts";
import { guest, kindAt, nearest, position, schedule } from "./run-state.ts";

const ENTRIES = ["vmlaunch", "vmresume", "vmrun", "seamcall"];

/** Where an event that is dropped on a frame arrives: at its op, or the next one; in the guest at the entry before it. */
export function injectionAt(run: Recording, frame: number, event: EventKind): Injection | null {
	if (kindAt(run, frame) === "guest" && event !== "mce-entry") {
		for (let at = frame; at >= 0; at--)
			if (kindAt(run, at) === "op" && ENTRIES.includes(run.texts[run.text[at]!]!))
				return { event, at: run.ops[at]!, inGuest: true };
		return null;
	}
	let op = kindAt(run, frame) === "op" ? frame : nearest(run, frame, 1, ["op"]);
	// What arrives during a VM entry waits for the next one.
	if (event === "mce-entry")
		while (op < run.count && !(kindAt(run, op) === "op" && ENTRIES.includes(run.texts[run.text[op]!]!))) op++;
	return op < run.count && kindAt(run, op) === "op" ? { event, at: run.ops[op]! } : null;
}

/** The frame at which the n-th event of the schedule arrives. */
function frameOf(run: Recording, number: number): number {
	let at = -1;
	for (let event = 0; event <= number; event++) at = nearest(run, at, 1, ["event"]);
	return Math.max(0, at);
}

/** The bar. */
export function EventsBar({ run }: { readonly run: Recording }) {
	const [kind, setKind] = useState<EventKind>("irq");
	const events = schedule.value;
	const put = (next: readonly Injection[]) =>
		go({ events: eventsText([...next].sort((a, b) => a.at - b.at)) }, true);
	const { vendor, configuration } = state.value;
	const hasSecond = guest.value === "script" && configuration.includes("vcpus=2");
	const there =
		catalogue.value?.events.filter(
			({ kind: one, vendors }) =>
				vendors.includes(vendor) && ((one !== "vcpu" && one !== "init") || hasSecond),
		) ?? [];
	const titles = new Map(there.map((one) => [one.kind, one.title]));
	return (
		<div class="events-bar">
			<label class="field">
				<span>drop</span>
				<select value={kind} onChange={({ currentTarget }) => setKind(currentTarget.value as EventKind)}>
					{[...titles].map(([value, title]) => (
						<option key={value} value={value} title={title}>
							{value}
						</option>
					))}
				</select>
			</label>
			<button
				class="plain"
				type="button"
				title={titles.get(kind) ?? ""}
				onClick={() => {
					const injection = injectionAt(run, position.value, kind);
					if (injection !== null) put([...events, injection]);
				}}
			>
				⚡ here
			</button>
			<ol class="chips" aria-label="events of this run">
				{events.map((one, at) => (
					<li key={`${one.event} ${one.at} ${at}`}>
						<button class="plain chip" type="button" onClick={() => go({ at: frameOf(run, at) })}>
							⚡ {eventsText([one])}
						</button>
						<button
							class="plain chip-away"
							type="button"
							aria-label={`take ${eventsText([one])} away`}
							onClick={() => put(events.filter((_, other) => other !== at))}
						>
							×
						</button>
					</li>
				))}
			</ol>
		</div>
	);
}
