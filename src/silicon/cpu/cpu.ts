/**
 * One logical processor: its state block, and the door through which host code uses it.
 *
 * Guest code runs as WebAssembly on the state block (translate/). Host code, the kernel's and KVM's, is
 * TypeScript that calls ops; each op passes `op()`, which is where cycles are charged, where events arrive
 * and where observers look.
 */
import type { MachineMemory } from "../machine.ts";
import { type CpuModel, costsById } from "../models/model.ts";
import { OP, OP_SLOTS } from "../ops.ts";
import { GuestPhysicalTlb } from "../paging/guest-physical-tlb.ts";
import { WalkMemo } from "../paging/walk-memo.ts";
import { FillList } from "./fill-list.ts";
import type { FirstLevelCache } from "./first-level.ts";
import type { EmulatedMemory, GuestMode } from "./guest-mode.ts";
import type { HostVectors, InterruptController } from "./host-vectors.ts";
import * as L from "./layout.ts";
import type { OpObserver, StackSampler } from "./observers.ts";

/** RFLAGS.IF, in the low word. */
const RFLAGS_IF = 1 << 9;

/** Bits of `Cpu.pending`: what waits to be delivered at the next op or instruction boundary. */
export const PENDING = {
	interrupt: 1,
	nmi: 2,
	machineCheck: 4,
	smi: 8,
	preemptionTimer: 16,
	window: 32,
	/** Root mode: STI's interrupt shadow is under way. */
	stiShadow: 64,
} as const;

/** Filled entries that are remembered one by one: with more, emptying all of a table takes less time. */
const TLB_FILLS = 16_384;
const JUMP_FILLS = L.JUMP_CACHE_ENTRIES;
const STACK_DEPTH_MAX = 256;
const GPR_BYTES = 16 * 8;
const TWO_32 = 2 ** 32;
// V8 folds a constant of this module, not one that is imported; `code` is called between any two ops.
const CODE = OP.code;
const OP_STI = OP.sti;
const OP_SMI = OP.smi;

export class Cpu {
	readonly memory: MachineMemory;
	readonly model: CpuModel;
	readonly index: number;
	/** Which of the host's processors it is now: its index, unless a check has it stand for two in turn. */
	number: number;
	/** Byte offset of this processor's area. */
	readonly base: number;
	readonly u32: Uint32Array;
	readonly u64: BigUint64Array;
	readonly f64: Float64Array;
	/** The bytes of the 16 general-purpose registers in encoding order, for those who load or store them all. */
	readonly gprs: Uint8Array;
	/** What VMLOAD and VMSAVE move: the state block's bytes from VMLOADED to VMLOADED_END. */
	readonly vmloaded: Uint8Array;
	/** The first host physical address beyond what this processor has bits for. */
	readonly physicalEnd: number;
	/** Cycles of each op, by op id. */
	readonly costs: Float64Array;
	/** How often each op was done, by op id. `code` counts instructions. */
	readonly opCounts = new Float64Array(OP_SLOTS);
	/** `costs` of plain instructions, which are charged more often than all ops together. */
	private readonly codeCycles: number;
	private readonly cyclesAt: number;
	private readonly deadlineAt: number;
	private readonly limitAt: number;
	private readonly rflagsAt: number;

	/** Who watches the ops, or null: then an op costs next to nothing. */
	observer: OpObserver | null = null;
	/** Who looks at the call stack when CYCLES has reached `sampleAt`, or null. */
	sampler: StackSampler | null = null;
	sampleAt = Number.POSITIVE_INFINITY;
	/** First-level caches whose misses cost time, or null: all that runs is in them. The call stack must be kept. */
	firstLevel: FirstLevelCache | null = null;
	/** The current VMCS, by VMPTRLD; null if there is none. */
	currentVmcs: object | null = null;
	/** Set of PENDING bits. */
	pending = 0;
	/** SVM's global interrupt flag. Always true on VMX. */
	gif = true;
	/** Root mode: an STI that set IF was the last op, and the next is in its shadow; or the op at hand is. */
	stiShadow: "none" | "next" | "now" = "none";
	/** SMIs that were taken, in either mode. */
	smis = 0;
	/** Root mode: an NMI handler runs, further NMIs wait. */
	nmiBlocked = false;
	/** The guest's IRET that runs has unblocked NMIs: an exit that its fault causes tells it (SDM Vol. 3C, 28.2.3). */
	nmiUnblockedByIret = false;
	/**
	 * Set, by whoever injects events, at the op of a VM entry: the machine check arrives while the entry
	 * is under way. VMX then fails the entry (reason 41); SVM delivers it as the guest's first event.
	 * PENDING.machineCheck waits for the entry while it is set.
	 */
	machineCheckDuringEntry = false;
	/** The branch predictors hold entries that a guest made. An indirect branch prediction barrier clears it. */
	guestBranches = false;
	/** The guest that runs, or null in root mode. */
	guest: GuestMode | null = null;
	/** The guest that the TLB was filled for: it has no VPID or ASID of its own. */
	tlbGuest: GuestMode | null = null;
	/** Executes guest code until its context ends (`guest` became null, or a bare machine halted). Bound by processor.ts. */
	execute: (cpu: Cpu) => void = () => {
		throw new Error("no translator is bound to this processor: make it with silicon/processor.ts");
	};
	/** Why a bare-metal context ended, when it did: "hlt" or "shutdown". */
	halted: "no" | "hlt" | "shutdown" = "no";
	vectors: HostVectors | null = null;
	apic: InterruptController | null = null;
	/** Told of an MSR that a guest has written without an exit, behind the instruction; null: nobody asks. */
	onGuestMsr: ((cpu: Cpu, index: number) => void) | null = null;
	/** Called when CYCLES has reached DEADLINE; sets pending bits and the next deadline. */
	onDeadline: (cpu: Cpu) => void = () => {
		this.deadline = Number.POSITIVE_INFINITY;
	};

	/**
	 * Several processors take turns in slices. No other one is behind `horizon`, so what happens up to there is in
	 * order; translated code and host code give way at `sliceEnd`. Both Infinity for a processor alone.
	 */
	horizon = Number.POSITIVE_INFINITY;
	sliceEnd = Number.POSITIVE_INFINITY;
	/** `execute` came back for the slice's end, or to let others catch up, and not because the context ended. */
	paused = false;

	/** Set while an emulator borrows this processor. Faults stay noted then, instead of being delivered. */
	emulated: EmulatedMemory | null = null;
	/** Carries out the instruction at RIP alone, for an emulator. @returns whether it is complete; if not, a fault is noted */
	executeOne: (cpu: Cpu) => boolean = () => {
		throw new Error("no translator is bound to this processor: make it with silicon/processor.ts");
	};

	/** Chooses what RDRAND and RDSEED return; below 2^32. */
	randomSeed = 1;
	/** Filled entries of the TLBs and of the jump caches: of levels 0-2, and of level 3. See paging/tlb.ts. */
	readonly tlbFilled = [new FillList(TLB_FILLS), new FillList(TLB_FILLS)] as const;
	readonly jumpFilled = [new FillList(JUMP_FILLS), new FillList(JUMP_FILLS)] as const;
	/** The jump caches may have code of pages that are not in the TLB. */
	jumpsUnlisted = false;
	/** Not 0: TLB entries of large pages, or jumps, may lie where the index says. */
	readonly largePages = new Uint8Array(257);
	readonly jumpPages = new Uint8Array(1024);
	/** Guest-physical mappings of the guest that ran last. */
	readonly guestPhysical = new GuestPhysicalTlb();
	/** Walks of guest page tables that were made before. */
	readonly walks = new WalkMemo();

	/** Call stack of host code: symbol ids, `stackDepth` of them. Kept while `observer` or `sampler` is set, and by flows compiled for sampling. */
	readonly stack = new Int32Array(STACK_DEPTH_MAX);
	stackDepth = 0;

	constructor(memory: MachineMemory, model: CpuModel, index = 0) {
		this.memory = memory;
		this.model = model;
		this.index = index;
		this.number = index;
		this.base = index * L.CPU_AREA_BYTES;
		for (const [at, bank] of [0, L.USER_BANK].entries())
			memory.tlbFilled.set(this.base + bank, this.tlbFilled[at]!);
		// Empty entries are all ones.
		memory.u8.fill(0xff, this.base + L.TLB_READ, this.base + L.CPU_AREA_BYTES);
		this.u32 = memory.u32;
		this.u64 = memory.u64;
		this.f64 = memory.f64;
		this.gprs = memory.u8.subarray(this.base + L.GPR, this.base + L.GPR + GPR_BYTES);
		this.vmloaded = memory.u8.subarray(this.base + L.VMLOADED, this.base + L.VMLOADED_END);
		this.physicalEnd = 2 ** model.features.physicalAddressBits;
		this.costs = costsById(model);
		this.codeCycles = this.costs[CODE]!;
		this.cyclesAt = (this.base + L.CYCLES) >> 3;
		this.deadlineAt = (this.base + L.EVENT_DEADLINE) >> 3;
		this.limitAt = (this.base + L.DEADLINE) >> 3;
		this.rflagsAt = (this.base + L.RFLAGS) >> 2;
		this.deadline = Number.POSITIVE_INFINITY;
	}

	// ---- the door ------------------------------------------------------------------------------------

	/**
	 * Passes one op: observers see it, events that are due arrive, then its cycles are charged. The caller
	 * carries out the effect afterwards.
	 * @param op an op id
	 */
	op(op: number): void {
		if (this.observer !== null) this.observer.onOp(this, op);
		if (this.pending !== 0) this.deliverToHost();
		const cycles = this.f64[this.cyclesAt]! + this.costs[op]!;
		this.f64[this.cyclesAt] = cycles;
		this.opCounts[op] = this.opCounts[op]! + 1;
		if (cycles >= this.f64[this.deadlineAt]!) this.onDeadline(this);
	}

	/** An instruction boundary without an op: what is pending and allowed arrives here. Right behind STI, STGI. */
	poll(): void {
		if (this.pending !== 0) this.deliverToHost();
	}

	/** Charges `instructions` plain instructions of host code. No event arrives inside. */
	code(instructions: number): void {
		this.f64[this.cyclesAt] = this.f64[this.cyclesAt]! + this.codeCycles * instructions;
		this.opCounts[CODE] = this.opCounts[CODE]! + instructions;
		if (this.firstLevel !== null) this.firstLevel.run(this, instructions);
	}

	/** Charges plain instructions whose time, misses and all, is part of a greater figure. */
	codeOfFigure(instructions: number): void {
		this.f64[this.cyclesAt] = this.f64[this.cyclesAt]! + this.codeCycles * instructions;
		this.opCounts[CODE] = this.opCounts[CODE]! + instructions;
	}

	/** Enters a host function, for the call stack. Pair with `leave`. */
	enter(symbolId: number): void {
		if (this.sampler !== null) {
			if (this.f64[this.cyclesAt]! >= this.sampleAt) this.sampler.onSample(this);
			this.stack[this.stackDepth++] = symbolId;
		} else if (this.observer !== null) this.observedEnter(symbolId);
	}

	// Out of line, as this is: what runs at each function of the run loop is inlined there.
	private observedEnter(symbolId: number): void {
		this.stack[this.stackDepth++] = symbolId;
		this.observer?.onEnter?.(this, symbolId);
	}

	/** Leaves the innermost host function. */
	leave(): void {
		if (this.sampler !== null) {
			if (this.f64[this.cyclesAt]! >= this.sampleAt) this.sampler.onSample(this);
			this.stackDepth--;
		} else if (this.observer !== null) this.observedLeave();
	}

	private observedLeave(): void {
		const symbolId = this.stack[--this.stackDepth]!;
		this.observer?.onLeave?.(this, symbolId);
	}

	/**
	 * `enter` of code that is made for sampling: it asks nothing but whether a sample is due, and keeps the stack always.
	 * @returns what `leaveSampled` or `drop` is to be given
	 */
	enterSampled(symbolId: number): number {
		if (this.f64[this.cyclesAt]! >= this.sampleAt) this.sampler?.onSample(this);
		const depth = this.stackDepth;
		this.stack[depth] = symbolId;
		this.stackDepth = depth + 1;
		return depth;
	}

	/** Leaves what `enterSampled` entered. @param depth what it gave */
	leaveSampled(depth: number): void {
		if (this.f64[this.cyclesAt]! >= this.sampleAt) this.sampler?.onSample(this);
		this.stackDepth = depth;
	}

	/** `leaveSampled` right behind another one: no time has passed in which a sample may have become due. */
	drop(depth: number): void {
		this.stackDepth = depth;
	}

	/** The guest is about to execute its first instruction behind a VM entry. */
	guestEntered(): void {
		if (this.sampler !== null) this.sampler.onGuestEntry(this);
		if (this.observer !== null) this.observer.onGuestEntry?.(this);
	}

	/** The guest has executed its last instruction before a VM exit. */
	guestExited(): void {
		if (this.firstLevel !== null) this.firstLevel.evict();
		if (this.sampler !== null) this.sampler.onGuestExit(this);
		if (this.observer !== null) this.observer.onGuestExit?.(this);
	}

	/** The processor stands still up to a time, in cycles, if that is ahead of it. */
	idleUntil(cycles: number): void {
		const now = this.cycles;
		if (cycles <= now) return;
		if (this.sampler !== null) this.sampler.onIdle(this, cycles - now);
		if (this.observer !== null) this.observer.onIdle?.(this, cycles - now);
		this.cycles = cycles;
	}

	/**
	 * A machine check begins: MCG_STATUS.MCIP is set (SDM Vol. 3B, 16.3.1.2).
	 * @returns false if one was in progress already, which is a shutdown
	 */
	beginMachineCheck(): boolean {
		const status = this.read32(L.MCG_STATUS);
		this.write32(L.MCG_STATUS, status | 4);
		return (status & 4) === 0;
	}

	/** A VM entry was refused, so there was none that a machine check could hit: one that was to is the host's. */
	noEntryToHit(): void {
		if (!this.machineCheckDuringEntry) return;
		this.machineCheckDuringEntry = false;
		this.pending |= PENDING.machineCheck;
	}

	/** STI: IF is set, and if it was clear, no interrupt is taken before the next instruction is over (SDM Vol. 2B, STI). */
	sti(): void {
		this.op(OP_STI);
		if (this.interruptFlag) return;
		this.interruptFlag = true;
		this.stiShadow = "next";
		this.pending |= PENDING.stiShadow;
	}

	/** At an op's boundary: the shadow covers this op, or is over. @returns whether interrupts are held back here */
	private passShadow(): boolean {
		if (this.stiShadow === "next") {
			this.stiShadow = "now";
			return true;
		}
		this.endShadow();
		return false;
	}

	/** Ends STI's shadow: at the next boundary, and at VM entry, where the guest's own takes over. */
	endShadow(): void {
		this.stiShadow = "none";
		this.pending &= ~PENDING.stiShadow;
	}

	/**
	 * Takes an SMI: to SMM and back by RSM. Software sees nothing of it but the time, and what counters count there.
	 * Interrupts, NMIs and further SMIs wait for RSM (SDM Vol. 3C, 33.8).
	 */
	takeSmi(): void {
		this.pending &= ~PENDING.smi;
		this.smis++;
		// No op of the software that it interrupts: nothing arrives in it, and nobody sees it.
		this.cycles += this.costs[OP_SMI]!;
		this.opCounts[OP_SMI] = this.opCounts[OP_SMI]! + 1;
	}

	/** Delivers in root mode what may be delivered now: #MC first, then SMI, NMI, and interrupts. */
	private deliverToHost(): void {
		if (this.guest !== null || this.vectors === null) return;
		const shadow = (this.pending & PENDING.stiShadow) !== 0 && this.passShadow();
		if ((this.pending & PENDING.machineCheck) !== 0 && this.gif && !this.machineCheckDuringEntry) {
			this.pending &= ~PENDING.machineCheck;
			this.beginMachineCheck();
			this.vectors.machineCheck(this);
		}
		if ((this.pending & PENDING.smi) !== 0 && this.gif) this.takeSmi();
		if ((this.pending & PENDING.nmi) !== 0 && !this.nmiBlocked && this.gif && !shadow) {
			this.pending &= ~PENDING.nmi;
			this.nmiBlocked = true;
			this.vectors.nmi(this);
			this.nmiBlocked = false;
		}
		while ((this.pending & PENDING.interrupt) !== 0 && this.interruptFlag && this.gif && !shadow) {
			const vector = this.apic === null ? -1 : this.apic.acknowledge();
			if (this.apic === null || this.apic.highestPending() < 0) this.pending &= ~PENDING.interrupt;
			if (vector < 0) break;
			// Delivery through an interrupt gate clears IF; the handler's IRET restores it.
			this.interruptFlag = false;
			this.vectors.interrupt(this, vector);
			this.interruptFlag = true;
			this.vectors.returnFromInterrupt(this);
		}
	}

	// ---- registers -----------------------------------------------------------------------------------

	/** Time stamp counter in cycles since reset. */
	get cycles(): number {
		return this.f64[this.cyclesAt]!;
	}
	set cycles(value: number) {
		this.f64[this.cyclesAt] = value;
	}
	/** Cycles at which `onDeadline` is due. */
	get deadline(): number {
		return this.f64[this.deadlineAt]!;
	}
	set deadline(value: number) {
		this.f64[this.deadlineAt] = value;
		this.f64[this.limitAt] = Math.min(value, this.sliceEnd);
	}
	/** Cycles at which translated code returns: the deadline, or the slice's end. */
	get limit(): number {
		return this.f64[this.limitAt]!;
	}

	/**
	 * Begins a slice of a machine with several processors.
	 * @param horizon the time of the processor that is furthest behind of the others, in cycles
	 * @param sliceEnd cycles at which this processor gives way
	 */
	beginSlice(horizon: number, sliceEnd: number): void {
		this.paused = false;
		this.limitSlice(horizon, sliceEnd);
	}

	/** Changes the slice under way, because of what another processor will do. */
	limitSlice(horizon: number, sliceEnd: number): void {
		this.horizon = horizon;
		this.sliceEnd = sliceEnd;
		this.f64[this.limitAt] = Math.min(this.deadline, sliceEnd);
		this.allowTime();
	}

	/** Tells translated code which of RDTSC and PAUSE it may carry out, and until when. Called when guest code is entered. */
	allowTime(): void {
		const { guest, horizon, f64, base } = this;
		f64[(base + L.TSC_UNTIL) >> 3] = guest?.interceptsTsc === true ? -1 : horizon;
		f64[(base + L.PAUSE_UNTIL) >> 3] = guest?.interceptsPause === true ? -1 : horizon;
		f64[(base + L.TSC_OFFSET) >> 3] = guest === null ? 0 : guest.tscOffset;
	}
	/** Guest instructions retired. */
	get instructions(): number {
		return this.f64[(this.base + L.INSTRUCTIONS) >> 3]!;
	}

	/** RFLAGS.IF of whatever runs now: in root mode the host's. */
	get interruptFlag(): boolean {
		return (this.u32[this.rflagsAt]! & RFLAGS_IF) !== 0;
	}
	set interruptFlag(on: boolean) {
		const flags = this.u32[this.rflagsAt]!;
		this.u32[this.rflagsAt] = on ? flags | RFLAGS_IF : flags & ~RFLAGS_IF;
	}

	/** Reads a 64-bit field of the state block. @param offset one of layout.ts */
	read64(offset: number): bigint {
		return this.u64[(this.base + offset) >> 3]!;
	}
	/** Writes a 64-bit field of the state block; the value is taken modulo 2^64. */
	write64(offset: number, value: bigint): void {
		this.u64[(this.base + offset) >> 3] = value;
	}
	/** Reads the low 32 bits of a field. */
	read32(offset: number): number {
		return this.u32[(this.base + offset) >> 2]!;
	}
	/** Writes 32 bits; the upper half of a 64-bit field stays. */
	write32(offset: number, value: number): void {
		this.u32[(this.base + offset) >> 2] = value;
	}
	/** Reads a 64-bit field whose value is below 2^53 as a number. */
	readNumber(offset: number): number {
		const at = (this.base + offset) >> 2;
		return this.u32[at]! + this.u32[at + 1]! * TWO_32;
	}
	/** Writes a non-negative number below 2^53 into a 64-bit field. */
	writeNumber(offset: number, value: number): void {
		const at = (this.base + offset) >> 2;
		this.u32[at] = value >>> 0;
		this.u32[at + 1] = Math.floor(value / TWO_32);
	}
	/** A general-purpose register by its encoding number. */
	gpr(index: number): bigint {
		return this.u64[(this.base + L.GPR) / 8 + index]!;
	}
	setGpr(index: number, value: bigint): void {
		this.u64[(this.base + L.GPR) / 8 + index] = value;
	}

	/** XCR0 of the physical processor. */
	get xcr0(): number {
		return this.readNumber(L.XCR0);
	}
	/** IA32_XSS of the physical processor. */
	get xss(): number {
		return this.readNumber(L.XSS);
	}
	/** PKRU of the physical processor. */
	get pkru(): number {
		return this.read32(L.PKRU);
	}
	setXfd(value: number): void {
		this.writeNumber(L.XFD, value);
	}
	/** IA32_XFD of the physical processor. */
	get xfd(): number {
		return this.readNumber(L.XFD);
	}
}
