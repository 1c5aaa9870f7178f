/**
 * KVM's tracepoints of all vCPUs: what `reenter stat` adds up and `reenter script` prints.
 */
import type { Machine } from "../kvm/api/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { exitReasonFlags } from "../kvm/vmx/exit-names.ts";
import type { KvmTracer } from "../kvm/x86/trace-exit.ts";
import type { KvmTracepoint, KvmTracepoints } from "../kvm/x86/tracepoints.ts";
import { tracepointText } from "./tracepoint-text.ts";

/** When and where a tracepoint was passed. */
interface Passed {
	/** Time on the CPU where it happened, in cycles. */
	readonly cycles: number;
	readonly cpu: number;
	readonly vcpu: number;
}

/** kvm_entry or kvm_exit. Wide values are hexadecimal digits, as the line shows them. */
export interface EntryOrExit extends Passed {
	readonly kind: "kvm_entry" | "kvm_exit";
	readonly rip: string;
	readonly intrInfo: number;
	readonly errorCode: number;
	/** kvm_exit alone; with its flags. */
	readonly reason?: string;
	readonly info1?: string;
	readonly info2?: string;
	readonly requests?: number;
	/** kvm_entry alone: KVM forces an exit at once. */
	readonly immediateExit?: boolean;
}

/** Any other: its line. */
export interface OtherTracepoint extends Passed {
	readonly kind: KvmTracepoint;
	readonly text: string;
}

/** One tracepoint that was passed. */
export type TraceEvent = EntryOrExit | OtherTracepoint;

/** What `perf kvm stat` keeps of one exit reason: the time from each exit to the entry behind it, in cycles. */
export interface ExitStat {
	readonly reason: string;
	samples: number;
	totalCycles: number;
	minCycles: number;
	maxCycles: number;
	/** Sum of squares, for the deviation of the mean. */
	squares: number;
}

/** What the hardware's fields say at an exit. */
interface ExitFields {
	readonly rip: bigint;
	readonly info1: bigint;
	readonly info2: bigint;
	readonly intrInfo: number;
	readonly errorCode: number;
}

const INTR_INFO_VALID = 0x8000_0000;
const INTR_INFO_ERROR_CODE = 1 << 11;

/** kvm_x86_ops.get_exit_info(), without its cost: the tracepoint is off on the machine that is measured. */
function exitFields(v: Vcpu): ExitFields {
	if (v.vmx !== null) {
		const { vmcs } = v.vmx;
		const intrInfo = Number(vmcs.get("VM_EXIT_INTR_INFO"));
		const hasCode = (intrInfo & INTR_INFO_VALID) !== 0 && (intrInfo & INTR_INFO_ERROR_CODE) !== 0;
		return {
			rip: vmcs.get("GUEST_RIP"),
			info1: vmcs.get("EXIT_QUALIFICATION"),
			info2: BigInt(v.vmx.idtVectoringInfo >>> 0),
			intrInfo: (intrInfo & INTR_INFO_VALID) !== 0 ? intrInfo : 0,
			errorCode: hasCode ? Number(vmcs.get("VM_EXIT_INTR_ERROR_CODE")) : 0,
		};
	}
	if (v.svm !== null) {
		const { vmcb } = v.svm;
		return {
			rip: vmcb.rip,
			info1: (BigInt(vmcb.exitInfo1High >>> 0) << 32n) | BigInt(vmcb.exitInfo1Low >>> 0),
			info2: (BigInt(vmcb.exitInfo2High >>> 0) << 32n) | BigInt(vmcb.exitInfo2Low >>> 0),
			intrInfo: vmcb.exitIntInfo >>> 0,
			errorCode: vmcb.exitIntInfoErr >>> 0,
		};
	}
	// A TD's registers are not KVM's to read.
	return { rip: 0n, info1: 0n, info2: 0n, intrInfo: v.vt.exitIntrInfo >>> 0, errorCode: 0 };
}

function entryFields(v: Vcpu): Pick<ExitFields, "rip" | "intrInfo" | "errorCode"> {
	if (v.vmx !== null) {
		const { vmcs } = v.vmx;
		const info = Number(vmcs.get("VM_ENTRY_INTR_INFO_FIELD"));
		const hasCode = (info & INTR_INFO_ERROR_CODE) !== 0;
		return {
			rip: vmcs.get("GUEST_RIP"),
			intrInfo: info,
			errorCode: hasCode ? Number(vmcs.get("VM_ENTRY_EXCEPTION_ERROR_CODE")) : 0,
		};
	}
	if (v.svm !== null) {
		const { vmcb } = v.svm;
		return { rip: vmcb.rip, intrInfo: vmcb.eventInj >>> 0, errorCode: vmcb.eventInjErr >>> 0 };
	}
	return { rip: 0n, intrInfo: 0, errorCode: 0 };
}

/** Listens to all vCPUs of a machine. */
export class TraceRecorder implements KvmTracer {
	readonly events: TraceEvent[] = [];
	readonly stats = new Map<string, ExitStat>();
	private readonly eventsMax: number;
	/** The exit of each vCPU that no entry has followed yet. */
	private readonly open = new Map<number, { readonly reason: string; readonly cycles: number }>();

	private readonly wanted: ReadonlySet<string> | null;

	/**
	 * @param eventsMax tracepoints that are kept one by one; the statistics know all
	 * @param wanted names of those that are kept; null: all
	 */
	constructor(eventsMax = 0, wanted: ReadonlySet<string> | null = null) {
		this.eventsMax = eventsMax;
		this.wanted = wanted;
	}

	private wants(name: TraceEvent["kind"]): boolean {
		return !this.isFull && (this.wanted === null || this.wanted.has(name));
	}

	attach({ vm }: Machine): void {
		for (const vcpu of vm.vcpus) vcpu.tracer = this;
	}

	/** Whether there is room for more events. */
	get isFull(): boolean {
		return this.events.length >= this.eventsMax;
	}

	kvmEntry(v: Vcpu): void {
		const { cpu } = v;
		const exit = this.open.get(v.id);
		if (exit !== undefined) {
			this.open.delete(v.id);
			this.add(exit.reason, cpu.cycles - exit.cycles);
		}
		if (!this.wants("kvm_entry")) return;
		const { rip, intrInfo, errorCode } = entryFields(v);
		this.events.push({
			kind: "kvm_entry",
			cycles: cpu.cycles,
			cpu: cpu.index,
			vcpu: v.id,
			rip: rip.toString(16),
			intrInfo,
			errorCode,
			immediateExit: v.reqImmediateExit,
		});
	}

	kvmExit(v: Vcpu, reason: number): void {
		const { cpu } = v;
		const name = v.vm.ops.exitReasonName(reason);
		this.open.set(v.id, { reason: name, cycles: cpu.cycles });
		if (!this.wants("kvm_exit")) return;
		const { rip, info1, info2, intrInfo, errorCode } = exitFields(v);
		this.events.push({
			kind: "kvm_exit",
			cycles: cpu.cycles,
			cpu: cpu.index,
			vcpu: v.id,
			rip: rip.toString(16),
			intrInfo,
			errorCode,
			reason: v.svm === null ? `${name}${exitReasonFlags(reason)}` : name,
			info1: info1.toString(16),
			info2: info2.toString(16),
			requests: v.requests,
		});
	}

	tracepoint<N extends KvmTracepoint>(v: Vcpu, name: N, fields: KvmTracepoints[N]): void {
		if (!this.wants(name)) return;
		const { cpu } = v;
		this.events.push({
			kind: name,
			cycles: cpu.cycles,
			cpu: cpu.index,
			vcpu: v.id,
			text: tracepointText(name, fields, v, entryFields(v).rip),
		});
	}

	private add(reason: string, cycles: number): void {
		let stat = this.stats.get(reason);
		if (stat === undefined) {
			stat = {
				reason,
				samples: 0,
				totalCycles: 0,
				minCycles: Number.POSITIVE_INFINITY,
				maxCycles: 0,
				squares: 0,
			};
			this.stats.set(reason, stat);
		}
		stat.samples++;
		stat.totalCycles += cycles;
		stat.minCycles = Math.min(stat.minCycles, cycles);
		stat.maxCycles = Math.max(stat.maxCycles, cycles);
		stat.squares += cycles * cycles;
	}
}
