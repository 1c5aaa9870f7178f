/**
 * A CPU model for this computer, from what was measured on it. What is not measured is inherited from a built-in model,
 * and stays marked as what it is there.
 *
 *  - VM entry and VM exit together: what makes the model's INVD round trip, with no register to swap, the measured one.
 *    Between the two the base model's ratio stays; no measurement from outside can split them.
 *  - XSETBV, WRMSR(IA32_XSS), WRPKRU: half of what a different value adds to an exit, as one is written on the way in
 *    and one on the way out. For PKRU the read is in both cases, so it drops out.
 */
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import type { ModelFile } from "../silicon/models/model-file.ts";
import type { OpName } from "../silicon/ops.ts";
import type { SwapReport, SwappedRegister } from "./swaps.ts";
import type { ExitTable } from "./types.ts";

/** Why no model can be made; one line. */
export class CannotFit extends Error {
	override readonly name = "CannotFit";
}

const ENTRY_AND_EXIT: Readonly<Record<Vendor, readonly [OpName, OpName]>> = {
	vmx: ["vmresume", "vmexit"],
	svm: ["vmrun", "#vmexit"],
	tdx: ["seamcall", "seamret"],
};

const SWAP_OPS: Readonly<Record<SwappedRegister, OpName>> = {
	XCR0: "xsetbv",
	IA32_XSS: "wrmsr(ia32_xss)",
	PKRU: "wrpkru",
};

export interface FitOptions {
	readonly exits: ExitTable;
	readonly swaps: SwapReport;
	/** The built-in model that the rest is inherited from. */
	readonly base: CpuModel;
	readonly vendor: Vendor;
	/** Cycles of the base model's INVD round trip without OSXSAVE, on the tree that the kernel resembles. */
	readonly modelledInvdCycles: number;
	/** Name of the model. */
	readonly name: string;
}

/** The vendor whose hardware a module drives, or null. */
export function vendorOfModule(module: string): Vendor | null {
	return module === "kvm_intel" ? "vmx" : module === "kvm_amd" ? "svm" : null;
}

const round = (value: number) => Math.round(value * 10) / 10;

/** Makes a model. @throws CannotFit where the measurements cannot carry one */
export function fitModel(options: FitOptions): ModelFile {
	const { exits, swaps, base, vendor, modelledInvdCycles } = options;
	const invd = exits.exits.find(({ name }) => name === "invd");
	if (invd === undefined) throw new CannotFit("INVD could not be measured here");
	const { platform } = exits;
	const costs: ModelFile["costs"] = {};
	const [entry, exit] = ENTRY_AND_EXIT[vendor];
	const old = { entry: base.costs[entry].cycles, exit: base.costs[exit].cycles };
	const both = old.entry + old.exit + (invd.cycles.median - modelledInvdCycles);
	if (both <= 0) {
		throw new CannotFit(
			`INVD takes ${round(invd.cycles.median)} cycles here, less than what ${base.name} has for the code around VM entry and exit`,
		);
	}
	const source = `measured: INVD round trip ${round(invd.cycles.median)} cycles, ${platform.cpu}, ${platform.module} of Linux ${platform.kernel}`;
	const plusMinus = (invd.cycles.high - invd.cycles.low) / 2;
	for (const [op, share] of [
		[entry, old.entry / (old.entry + old.exit)],
		[exit, old.exit / (old.entry + old.exit)],
	] as const) {
		costs[op] = { cycles: round(both * share), plusMinus: round(plusMinus * share), source };
	}
	for (const [register, op] of Object.entries(SWAP_OPS) as [SwappedRegister, OpName][]) {
		const slow = swaps.cases.find((one) => one.register === register && one.path === "slow");
		if (slow?.added == null || slow.added.low <= 0) continue;
		costs[op] = {
			cycles: round(slow.added.median / 2),
			plusMinus: round((slow.added.high - slow.added.low) / 4),
			source: `measured: a guest ${register} unlike the host's adds ${round(slow.added.median)} cycles to a CPUID exit, ${platform.cpu}`,
		};
	}
	return {
		format: "reenter-cpu-model",
		version: 1,
		name: options.name,
		title: `${platform.cpu}, measured under ${platform.module} of Linux ${platform.kernel}`,
		base: base.name,
		tscHz: platform.tscHz,
		costs,
	};
}
