/** Interrupts that are posted to a vCPU whose APICv is off (commit 37c4dbf337c5, 2021). */
import { type Node, when } from "../../flow/flow.ts";
import { type Edit, replace } from "../../flow/patch.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

const ENTER = "vcpu_enter_guest";
const apicvActive = (v: Vcpu) => v.vm.ops.apicvActive?.(v) === true;

/** What the guard holds, behind a look at APICv. */
function onlyIfActive(name: string): Edit {
	const guard = v618.flows
		.get(ENTER)!
		.body.flatMap((node): readonly Node[] => (node.kind === "loop" ? node.body : [node]))
		.find((node) => node.name === name);
	const then = guard?.kind === "if" ? guard.then : [];
	return replace(
		name,
		ENTER,
		when(name.replace("kvm_lapic_enabled", "kvm_vcpu_apicv_active"), apicvActive, then),
	);
}

export const postedInhibited: HistoryCase = {
	name: "posted-inhibited",
	title: "A device's interrupt for a vCPU whose APICv is off stays where the device has put it",
	fix: { commits: ["37c4dbf337c5"], date: "2021-11", author: "Paolo Bonzini" },
	vendors: ["vmx"],
	state: "interrupts",
	story:
		"A device that is assigned to a guest posts its interrupts: the IOMMU sets the vector's bit in the vCPU's descriptor " +
		"and sends the notification. It does so too if APICv is off for the vCPU, as it is while a debugger holds its " +
		"interrupts back; the notification then ends the guest's run and nothing else. KVM moved the bits on to IRR only if " +
		"APICv was active. The interrupt stayed in the descriptor. The fix looks there whatever APICv's state is, and has " +
		"the vCPU inject what it finds.",
	differs: "The device's interrupt is put into the descriptor by the event; there is no IOMMU.",
	before: patched(v618, "posted-inhibited-before", "PIR is looked at only if APICv is active", "v5.15", [
		onlyIfActive("kvm_lapic_enabled (before entry)"),
		onlyIfActive("kvm_lapic_enabled"),
	]),
	after: { ...v618, name: "posted-inhibited-after" },
	shows: {
		events: ["guest-irq"],
		configuration: { apicv: "inhibited" },
		property: "posted-interrupts",
		tells: [/the guest runs while PIR holds an interrupt/],
	},
};
