/** Schedules as the address has them: as `reenter check --replay` writes them. */
import type { Injection } from "../../check/types.ts";

/** `irq@57,nmi@60g` */
export function eventsText(schedule: readonly Injection[]): string {
	return schedule.map(({ event, at, inGuest }) => `${event}@${at}${inGuest === true ? "g" : ""}`).join(",");
}

/** Reads it. What makes no sense is left out. */
export function readEvents(text: string): Injection[] {
	const events = text.split(",").flatMap((part): Injection[] => {
		const match = /^([a-z-]+)@(\d+)(g?)$/.exec(part);
		if (match === null) return [];
		const event = match[1] as Injection["event"];
		return [{ event, at: Number(match[2]), ...(match[3] === "g" ? { inGuest: true } : {}) }];
	});
	return events.sort((a, b) => a.at - b.at);
}
