/** Schedules as they are written: `irq@57,nmi@60g`. */
import { hint } from "../kvm/flow/patch.ts";
import type { Configuration } from "./configuration.ts";
import { EVENT_KINDS, eventRow, findEventKind } from "./events.ts";
import { kindsOn } from "./plan.ts";
import type { RunResult } from "./run.ts";
import type { CheckOptions, Injection } from "./types.ts";

/** A schedule that cannot be read, or that did not happen: one line. */
export class ScheduleError extends Error {
	override readonly name = "ScheduleError";
}

/** A schedule as `--replay` takes it: kind, op, and `g` for an event in the guest behind the VM entry at that op. */
export function scheduleText(schedule: readonly Injection[]): string {
	return schedule.map(({ event, at, inGuest }) => `${event}@${at}${inGuest === true ? "g" : ""}`).join(",");
}

/** Reads a schedule. @throws ScheduleError if it is none */
export function parseSchedule(text: string): Injection[] {
	const schedule: Injection[] = [];
	for (const part of text.split(",")) {
		const [, kind, at, g] = /^([a-z-]+)@(\d+)(g?)$/.exec(part) ?? [];
		if (kind === undefined)
			throw new ScheduleError(
				`"${part}" is no event of a schedule; write for example irq@57, or irq@57g for one in the guest, with commas between them`,
			);
		const event = findEventKind(kind);
		if (event === undefined)
			throw new ScheduleError(
				`"${part}": no event "${kind}"${hint(kind, EVENT_KINDS)}; there are ${EVENT_KINDS.join(", ")}`,
			);
		schedule.push({ event, at: Number(at), ...(g === "g" ? { inGuest: true } : {}) });
	}
	return schedule.sort((a, b) => a.at - b.at);
}

/**
 * Holds that a check has all events of a schedule: a run without them says nothing about them.
 * @throws ScheduleError naming one that the vendor or the configuration does not have
 */
export function assertKnown(
	schedule: readonly Injection[],
	{ vendor }: Pick<CheckOptions, "vendor">,
	configuration: Configuration,
): void {
	for (const injection of schedule) {
		const text = scheduleText([injection]);
		const { event } = injection;
		if (!kindsOn(vendor).includes(event)) throw new ScheduleError(`${text}: ${vendor} has no ${event}`);
		if (eventRow(event).existsIn?.(configuration) === false)
			throw new ScheduleError(`${text}: there is no ${event} in this configuration (docs/check.md)`);
	}
}

/** Holds that a run which violated nothing had all events of its schedule. @throws ScheduleError naming the first that did not arrive */
export function assertArrived({ failures, waiting, ops, entries }: RunResult): void {
	const [missed] = waiting;
	if (missed === undefined || failures.length > 0) return;
	const why =
		missed.at > ops
			? `the run ends after ${ops} ops`
			: missed.at < 1
				? "ops count from 1"
				: missed.inGuest === true && !entries.includes(missed.at)
					? `there is no VM entry at op ${missed.at}`
					: "no guest runs there";
	throw new ScheduleError(`${scheduleText([missed])} does not arrive: ${why}`);
}
