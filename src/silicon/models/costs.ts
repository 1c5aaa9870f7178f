/** Cost tables of CPU models are written as rows; here they become records by op. */
import { OP_NAMES, type OpName } from "../ops.ts";
import type { Cost, GuestCostClass, Origin } from "./model.ts";

/** One row of a cost table. */
export type CostRow<Name extends string> = readonly [
	name: Name,
	cycles: number,
	origin: Origin,
	source: string,
];

function record<Name extends string>(rows: readonly CostRow<Name>[]): Record<Name, Cost> {
	const entries = rows.map(([name, cycles, origin, source]) => [name, { cycles, origin, source }] as const);
	return Object.fromEntries(entries) as Record<Name, Cost>;
}

/**
 * The costs of all ops from rows.
 * @throws RangeError for an op without a row, or with two
 */
export function opCosts(rows: readonly CostRow<OpName>[]): Record<OpName, Cost> {
	for (const name of OP_NAMES) {
		const count = rows.filter((row) => row[0] === name).length;
		if (count !== 1) throw new RangeError(`op ${name} has ${count} rows in the cost table; it needs one`);
	}
	return record(rows);
}

/** The costs of the classes of guest instructions from rows. */
export function guestCosts(rows: readonly CostRow<GuestCostClass>[]): Record<GuestCostClass, Cost> {
	return record(rows);
}

// biome-ignore format: one row an extension
const OPS_OF: Readonly<Record<"VMX" | "SVM" | "TDX" | "XFD", readonly OpName[]>> = {
	VMX: ["vmread", "vmwrite", "vmptrld", "vmclear", "vmlaunch", "vmresume", "vmexit"],
	SVM: ["vmrun", "#vmexit", "vmload", "vmsave", "clgi", "stgi"],
	TDX: ["seamcall", "seamret"],
	XFD: ["rdmsr(ia32_xfd)", "wrmsr(ia32_xfd)", "rdmsr(ia32_xfd_err)", "wrmsr(ia32_xfd_err)"],
};

/** Rows for the ops of an extension that a model does not have. */
export function absent(extension: keyof typeof OPS_OF): CostRow<OpName>[] {
	return OPS_OF[extension].map((name) => [name, 0, "assumed", `this model has no ${extension}`] as const);
}

/** Reasons that several rows of both models share. */
export const WHY = {
	loop: "fitted last: the INVD round trip of the base tree (KVM mailing list, patch 3 of the series)",
	swap: "fitted: two XSETBV, two WRMSR(IA32_XSS) and the tests around them make up what patches 1-3 save in the INVD round trip",
	pkru: "fitted: RDPKRU, two WRPKRU and the tests around them make up what patch 4 saves in the INVD round trip",
	msr: "no published figure; the cost of a microcoded MSR access of medium length",
	rare: "no published figure; not on the path that the figures of the series measure",
	kernel: "no published figure; a short kernel primitive of some tens of instructions",
	handler: "no published figure; the order of a microsecond, as short handlers take",
	cheap: "no published figure; an instruction without microcode or of a few uops",
} as const;
