/**
 * What `perf kvm stat` adds up while a machine runs: the time from each VM exit to the VM entry behind it, by exit reason
 * (tools/perf/builtin-kvm.c, handle_begin_event() and handle_end_event()).
 */
import type { Machine } from "../kvm/api/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { KvmTracer } from "../kvm/x86/trace-exit.ts";
import type { ExitStat } from "./tracepoints.ts";

/** What is counted. */
export interface StatOptions {
	/** Only this vCPU's events; null: all vCPUs'. */
	readonly vcpu: number | null;
	/** Events that take longer are kept one by one, but HLTs; Infinity: none. */
	readonly durationCycles: number;
}

/** An event that took long. */
export interface LongEvent {
	readonly reason: string;
	readonly vcpu: number;
	/** Time of its end, in cycles. */
	readonly cycles: number;
	readonly tookCycles: number;
}

/** kvm_skip_events: a guest that waits is no event that takes long. */
const SKIPPED: ReadonlySet<string> = new Set(["HLT", "hlt"]);

/** Adds one event to its key's statistics. */
export function addEvent(stats: Map<string, ExitStat>, reason: string, cycles: number): void {
	const stat = stats.get(reason);
	if (stat === undefined) {
		stats.set(reason, {
			reason,
			samples: 1,
			totalCycles: cycles,
			minCycles: cycles,
			maxCycles: cycles,
			squares: cycles * cycles,
		});
		return;
	}
	stat.samples++;
	stat.totalCycles += cycles;
	stat.minCycles = Math.min(stat.minCycles, cycles);
	stat.maxCycles = Math.max(stat.maxCycles, cycles);
	stat.squares += cycles * cycles;
}

/** Listens to the vCPUs of a machine. */
export class StatRecorder implements KvmTracer {
	readonly stats = new Map<string, ExitStat>();
	readonly long: LongEvent[] = [];
	private readonly options: StatOptions;
	/** The exit of each vCPU that no entry has followed yet. */
	private readonly open = new Map<number, { readonly reason: string; readonly cycles: number }>();

	constructor(options: StatOptions) {
		this.options = options;
	}

	attach({ vm }: Machine): void {
		const { vcpu: only } = this.options;
		for (const vcpu of vm.vcpus) if (only === null || vcpu.id === only) vcpu.tracer = this;
	}

	kvmExit(v: Vcpu, reason: number): void {
		this.open.set(v.id, { reason: v.vm.ops.exitReasonName(reason), cycles: v.cpu.cycles });
	}

	kvmEntry(v: Vcpu): void {
		const begun = this.open.get(v.id);
		if (begun === undefined) return;
		this.open.delete(v.id);
		const { cycles } = v.cpu;
		const { reason } = begun;
		const tookCycles = cycles - begun.cycles;
		addEvent(this.stats, reason, tookCycles);
		if (tookCycles > this.options.durationCycles && !SKIPPED.has(reason))
			this.long.push({ reason, vcpu: v.id, cycles, tookCycles });
	}
}
