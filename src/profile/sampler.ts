/**
 * The profiler that costs little: keeps the call stack, and looks at it when the virtual PMU's counter overflows. What it
 * takes is what `Profiler` counts as samples, one for one; the cycles between them are not charged.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { StackSampler } from "../silicon/cpu/observers.ts";
import { symbol } from "../silicon/cpu/symbols.ts";
import { OP } from "../silicon/ops.ts";
import type { CallTree } from "./call-tree.ts";
import { FRAME } from "./frames.ts";
import { Pmu, type PmuOptions } from "./pmu.ts";

const GUEST = symbol(FRAME.guest);
/** Less than any op costs: the boundary right behind an instruction. */
const BEHIND = 2 ** -10;

export class CpuSampler implements StackSampler {
	private readonly tree: CallTree;
	private readonly pmu: Pmu;
	/** Time up to which cycles are counted. */
	private last: number;
	/** Time at which the counter overflows, if the guest gets none of it. */
	private dueAt: number;
	/** Time of the last guest entry. */
	private enteredAt: number;
	private inGuest = false;
	private readonly skidCycles: number;
	private readonly countsGuest: boolean;
	private readonly isSvm: boolean;
	private readonly entryCycles: number;
	private readonly exitCycles: number;

	constructor(tree: CallTree, cpu: Cpu, options: PmuOptions) {
		this.tree = tree;
		this.pmu = new Pmu(options);
		this.last = cpu.cycles;
		this.dueAt = cpu.cycles;
		this.enteredAt = cpu.cycles;
		this.skidCycles = options.skidCycles;
		this.countsGuest = options.countsGuest;
		this.isSvm = cpu.costs[OP.vmrun]! > 0;
		this.entryCycles = cpu.costs[this.isSvm ? OP.vmrun : OP.vmresume]!;
		this.exitCycles = cpu.costs[this.isSvm ? OP["#vmexit"] : OP.vmexit]!;
		this.arm(cpu);
	}

	/** The counter goes on until it has something to deliver. */
	private arm(cpu: Cpu): void {
		cpu.sampleAt = cpu.cycles + this.pmu.cyclesLeft;
		this.dueAt = cpu.sampleAt - this.skidCycles;
	}

	private count(cpu: Cpu, until: number, held: boolean): void {
		const cycles = until - this.last;
		this.last = until;
		const taken = this.pmu.advance(cycles, this.inGuest, held);
		if (taken > 0) this.take(cpu, taken);
	}

	private take(cpu: Cpu, samples: number): void {
		const { tree } = this;
		let node = 0;
		for (let depth = 0; depth < cpu.stackDepth; depth++) node = tree.child(node, cpu.stack[depth]!);
		if (this.inGuest) node = tree.child(node, GUEST);
		tree.samples[node] = tree.samples[node]! + samples;
	}

	onSample(cpu: Cpu): void {
		this.count(cpu, cpu.cycles, !cpu.gif);
		this.arm(cpu);
	}

	/** Mostly nothing is due, and there is only the time to keep: this and `onGuestExit` are on the way of every VM exit. */
	onGuestEntry(cpu: Cpu): void {
		const now = cpu.cycles;
		this.enteredAt = now;
		if (now >= this.dueAt) this.countEntry(cpu, now);
		this.inGuest = true;
	}

	private countEntry(cpu: Cpu, now: number): void {
		// VMRUN has set GIF, which CLGI had cleared before.
		this.count(cpu, Math.max(now - this.entryCycles, this.last), this.isSvm);
		this.count(cpu, now, true);
		this.inGuest = true;
		// What is pending is taken in the guest, at once.
		this.count(cpu, now, false);
		this.arm(cpu);
	}

	onGuestExit(cpu: Cpu): void {
		const now = cpu.cycles;
		if (this.countsGuest) {
			if (now >= this.dueAt) {
				this.count(cpu, now, false);
				this.arm(cpu);
			}
		} else {
			const uncounted = now - this.enteredAt;
			this.last += uncounted;
			this.dueAt += uncounted;
		}
		this.inGuest = false;
		// The work of the exit is one instruction: what overflows in it is recognised behind it.
		cpu.sampleAt = Math.max(this.dueAt + this.skidCycles, now + this.exitCycles + BEHIND);
	}

	onIdle(cpu: Cpu, cycles: number): void {
		this.count(cpu, cpu.cycles, !cpu.gif);
		this.last += cycles;
		this.dueAt += cycles;
		cpu.sampleAt += cycles;
	}
}
