/**
 * What KVM has for user space is told before the guest runs on.
 *
 * An exit handler that has filled in kvm_run's exit reason wants KVM_RUN to return. Where the run loop goes on instead, user space
 * misses it: a debugger that steps finds the guest some instructions further on than it asked for.
 *
 * Not covered: a reason that is the same as the one of the exit before, where nobody has set it back to KVM_EXIT_UNKNOWN.
 */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { KVM_EXIT } from "../../kvm/requests.ts";
import type { Property } from "./property.ts";

const TO_USER = symbol("exit_to_user_mode_loop");

/** The property's words: the reason at the last exit, and whether KVM_RUN has returned since. */
const REASON = 0;
const RETURNED = 1;

export const exitReported: Property = {
	name: "exit-reported",
	title: "what KVM has for user space is told before the guest runs on",
	degree: "violation",
	words: 2,
	onEnter({ kvmRunResult }, entered, memory) {
		if (entered === TO_USER && kvmRunResult !== null) memory[RETURNED] = 1;
		return null;
	},
	onGuestExit({ machine: { vcpu } }, memory) {
		memory[REASON] = vcpu.run.exitReason;
		memory[RETURNED] = 0;
	},
	onGuestEntry({ machine: { vcpu } }, memory) {
		const { exitReason } = vcpu.run;
		if (memory[RETURNED] === 1 || exitReason === KVM_EXIT.UNKNOWN || exitReason === memory[REASON])
			return null;
		return `the guest runs on with exit reason ${exitReason} for user space, to which KVM_RUN has not returned`;
	},
};
