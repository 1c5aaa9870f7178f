/**
 * Finds the region for where a processor is, or makes it: what it holds, and what is compiled along with it.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import type { MachineMemory } from "../machine.ts";
import { CodeCache, type Region } from "./code-cache.ts";
import type { CodeStore, Found } from "./code-store.ts";
import type { HasEncoding } from "./decode.ts";
import { type Mode, modeFrom } from "./mode.ts";
import { type Block, Discovery, exitsOf, type Limits, singleBlock } from "./region.ts";
import type { Services } from "./services.ts";

/** What a region may hold at first sight, and once it is hot. */
const COLD: Limits = { instructions: 64, blocks: 12 };
const HOT: Limits = { instructions: 1000, blocks: 160 };
const ALONE: Limits = { instructions: 1, blocks: 1 };
/** And where many regions hold its entry already. */
const SHORT: Limits = { instructions: 4, blocks: 1 };
/** Regions that are compiled along with one at first sight, and their instructions at most. */
const BATCH: Limits = { instructions: 192, blocks: 8 };

/** The regions of a machine: those that there are, and the making of others. */
export class RegionFinder {
	private readonly memory: MachineMemory;
	private readonly services: Services;
	private readonly has: HasEncoding;
	private readonly code: CodeStore;
	private readonly cache: CodeCache;
	private readonly onThrownAway: () => void;

	/**
	 * @param services find the bytes behind an address
	 * @param has whether the model has an encoding
	 * @param code compiles what is found
	 * @param onThrownAway all code was thrown away, because there was too much of it: no slot counts any more
	 */
	constructor(
		memory: MachineMemory,
		services: Services,
		has: HasEncoding,
		code: CodeStore,
		onThrownAway: () => void,
	) {
		this.memory = memory;
		this.services = services;
		this.has = has;
		this.code = code;
		this.cache = new CodeCache(memory);
		this.onThrownAway = onThrownAway;
	}

	/** Whether code was translated from any of these bytes of a page, and counts. */
	covers(page: number, offset: number, bytes: number): boolean {
		return this.cache.covers(page, offset, bytes);
	}

	/** Regions of a page are compared with the bytes in memory before they run again. @returns whether there were any */
	drop(page: number): boolean {
		return this.cache.drop(page);
	}

	/** The same for all pages. */
	dropAll(): void {
		this.cache.dropAll();
	}

	/** Finds or makes the region at RIP. @returns null with a fault noted */
	find(cpu: Cpu, mode: Mode, hot: boolean): Region | null {
		const rip = cpu.read64(L.RIP);
		const limit = codeLimitOf(cpu, mode);
		if (limit >= 0 && rip > BigInt(limit)) return beyondLimit(cpu);
		const at = this.services.fetch(cpu, linearOf(cpu, mode, rip));
		if (at < 0) return null;
		const found = this.cache.find(rip, mode.key, at, limit, () => this.fetchNext(cpu, mode, rip, at));
		if (found !== null && (found.hot || !hot)) {
			if (this.cache.revalidate(found)) this.code.stats.revalidated++;
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
	stale(cpu: Cpu, key: number, slot: number): Region | null | undefined {
		const region = this.code.regionAt(slot);
		if (region === undefined || !region.valid || region.key !== key || region.next >= 0) return undefined;
		if (region.limit >= 0 || region.rip !== cpu.read64(L.RIP)) return undefined;
		const at = this.services.fetch(cpu, linearOf(cpu, modeFrom(key), region.rip));
		if (at < 0) return null;
		return at === region.at ? region : undefined;
	}

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
		if (offset + room < 4096) return beyondLimit(cpu);
		// The entry instruction runs over the page's end.
		const next = this.fetchNext(cpu, mode, rip, at);
		if (next < 0) return null;
		const bytes = new Uint8Array(15);
		const head = 4096 - offset;
		bytes.set(page.subarray(offset));
		bytes.set(u8.subarray(next, next + 15 - head), head);
		const block = singleBlock(bytes, rip, mode, codeLimit, this.has);
		if (codeLimit >= 0 && block.insns[0]!.length > room) return beyondLimit(cpu);
		return [block];
	}

	/** Finds the first byte of the page behind the one that RIP lies in. @returns -1 with a fault noted */
	private fetchNext(cpu: Cpu, mode: Mode, rip: bigint, at: number): number {
		const linear = linearOf(cpu, mode, rip) + BigInt(4096 - (at & 0xfff));
		return this.services.fetch(cpu, BigInt.asUintN(mode.bitness === 64 ? 64 : 32, linear));
	}

	/** Translates the region at RIP. @returns null with a fault noted if it cannot be fetched */
	private translate(cpu: Cpu, mode: Mode, rip: bigint, at: number, hot: boolean): Region | null {
		if (this.code.isFull) this.throwAway();
		const short = !hot && this.cache.isCrowded(at);
		const limits = mode.single ? ALONE : hot ? HOT : short ? SHORT : COLD;
		const codeLimit = codeLimitOf(cpu, mode);
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

	private throwAway(): void {
		this.code.clear();
		this.cache.clear();
		this.onThrownAway();
	}
}

/** Code that runs over the limit of CS. @returns null with #GP(0) noted */
function beyondLimit(cpu: Cpu): null {
	raise(cpu, VECTOR.GP, 0);
	return null;
}

/** Limit of CS, or -1 where none can matter. */
function codeLimitOf(cpu: Cpu, mode: Mode): number {
	if (mode.bitness === 64 || mode.flat) return -1;
	return cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_LIMIT);
}

function linearOf(cpu: Cpu, mode: Mode, rip: bigint): bigint {
	if (mode.bitness === 64) return rip;
	return BigInt.asUintN(32, rip + cpu.read64(L.SEG + L.CS * L.SEG_BYTES + L.SEG_BASE));
}
