/**
 * The translator and dispatcher: finds or makes the region for where the processor is, runs it, and handles why
 * it came back.
 *
 * Nothing that a guest can see depends on what was translated before or how big: the deadline is checked on
 * branches and calls backward, indirect branches, wherever code goes on in another page, and after every instruction
 * that is not translated, wherever regions begin and end.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { hasPendingDebug, runsAlone } from "../cpu/debug.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import { fillJumpEntry, flushJumpCache, jumpEntry } from "../cpu/jump-cache.ts";
import * as L from "../cpu/layout.ts";
import { checkSegment } from "../cpu/segment-access.ts";
import type { MachineMemory } from "../machine.ts";
import type { CpuModel } from "../models/model.ts";
import { CodeCache, type Region } from "./code-cache.ts";
import { CodeStore, type Found, type ModuleObserver, type TranslatorStats } from "./code-store.ts";
import { ACCESS, CHECK } from "./core.ts";
import type { HasEncoding } from "./decode.ts";
import { EXIT } from "./exits.ts";
import { encodingsOf } from "./features.ts";
import { passInstruction } from "./memory-operands.ts";
import { bankFrom, hasCodeLimits, type Mode, modeFrom, modeOf, SINGLE, TRACKED } from "./mode.ts";
import { type Block, Discovery, exitsOf, type Limits, singleBlock } from "./region.ts";
import { OUTCOME, type Outcome, type Services } from "./services.ts";
import { carryOutVector } from "../simd/operations.ts";
import { vectorMemory } from "./vector-slow.ts";

/** What a region may hold at first sight, and once it is hot. */
const COLD: Limits = { instructions: 64, blocks: 12 };
const HOT: Limits = { instructions: 1000, blocks: 160 };
const ALONE: Limits = { instructions: 1, blocks: 1 };
/** And where many regions hold its entry already. */
const SHORT: Limits = { instructions: 4, blocks: 1 };
/** Where the state block keeps the mode that each jump cache is about, and base and limit of CS with it. */
const JUMP_MODE = L.SCRATCH + 16;
const JUMP_MODE_BYTES = 16;
/** Blocking by STI and by MOV SS. */
const SHADOW = 3;

/** Regions that are compiled along with one at first sight, and their instructions at most. */
const BATCH: Limits = { instructions: 192, blocks: 8 };

/** Translates and runs guest code for the processors of one machine. */
export class Translator {
	readonly memory: MachineMemory;
	private readonly services: Services;
	private readonly has: HasEncoding;
	private readonly code: CodeStore;
	private readonly cache: CodeCache;
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
		this.has = encodingsOf(model);
		this.cache = new CodeCache(memory);
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
		if (this.storeBytes > 0 && !this.cache.covers(page, this.storeOffset, this.storeBytes)) return;
		this.dropPage(page);
	}

	/** Drops what was translated from a page of host physical memory. It comes back if the bytes do. */
	dropPage(page: number): void {
		if (!this.cache.drop(page)) return;
		this.wroteCode = true;
		this.stats.droppedPages++;
		for (const cpu of this.cpus) flushJumpCache(cpu);
	}

	/**
	 * Memory was replaced without `onCodeWrite`, as when a machine is reset: every region is compared with the bytes
	 * in memory before it runs again.
	 */
	reset(): void {
		this.cache.dropAll();
		for (const cpu of this.cpus) flushJumpCache(cpu);
	}

	/** The address space or mode of a processor changed behind its back: empties its jump cache. */
	flush(cpu: Cpu): void {
		flushJumpCache(cpu);
	}

	// ---- translation ---------------------------------------------------------------------------------

	/** The blocks of a region, and the bytes they were decoded from in at most two pieces. */
	private discover(
		cpu: Cpu,
		mode: Mode,
		rip: bigint,
		at: number,
		limits: Limits,
		codeLimit: number,
	): Block[] | null {
		const { u8, ramBase, ramBytes } = this.memory;
		const offset = at & 0xfff;
		const pageStart = at - offset;
		const room = codeLimit < 0 ? 4096 : codeLimit - Number(rip) + 1;
		const page = u8.slice(pageStart, Math.min(pageStart + 4096, at + room, ramBase + ramBytes));
		const blocks = new Discovery(page, offset, rip, mode, limits, codeLimit, this.has).run();
		if (blocks !== null) return blocks;
		if (offset + room < 4096) return this.beyondLimit(cpu);
		// The entry instruction runs over the page's end.
		const next = this.fetchNext(cpu, mode, rip, at);
		if (next < 0) return null;
		const bytes = new Uint8Array(15);
		const head = 4096 - offset;
		bytes.set(page.subarray(offset));
		bytes.set(u8.subarray(next, next + 15 - head), head);
		const block = singleBlock(bytes, rip, mode, codeLimit, this.has);
		if (codeLimit >= 0 && block.insns[0]!.length > room) return this.beyondLimit(cpu);
		return [block];
	}

	/** Code that runs over the limit of CS. @returns null with #GP(0) noted */
	private beyondLimit(cpu: Cpu): null {
		raise(cpu, VECTOR.GP, 0);
		return null;
	}

	/** Limit of CS, or -1 where none can matter. */
	private codeLimit(cpu: Cpu, mode: Mode): number {
		if (mode.bitness === 64 || mode.flat) return -1;
		return cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_LIMIT);
	}

	private linear(cpu: Cpu, mode: Mode, rip: bigint): bigint {
		if (mode.bitness === 64) return rip;
		return BigInt.asUintN(32, rip + cpu.read64(L.SEG + L.CS * L.SEG_BYTES + L.SEG_BASE));
	}

	/** Finds the first byte of the page behind the one that RIP lies in. @returns -1 with a fault noted */
	private fetchNext(cpu: Cpu, mode: Mode, rip: bigint, at: number): number {
		const linear = this.linear(cpu, mode, rip) + BigInt(4096 - (at & 0xfff));
		return this.services.fetch(cpu, BigInt.asUintN(mode.bitness === 64 ? 64 : 32, linear));
	}

	/** Translates the region at RIP. @returns null with a fault noted if it cannot be fetched */
	private translate(cpu: Cpu, mode: Mode, rip: bigint, at: number, hot: boolean): Region | null {
		if (this.code.isFull) this.evict();
		const short = !hot && this.cache.isCrowded(at);
		const limits = mode.single ? ALONE : hot ? HOT : short ? SHORT : COLD;
		const codeLimit = this.codeLimit(cpu, mode);
		const blocks = this.discover(cpu, mode, rip, at, limits, codeLimit);
		if (blocks === null) return null;
		// One that runs alone must not loop to itself.
		if (mode.single) for (const edge of blocks[0]!.edges) edge.block = -1;
		const first = blocks[0]!.insns[0]!;
		const straddles = (at & 0xfff) + first.length > 4096;
		// Ascending in memory; a straddling instruction is a region of its own.
		const next = straddles ? this.fetchNext(cpu, mode, rip, at) : -1;
		const region = this.cache.add(rip, mode.key, at, next, codeLimit, blocks, hot || mode.single);
		const found = [{ region, blocks }];
		if (!region.hot && !short && next < 0 && codeLimit < 0) this.followers(found, mode, at);
		this.code.compile(found, mode);
		return region;
	}

	/**
	 * Adds regions that the code of others leads to by calls, their returns and branches, as far as they lie on the
	 * same page: most of them are needed soon.
	 * @param found the first region; those that are found go behind it
	 * @param at where its entry lies in the machine's memory
	 */
	private followers(found: Found[], mode: Mode, at: number): void {
		const { rip } = found[0]!.region;
		const offset = at & 0xfff;
		const pageStart = at - offset;
		const page = this.memory.u8.slice(pageStart, pageStart + 4096);
		const seen = new Set<bigint>([rip]);
		let instructions = 0;
		for (let next = 0; next < found.length; next++) {
			const { blocks } = found[next]!;
			for (const block of blocks) instructions += block.insns.length;
			for (const target of exitsOf(blocks)) {
				const targetOffset = offset + Number(target - rip);
				if (seen.has(target) || targetOffset < 0 || targetOffset >= 4096) continue;
				if (found.length >= BATCH.blocks || instructions >= BATCH.instructions) return;
				seen.add(target);
				const targetAt = pageStart + targetOffset;
				if (this.cache.find(target, mode.key, targetAt, -1, () => -1) !== null) continue;
				const more = new Discovery(page, targetOffset, target, mode, COLD, -1, this.has).run();
				if (more === null) continue;
				const region = this.cache.add(target, mode.key, targetAt, -1, -1, more, false);
				found.push({ region, blocks: more });
			}
		}
	}

	/** Throws all code away, because there is too much of it. */
	private evict(): void {
		this.code.clear();
		this.cache.clear();
		for (const cpu of this.cpus) flushJumpCache(cpu);
	}

	/** Finds or makes the region at RIP. @returns null with a fault noted */
	private find(cpu: Cpu, mode: Mode, hot: boolean): Region | null {
		const rip = cpu.read64(L.RIP);
		const limit = this.codeLimit(cpu, mode);
		if (limit >= 0 && rip > BigInt(limit)) return this.beyondLimit(cpu);
		const at = this.services.fetch(cpu, this.linear(cpu, mode, rip));
		if (at < 0) return null;
		const found = this.cache.find(rip, mode.key, at, limit, () => this.fetchNext(cpu, mode, rip, at));
		if (found !== null && (found.hot || !hot)) {
			if (this.cache.revalidate(found)) this.stats.revalidated++;
			return found;
		}
		return this.translate(cpu, mode, rip, at, hot);
	}

	/**
	 * The region that an entry of the jump cache named before it was emptied, if it is the one at RIP: guests that empty
	 * the TLB all the time come by the same places.
	 * @param slot of the table of regions, or any number
	 * @returns undefined if it is not, or if it cannot be told without looking further; null with a fault noted
	 */
	private stale(cpu: Cpu, key: number, slot: number): Region | null | undefined {
		const region = this.code.regionAt(slot);
		if (region === undefined || !region.valid || region.key !== key || region.next >= 0) return undefined;
		if (region.limit >= 0 || region.rip !== cpu.read64(L.RIP)) return undefined;
		const at = this.services.fetch(cpu, this.linear(cpu, modeFrom(key), region.rip));
		if (at < 0) return null;
		return at === region.at ? region : undefined;
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
				let region = this.stale(cpu, key, slot);
				if (region === undefined) region = this.find(cpu, modeFrom(key), false);
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
		const region = this.find(cpu, modeFrom(key), true);
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
		const region = this.find(cpu, mode, false);
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
