/** Schedules as they are written: `irq@57,nmi@60g`. */
import { findEventKind } from "./events.ts";
import type { Injection } from "./types.ts";

/** A schedule as `--replay` takes it: kind, op, and `g` for an event in the guest behind the VM entry at that op. */
export function scheduleText(schedule: readonly Injection[]): string {
	return schedule.map(({ event, at, inGuest }) => `${event}@${at}${inGuest === true ? "g" : ""}`).join(",");
}

/** Reads a schedule. @returns null if it is none */
export function parseSchedule(text: string): Injection[] | null {
	const schedule: Injection[] = [];
	for (const part of text.split(",")) {
		const match = /^([a-z-]+)@(\d+)(g?)$/.exec(part);
		const event = findEventKind(match?.[1] ?? "");
		if (match === null || event === undefined) return null;
		schedule.push({ event, at: Number(match[2]), ...(match[3] === "g" ? { inGuest: true } : {}) });
	}
	return schedule.sort((a, b) => a.at - b.at);
}
