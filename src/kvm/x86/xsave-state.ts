/**
 * The swaps that the series moves: XCR0, IA32_XSS and PKRU (arch/x86/kvm/x86.c, v6.18).
 *
 * VM entry and VM exit switch none of these registers, so whatever is loaded when the guest runs is what
 * the guest runs with, and whatever is loaded afterwards is what the host runs with.
 */
import { readPkru, wrmsrXss, writePkru, xsetbv } from "../../host/access.ts";
import { type Node, flow, leave, step, when } from "../flow/flow.ts";
import type { Vcpu } from "../vcpu.ts";

const X86_CR4_OSXSAVE = 1 << 18;
const X86_CR4_PKE = 1 << 22;
const XFEATURE_MASK_PKRU = 1 << 9;

/** The guest owns these registers through KVM: not so for SEV-ES guests and TDs. */
const isProtected = (v: Vcpu) => v.guestStateProtected;
const hasOsxsave = (v: Vcpu) => (v.cr4Bits & X86_CR4_OSXSAVE) !== 0;
const xcr0Differs = (v: Vcpu) => v.xcr0 !== v.kernel.xcr0;
const xssDiffers = (v: Vcpu) => v.guestCanUseXsaves && v.iaXss !== v.kernel.xss;
/** The guest can change PKRU: by WRPKRU with CR4.PKE, by XRSTOR with XCR0.PKRU (commit 37486135d3a7). */
const canUsePkru = (v: Vcpu) =>
	v.cpu.model.features.pku && ((v.xcr0 & XFEATURE_MASK_PKRU) !== 0 || (v.cr4Bits & X86_CR4_PKE) !== 0);

const unlessProtected = (): Node => when("guest_state_protected", isProtected, [leave()]);

const loadGuestXfeatures = (): Node =>
	when("CR4.OSXSAVE", hasOsxsave, [
		when("guest XCR0 differs", xcr0Differs, [step("XSETBV(guest XCR0)", (v) => xsetbv(v.cpu, v.xcr0), 3)]),
		when("guest XSS differs", xssDiffers, [
			step("WRMSR(guest IA32_XSS)", (v) => wrmsrXss(v.cpu, v.iaXss), 3),
		]),
	]);

const loadHostXfeatures = (): Node =>
	when("CR4.OSXSAVE", hasOsxsave, [
		when("guest XCR0 differs", xcr0Differs, [
			step("XSETBV(host XCR0)", (v) => xsetbv(v.cpu, v.kernel.xcr0), 3),
		]),
		when("guest XSS differs", xssDiffers, [
			step("WRMSR(host IA32_XSS)", (v) => wrmsrXss(v.cpu, v.kernel.xss), 3),
		]),
	]);

const loadGuestPkru = (): Node =>
	when("guest PKRU differs", (v) => v.cpu.model.features.pku && v.pkru !== v.hostPkru && canUsePkru(v), [
		step("WRPKRU(guest)", (v) => writePkru(v.cpu, v.pkru), 3),
	]);

const loadHostPkru = (): Node =>
	when("guest can use PKRU", canUsePkru, [
		step(
			"RDPKRU",
			(v) => {
				v.pkru = readPkru(v.cpu);
			},
			3,
		),
		when("guest PKRU differs", (v) => v.pkru !== v.hostPkru, [
			step("WRPKRU(host)", (v) => writePkru(v.cpu, v.hostPkru), 3),
		]),
	]);

/** Base: all three registers in one function. */
export const kvmLoadGuestXsaveState = flow("kvm_load_guest_xsave_state", "x86.c", [
	unlessProtected(),
	loadGuestXfeatures(),
	loadGuestPkru(),
]);

/** Base: the way back, PKRU first. */
export const kvmLoadHostXsaveState = flow("kvm_load_host_xsave_state", "x86.c", [
	unlessProtected(),
	loadHostPkru(),
	loadHostXfeatures(),
]);

/** Patch 3: XCR0 and XSS alone. */
export const kvmLoadGuestXfeatures = flow("kvm_load_guest_xfeatures", "x86.c", [
	unlessProtected(),
	loadGuestXfeatures(),
]);

/** Patch 3: XCR0 and XSS alone, the way back. */
export const kvmLoadHostXfeatures = flow("kvm_load_host_xfeatures", "x86.c", [
	unlessProtected(),
	loadHostXfeatures(),
]);

/** Patch 4: PKRU alone. */
export const kvmLoadGuestPkru = flow("kvm_load_guest_pkru", "x86.c", [unlessProtected(), loadGuestPkru()]);

/** Patch 4: PKRU alone, the way back. */
export const kvmLoadHostPkru = flow("kvm_load_host_pkru", "x86.c", [unlessProtected(), loadHostPkru()]);

/**
 * The follow-up (commit 0b28f21ad462): one helper with a flag. Flows take no arguments, so the flag is in
 * the name; both forms are this one function.
 */
export function kvmLoadXfeatures(loadGuest: boolean) {
	const value = (v: Vcpu) => (loadGuest ? v.xcr0 : v.kernel.xcr0);
	const xss = (v: Vcpu) => (loadGuest ? v.iaXss : v.kernel.xss);
	return flow(`kvm_load_xfeatures(${loadGuest ? "guest" : "host"})`, "x86.c", [
		unlessProtected(),
		when("CR4.OSXSAVE", hasOsxsave, [
			when("guest XCR0 differs", xcr0Differs, [step("XSETBV", (v) => xsetbv(v.cpu, value(v)), 3)]),
			when("guest XSS differs", xssDiffers, [step("WRMSR(IA32_XSS)", (v) => wrmsrXss(v.cpu, xss(v)), 3)]),
		]),
	]);
}
