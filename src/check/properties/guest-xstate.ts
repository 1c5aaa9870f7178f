/**
 * At every VM entry XCR0, IA32_XSS and PKRU are what the guest is owed.
 *
 * VM entry switches none of them, so the guest runs with what is loaded, and can read it by XGETBV and RDPKRU.
 * With CR4.OSXSAVE clear the guest can neither use nor read XCR0 and IA32_XSS, and is owed nothing.
 *
 * Not covered: TDs and SEV-ES guests, whose values KVM does not have.
 */
import { OP } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

const CR4_OSXSAVE = 1 << 18;
const CR4_PKE = 1 << 22;
const XFEATURE_PKRU = 1 << 9;
const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;

export const guestXstate: Property = {
	name: "guest-xstate",
	title: "at VM entry XCR0, XSS and PKRU are the guest's",
	degree: "violation",
	onOp({ machine: { cpu, vcpu } }, op) {
		if (op !== OP.vmresume && op !== OP.vmlaunch && op !== OP.vmrun) return null;
		if (vcpu.guestStateProtected) return null;
		if ((vcpu.cr4Bits & CR4_OSXSAVE) !== 0) {
			if (cpu.xcr0 !== vcpu.xcr0)
				return `the guest enters with XCR0 ${hex(cpu.xcr0)}, its own is ${hex(vcpu.xcr0)}`;
			if (vcpu.guestCanUseXsaves && cpu.xss !== vcpu.iaXss) {
				return `the guest enters with IA32_XSS ${hex(cpu.xss)}, its own is ${hex(vcpu.iaXss)}`;
			}
		}
		const usesPkru = (vcpu.cr4Bits & CR4_PKE) !== 0 || (vcpu.xcr0 & XFEATURE_PKRU) !== 0;
		if (cpu.model.features.pku && usesPkru && cpu.pkru !== vcpu.pkru) {
			return `the guest enters with PKRU ${hex(cpu.pkru)}, its own is ${hex(vcpu.pkru)}`;
		}
		return null;
	},
};
