/**
 * What a tree saves in a run, from the run's own exits: each is priced by what the same swaps cost an exit under the
 * one tree and under the other, measured as `reenter cost` does, with INVD for exits that the fastpath went back from
 * and CPUID for those that left it.
 */
import { INIT_PKRU } from "../host/task.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { SwapState } from "../kvm/x86/trace-exit.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { measureCost } from "./cost.ts";

/** Exits of one kind: where they went, and what they swapped. */
export interface SavedRow {
	readonly path: "fastpath" | "slow";
	readonly swaps: Omit<SwapState, "exits" | "reentered">;
	readonly exits: number;
	/** Cycles that one of them costs less; negative: more. */
	readonly savedCyclesPerExit: number;
}

export interface Saved {
	readonly from: string;
	readonly to: string;
	readonly rows: readonly SavedRow[];
	/** Over all exits of the run. */
	readonly savedCycles: number;
}

export interface SavedOptions {
	readonly vcpus: readonly Vcpu[];
	readonly from: Tree;
	readonly to: Tree;
	readonly model: CpuModel;
	readonly vendor: Vendor;
}

/** Exits of all vCPUs, by what they swapped. */
function merged(vcpus: readonly Vcpu[]): SwapState[] {
	const states = new Map<string, SwapState>();
	for (const { stat } of vcpus) {
		for (const { exits, reentered, ...swaps } of stat.swapStates) {
			const key = JSON.stringify(swaps);
			const state = states.get(key) ?? { ...swaps, exits: 0, reentered: 0 };
			state.exits += exits;
			state.reentered += reentered;
			states.set(key, state);
		}
	}
	return [...states.values()];
}

/**
 * Prices the exits of a run under two trees.
 * @throws ReviewError if INVD or CPUID does not run on one of them
 */
export function savedIn({ vcpus, from, to, model, vendor }: SavedOptions): Saved {
	const rows: SavedRow[] = [];
	for (const { exits, reentered, ...swaps } of merged(vcpus)) {
		const difference = (guest: string): number => {
			const cost = (tree: Tree) =>
				measureCost({
					guest,
					tree,
					vendor,
					model,
					osxsave: swaps.osxsave,
					pke: swaps.pke && model.features.pku,
					pkru: swaps.pkruDiffers ? 0 : INIT_PKRU,
					xcr0: swaps.osxsave ? swaps.xcr0 : 0,
					xss: swaps.xss,
				}).cyclesPerExit;
			return Math.round((cost(from) - cost(to)) * 100) / 100;
		};
		const row = (path: SavedRow["path"], count: number, guest: string) => {
			if (count > 0) rows.push({ path, swaps, exits: count, savedCyclesPerExit: difference(guest) });
		};
		row("fastpath", reentered, "invd");
		row("slow", exits - reentered, "cpuid");
	}
	const savedCycles = rows.reduce((sum, row) => sum + row.exits * row.savedCyclesPerExit, 0);
	return { from: from.name, to: to.name, rows, savedCycles: Math.round(savedCycles) };
}
