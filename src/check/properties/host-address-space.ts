/**
 * CR3 and CR4 are what the kernel loaded last, at every op of host code.
 *
 * VM exit loads both from the VMCS. The kernel may change them behind the place where KVM noted them: text is poked
 * through an address space of its own by an interrupt, and the task's own comes back with another PCID. A stale PCID
 * brings back translations that were flushed.
 *
 * Not covered: the translations themselves, since host code is not translated here.
 */
import * as L from "../../silicon/cpu/layout.ts";
import type { Property } from "./property.ts";

const hex = (value: number) => `0x${value.toString(16)}`;

export const hostAddressSpace: Property = {
	name: "host-address-space",
	title: "CR3 and CR4 are what the kernel loaded last",
	degree: "violation",
	onOp({ machine: { cpu, kernel } }) {
		const { cr3, cr4 } = kernel.addressSpaces;
		const loaded = cpu.readNumber(L.CR3);
		if (loaded !== cr3) return `CR3 is ${hex(loaded)}, the kernel loaded ${hex(cr3)}`;
		const loadedCr4 = cpu.readNumber(L.CR4);
		if (loadedCr4 !== cr4) return `CR4 is ${hex(loadedCr4)}, the kernel loaded ${hex(cr4)}`;
		return null;
	},
};
