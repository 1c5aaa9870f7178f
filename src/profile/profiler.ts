/**
 * Watches the CPUs of a machine and charges their cycles to call stacks.
 *
 *     const profiler = new Profiler({ periodCycles: 10_000 });
 *     profiler.attach(machine.processors.map(({ cpu }) => cpu));
 *     vmm.run();
 *     const tree = profiler.data();
 *
 * By default a virtual PMU samples call stacks (sampler.ts). With `exact` all cycles are charged: time is read where a
 * function is entered or left, and where the guest is; what the PMU samples is counted beside that. The work of the
 * processor itself at VM entry and VM exit, which belongs to no function, then has frames of its own.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { OpObserver } from "../silicon/cpu/observers.ts";
import { symbol, symbolName } from "../silicon/cpu/symbols.ts";
import { OP, OP_SLOTS, opName } from "../silicon/ops.ts";
import { CallTree, type CallTreeData } from "./call-tree.ts";
import { FRAME } from "./frames.ts";
import { Pmu } from "./pmu.ts";
import { CpuSampler } from "./sampler.ts";

const GUEST = symbol(FRAME.guest);
const VM_ENTRY = symbol(FRAME.vmEntry);
const VM_EXIT = symbol(FRAME.vmExit);
const IDLE = symbol(FRAME.idle);
const NMI = symbol("exc_nmi");
const NMI_OF_GUEST = symbol("vmx_do_nmi_irqoff");

/** Frame of ops that are the processor's work around a guest; -1 for all others. */
const FRAME_OF_OP = new Int32Array(OP_SLOTS).fill(-1);
for (const op of ["vmlaunch", "vmresume", "vmrun", "seamcall"] as const) FRAME_OF_OP[OP[op]] = VM_ENTRY;
for (const op of ["vmexit", "#vmexit", "seamret"] as const) FRAME_OF_OP[OP[op]] = VM_EXIT;

/** The period of the virtual PMU when none is asked for, in cycles: prime, so that no loop runs in step with it. */
export const DEFAULT_PERIOD_CYCLES = 4999;
/** The skid when none is asked for, in cycles. Assumed: no figure is published; tens of instructions are seen. */
export const DEFAULT_SKID_CYCLES = 20;

/** What is watched. */
export interface ProfilerOptions {
	/** Cycles from one sample to the next. Default: DEFAULT_PERIOD_CYCLES. */
	readonly periodCycles?: number;
	/** Default: DEFAULT_SKID_CYCLES. */
	readonly skidCycles?: number;
	/** Samples the guest too. Default false, as `perf top`. */
	readonly countsGuest?: boolean;
	/** Samples are taken by NMIs that really arrive, and cost what they cost. Default false. */
	readonly nmi?: boolean;
	/** Charges every cycle to its call stack, besides sampling. Slower. Default false. */
	readonly exact?: boolean;
	/** Keeps, for each call stack, which ops its cycles went to. Implies `exact`. Default false. */
	readonly ops?: boolean;
}

/** Cycles of one op below one call stack. */
export interface OpCycles {
	readonly node: number;
	readonly op: string;
	readonly count: number;
	readonly cycles: number;
}

/** One CPU's place in the tree. */
class CpuProfiler implements OpObserver {
	readonly pmu: Pmu;
	private readonly tree: CallTree;
	private readonly profiler: Profiler;
	private node = 0;
	private last: number;
	/** In a frame of the processor's own work, up to this time; 0 if not. */
	private workEnd = 0;
	private readonly nmi: boolean;
	private readonly ops: boolean;
	/** Overflows whose NMI has been raised and not taken. */
	private raised = 0;
	private inHandler = 0;

	constructor(profiler: Profiler, cpu: Cpu, pmu: Pmu) {
		this.profiler = profiler;
		this.tree = profiler.tree;
		this.pmu = pmu;
		this.last = cpu.cycles;
		this.nmi = profiler.options.nmi === true;
		this.ops = profiler.options.ops === true;
		this.onSwitch(cpu);
	}

	/** Charges the time since the last look to the node at hand. */
	private settle(cpu: Cpu): void {
		const now = cpu.cycles;
		if (this.workEnd > 0) {
			const until = Math.min(now, this.workEnd);
			this.charge(cpu, until, true);
			this.node = this.tree.parent[this.node]!;
			this.workEnd = 0;
		}
		this.charge(cpu, now, false);
	}

	private charge(cpu: Cpu, now: number, inInstruction: boolean): void {
		const { tree, node } = this;
		const cycles = now - this.last;
		this.last = now;
		if (cycles === 0) return;
		tree.cycles[node] = tree.cycles[node]! + cycles;
		if (this.inHandler > 0) return;
		const isGuest = tree.symbol[node] === GUEST;
		const taken = this.pmu.advance(cycles, isGuest, !this.nmi && (inInstruction || !cpu.gif));
		if (taken === 0) return;
		if (!this.nmi) tree.samples[node] = tree.samples[node]! + taken;
		else this.raised += taken;
	}

	onOp(cpu: Cpu, op: number): void {
		const frame = FRAME_OF_OP[op]!;
		if (frame >= 0) {
			this.settle(cpu);
			this.node = this.tree.child(this.node, frame);
			this.tree.calls[this.node]!++;
			this.workEnd = cpu.cycles + cpu.costs[op]!;
		} else if (this.nmi) {
			this.settle(cpu);
			if (this.raised > 0) this.profiler.raiseNmi(cpu);
		}
		if (this.ops) this.profiler.countOp(this.node, op);
	}

	onEnter(cpu: Cpu, id: number): void {
		this.settle(cpu);
		if (id === NMI && this.raised > 0) this.takeSample();
		const node = this.tree.child(this.node, id);
		this.node = node;
		this.tree.calls[node] = this.tree.calls[node]! + 1;
		if (id === NMI && this.nmi) this.inHandler++;
	}

	onLeave(cpu: Cpu, id: number): void {
		this.settle(cpu);
		this.node = this.tree.parent[this.node]!;
		if (id === NMI && this.nmi) this.inHandler--;
	}

	/** The handler notes what it interrupted: a guest that it made exit, or the function at hand. */
	private takeSample(): void {
		const { tree } = this;
		const node = tree.symbol[this.node] === NMI_OF_GUEST ? tree.child(this.node, GUEST) : this.node;
		tree.samples[node] = tree.samples[node]! + this.raised;
		this.raised = 0;
	}

	onGuestEntry(cpu: Cpu): void {
		this.settle(cpu);
		this.node = this.tree.child(this.node, GUEST);
		this.tree.calls[this.node]!++;
	}

	onGuestExit(cpu: Cpu): void {
		this.settle(cpu);
		this.node = this.tree.parent[this.node]!;
	}

	onIdle(cpu: Cpu, cycles: number): void {
		this.settle(cpu);
		this.last += cycles;
		const idle = this.tree.child(0, IDLE);
		this.tree.cycles[idle] = this.tree.cycles[idle]! + cycles;
	}

	onSwitch(cpu: Cpu): void {
		this.charge(cpu, cpu.cycles, false);
		let node = 0;
		for (let depth = 0; depth < cpu.stackDepth; depth++) node = this.tree.child(node, cpu.stack[depth]!);
		this.node = node;
	}

	/** Charges what is left. */
	finish(cpu: Cpu): void {
		this.settle(cpu);
	}
}

/** Whether every cycle is charged, by an observer, instead of sampled. */
export function chargesAll({ exact, ops, nmi }: ProfilerOptions): boolean {
	return exact === true || ops === true || nmi === true;
}

/** Charges or samples the cycles of the CPUs that it is attached to; `data` is their call tree. */
export class Profiler {
	readonly tree = new CallTree();
	readonly options: ProfilerOptions;
	private readonly watchers: { readonly cpu: Cpu; readonly profiler: CpuProfiler }[] = [];
	private readonly sampled: Cpu[] = [];
	/** Ops of each node, by node * OP_SLOTS + op. */
	private readonly opCounts = new Map<number, number>();
	/** How an overflow raises its NMI: bound by `attach`'s caller, who knows the machine. */
	raiseNmi: (cpu: Cpu) => void = () => {};

	constructor(options: ProfilerOptions = {}) {
		this.options = options;
	}

	/** Begins to watch CPUs. Trees must be compiled with stacks. */
	attach(cpus: readonly Cpu[]): void {
		const {
			periodCycles = DEFAULT_PERIOD_CYCLES,
			skidCycles = DEFAULT_SKID_CYCLES,
			countsGuest = false,
			nmi = false,
		} = this.options;
		const options = { periodCycles, skidCycles: nmi ? 0 : skidCycles, countsGuest };
		for (const cpu of cpus) {
			cpu.stackDepth = 0;
			if (chargesAll(this.options)) {
				const profiler = new CpuProfiler(this, cpu, new Pmu(options));
				cpu.observer = profiler;
				this.watchers.push({ cpu, profiler });
			} else {
				cpu.sampler = new CpuSampler(this.tree, cpu, options);
				this.sampled.push(cpu);
			}
		}
	}

	/** Charges what is left, and stops watching. */
	detach(): void {
		for (const { cpu, profiler } of this.watchers) {
			profiler.finish(cpu);
			if (cpu.observer === profiler) cpu.observer = null;
		}
		for (const cpu of this.sampled) {
			cpu.sampler = null;
			cpu.sampleAt = Number.POSITIVE_INFINITY;
		}
	}

	/** Forgets what was charged so far, for a view of what comes now. */
	clear(): void {
		for (const { cpu, profiler } of this.watchers) profiler.finish(cpu);
		this.tree.clear();
		this.opCounts.clear();
	}

	/** An op below a node. */
	countOp(node: number, op: number): void {
		const key = node * OP_SLOTS + op;
		this.opCounts.set(key, (this.opCounts.get(key) ?? 0) + 1);
	}

	/** The call tree so far. */
	data(): CallTreeData {
		for (const { cpu, profiler } of this.watchers) profiler.finish(cpu);
		return this.tree.data(symbolName);
	}

	/** Ops by call stack; empty unless `ops` was asked for. Plain code between them is not among them. */
	opCycles(): OpCycles[] {
		const costs = this.watchers[0]?.cpu.costs;
		if (costs === undefined) return [];
		return [...this.opCounts].map(([key, count]) => {
			const op = key % OP_SLOTS;
			return { node: Math.floor(key / OP_SLOTS), op: opName(op), count, cycles: count * costs[op]! };
		});
	}
}
