/**
 * What `perf kvm stat` adds up while a machine runs: the time from each VM exit to the VM entry behind it, by exit reason, or
 * that of accesses to devices and MSRs (tools/perf/builtin-kvm.c, handle_begin_event() and handle_end_event()).
 */
import type { Machine } from "../kvm/api/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { KvmTracer } from "../kvm/x86/trace-exit.ts";
import type { KvmTracepoint, KvmTracepoints } from "../kvm/x86/tracepoints.ts";
import type { ExitStat } from "./tracepoints.ts";

/** perf's --event: VM exits by reason, or accesses by address, port or MSR; and the head of their column. */
export const STAT_EVENTS = {
	vmexit: "VM-EXIT",
	mmio: "MMIO Access",
	ioport: "IO Port Access",
	msr: "MSR Access",
} as const;

export type StatEvent = keyof typeof STAT_EVENTS;

/** What is counted. */
export interface StatOptions {
	/** Default: vmexit. */
	readonly event?: StatEvent;
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

/** An event that has begun: of what it is known when it begins, or not before it ends. */
interface Begun {
	readonly key: string | null;
	readonly cycles: number;
}

/** The tracepoint that each event is of, besides kvm_exit and kvm_entry. */
const TRACEPOINT_OF: Readonly<Record<StatEvent, KvmTracepoint | null>> = {
	vmexit: null,
	mmio: "kvm_mmio",
	ioport: "kvm_pio",
	msr: "kvm_msr",
};

type AccessFields = KvmTracepoints["kvm_mmio" | "kvm_pio" | "kvm_msr"];

const hex = (value: number) => `0x${value.toString(16)}`;

/**
 * Listens to the vCPUs of a machine. What begins and what ends an event is perf's (tools/perf/arch/x86/util/kvm-stat.c): a
 * read of memory-mapped I/O takes from its kvm_exit until it is answered, a write, a port and an MSR from their
 * tracepoint until the kvm_entry.
 */
export class StatRecorder implements KvmTracer {
	readonly stats = new Map<string, ExitStat>();
	readonly long: LongEvent[] = [];
	private readonly options: StatOptions;
	private readonly event: StatEvent;
	/** What has begun on each vCPU and has not ended. */
	private readonly begun = new Map<number, Begun>();

	constructor(options: StatOptions) {
		this.options = options;
		this.event = options.event ?? "vmexit";
	}

	attach({ vm }: Machine): void {
		const { vcpu: only } = this.options;
		for (const vcpu of vm.vcpus) if (only === null || vcpu.id === only) vcpu.tracer = this;
	}

	kvmExit(v: Vcpu, reason: number): void {
		if (this.event === "vmexit") this.begin(v, v.vm.ops.exitReasonName(reason));
		else if (this.event === "mmio") this.begin(v, null);
	}

	kvmEntry(v: Vcpu): void {
		this.end(v, null);
	}

	tracepoint<N extends KvmTracepoint>(v: Vcpu, name: N, fields: KvmTracepoints[N]): void {
		if (name === TRACEPOINT_OF[this.event]) this.access(v, name, fields as AccessFields);
	}

	private access(v: Vcpu, name: KvmTracepoint, fields: AccessFields): void {
		if (name === "kvm_pio") {
			const { port, write } = fields as KvmTracepoints["kvm_pio"];
			this.begin(v, `${hex(port)}:${write ? "POUT" : "PIN"}`);
		} else if (name === "kvm_msr") {
			const { index, write } = fields as KvmTracepoints["kvm_msr"];
			this.begin(v, `${hex(index)}:${write ? "W" : "R"}`);
		} else {
			const { kind, gpa } = fields as KvmTracepoints["kvm_mmio"];
			if (kind === "write") this.begin(v, `${hex(gpa)}:W`);
			else if (kind === "read") this.end(v, `${hex(gpa)}:R`);
		}
	}

	private begin(v: Vcpu, key: string | null): void {
		this.begun.set(v.id, { key, cycles: v.cpu.cycles });
	}

	private end(v: Vcpu, key: string | null): void {
		const begun = this.begun.get(v.id);
		const reason = begun?.key ?? key;
		if (begun === undefined || reason === null) return;
		this.begun.delete(v.id);
		const { cycles } = v.cpu;
		const tookCycles = cycles - begun.cycles;
		addEvent(this.stats, reason, tookCycles);
		if (tookCycles > this.options.durationCycles && !SKIPPED.has(reason))
			this.long.push({ reason, vcpu: v.id, cycles, tookCycles });
	}
}
