/** The guest's FPU registers, reloaded too early (commit e751732486eb of 2019, reverted by 2620fe268e80). */
import { move } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const fpuReload: HistoryCase = {
	name: "fpu-reload",
	title: "The guest runs with FPU registers that an interrupt has left behind",
	fix: { commits: ["2620fe268e80"], date: "2020-01", author: "Sean Christopherson" },
	vendors: ["vmx", "svm"],
	state: "FPU registers",
	story:
		"Since 2019 the kernel loads a task's FPU registers as late as it can, and marks by a flag that they are not there. For " +
		"a guest KVM looked at the flag right before the entry. When guests crashed for another reason, switched-out ones above " +
		"all, the look was moved to vcpu_load: to where a switched-out thread comes back, since a switch is what sets the flag. " +
		"But code that uses the FPU behind an interrupt, encryption of network packets say, sets it as well. Came one between " +
		"vcpu_load and the entry, the guest ran with what that code had left, and lost its own registers. The fix looks right " +
		"before the entry again, with interrupts off.",
	differs: "The interrupt's handler uses the FPU itself; then it was a softirq behind it.",
	before: patched(v618, "fpu-reload-before", "TIF_NEED_FPU_LOAD is looked at in vcpu_load", "e751732486eb", [
		move("TIF_NEED_FPU_LOAD", "vcpu_enter_guest", "kvm_arch_vcpu_load", { at: "end" }),
	]),
	after: { ...v618, name: "fpu-reload-after" },
	shows: {
		events: ["irq-fpu"],
		configuration: {},
		property: "guest-fpu",
		tells: [/kernel_fpu_begin|uses the FPU/, /SSE state is not what it left there/],
	},
};
