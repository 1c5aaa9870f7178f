/** The three `perf top` tables of the series' cover letter (30 October 2025), and how near a profile comes to one. */
import type { ReportRow } from "./report.ts";

/** Symbols with their overhead in percent, as the mail has them. */
export type SeedTable = readonly (readonly [symbol: string, overheadPercent: number])[];

/** By the workload that stands for each. The mail labels the second only, by mmu_stress_test. */
// biome-ignore format: tables
export const SEED_TABLES: Readonly<Record<string, SeedTable>> = {
	"halt-poll": [
		["vmx_vmexit", 15.65], ["kvm_vcpu_halt", 6.78], ["__srcu_read_lock", 5.15], ["kvm_load_guest_xsave_state", 4.73],
		["__srcu_read_unlock", 4.69], ["read_tsc", 4.65], ["vmx_sync_pir_to_irr", 4.44], ["kvm_apic_has_interrupt", 4.03],
	],
	"mmu-stress": [
		["queued_spin_lock_slowpath", 45.52], ["vmx_vmexit", 24.4], ["queued_write_lock_slowpath", 2.84], ["vmx_vcpu_run", 1.92],
		["vcpu_run", 1.4], ["kvm_load_guest_xsave_state", 1], ["kvm_load_host_xsave_state", 0.84], ["mmu_try_to_unsync_pages", 0.72],
		["__srcu_read_lock", 0.68], ["try_get_folio", 0.65],
	],
	"timer-userspace": [
		["vmx_vmexit", 17.78], ["vmx_vcpu_run", 5.08], ["vcpu_run", 4.24], ["_raw_spin_lock_irqsave", 4.21],
		["kvm_load_guest_xsave_state", 2.99], ["rcu_note_context_switch", 2.51], ["ktime_get_update_offsets_now", 2.47],
		["kvm_load_host_xsave_state", 2.21], ["fput", 2.16],
	],
};

/** Rows that a workload's parameters were fitted to, by workload. One parameter of `halt-poll` was fitted to all of its rows. */
export const FITTED_ROWS: Readonly<Record<string, readonly string[]>> = {
	"halt-poll": SEED_TABLES["halt-poll"]!.map(([symbol]) => symbol),
	"mmu-stress": ["queued_spin_lock_slowpath", "queued_write_lock_slowpath"],
	"timer-userspace": ["fput"],
};

/** A seed's table beside ours. */
export interface Comparison {
	readonly rows: readonly { readonly symbol: string; readonly seed: number; readonly ours: number }[];
	/** Spearman's rank correlation over the seed's symbols. */
	readonly rankCorrelation: number;
	/** Mean absolute difference, in percentage points. */
	readonly meanDifference: number;
}

/** The mean absolute difference of the rows that nothing was fitted to, in percentage points; null if there are none. */
export function meanOfUnfitted(workload: string, { rows }: Comparison): number | null {
	const fitted = FITTED_ROWS[workload] ?? [];
	const others = rows.filter(({ symbol }) => !fitted.includes(symbol));
	if (others.length === 0) return null;
	return others.reduce((sum, row) => sum + Math.abs(row.seed - row.ours), 0) / others.length;
}

/** Ranks with ties at their mean. */
function ranks(values: readonly number[]): number[] {
	return values.map((value) => {
		const below = values.filter((other) => other > value).length;
		const equal = values.filter((other) => other === value).length;
		return below + (equal + 1) / 2;
	});
}

function correlation(a: readonly number[], b: readonly number[]): number {
	const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
	const [ma, mb] = [mean(a), mean(b)];
	let both = 0;
	let va = 0;
	let vb = 0;
	for (const [at, x] of a.entries()) {
		both += (x - ma) * (b[at]! - mb);
		va += (x - ma) ** 2;
		vb += (b[at]! - mb) ** 2;
	}
	return va === 0 || vb === 0 ? 0 : both / Math.sqrt(va * vb);
}

/** Compares; a symbol that we do not have counts 0. */
export function compareWithSeed(table: SeedTable, report: readonly ReportRow[]): Comparison {
	const ours = new Map(report.map((row) => [row.symbol, row.overheadPercent]));
	const rows = table.map(([symbol, seed]) => ({ symbol, seed, ours: ours.get(symbol) ?? 0 }));
	return {
		rows,
		rankCorrelation: correlation(ranks(rows.map((row) => row.seed)), ranks(rows.map((row) => row.ours))),
		meanDifference: rows.reduce((sum, row) => sum + Math.abs(row.seed - row.ours), 0) / rows.length,
	};
}
