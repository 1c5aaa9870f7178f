/**
 * At every VM entry XCR0, IA32_XSS and PKRU are what the guest is owed.
 *
 * VM entry switches none of them, so the guest runs with what is loaded, and can read it by XGETBV and RDPKRU. What it
 * writes to PKRU by WRPKRU or XRSTOR does not exit: it is owed what was there at the exit. With CR4.OSXSAVE clear the
 * guest can neither use nor read XCR0 and IA32_XSS, and is owed nothing.
 *
 * Not covered: TDs and SEV-ES guests, whose values KVM does not have.
 */
import { CR4, XFEATURE } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import { owedRegisters } from "./owed-registers.ts";

const usesXsave = ({ cpu }: Machine) => (cpu.read32(L.CR4) & CR4.OSXSAVE) !== 0;

// biome-ignore format: one row a register
export const guestXstate = owedRegisters(
	"guest-xstate",
	"at VM entry XCR0, XSS and PKRU are the guest's",
	[
		{ register: "XCR0", field: L.XCR0, initial: 1, visible: usesXsave },
		{ register: "IA32_XSS", field: L.XSS, initial: 0, visible: (machine) => usesXsave(machine) && machine.vcpu.guestCanUseXsaves },
		{ register: "PKRU", field: L.PKRU, initial: 0, visible: ({ cpu, vcpu }) => cpu.model.features.pku &&
			((cpu.read32(L.CR4) & CR4.PKE) !== 0 || (vcpu.xcr0 & XFEATURE.pkru) !== 0) },
	],
);
