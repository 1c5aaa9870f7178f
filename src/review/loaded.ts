/**
 * Whose value each piece of the processor's state holds at a moment: the host's, or the guest's. One row a lane; a new one
 * is a new row.
 */
import type { Machine } from "../kvm/api/kvm.ts";
import { CR4, XFEATURE } from "../silicon/cpu/control.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import * as L from "../silicon/cpu/layout.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";

/** `both`: host and guest have the same. `neither`: what somebody else left there. */
export type Loaded = "host" | "guest" | "both" | "neither" | "on" | "off";

/** A register that is swapped: what it holds, and what it would hold for either. */
interface Swapped {
	readonly value: number | bigint;
	readonly host: number | bigint;
	readonly guest: number | bigint;
}

export interface LaneRow {
	readonly name: string;
	/** What it is, and what `on` and `off` mean where that is what it holds. */
	readonly title: string;
	/** Whether it exists there. */
	readonly exists: (vendor: Vendor, model: CpuModel) => boolean;
	/** A register that belongs to one of the two, or a flag. */
	readonly register?: (machine: Machine) => Swapped;
	readonly flag?: (machine: Machine) => boolean;
	/** Changes seldom: left to the timeline, where a lane has more room than beside the run loop's lines. */
	readonly isRare?: boolean;
}

/** XCR0 and IA32_XSS of a TD follow from its XFAM: the TDX module loads them, and leaves them behind. */
function tdFeatures({ vcpu, cpu }: Machine, which: "xcr0" | "xss"): number {
	return vcpu.tdx!.td.xfam & cpu.model.features[which];
}

/** Without CR4.OSXSAVE the guest can neither use nor see XCR0 and IA32_XSS, so what is loaded is as good as its own. */
function guestXfeatures(m: Machine, which: "xcr0" | "xss"): number {
	if (m.vcpu.tdx !== null) return tdFeatures(m, which);
	if ((m.vcpu.cr4Bits & CR4.OSXSAVE) === 0) return m.kernel[which];
	return which === "xcr0" ? m.vcpu.xcr0 : m.vcpu.iaXss;
}

/** The same of PKRU, which the guest can use by WRPKRU with CR4.PKE, and by XRSTOR with XCR0.PKRU. */
function guestPkru({ vcpu, kernel }: Machine): number {
	const uses = (vcpu.cr4Bits & CR4.PKE) !== 0 || (vcpu.xcr0 & XFEATURE.pkru) !== 0;
	return uses || vcpu.tdx !== null ? vcpu.pkru : kernel.userPkru;
}

/** DR0-DR3 as one number, which differs where one of them does. */
function debugAddresses(read: (n: number) => number): number {
	return [0, 1, 2, 3].reduce((sum, n) => sum + read(n) * (n + 1), 0);
}

/** IA32_DEBUGCTL of the guest, where KVM has it while it is not loaded. */
function guestDebugctl({ vmx, svm }: Vcpu): number {
	return vmx === null ? svm!.vmcb.debugctl : Number(vmx.vmcs.get("GUEST_IA32_DEBUGCTL"));
}

/** IA32_SPEC_CTRL of the guest. */
function guestSpecCtrl({ vmx, svm, cpu }: Vcpu): number {
	if (vmx !== null) return vmx.specCtrl;
	return cpu.model.features.vSpecCtrl ? svm!.vmcb.specCtrl : svm!.specCtrl;
}

/** IA32_LSTAR of the guest: a user-return MSR on VMX, VMLOAD's on SVM. */
function guestLstar({ vmx, svm }: Vcpu): bigint {
	return vmx === null
		? svm!.vmcb.readState(L.LSTAR)
		: vmx.userReturnMsrs.find(({ field }) => field === L.LSTAR)!.value;
}

/** IA32_TSC_AUX of the guest, a user-return MSR on both. */
function guestTscAux({ vmx, svm }: Vcpu): bigint {
	const msrs = vmx === null ? svm!.tscAux : vmx.userReturnMsrs;
	return msrs.find(({ field }) => field === L.TSC_AUX)!.value;
}

const always = () => true;
/** A TD's are the TDX module's to swap, and not KVM's to know. */
const notTd = (vendor: Vendor) => vendor !== "tdx";

/** All lanes, in the order in which they are drawn. */
// biome-ignore format: one row a lane
export const LANES: readonly LaneRow[] = [
	{ name: "XCR0",    title: "XCR0, by XSETBV",                               exists: always,
		register: (m) => ({ value: m.cpu.xcr0, host: m.kernel.xcr0, guest: guestXfeatures(m, "xcr0") }) },
	{ name: "XSS",     title: "IA32_XSS",                                      exists: (_vendor, { features }) => features.xss !== 0,
		register: (m) => ({ value: m.cpu.xss, host: m.kernel.xss, guest: guestXfeatures(m, "xss") }) },
	{ name: "PKRU",    title: "PKRU",                                          exists: (_vendor, { features }) => features.pku,
		register: (m) => ({ value: m.cpu.pkru, host: m.kernel.userPkru, guest: guestPkru(m) }) },
	{ name: "XFD",     title: "IA32_XFD",                                      exists: (vendor, { features }) => features.xfd !== 0 && vendor !== "tdx",
		register: ({ cpu, vcpu, kernel }) => ({ value: cpu.xfd, host: kernel.vcpuTask.userFpstate.xfd, guest: vcpu.guestFpu.xfd }) },
	{ name: "DR",      title: "DR0 to DR3",                                    exists: (vendor) => vendor !== "tdx",
		register: ({ cpu, vcpu, kernel }) => ({ value: debugAddresses((n) => cpu.readNumber(L.DR0 + 8 * n)), host: debugAddresses((n) => kernel.breakpoints.addresses[n]!), guest: debugAddresses((n) => Number(vcpu.effDb[n])) }) },
	{ name: "DEBUGCTL", title: "IA32_DEBUGCTL",                                exists: notTd, isRare: true,
		register: ({ cpu, vcpu, kernel }) => ({ value: cpu.readNumber(L.DEBUGCTL), host: kernel.perf.debugctl, guest: guestDebugctl(vcpu) }) },
	{ name: "SPEC_CTRL", title: "IA32_SPEC_CTRL",                              exists: notTd, isRare: true,
		register: ({ cpu, vcpu, kernel }) => ({ value: cpu.read32(L.SPEC_CTRL), host: kernel.specCtrl, guest: guestSpecCtrl(vcpu) }) },
	{ name: "LSTAR",   title: "IA32_LSTAR, with which STAR and FMASK go",      exists: notTd, isRare: true,
		register: ({ cpu, vcpu, kernel }) => ({ value: cpu.read64(L.LSTAR), host: kernel.userMsrs.lstar, guest: guestLstar(vcpu) }) },
	{ name: "TSC_AUX", title: "IA32_TSC_AUX",                                  exists: notTd, isRare: true,
		register: ({ cpu, vcpu, kernel }) => ({ value: cpu.read64(L.TSC_AUX), host: kernel.userMsrs.tscAux, guest: guestTscAux(vcpu) }) },
	{ name: "IF",      title: "RFLAGS.IF: interrupts are taken",                exists: always,                       flag: ({ cpu }) => cpu.interruptFlag },
	{ name: "GIF",     title: "the global interrupt flag: anything is taken",   exists: (vendor) => vendor === "svm", flag: ({ cpu }) => cpu.gif },
	{ name: "preempt", title: "preemption: the scheduler may take the CPU away", exists: always,                      flag: ({ kernel }) => kernel.preemptCount === 0 },
];

/** The lanes that a vendor and model have. */
export function lanesOf(vendor: Vendor, model: CpuModel): readonly LaneRow[] {
	return LANES.filter(({ exists }) => exists(vendor, model));
}

/** Reads a machine's lanes. What the guest left in a register at its last exit is the guest's, though KVM may not know yet. */
export class LaneReader {
	private readonly machine: Machine;
	private readonly lanes: readonly LaneRow[];
	private readonly left: (number | bigint)[] = [];
	/** What the guest that runs found there; null while none does. */
	private found: readonly (number | bigint | null)[] | null = null;

	constructor(machine: Machine, lanes: readonly LaneRow[]) {
		this.machine = machine;
		this.lanes = lanes;
	}

	/** To be called when the guest has been entered: what it changes from now on is its own. */
	guestEntry(): void {
		this.found = this.lanes.map(({ register }) => register?.(this.machine).value ?? null);
	}

	/** To be called when the guest has exited. */
	guestExit(): void {
		this.found = null;
		for (const [at, { register }] of this.lanes.entries())
			if (register !== undefined) this.left[at] = register(this.machine).value;
	}

	/** One value a lane. */
	read(): readonly Loaded[] {
		return this.lanes.map(({ register, flag }, at) => {
			if (register === undefined) return flag!(this.machine) ? "on" : "off";
			const { value, host, guest } = register(this.machine);
			if (this.found !== null && this.found[at] !== value) return "guest";
			if (value === host) return value === guest ? "both" : "host";
			return value === guest || value === this.left[at] ? "guest" : "neither";
		});
	}
}
