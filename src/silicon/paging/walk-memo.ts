/**
 * What walks of 8-byte tables found, with the entries that they read. A walk that begins with the same registers and finds
 * the same entries comes to the same end, accessed and dirty bits included: guests that empty the TLB all the time, as those
 * do that toggle CR4.PGE or load CR3, mostly walk what they walked before. Unlike a TLB it needs no invalidation by the guest,
 * since it looks at the entries each time; a change of the second level empties it.
 */
import { CR4 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";

/** `slotOf` has 8 bits. */
const SLOTS = 256;
/** Words of a slot: what the walk began with, and three for each entry: index in the machine's memory, low, high half. */
const WORDS = 32;
const PAGE = 0;
const HIGH = 1;
const ACCESS = 2;
const CONTEXT = 3;
const CONTEXT_WORDS = 8;
const COUNT = CONTEXT + CONTEXT_WORDS;
const SHIFT = COUNT + 1;
const ENTRIES = SHIFT + 1;

function slotOf(lo: number, hi: number, access: number): number {
	return (
		Math.imul((lo >>> 12) ^ Math.imul(hi, 0x85ebca6b) ^ Math.imul(access, 0xc2b2ae35), 0x9e3779b1) >>> 24
	);
}

/** The walks of one processor. */
export class WalkMemo {
	private readonly words = new Int32Array(SLOTS * WORDS);
	private readonly gpas = new Float64Array(SLOTS);
	private readonly hpas = new Float64Array(SLOTS);
	/** Walks of another generation are void. */
	private generation = 1;

	/** Forgets all walks: the second level, or what is cached of it, has changed. */
	flush(): void {
		this.generation = (this.generation + 1) | 0;
	}

	/**
	 * Looks for a walk that was made before and would go the same way.
	 * @param lo low half of the linear address, `hi` its high half
	 * @param access of `translate`
	 * @param root of the tables, a guest physical address
	 * @returns a number for the functions below, or -1
	 */
	find(cpu: Cpu, lo: number, hi: number, access: number, root: number): number {
		const { words } = this;
		const slot = slotOf(lo, hi, access);
		const at = slot * WORDS;
		if (words[at + PAGE] !== lo >>> 12 || words[at + HIGH] !== (hi | 0) || words[at + ACCESS] !== access)
			return -1;
		if (!this.sameContext(cpu, at + CONTEXT, root)) return -1;
		const memory = cpu.memory.i32;
		for (let entry = at + ENTRIES, left = words[at + COUNT]!; left > 0; left--, entry += 3) {
			const word = words[entry]!;
			if (memory[word] !== words[entry + 1] || memory[word + 1] !== words[entry + 2]) return -1;
		}
		return slot;
	}

	/** Host physical address that the walk led to, for an address in its page. */
	hpa(slot: number, lo: number): number {
		return this.hpas[slot]! + (lo & 0xfff);
	}

	/** Guest physical address that the walk led to, for an address in its page. */
	gpa(slot: number, lo: number): number {
		return this.gpas[slot]! + (lo & 0xfff);
	}

	/** log2 of the page's bytes when it is above 4 KiB; else 0. */
	shift(slot: number): number {
		return this.words[slot * WORDS + SHIFT]!;
	}

	private sameContext(cpu: Cpu, at: number, root: number): boolean {
		const { words } = this;
		return (
			words[at] === this.generation &&
			words[at + 1] === (root | 0) &&
			words[at + 2] === Math.floor(root / 2 ** 32) &&
			words[at + 3] === (cpu.read32(L.CR0) | 0) &&
			words[at + 4] === (cpu.read32(L.CR4) & ~CR4.PGE) &&
			words[at + 5] === (cpu.read32(L.EFER) | 0) &&
			words[at + 6] === (cpu.pkru | 0) &&
			words[at + 7] === (cpu.read32(L.PKRS) | 0)
		);
	}

	/**
	 * Remembers a walk that has just ended, accessed and dirty bits set.
	 * @param entries host physical addresses of the entries, by level from 1 on
	 * @param top level of the root, and `leaf` of the last entry
	 * @param gpa where the address lies, and `hpa`
	 * @param shift as `shift` returns it
	 */
	add(
		cpu: Cpu,
		lo: number,
		hi: number,
		access: number,
		root: number,
		entries: Float64Array,
		top: number,
		leaf: number,
		gpa: number,
		hpa: number,
		shift: number,
	): void {
		const { words } = this;
		const { memory } = cpu;
		const slot = slotOf(lo, hi, access);
		const at = slot * WORDS;
		// Void until it is complete.
		words[at + CONTEXT] = this.generation - 1;
		let entry = at + ENTRIES;
		for (let level = top; level >= leaf; level--, entry += 3) {
			const address = entries[level - 1]!;
			if (address >= memory.ramBytes) return;
			const word = (memory.ramBase + address) >>> 2;
			words[entry] = word;
			words[entry + 1] = memory.i32[word]!;
			words[entry + 2] = memory.i32[word + 1]!;
		}
		words[at + PAGE] = lo >>> 12;
		words[at + HIGH] = hi;
		words[at + ACCESS] = access;
		words[at + COUNT] = top - leaf + 1;
		words[at + SHIFT] = shift;
		this.gpas[slot] = gpa - (lo & 0xfff);
		this.hpas[slot] = hpa - (lo & 0xfff);
		words[at + CONTEXT + 1] = root;
		words[at + CONTEXT + 2] = Math.floor(root / 2 ** 32);
		words[at + CONTEXT + 3] = cpu.read32(L.CR0);
		words[at + CONTEXT + 4] = cpu.read32(L.CR4) & ~CR4.PGE;
		words[at + CONTEXT + 5] = cpu.read32(L.EFER);
		words[at + CONTEXT + 6] = cpu.pkru;
		words[at + CONTEXT + 7] = cpu.read32(L.PKRS);
		words[at + CONTEXT] = this.generation;
	}
}
