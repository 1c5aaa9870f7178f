/**
 * Regions by where they begin. A region whose page was written is not thrown away: when its address is reached
 * again and memory holds the same bytes, it is used as it stands.
 */
import type { MachineMemory } from "../machine.ts";
import type { Insn } from "./insn.ts";
import { MODES } from "./mode.ts";
import type { Block } from "./region.ts";

/** A run of code bytes that a region was made from. */
interface Piece {
	/** Offset from the region's entry in memory; for the second page of a straddling instruction, from there. */
	readonly offset: number;
	readonly bytes: Uint8Array;
	readonly onNextPage: boolean;
}

/** What was translated from one entry point. */
export interface Region {
	readonly rip: bigint;
	readonly key: number;
	readonly hot: boolean;
	readonly pieces: readonly Piece[];
	/** Where its entry lay when it was last checked: byte offset in the machine's memory. */
	at: number;
	/** The same for the next page, -1 if it has no code there. */
	next: number;
	/** Memory is known to hold its bytes. */
	valid: boolean;
	/** Slot in the table of regions, or -1. */
	slot: number;
	/** Its first instruction: a region of one is that. */
	readonly first: Insn;
	/** Limit of CS that it was made for, in bytes; -1 where none can matter. */
	readonly limit: number;
	/** Another region for the same RIP, from other bytes or for another limit. */
	readonly other: Region | null;
}

/** Regions made for one RIP at most; more bytes than that in one place are a just-in-time compiler's. */
const VARIANTS = 8;

/** Valid regions that hold a byte of code, after which one that begins there is not worth much. */
const OVERLAPS = 4;

/** All regions of a machine. */
export class CodeCache {
	private readonly memory: MachineMemory;
	/** By mode and high half of RIP, then by low half. */
	private readonly byHigh = new Map<number, Map<number, Region>>();
	/** By page: regions made from it, and how many of them each byte is in, up to 255. */
	private readonly byPage = new Map<number, { regions: Region[]; covered: Uint8Array }>();

	constructor(memory: MachineMemory) {
		this.memory = memory;
	}

	private byLow(rip: bigint, key: number): Map<number, Region> {
		const high = Number(rip >> 32n) * MODES + key;
		let found = this.byHigh.get(high);
		if (found === undefined) {
			found = new Map();
			this.byHigh.set(high, found);
		}
		return found;
	}

	/**
	 * Finds a region whose bytes are in memory.
	 * @param at byte offset in the machine's memory of the entry
	 * @param limit of CS, or -1 where none can matter
	 * @param fetchNext finds the first byte of the page behind it, for code that straddles; -1 on a fault
	 */
	find(rip: bigint, key: number, at: number, limit: number, fetchNext: () => number): Region | null {
		let region = this.byLow(rip, key).get(Number(rip & 0xffffffffn)) ?? null;
		for (; region !== null; region = region.other) {
			if (region.limit !== limit) continue;
			const next = region.next < 0 ? -1 : fetchNext();
			if (region.next >= 0 && next < 0) return null;
			if (region.valid && region.at === at && region.next === next) return region;
			if (!this.matches(region, at, next)) continue;
			if (region.at !== at || region.next !== next) region.valid = false;
			region.at = at;
			region.next = next;
			return region;
		}
		return null;
	}

	private matches(region: Region, at: number, next: number): boolean {
		const { u8 } = this.memory;
		for (const { offset, bytes, onNextPage } of region.pieces) {
			const start = (onNextPage ? next : at) + offset;
			for (let i = 0; i < bytes.length; i++) if (u8[start + i] !== bytes[i]) return false;
		}
		return true;
	}

	/** Enters a region found by `find` into its page again, if it is not there. @returns whether it was not */
	revalidate(region: Region): boolean {
		if (region.valid) return false;
		this.enter(region);
		return true;
	}

	/** Makes a region. @param next byte offset of the code on the next page, or -1 @param limit as `find` wants it */
	add(
		rip: bigint,
		key: number,
		at: number,
		next: number,
		limit: number,
		blocks: readonly Block[],
		hot: boolean,
	): Region {
		const low = Number(rip & 0xffffffffn);
		const byLow = this.byLow(rip, key);
		let other = byLow.get(low) ?? null;
		// A bigger region replaces what was there; the smaller ones would never be chosen again.
		if (hot || countVariants(other) >= VARIANTS) other = null;
		const pieces = this.piecesOf(rip, at, next, blocks);
		const region: Region = {
			rip,
			key,
			hot,
			pieces,
			at,
			next,
			valid: false,
			slot: -1,
			first: blocks[0]!.insns[0]!,
			limit,
			other,
		};
		byLow.set(low, region);
		this.enter(region);
		return region;
	}

	private piecesOf(rip: bigint, at: number, next: number, blocks: readonly Block[]): Piece[] {
		const { u8 } = this.memory;
		if (next >= 0) {
			const head = 4096 - (at & 0xfff);
			const length = blocks[0]!.insns[0]!.length;
			return [
				{ offset: 0, bytes: u8.slice(at, at + head), onNextPage: false },
				{ offset: 0, bytes: u8.slice(next, next + length - head), onNextPage: true },
			];
		}
		return blocks.map((block) => {
			const last = block.insns.at(-1)!;
			const offset = Number(block.rip - rip);
			const length = Number(last.rip - block.rip) + last.length;
			return { offset, bytes: u8.slice(at + offset, at + offset + length), onNextPage: false };
		});
	}

	private enter(region: Region): void {
		region.valid = true;
		for (const piece of region.pieces) {
			const start = (piece.onNextPage ? region.next : region.at) + piece.offset;
			const page = (start - this.memory.ramBase) >>> 12;
			let entry = this.byPage.get(page);
			if (entry === undefined) {
				entry = { regions: [], covered: new Uint8Array(4096) };
				this.byPage.set(page, entry);
			}
			this.memory.codePages[page] = 1;
			if (entry.regions.at(-1) !== region) entry.regions.push(region);
			const { covered } = entry;
			const offset = start & 0xfff;
			const end = offset + piece.bytes.length;
			for (let byte = offset; byte < end; byte++) if (covered[byte] !== 255) covered[byte]!++;
		}
	}

	/** Whether a valid region was made from any of these bytes of a page. */
	covers(page: number, offset: number, bytes: number): boolean {
		const covered = this.byPage.get(page)?.covered;
		if (covered === undefined) return false;
		for (let at = offset; at < offset + bytes; at++) if (covered[at] !== 0) return true;
		return false;
	}

	/**
	 * Whether a byte of code is in so many regions that another one from there on would hardly be used: the guest enters
	 * this code at one place after the other, as behind instructions that all exit.
	 * @param at byte offset in the machine's memory
	 */
	isCrowded(at: number): boolean {
		const covered = this.byPage.get((at - this.memory.ramBase) >>> 12)?.covered;
		return covered !== undefined && covered[at & 0xfff]! >= OVERLAPS;
	}

	/** Makes the regions of a page invalid. @returns whether there were any */
	drop(page: number): boolean {
		this.memory.codePages[page] = 0;
		const entry = this.byPage.get(page);
		if (entry === undefined) return false;
		for (const region of entry.regions) region.valid = false;
		this.byPage.delete(page);
		return true;
	}

	/** Forgets all regions. */
	clear(): void {
		this.dropAll();
		this.byHigh.clear();
	}

	/** Makes all regions invalid. Stores to their pages are no longer watched. */
	dropAll(): void {
		for (const page of [...this.byPage.keys()]) this.drop(page);
	}
}

function countVariants(region: Region | null): number {
	let count = 0;
	for (let at = region; at !== null; at = at.other) count++;
	return count;
}
