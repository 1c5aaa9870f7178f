/**
 * The translator and dispatcher: has the region for where the processor is found or made, runs it, and handles why
 * it came back.
 *
 * Nothing that a guest can see depends on what was translated before or how big: the deadline is checked on
 * branches and calls backward, indirect branches, wherever code goes on in another page, and after every instruction
 * that is not translated, wherever regions begin and end.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { hasPendingDebug, runsAlone } from "../cpu/debug.ts";
import { fillJumpEntry, flushJumpCache, jumpEntry } from "../cpu/jump-cache.ts";
import * as L from "../cpu/layout.ts";
import { checkSegment } from "../cpu/segment-access.ts";
import type { MachineMemory } from "../machine.ts";
import type { CpuModel } from "../models/model.ts";
import type { Region } from "./code-cache.ts";
import { CodeStore, type ModuleObserver, type TranslatorStats } from "./code-store.ts";
import { ACCESS, CHECK } from "./core.ts";
import { EXIT } from "./exits.ts";
import { encodingsOf } from "./features.ts";
import { passInstruction } from "./memory-operands.ts";
import { bankFrom, hasCodeLimits, modeFrom, modeOf, SINGLE, TRACKED } from "./mode.ts";
import { RegionFinder } from "./region-finder.ts";
import { OUTCOME, type Outcome, type Services } from "./services.ts";
import { carryOutVector } from "../simd/operations.ts";
import { vectorMemory } from "./vector-slow.ts";

/** Where the state block keeps the mode that each jump cache is about, and base and limit of CS with it. */
const JUMP_MODE = L.SCRATCH + 16;
const JUMP_MODE_BYTES = 16;
/** Blocking by STI and by MOV SS. */
const SHADOW = 3;

/** Translates and runs guest code for the processors of one machine. */
export class Translator {
	readonly memory: MachineMemory;
	private readonly services: Services;
	private readonly code: CodeStore;
	private readonly regions: RegionFinder;
	private readonly cpus = new Set<Cpu>();
	private running: Cpu | null = null;
	/** The processor that ran last. */
	private last: Cpu | null = null;
	/** The slow store under way: offset in its page and bytes, or 0 bytes if none or if it crosses pages. */
	private storeOffset = 0;
	private storeBytes = 0;
	private wroteCode = false;
	/** Instructions retired when the last fault was delivered. */
	private faultAt = -1;

	/**
	 * @param memory the machine; `memory.onCodeWrite` is bound here
	 * @param model whose guestCosts are charged
	 * @param services what is not translated
	 */
	constructor(memory: MachineMemory, model: CpuModel, services: Services) {
		this.memory = memory;
		this.services = services;
		this.code = new CodeStore(memory, model, {
			load: (linear, access) => this.load(linear, access),
			store: (linear, access, value) => this.store(linear, access, value),
			probe: (linear, access) => this.probe(linear, access),
			check: (what, offset) => this.check(what, offset),
			divide: (signed, high, low, by) => this.divide(signed, high, low, by),
			vectorMemory: (what, detail, linear) =>
				vectorMemory(this.running!, this.services, what, detail, linear, this.storePart),
			vector: (operation, immediate) => carryOutVector(this.running!, operation, immediate),
		});
		this.regions = new RegionFinder(memory, services, encodingsOf(model), this.code, () => this.flushAll());
		memory.onCodeWrite = (page) => this.codeWritten(page);
	}

	/** Counters of what was translated. */
	get stats(): TranslatorStats {
		return this.code.stats;
	}
	/** Hears of every module, before it is compiled. */
	set onModule(observer: ModuleObserver | null) {
		this.code.onModule = observer;
	}
	/** Host memory that translated code takes, in bytes: an estimate. */
	get codeBytes(): number {
		return this.code.bytesKept;
	}
	/** Host memory for translated code, in bytes, after which it is thrown away: an estimate. */
	set codeBytesMax(bytes: number) {
		this.code.hostBytesMax = bytes;
	}

	// ---- services of translated code -----------------------------------------------------------------

	private load(linear: bigint, access: number): bigint {
		const stack = (access & ACCESS.stack) !== 0;
		const value = this.services.load(this.running!, BigInt.asUintN(64, linear), access & ACCESS.bytes, stack);
		return BigInt.asIntN(64, value);
	}

	private readonly storePart = (linear: bigint, bytes: number, value: bigint): number =>
		this.store(linear, bytes, value);

	/** @returns 0 done, 1 a fault is noted, 2 done and translated code was dropped */
	private store(linear: bigint, access: number, value: bigint): number {
		const cpu = this.running!;
		const bytes = access & ACCESS.bytes;
		const stack = (access & ACCESS.stack) !== 0;
		const offset = Number(linear & 0xfffn);
		this.storeOffset = offset;
		this.storeBytes = offset + bytes <= 4096 ? bytes : 0;
		this.wroteCode = false;
		this.services.store(cpu, BigInt.asUintN(64, linear), bytes, BigInt.asUintN(64, value), stack);
		this.storeBytes = 0;
		if (cpu.read32(L.FAULT) !== 0) return 1;
		return this.wroteCode ? 2 : 0;
	}

	private probe(linear: bigint, access: number): void {
		const stack = (access & ACCESS.stack) !== 0;
		this.services.probeStore(this.running!, BigInt.asUintN(64, linear), access & ACCESS.bytes, stack);
	}

	private check(what: number, offset: bigint): void {
		const cpu = this.running!;
		if ((what & CHECK.branch) !== 0) this.services.checkBranch(cpu, BigInt.asUintN(64, offset));
		else {
			const segment = (what >> CHECK.segmentShift) & 7;
			checkSegment(cpu, segment, Number(offset), what & CHECK.bytes, (what & CHECK.write) !== 0);
		}
	}

	/** DIV and IDIV by 64 bits with a dividend of 128. @returns 0, or 1 for #DE; results go to SCRATCH */
	private divide(signed: number, high: bigint, low: bigint, by: bigint): number {
		const cpu = this.running!;
		const divisor = signed === 1 ? by : BigInt.asUintN(64, by);
		if (divisor === 0n) return 1;
		const upper = signed === 1 ? high : BigInt.asUintN(64, high);
		const dividend = (upper << 64n) | BigInt.asUintN(64, low);
		const quotient = dividend / divisor;
		const fits = signed === 1 ? BigInt.asIntN(64, quotient) : BigInt.asUintN(64, quotient);
		if (fits !== quotient) return 1;
		cpu.write64(L.SCRATCH, quotient);
		cpu.write64(L.SCRATCH + 8, dividend % divisor);
		return 0;
	}

	// ---- invalidation --------------------------------------------------------------------------------

	/** A store is about to hit a page that code was translated from. */
	private codeWritten(page: number): void {
		if (this.storeBytes > 0 && !this.regions.covers(page, this.storeOffset, this.storeBytes)) return;
		this.dropPage(page);
	}

	/** Drops what was translated from a page of host physical memory. It comes back if the bytes do. */
	dropPage(page: number): void {
		if (!this.regions.drop(page)) return;
		this.wroteCode = true;
		this.stats.droppedPages++;
		this.flushAll();
	}

	/**
	 * Memory was replaced without `onCodeWrite`, as when a machine is reset: every region is compared with the bytes
	 * in memory before it runs again.
	 */
	reset(): void {
		this.regions.dropAll();
		this.flushAll();
	}

	private flushAll(): void {
		for (const cpu of this.cpus) flushJumpCache(cpu);
	}

	/** The address space or mode of a processor changed behind its back: empties its jump cache. */
	flush(cpu: Cpu): void {
		flushJumpCache(cpu);
	}

	// ---- the dispatcher ------------------------------------------------------------------------------

	/** Runs guest code until its context ends, because a service said so, or the slice does: then `cpu.paused`. */
	execute(cpu: Cpu): void {
		const outer = this.running;
		this.running = cpu;
		// Guests are entered often, mostly on the processor that was the last: then the set is not asked.
		if (cpu !== this.last && !this.cpus.has(cpu)) {
			this.cpus.add(cpu);
			flushJumpCache(cpu);
		}
		this.last = cpu;
		cpu.allowTime();
		let stopped = false;
		while (!stopped) stopped = this.step(cpu);
		this.running = outer;
	}

	/** From one check of events to the next. @returns true if the context ended */
	private step(cpu: Cpu): boolean {
		// Ahead of interrupts: the traps of the instruction before (SDM Vol. 3A, table 7-2).
		if (hasPendingDebug(cpu)) return this.services.deliverPendingDebug(cpu);
		if (cpu.pending !== 0 || cpu.cycles >= cpu.limit) {
			if (this.services.boundary(cpu)) return true;
			if (cpu.cycles >= cpu.sliceEnd) {
				cpu.paused = true;
				return true;
			}
		}
		if (runsAlone(cpu)) return this.alone(cpu);
		const key = modeOf(cpu);
		if ((key & TRACKED) !== 0 && this.services.awaitsEndbranch(cpu)) return this.alone(cpu);
		const bank = bankFrom(key);
		this.keepJumps(cpu, key, bank);
		for (;;) {
			const low = cpu.read32(L.RIP);
			const entry = jumpEntry(cpu, bank, low);
			const words = cpu.u32;
			let slot = words[entry + 2]!;
			if (words[entry] !== low || words[entry + 1] !== cpu.read32(L.RIP + 4)) {
				let region = this.regions.stale(cpu, key, slot);
				if (region === undefined) region = this.regions.find(cpu, modeFrom(key), false);
				if (region === null) return this.fault(cpu);
				slot = region.slot;
				fillJumpEntry(cpu, bank, entry, low, cpu.read32(L.RIP + 4), slot);
			}
			const direct = this.code.untranslatedIn(slot);
			if (direct >= 0) return this.carryOut(cpu, direct);
			const exit = this.code.core.enter(cpu.base, slot, cpu.base + bank);
			switch (exit & 0xff) {
				case EXIT.next:
					continue;
				case EXIT.system:
					return this.carryOut(cpu, exit >>> 8);
				case EXIT.boundary:
					// Only the stretch was used up: a loop that stays within one region.
					if (cpu.cycles < cpu.limit) this.promote(cpu, key);
					return false;
				case EXIT.hot:
					this.promote(cpu, key);
					continue;
				case EXIT.restart:
					this.settle(cpu, exit >>> 8);
					return this.alone(cpu);
				default:
					this.settle(cpu, exit >>> 8);
					return this.fault(cpu);
			}
		}
	}

	/** Empties the jump caches if the one to be used is about another mode, or another place of the code segment. */
	private keepJumps(cpu: Cpu, key: number, bank: number): void {
		const at = (cpu.base + JUMP_MODE + (bank === 0 ? 0 : JUMP_MODE_BYTES)) >> 2;
		const words = cpu.u32;
		let base = 0;
		let limit = 0;
		if (hasCodeLimits(key)) {
			base = cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_BASE);
			limit = cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_LIMIT);
		}
		if (words[at] === key && words[at + 1] === base && words[at + 2] === limit) return;
		flushJumpCache(cpu);
		words[at] = key;
		words[at + 1] = base;
		words[at + 2] = limit;
	}

	/** Makes the region at RIP hot. */
	private promote(cpu: Cpu, key: number): void {
		const region = this.regions.find(cpu, modeFrom(key), true);
		if (region === null) {
			// The code ran a moment ago; whatever the fetch noted will be found again when it is run.
			cpu.write32(L.FAULT, 0);
			return;
		}
		if (this.code.untranslatedIn(region.slot) >= 0) return;
		const bank = bankFrom(key);
		const low = cpu.read32(L.RIP);
		fillJumpEntry(cpu, bank, jumpEntry(cpu, bank, low), low, cpu.read32(L.RIP + 4), region.slot);
	}

	/** Makes the state block exact at a site within a region. */
	private settle(cpu: Cpu, id: number): void {
		const site = this.code.site(id);
		cpu.write64(L.RIP, site.rip);
		if (site.ccOp >= 0) cpu.write32(L.CC_OP, site.ccOp);
		cpu.cycles += site.cycles;
		cpu.f64[(cpu.base + L.INSTRUCTIONS) >> 3]! += site.instructions;
	}

	/**
	 * Carries out the instruction at RIP and nothing else: no event is looked at, no fault delivered.
	 * @returns whether it is complete; if not, a fault is noted
	 */
	executeOne(cpu: Cpu): boolean {
		const outer = this.running;
		this.running = cpu;
		const { outcome } = this.single(cpu);
		this.running = outer;
		return outcome !== OUTCOME.fault && outcome !== OUTCOME.stop;
	}

	/** The region of one instruction at RIP, carried out; null if it cannot be fetched. */
	private single(cpu: Cpu): { readonly region: Region | null; readonly outcome: Outcome } {
		const mode = modeFrom(modeOf(cpu) | SINGLE);
		const region = this.regions.find(cpu, mode, false);
		if (region === null) return { region, outcome: OUTCOME.fault };
		if (mode.tracked && !this.services.checkEndbranch(cpu, region.first.mnemonic))
			return { region, outcome: OUTCOME.fault };
		let exit: number = EXIT.system;
		const direct = this.code.untranslatedIn(region.slot);
		if (direct >= 0) exit |= direct << 8;
		else exit = this.code.core.enterOnce(cpu.base, region.slot);
		let outcome: Outcome = OUTCOME.next;
		if ((exit & 0xff) === EXIT.system) outcome = this.perform(cpu, exit >>> 8);
		else if ((exit & 0xff) === EXIT.fault) {
			this.settle(cpu, exit >>> 8);
			outcome = OUTCOME.fault;
		}
		return { region, outcome };
	}

	/** Runs one instruction by itself, with what debugging and the interrupt shadow ask for. @returns true if the context ended */
	private alone(cpu: Cpu): boolean {
		const { services } = this;
		if (services.breaksBefore(cpu)) return this.fault(cpu);
		const before = services.beforeInstruction(cpu);
		const shadow = cpu.read32(L.INTERRUPTIBILITY) & SHADOW;
		const shadowAt = cpu.f64[(cpu.base + L.SHADOW_AT) >> 3];
		const { region, outcome } = this.single(cpu);
		if (region === null) return this.fault(cpu);
		if (outcome === OUTCOME.stop) return true;
		if (outcome === OUTCOME.fault) {
			// Breakpoints that it met on the way will be met again.
			cpu.write32(L.PENDING_DBG, before.pending);
			if (this.fault(cpu)) return true;
		}
		// The shadow was over this instruction, unless that has cast a new one.
		if (shadow !== 0 && cpu.f64[(cpu.base + L.SHADOW_AT) >> 3] === shadowAt) {
			cpu.write32(L.INTERRUPTIBILITY, cpu.read32(L.INTERRUPTIBILITY) & ~SHADOW);
		}
		if (outcome === OUTCOME.fault) return false;
		return services.afterInstruction(cpu, before, region.first.mnemonic, region.first.length);
	}

	/** Carries out an instruction that is not translated, faults included. @returns true if the context ended */
	private carryOut(cpu: Cpu, id: number): boolean {
		const outcome = this.perform(cpu, id);
		if (outcome === OUTCOME.fault) return this.fault(cpu);
		return outcome === OUTCOME.stop;
	}

	/** Carries out an instruction that is not translated. RIP is behind it, unless it faults or stops. */
	private perform(cpu: Cpu, id: number): Outcome {
		const { insn, microcode, cycles } = this.code.untranslated(id);
		const outcome: Outcome =
			microcode === undefined ? this.services.system(cpu, insn) : microcode(cpu, insn, this.services);
		if (outcome === OUTCOME.next) {
			passInstruction(cpu, insn);
			this.retire(cpu, cycles);
		}
		if (outcome === OUTCOME.jumped) this.retire(cpu, cycles);
		return outcome;
	}

	/**
	 * Delivers the noted fault. One whose handler faults at its first instruction, again and again, takes the time of an
	 * interrupt's delivery each time: else no slice would come to its end.
	 * @returns true if the context ended
	 */
	private fault(cpu: Cpu): boolean {
		if (this.services.deliverFault(cpu)) return true;
		const { instructions } = cpu;
		if (this.faultAt === instructions) cpu.cycles += cpu.model.guestCosts.far.cycles;
		this.faultAt = instructions;
		return false;
	}

	private retire(cpu: Cpu, cycles: number): void {
		const { f64, base } = cpu;
		f64[(base + L.CYCLES) >> 3]! += cycles;
		f64[(base + L.INSTRUCTIONS) >> 3]! += 1;
	}
}
