/**
 * What belongs to a machine: found by walking its objects once. Fields by their object and name, the contents of arrays,
 * maps and sets, and blocks of words, which typed arrays are as well as ranges of memory.
 */
import type { Field } from "./field-code.ts";
import { type Container, contentOf, isContainer } from "./containers.ts";
import { SnapshotError, type SnapshotRules } from "./snapshot-rules.ts";

/** Words that are saved together. */
export interface Block {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
	readonly live: (() => number) | null;
	readonly hashed: boolean;
	readonly unhashed: ReadonlySet<number> | null;
	readonly hashedFrom: (() => number) | null;
	/** Number of its first word among all. */
	readonly before: number;
}

type View =
	| Uint8Array
	| Uint16Array
	| Uint32Array
	| Int32Array
	| Float64Array
	| BigUint64Array
	| BigInt64Array;

/** All that belongs to a machine. */
export class Inventory {
	/** Objects, with their numbers. */
	readonly known = new Map<object, number>();
	readonly owners: object[] = [];
	readonly fields: Field[] = [];
	readonly containers: { readonly value: Container; readonly hashed: boolean }[] = [];
	/** Those that are always saved as a whole come first. */
	readonly blocks: Block[] = [];
	wholeBlocks = 0;
	wholeWords = 0;
	wordCount = 0;
	private readonly rules: SnapshotRules;
	private readonly buffers = new Set<ArrayBufferLike>();

	/** @throws SnapshotError for a field that cannot be saved */
	constructor(roots: readonly object[], rules: SnapshotRules) {
		this.rules = rules;
		for (const root of roots) this.walk(root, "root", true);
		for (const { words, first, count, live, unhashed, hashedFrom } of rules.ranges)
			this.addBlock({
				words,
				first,
				count,
				live: live ?? null,
				hashed: true,
				unhashed: unhashed ?? null,
				hashedFrom: hashedFrom ?? null,
			});
		this.orderBlocks();
	}

	private walk(value: object, where: string, hashed: boolean): void {
		if (this.known.has(value) || this.rules.opaque.has(value)) return;
		if (ArrayBuffer.isView(value)) throw new SnapshotError(`${where}: a view outside of a field`);
		this.known.set(value, this.owners.length);
		const owner = this.owners.push(value) - 1;
		if (isContainer(value)) {
			this.containers.push({ value, hashed });
			for (const element of contentOf(value)) this.visit(element, `${where}[]`, hashed);
			return;
		}
		const own = Object.keys(value).filter((name) => this.field(value, owner, name, hashed));
		for (const name of own)
			this.visit(
				(value as Record<string, unknown>)[name],
				`${where}.${name}`,
				hashed && this.rules.rule(value, name) !== "unhashed",
			);
	}

	/** Fields of one object have numbers in turn. @returns whether what the field holds is to be visited */
	private field(object: object, owner: number, name: string, parentHashed: boolean): boolean {
		const rule = this.rules.rule(object, name);
		if (rule === "left") return false;
		const hashed = parentHashed && rule !== "unhashed";
		const value = (object as Record<string, unknown>)[name];
		if (ArrayBuffer.isView(value)) {
			this.view(object, name, value as View, hashed);
			return false;
		}
		if (rule !== "fixed") this.fields.push({ owner, name, hashed });
		return true;
	}

	private visit(value: unknown, where: string, hashed: boolean): void {
		if (typeof value === "object" && value !== null) this.walk(value, where, hashed);
	}

	private view(object: object, name: string, view: View, hashed: boolean): void {
		const { buffer } = view;
		if (this.rules.foreign.has(buffer) || this.buffers.has(buffer)) return;
		this.buffers.add(buffer);
		if (buffer.byteLength % 4 !== 0)
			throw new SnapshotError(`${name}: ${buffer.byteLength} bytes, no whole words`);
		const words = new Uint32Array(buffer, 0, buffer.byteLength >> 2);
		const live = this.rules.liveWords(object, name);
		this.addBlock({
			words,
			first: 0,
			count: words.length,
			live,
			hashed,
			unhashed: null,
			hashedFrom: null,
		});
	}

	private addBlock(block: Omit<Block, "before">): void {
		if (block.count > 0) this.blocks.push({ ...block, before: 0 });
	}

	/** Puts whole blocks first, and numbers the words. */
	private orderBlocks(): void {
		const isWhole = ({ live, hashedFrom }: Block) => live === null && hashedFrom === null;
		const whole = this.blocks.filter(isWhole);
		const ordered = [...whole, ...this.blocks.filter((block) => !isWhole(block))];
		for (const [number, block] of ordered.entries()) {
			this.blocks[number] = { ...block, before: this.wordCount };
			this.wordCount += block.count;
			if (number < whole.length) this.wholeWords = this.wordCount;
		}
		this.wholeBlocks = whole.length;
	}
}
