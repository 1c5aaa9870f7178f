/** Schedules from the command line. */
import { ScheduleError, parseSchedule } from "../check/schedule.ts";
import type { Injection } from "../check/types.ts";
import { UsageError } from "./io.ts";

/** Reads a schedule. @param option that gave it, for messages @throws UsageError with one line */
export function readSchedule(option: string, text: string): readonly Injection[] {
	try {
		return parseSchedule(text);
	} catch (error) {
		if (error instanceof ScheduleError) throw new UsageError(`${option} ${error.message}`);
		throw error;
	}
}
