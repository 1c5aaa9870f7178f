/**
 * schedule() is not called in atomic context.
 *
 * The kernel says "BUG: scheduling while atomic" and goes on, so this is a finding and not a violation; what
 * breaks by it is found by the other properties.
 *
 * Not covered: functions that might sleep and do not (might_sleep()); atomic context by locks, which the model has none of.
 */
import { symbol } from "../../silicon/cpu/cpu.ts";
import type { Property } from "./property.ts";

const SCHEDULE = symbol("schedule");

export const atomicSchedule: Property = {
	name: "atomic-schedule",
	title: "schedule() is called with preemption and interrupts enabled",
	degree: "finding",
	onEnter({ machine: { kernel } }, entered) {
		if (entered !== SCHEDULE || !kernel.atomic) return null;
		return `scheduling while atomic: preempt_count ${kernel.preemptCount}, interrupts ${kernel.cpu.interruptFlag ? "on" : "off"}`;
	},
};
