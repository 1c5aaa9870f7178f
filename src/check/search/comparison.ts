/**
 * Compares blocks of words with what a snapshot has of them. Both are copied into a WebAssembly memory and compared 16 bytes
 * at a time: a typed array's word takes a nanosecond, and a machine has thousands.
 *
 * A thread has one such memory: whoever compares and did not do so last puts its snapshot there.
 */
import { Code, OPCODE, TYPE, encodeModule } from "../../silicon/wasm/builder.ts";
import { SIMD } from "../../silicon/wasm/simd.ts";

const PAGE_BYTES = 0x1_0000;
const VECTOR_WORDS = 4;
const VECTOR_BYTES = 4 * VECTOR_WORDS;

/** The address, from `start` on, of the first vector that is unlike the one that lies `distance` behind it; `end` if none is. */
type Differ = (start: number, end: number, distance: number) => number;

interface Workbench {
	readonly words: Uint32Array;
	readonly differ: Differ;
}

function differCode(): Code {
	const [start, end, distance] = [0, 1, 2];
	const code = new Code();
	const done = code.block();
	const next = code.loop();
	code.get(start);
	code.get(end);
	code.op(OPCODE.i32GeU);
	code.brIf(done);
	code.get(start);
	code.simdAccess(SIMD.v128Load, 0);
	code.get(start);
	code.get(distance);
	code.op(OPCODE.i32Add);
	code.simdAccess(SIMD.v128Load, 0);
	code.simd(SIMD.v128Xor);
	code.simd(SIMD.v128AnyTrue);
	code.brIf(done);
	code.get(start);
	code.i32(VECTOR_BYTES);
	code.op(OPCODE.i32Add);
	code.set(start);
	code.br(next);
	code.end();
	code.end();
	code.get(start);
	return code;
}

function makeWorkbench(wordCount: number): Workbench {
	const { i32 } = TYPE;
	const bytes = encodeModule({
		types: [{ parameters: [i32, i32, i32], results: [i32] }],
		imports: [{ kind: "memory", name: "memory" }],
		globals: [],
		functions: [{ type: 0, locals: [], parts: [differCode()], exportName: "differ" }],
	});
	const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * wordCount) / PAGE_BYTES) });
	const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { memory } });
	return { words: new Uint32Array(memory.buffer), differ: exports.differ as Differ };
}

let workbench: Workbench | null = null;
/** Whose snapshot is there. */
let user: Comparison | null = null;
/** Whose blocks have their places there. */
let tenant: Comparison | null = null;

/** Words of a typed array. */
export interface Words {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
}

/** What a snapshot has of the blocks: where each begins in `words`, and how many it has. */
export interface SavedWords {
	readonly words: Uint32Array;
	readonly starts: Int32Array;
	readonly used: Int32Array;
}

interface Views {
	readonly from: Uint32Array;
	readonly to: Uint32Array;
}

/** A block's place in the memory, and its views by number of words, made when they are first asked for. */
interface Place extends Words {
	readonly at: number;
	readonly views: Map<number, Views>;
}

/** So few words are compared one by one. */
const FEW_WORDS = 24;

/** Compares the blocks of one machine. */
export class Comparison {
	private readonly places: Place[] = [];
	/** The many words of blocks that are compared as a whole come first in the memory, and end here. */
	private readonly wholeEnd: number;
	private readonly many: readonly Place[];
	/** Number among a snapshot's words of each word in the memory before `wholeEnd`. */
	private readonly numbers: Int32Array;
	/** Blocks of few words, with the number of the first among a snapshot's words. */
	private readonly few: readonly (Words & { readonly before: number })[];
	/** Words of the blocks in the memory: behind those of the snapshot come the machine's. */
	private readonly span: number;
	private saved: SavedWords | null = null;
	/** Whose memory the views are of. */
	private bench: Workbench | null = null;

	/** @param whole so many of them, the first ones, are always saved as a whole, and compared by `whole` */
	constructor(blocks: readonly Words[], whole = 0) {
		let at = 0;
		for (const { words, first, count } of blocks) {
			this.places.push({ words, first, count, at, views: new Map() });
			if (count > FEW_WORDS) at += Math.ceil(count / VECTOR_WORDS) * VECTOR_WORDS;
		}
		this.span = at;
		this.wholeEnd = this.places[whole]?.at ?? at;
		this.numbers = new Int32Array(this.wholeEnd);
		const few: (Words & { readonly before: number })[] = [];
		let before = 0;
		for (const place of this.places.slice(0, whole)) {
			if (place.count <= FEW_WORDS)
				few.push({ words: place.words, first: place.first, count: place.count, before });
			else for (let i = 0; i < place.count; i++) this.numbers[place.at + i] = before + i;
			before += place.count;
		}
		this.few = few;
		this.many = this.places.slice(0, whole).filter(({ count }) => count > FEW_WORDS);
	}

	/** Compares with this snapshot from now on: also when it is the same one with another content. */
	use(saved: SavedWords): void {
		this.saved = saved;
		if (user === this) user = null;
	}

	/** To be called before blocks are compared. */
	begin(): void {
		if (user === this) return;
		if (workbench === null || workbench.words.length < 2 * this.span)
			workbench = makeWorkbench(2 * this.span);
		if (this.bench !== workbench) for (const { views } of this.places) views.clear();
		this.bench = workbench;
		// What another one has left between the blocks would be taken for words of theirs.
		if (tenant !== this) workbench.words.fill(0, 0, 2 * this.span);
		tenant = this;
		user = this;
		const { words, starts, used } = this.saved!;
		for (const [number, { count, at }] of this.places.entries()) {
			if (count <= FEW_WORDS) continue;
			const start = starts[number]!;
			workbench.words.set(words.subarray(start, start + used[number]!), at);
		}
	}

	/**
	 * Finds words of the blocks that are compared as a whole.
	 * @param numbers takes their numbers among the snapshot's words @param now takes what they are
	 * @returns how many there are
	 */
	whole(numbers: Int32Array, now: Uint32Array): number {
		let listed = this.fewWords(numbers, now);
		for (const place of this.many) this.fetch(place, place.count);
		const { words, differ } = workbench!;
		const { span, wholeEnd } = this;
		for (let at = 0; ; at += VECTOR_WORDS) {
			at = differ(4 * at, 4 * wholeEnd, 4 * span) >> 2;
			if (at >= wholeEnd) return listed;
			for (let i = at; i < at + VECTOR_WORDS; i++) {
				if (words[i] === words[span + i]) continue;
				numbers[listed] = this.numbers[i]!;
				now[listed++] = words[span + i]!;
			}
		}
	}

	private fewWords(numbers: Int32Array, now: Uint32Array): number {
		const saved = this.saved!.words;
		let listed = 0;
		for (const { words, first, count, before } of this.few)
			for (let i = 0; i < count; i++) {
				const word = words[first + i]!;
				if (word === saved[before + i]) continue;
				numbers[listed] = before + i;
				now[listed++] = word;
			}
		return listed;
	}

	/**
	 * Finds words of another block that are unlike the snapshot's.
	 * @param used words that are looked at, as many as that has
	 * @param found takes their numbers in the block, in order
	 * @returns how many there are
	 */
	differences(number: number, used: number, found: Int32Array): number {
		const { words, first, count, at } = this.places[number]!;
		const saved = this.saved!.words;
		const start = this.saved!.starts[number]!;
		let listed = 0;
		let i = 0;
		if (count > FEW_WORDS) {
			this.fetch(this.places[number]!, used);
			const { differ } = workbench!;
			const end = at + used - (used % VECTOR_WORDS);
			for (;;) {
				const vector = differ(4 * (at + i), 4 * end, 4 * this.span) >> 2;
				if (vector >= end) break;
				i = vector - at;
				for (const last = i + VECTOR_WORDS; i < last; i++)
					if (words[first + i] !== saved[start + i]) found[listed++] = i;
			}
			i = end - at;
		}
		for (; i < used; i++) if (words[first + i] !== saved[start + i]) found[listed++] = i;
		return listed;
	}

	/** Copies a block's words to their place in the memory. */
	private fetch({ words, first, at, views }: Place, used: number): void {
		let pair = views.get(used);
		if (pair === undefined) {
			const to = this.span + at;
			pair = { from: words.subarray(first, first + used), to: workbench!.words.subarray(to, to + used) };
			views.set(used, pair);
		}
		pair.to.set(pair.from);
	}
}
