/** What one processor offers, and what each op costs on it. */
import { OP_NAMES, OP_SLOTS, type OpName } from "../ops.ts";

/** Where a figure comes from. A report says which of these it rests on. */
export type Origin = "published" | "calibrated" | "assumed" | "measured";

/** The cost of one op. */
export interface Cost {
	/** Cycles of the processor's time stamp counter. */
	readonly cycles: number;
	readonly origin: Origin;
	/** The source of a published figure, the figure a calibrated one was fitted to, or why it was assumed. */
	readonly source: string;
	/** Of a measured one: half the width of its 95 % confidence interval, in cycles. */
	readonly plusMinus?: number;
}

export type Vendor = "vmx" | "svm" | "tdx";

/** All vendors, in the order of reports. */
export const VENDORS: readonly Vendor[] = ["vmx", "svm", "tdx"];

/** Features that change what silicon or KVM does. */
export interface Features {
	/** XCR0 bits that XSETBV accepts. */
	readonly xcr0: number;
	/** IA32_XSS bits that WRMSR accepts. */
	readonly xss: number;
	/** IA32_XFD bits. 0: no XFD. */
	readonly xfd: number;
	readonly pku: boolean;
	/** Protection keys for supervisor pages, IA32_PKRS. */
	readonly pks: boolean;
	/** 5-level paging. */
	readonly la57: boolean;
	readonly xsaves: boolean;
	/** CET's shadow stacks. */
	readonly cetSs: boolean;
	/** CET's indirect-branch tracking. */
	readonly cetIbt: boolean;
	/** Physical address bits. */
	readonly physicalAddressBits: number;
	/** SVM: next_rip is saved on exit. */
	readonly nrips: boolean;
	/** SVM: SPEC_CTRL is virtualized by hardware. */
	readonly vSpecCtrl: boolean;
	/** Affected by VMSCAPE: the kernel does an IBPB between a guest and user space (X86_FEATURE_IBPB_EXIT_TO_USER). */
	readonly ibpbExitToUser: boolean;
	/** SVM virtualizes NMIs: V_NMI, V_NMI_MASK, V_NMI_ENABLE. */
	readonly vnmi: boolean;
	/** SVM: LBR virtualization switches DEBUGCTL. */
	readonly lbrv: boolean;
}

export interface CpuModel {
	readonly name: string;
	/** As CPUID's brand string would say it. */
	readonly title: string;
	readonly vendorString: "GenuineIntel" | "AuthenticAMD";
	readonly vendors: readonly Vendor[];
	/** Cycles of the time stamp counter a second, in Hz. */
	readonly tscHz: number;
	/** CPUID signature, leaf 1 EAX. */
	readonly signature: number;
	readonly features: Features;
	readonly costs: Readonly<Record<OpName, Cost>>;
	/** Costs of guest instructions, in cycles, by class. */
	readonly guestCosts: Readonly<Record<GuestCostClass, Cost>>;
}

/** Classes of guest instructions that differ in cost. Everything else is `simple`. */
export type GuestCostClass =
	| "simple"
	| "multiply"
	| "divide"
	| "string"
	| "rdtsc"
	| "serializing"
	| "system"
	| "far";

/** The costs of a model as an array by op id, in cycles. Ops of out-of-tree code cost 0 until a tree that has them is booted. */
export function costsById(model: CpuModel): Float64Array {
	const costs = new Float64Array(OP_SLOTS);
	for (const [id, name] of OP_NAMES.entries()) costs[id] = model.costs[name].cycles;
	return costs;
}
