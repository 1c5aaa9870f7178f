/** STI right before VMRUN, and its shadow in the guest (commit be45bc4eff33, 2025). */
import { remove, replace } from "../../flow/patch.ts";
import { svmVcpuRunWithSti } from "../../svm/flows.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const stiShadow: HistoryCase = {
	name: "sti-shadow",
	title: "The shadow of the host's STI becomes the guest's",
	fix: { commits: ["be45bc4eff33", "f14eec0a3203"], date: "2025-02", author: "Sean Christopherson" },
	vendors: ["svm"],
	state: "interrupt shadow",
	story:
		"Interrupts are enabled around VMRUN, under GIF 0, so that a host interrupt makes the guest exit. A change of 2020 " +
		"put the STI into the assembly, right before VMRUN, which then runs in the shadow of that STI. If the delivery of " +
		"an event that VMRUN injects exits at once, because the page of the guest's IDT is not mapped say, the processor " +
		"leaves the shadow in the VMCB: the guest comes back with a shadow that no instruction of its own has made. The fix " +
		"sets IF in C, some instructions earlier.",
	differs: "",
	before: patched(v618, "sti-shadow-before", "STI is the last instruction before VMRUN", "f14eec0a3203", [
		remove("raw_local_irq_enable", "svm_vcpu_enter_exit"),
		remove("raw_local_irq_disable", "svm_vcpu_enter_exit"),
		replace("__svm_vcpu_run", "svm_vcpu_enter_exit", svmVcpuRunWithSti),
	]),
	after: { ...v618, name: "sti-shadow-after" },
	shows: {
		events: ["zap"],
		configuration: {},
		property: "interrupt-shadow",
		tells: [/the shadow of the host's STI before VMRUN is in the guest's int_state/, /__svm_vcpu_run/],
	},
};
