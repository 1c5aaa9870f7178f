/**
 * Finds the words of many blocks that differ from what they were at first. The blocks are copied into a WebAssembly
 * memory, behind their first content, and both are compared 16 bytes at a time.
 *
 * A thread has one such memory: whoever compares and did not do so last puts its first content there.
 */
import { Code, OPCODE, TYPE, encodeModule } from "../../silicon/wasm/builder.ts";
import { SIMD } from "../../silicon/wasm/simd.ts";

const PAGE_BYTES = 0x1_0000;
const VECTOR_WORDS = 4;

/**
 * Writes the numbers of words that differ, counted from the first, to the start of the memory.
 * @param start byte address of the first word; the last vector is looked at as a whole
 * @param end byte address behind the last
 * @param distance bytes from a word to the one that it is compared with
 * @returns bytes written
 */
type Compare = (start: number, end: number, distance: number) => number;

/** The memory and the code of this thread. */
interface Workbench {
	readonly words: Uint32Array;
	readonly compare: Compare;
}

function compareCode(): Code {
	const [start, end, distance, at, list, vector] = [0, 1, 2, 3, 4, 5];
	const code = new Code();
	code.get(start);
	code.set(at);
	const done = code.block();
	const next = code.loop();
	code.get(at);
	code.get(end);
	code.op(OPCODE.i32GeU);
	code.brIf(done);
	code.get(at);
	code.simdAccess(SIMD.v128Load, 0);
	code.get(at);
	code.get(distance);
	code.op(OPCODE.i32Add);
	code.simdAccess(SIMD.v128Load, 0);
	code.simd(SIMD.v128Xor);
	code.set(vector);
	code.get(vector);
	code.simd(SIMD.v128AnyTrue);
	code.if();
	for (let lane = 0; lane < VECTOR_WORDS; lane++) {
		// Written in any case, kept if the words differ.
		code.get(list);
		code.get(at);
		code.get(start);
		code.op(OPCODE.i32Sub);
		code.i32(2);
		code.op(OPCODE.i32ShrU);
		code.i32(lane);
		code.op(OPCODE.i32Add);
		code.access(OPCODE.i32Store, 0);
		code.get(list);
		code.get(vector);
		code.simdLane(SIMD.i32x4ExtractLane, lane);
		code.i32(0);
		code.op(OPCODE.i32Ne);
		code.i32(2);
		code.op(OPCODE.i32Shl);
		code.op(OPCODE.i32Add);
		code.set(list);
	}
	code.end();
	code.get(at);
	code.i32(4 * VECTOR_WORDS);
	code.op(OPCODE.i32Add);
	code.set(at);
	code.br(next);
	code.end();
	code.end();
	code.get(list);
	return code;
}

function makeWorkbench(wordCount: number): Workbench {
	const { i32, v128 } = TYPE;
	const bytes = encodeModule({
		types: [{ parameters: [i32, i32, i32], results: [i32] }],
		imports: [{ kind: "memory", name: "memory" }],
		globals: [],
		functions: [{ type: 0, locals: [i32, i32, v128], parts: [compareCode()], exportName: "compare" }],
	});
	const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * wordCount) / PAGE_BYTES) });
	const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { memory } });
	return { words: new Uint32Array(memory.buffer), compare: exports.compare as Compare };
}

let workbench: Workbench | null = null;
let user: Differences | null = null;

/** Words of a typed array. */
export interface Words {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
}

interface Views {
	readonly from: Uint32Array;
	readonly to: Uint32Array;
}

/** A block's place in the memory, and its views by number of words, made when they are first asked for. */
interface Place extends Words {
	readonly at: number;
	readonly views: Views[];
}

/** Views of fewer words are dearer than to copy them by hand. */
const FEW_WORDS = 24;

/** Compares blocks with what they were when this was made. */
export class Differences {
	private readonly places: Place[] = [];
	/** Words of all blocks, each from a place that divides by a vector's words. */
	private readonly span: number;
	private readonly before: Uint32Array;
	/** Where the memory has the first content: behind a list of all words and of one vector that is written and not kept. */
	private readonly firstAt: number;

	constructor(blocks: readonly Words[]) {
		let at = 0;
		for (const { words, first, count } of blocks) {
			this.places.push({ words, first, count, at, views: [] });
			at += Math.ceil(count / VECTOR_WORDS) * VECTOR_WORDS;
		}
		this.span = at;
		this.firstAt = at + VECTOR_WORDS;
		this.before = new Uint32Array(at);
		for (const { words, first, count, at } of this.places)
			this.before.set(words.subarray(first, first + count), at);
	}

	/**
	 * Makes the thread's memory this one's: before blocks are compared.
	 * @returns the list that `find` fills
	 */
	claim(): Uint32Array {
		const wordCount = this.firstAt + 2 * this.span;
		if (workbench === null || workbench.words.length < wordCount) workbench = makeWorkbench(wordCount);
		else if (user === this) return workbench.words;
		user = this;
		for (const { views } of this.places) views.length = 0;
		workbench.words.set(this.before, this.firstAt);
		return workbench.words;
	}

	/**
	 * Finds words that differ and lists their numbers in the block, in order.
	 * @param block its number @param used words of it, from its start, that are looked at
	 * @returns how many there are
	 */
	find(block: number, used: number): number {
		if (used === 0) return 0;
		const { words, compare } = workbench!;
		const place = this.places[block]!;
		const first = this.firstAt + place.at;
		this.fetch(place, used, words);
		let count = compare(4 * first, 4 * (first + used), 4 * this.span) >> 2;
		// The last vector may have words that are not looked at.
		while (count > 0 && words[count - 1]! >= used) count--;
		return count;
	}

	/** Copies a block's words behind all first ones. */
	private fetch(place: Place, used: number, words: Uint32Array): void {
		const { words: from, first, at, views } = place;
		const to = this.firstAt + this.span + at;
		if (used <= FEW_WORDS) {
			for (let i = 0; i < used; i++) words[to + i] = from[first + i]!;
			return;
		}
		let pair = views[used];
		if (pair === undefined) {
			pair = { from: from.subarray(first, first + used), to: words.subarray(to, to + used) };
			views[used] = pair;
		}
		pair.to.set(pair.from);
	}
}
