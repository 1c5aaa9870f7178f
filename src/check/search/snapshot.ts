/**
 * Saves a machine between two nodes, brings it back, and hashes it. What belongs to a machine is found by walking its
 * objects once; for what was found, straight code is made that reads and writes every field (field-code.ts). A field that
 * somebody adds tomorrow is saved and hashed without a word here; what shall be left out is said in rules.ts.
 *
 *     const states = new Snapshotter([machine, runner], rules);
 *     const here = states.save();
 *     …                                  // run on
 *     states.moved();
 *     states.hash(0);                    // states.high, states.low: 64 bits over all that influences the future
 *     states.restore(here);
 *
 * A hash compares the machine with the snapshot that it came from, whose own hash is known: what differs is taken out
 * of that and put in again. To go back to that snapshot is to undo what was found to differ.
 *
 * Fields may hold numbers, booleans, strings, bigints, null, functions, typed arrays, arrays, maps, sets, and objects of
 * these. An object that was not there when the code was made (a closure's holder, a queued work item) is saved by name
 * of its fields, which is slower. A function counts by its source text: what it captured must follow from the rest.
 */
import { Comparison } from "./comparison.ts";
import { type Field, type FieldScan, fieldScan } from "./field-code.ts";
import { type Block, Inventory } from "./inventory.ts";
import { contentOf, empty, fillContainer, holds } from "./containers.ts";
import { type LooseObject, LooseObjects, NONE, restoreLoose } from "./loose.ts";
import { Mixer, copySum, highOf, lowOf } from "./mixing.ts";
import type { SnapshotRules } from "./snapshot-rules.ts";

/** A saved machine. */
export interface Snapshot {
	/** Of the fields, and behind them the contents of the containers. */
	readonly values: unknown[];
	/** Words of the blocks, one behind the other: those that are whole, then the live parts of the others. */
	words: Uint32Array;
	/** Of each block: where its words begin, how many there are, the first one that is hashed; and if it is not whole, its hash. */
	readonly starts: Int32Array;
	readonly used: Int32Array;
	readonly from: Int32Array;
	readonly blockSums: Int32Array;
	/** Hash of each container. */
	readonly containerSums: Int32Array;
	/** Hash of all but the objects that the code does not know. */
	high: number;
	low: number;
	/** Objects that the code does not know, each with its fields, and the numbers of the values that lead to them. */
	loose: readonly LooseObject[];
	looseValues: readonly number[];
	/** The next one of those that nobody uses. */
	next: Snapshot | null;
}

/** No field's value. */
const NOTHING = Symbol("nothing");

const NO_WORDS = new Uint32Array(0);
/** Views are dearer than to copy so many words by hand. */
const FEW_WORDS = 100;

/** Copies words. */
function copy(from: Uint32Array, fromAt: number, to: Uint32Array, toAt: number, count: number): void {
	if (count > FEW_WORDS) to.set(from.subarray(fromAt, fromAt + count), toAt);
	else for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!;
}

export class Snapshotter {
	/** The last hash. */
	high = 0;
	low = 0;
	private readonly loose: LooseObjects;
	private readonly owners: readonly object[];
	private readonly fields: readonly Field[];
	private readonly containers: Inventory["containers"];
	/** Those that are always saved as a whole come first. */
	private readonly blocks: readonly Block[];
	private readonly wholeBlocks: number;
	private readonly wholeWords: number;
	/** Of each word of these, its block's number, and whether it is hashed. */
	private readonly blockOfWord: Uint16Array;
	private readonly isHashedWord: Uint8Array;
	/** Snapshots that nobody uses. */
	private free: Snapshot | null = null;
	private readonly wordCount: number;
	private readonly scan: FieldScan;
	/** What the machine was at first: a part that is as it was then adds nothing to a hash. */
	private readonly firstValues: unknown[];
	private readonly firstWords: Uint32Array;
	private readonly isHashedField: Uint8Array;
	/** Of each field two values, and what they add to a hash. */
	private readonly remembered: unknown[];
	private readonly rememberedSums: Int32Array;
	private turn = 0;
	private readonly comparison: Comparison;
	private readonly sum: Mixer;
	private readonly one: Mixer;
	/** Never given back. */
	private readonly origin: Snapshot;
	/** What the machine is compared with. */
	private base: Snapshot;
	/** The machine is `base`, but for what is noted below. */
	private settled = false;
	private readonly changed: Int32Array;
	private changedCount = 0;
	private readonly changedNow: unknown[] = [];
	private readonly changedContainers: number[] = [];
	private readonly changedBlocks: number[] = [];
	/** Words that differ of whole blocks, by number, and what they are. */
	private readonly changedWords: Int32Array;
	private readonly changedWordsNow: Uint32Array;
	private changedWordCount = 0;
	private readonly usedNow: Int32Array;
	/** Hashes of the containers and blocks that differ. */
	private readonly containerSumsNow: Int32Array;
	private readonly blockSumsNow: Int32Array;
	/** Hash of all but the objects that the code does not know, and the debts. */
	private highNow = 0;
	private lowNow = 0;
	/** Words of a block that differ. */
	private readonly found: Int32Array;

	/**
	 * @param roots objects whose fields, and all that is reached from them, are the machine
	 * @throws SnapshotError for a field that cannot be saved
	 */
	constructor(roots: readonly object[], rules: SnapshotRules) {
		const inventory = new Inventory(roots, rules);
		const { known } = inventory;
		this.loose = new LooseObjects(known, rules);
		this.owners = inventory.owners;
		this.fields = inventory.fields;
		this.containers = inventory.containers;
		this.blocks = inventory.blocks;
		this.wholeBlocks = inventory.wholeBlocks;
		this.wholeWords = inventory.wholeWords;
		this.wordCount = inventory.wordCount;
		this.blockOfWord = new Uint16Array(this.wholeWords);
		this.isHashedWord = new Uint8Array(this.wholeWords);
		for (const [number, block] of this.blocks.slice(0, this.wholeBlocks).entries()) {
			const { before, count, hashed, unhashed } = block;
			this.blockOfWord.fill(number, before, before + count);
			for (let i = 0; i < count; i++)
				this.isHashedWord[before + i] = hashed && unhashed?.has(i) !== true ? 1 : 0;
		}
		this.changedWords = new Int32Array(this.wholeWords);
		this.changedWordsNow = new Uint32Array(this.wholeWords);
		this.scan = fieldScan(this.owners, this.fields);
		this.firstValues = this.fields.map(
			({ owner, name }) => (this.owners[owner] as Record<string, unknown>)[name],
		);
		for (const { value } of this.containers) this.firstValues.push(contentOf(value));
		this.isHashedField = Uint8Array.from(this.fields, ({ hashed }) => (hashed ? 1 : 0));
		this.remembered = new Array<unknown>(2 * this.fields.length).fill(NOTHING);
		this.rememberedSums = new Int32Array(4 * this.fields.length);
		this.firstWords = new Uint32Array(this.wordCount);
		for (const { words, first, count, before } of this.blocks)
			copy(words, first, this.firstWords, before, count);
		this.comparison = new Comparison(this.blocks, this.wholeBlocks);
		this.sum = new Mixer(known, rules);
		this.one = new Mixer(known, rules);
		this.changed = new Int32Array(this.fields.length);
		this.usedNow = new Int32Array(this.blocks.length);
		this.found = new Int32Array(Math.max(0, ...this.blocks.map(({ count }) => count)));
		this.containerSumsNow = new Int32Array(2 * this.containers.length);
		this.blockSumsNow = new Int32Array(2 * this.blocks.length);
		this.origin = this.first();
		this.base = this.origin;
		this.comparison.use(this.origin);
		this.settle(this.origin);
	}

	/** Fields, containers and words that are saved: for reports. */
	get size(): { readonly objects: number; readonly fields: number; readonly words: number } {
		return { objects: this.owners.length, fields: this.fields.length, words: this.wordCount };
	}

	// ---- save and restore --------------------------------------------------------------------------------

	private emptySnapshot(): Snapshot {
		const blocks = this.blocks.length;
		return {
			// One without holes: the code for fields need not ask for them.
			values: Array.from({ length: this.fields.length + this.containers.length }, () => null),
			words: NO_WORDS,
			starts: new Int32Array(blocks),
			used: new Int32Array(blocks),
			from: new Int32Array(blocks),
			blockSums: new Int32Array(2 * blocks),
			containerSums: new Int32Array(2 * this.containers.length),
			high: 0,
			low: 0,
			loose: NONE,
			looseValues: NONE,
			next: null,
		};
	}

	/** The machine as it is at first, when the code knows all objects and no part adds to the hash. */
	private first(): Snapshot {
		const snapshot = this.emptySnapshot();
		const { values, blockSums, used, from } = snapshot;
		for (const [at, value] of this.firstValues.entries()) values[at] = value;
		this.saveWords(snapshot, this.firstWords);
		for (let number = this.wholeBlocks; number < this.blocks.length; number++) {
			this.sumBlock(this.blocks[number]!, used[number]!, from[number]!);
			this.putSum(blockSums, number);
			snapshot.high = (snapshot.high + this.one.high) | 0;
			snapshot.low = (snapshot.low + this.one.low) | 0;
		}
		return snapshot;
	}

	/** Saves the machine. Give the snapshot back with `release` when nobody needs it any more. */
	save(): Snapshot {
		if (!this.settled) this.compare();
		const { base, fields, containers, changed, changedNow, changedContainers, changedBlocks } = this;
		const snapshot = this.free ?? this.emptySnapshot();
		this.free = snapshot.next;
		const { values, containerSums, blockSums } = snapshot;
		for (let at = 0; at < base.values.length; at++) values[at] = base.values[at];
		for (let at = 0; at < this.changedCount; at++) values[changed[at]!] = changedNow[at];
		containerSums.set(base.containerSums);
		for (let at = 0; at < changedContainers.length; at++) {
			const number = changedContainers[at]!;
			values[fields.length + number] = contentOf(containers[number]!.value);
			copySum(this.containerSumsNow, containerSums, number);
		}
		this.saveWords(snapshot, base.words);
		for (let at = 0; at < this.changedWordCount; at++)
			snapshot.words[this.changedWords[at]!] = this.changedWordsNow[at]!;
		blockSums.set(base.blockSums);
		for (let at = 0; at < changedBlocks.length; at++)
			copySum(this.blockSumsNow, blockSums, changedBlocks[at]!);
		snapshot.high = this.highNow;
		snapshot.low = this.lowNow;
		this.saveLoose(snapshot);
		this.comparison.use(snapshot);
		this.settle(snapshot);
		return snapshot;
	}

	/** @param whole has the words of the whole blocks: the others' are the machine's */
	private saveWords(snapshot: Snapshot, whole: Uint32Array): void {
		const { blocks, wholeBlocks, wholeWords } = this;
		const { starts, used, from } = snapshot;
		let total = wholeWords;
		for (let number = 0; number < blocks.length; number++) {
			const { live, count, hashedFrom, before } = blocks[number]!;
			starts[number] = number < wholeBlocks ? before : total;
			used[number] = live === null ? count : Math.min(live(), count);
			from[number] = hashedFrom?.() ?? 0;
			if (number >= wholeBlocks) total += used[number]!;
		}
		if (snapshot.words.length < total) snapshot.words = new Uint32Array(total + (total >> 2));
		copy(whole, 0, snapshot.words, 0, wholeWords);
		for (let number = wholeBlocks; number < blocks.length; number++) {
			const { words, first } = blocks[number]!;
			copy(words, first, snapshot.words, starts[number]!, used[number]!);
		}
	}

	/** Hands a snapshot's memory to later ones. */
	release(snapshot: Snapshot): void {
		if (snapshot === this.base) {
			this.base = this.origin;
			this.comparison.use(this.origin);
			this.settled = false;
		}
		snapshot.values.fill(null);
		snapshot.loose = NONE;
		snapshot.next = this.free;
		this.free = snapshot;
	}

	/** The machine has run on, or something was written to it. */
	moved(): void {
		this.settled = false;
	}

	/** Makes the machine what it was at a save. */
	restore(snapshot: Snapshot): void {
		if (this.settled && snapshot === this.base) this.undo(snapshot);
		else this.restoreAll(snapshot);
		if (snapshot.loose !== NONE) restoreLoose(snapshot.loose);
		this.settle(snapshot);
	}

	/** Makes the machine what it was at first, whatever has become of it. */
	restart(): void {
		this.settled = false;
		this.restore(this.origin);
	}

	private settle(snapshot: Snapshot): void {
		if (snapshot !== this.base) this.comparison.use(snapshot);
		this.base = snapshot;
		this.settled = true;
		this.changedCount = 0;
		empty(this.changedContainers);
		empty(this.changedBlocks);
		this.changedWordCount = 0;
		this.highNow = snapshot.high;
		this.lowNow = snapshot.low;
	}

	/** Takes back what was found to differ. */
	private undo(snapshot: Snapshot): void {
		const { changed, fields, owners, containers, changedContainers, changedBlocks } = this;
		for (let at = 0; at < this.changedCount; at++) {
			const { owner, name } = fields[changed[at]!]!;
			(owners[owner] as Record<string, unknown>)[name] = snapshot.values[changed[at]!];
		}
		for (let at = 0; at < changedContainers.length; at++) {
			const number = changedContainers[at]!;
			fillContainer(containers[number]!.value, snapshot.values[fields.length + number] as unknown[]);
		}
		for (let at = 0; at < changedBlocks.length; at++) {
			const number = changedBlocks[at]!;
			this.restoreBlock(number, snapshot, this.usedNow[number]!);
		}
		const { blocks, blockOfWord, changedWords, changedWordCount } = this;
		for (let at = 0; at < changedWordCount; at++) {
			const number = changedWords[at]!;
			const { words, first, before } = blocks[blockOfWord[number]!]!;
			words[first + number - before] = snapshot.words[number]!;
		}
	}

	private restoreAll(snapshot: Snapshot): void {
		const { usedNow, blocks, containers } = this;
		for (let number = 0; number < blocks.length; number++) {
			const { live, count } = blocks[number]!;
			usedNow[number] = live === null ? count : Math.min(live(), count);
		}
		const count = this.scan(snapshot.values, this.changed, this.changedNow);
		for (let at = 0; at < count; at++) {
			const { owner, name } = this.fields[this.changed[at]!]!;
			(this.owners[owner] as Record<string, unknown>)[name] = snapshot.values[this.changed[at]!];
		}
		for (let number = 0; number < containers.length; number++) {
			const { value } = containers[number]!;
			const list = snapshot.values[this.fields.length + number] as unknown[];
			// Most containers are empty, then and now.
			if (list.length > 0 || !Array.isArray(value) || value.length > 0) fillContainer(value, list);
		}
		for (let number = 0; number < blocks.length; number++)
			this.restoreBlock(number, snapshot, usedNow[number]!);
	}

	/** @param usedNow its live words, before anything was restored */
	private restoreBlock(number: number, { words, starts, used }: Snapshot, usedNow: number): void {
		const { words: to, first } = this.blocks[number]!;
		const count = used[number]!;
		copy(words, starts[number]!, to, first, count);
		// What was live a moment ago and was not then had its initial value, 0.
		if (usedNow > count) to.fill(0, first + count, first + usedNow);
	}

	// ---- objects that the code does not know -------------------------------------------------------------

	/** Finds what the code does not know behind fields and containers that lead to it in the snapshot before, or that differ. */
	private saveLoose(snapshot: Snapshot): void {
		const { base, fields, changed } = this;
		const places = new Set(base.looseValues);
		for (let at = 0; at < this.changedCount; at++) places.add(changed[at]!);
		for (const number of this.changedContainers) places.add(fields.length + number);
		const found: LooseObject[] = [];
		const leading: number[] = [];
		const seen = new Set<object>();
		for (const place of places) {
			const value = snapshot.values[place];
			const list = place < fields.length ? [value] : (value as readonly unknown[]);
			for (const one of list) this.loose.collect(one, found, seen);
			if (list.some((one) => this.loose.has(one))) leading.push(place);
		}
		snapshot.loose = found.length === 0 ? NONE : found;
		snapshot.looseValues = leading.length === 0 ? NONE : leading;
	}

	// ---- hash --------------------------------------------------------------------------------------------

	/**
	 * Hashes the machine into `high` and `low`, 64 bits: of a billion machines two that are unlike share one with odds of 1 to 37.
	 * @param seed what else belongs to the state
	 */
	hash(seed: number): void {
		if (!this.settled) this.compare();
		const { base, sum, changed, changedNow, isHashedField } = this;
		sum.set(this.highNow, this.lowNow);
		sum.number(-1, seed);
		for (let at = 0; at < this.changedCount; at++) {
			const number = changed[at]!;
			const now = changedNow[at];
			if (isHashedField[number] !== 0 && this.loose.has(now)) sum.part(number, now, 1);
		}
		if (base.looseValues.length > 0) this.hashLooseFields(base);
		this.high = sum.high;
		this.low = sum.low;
	}

	/** Finds what differs from the snapshot, and what that makes of its hash. */
	private compare(): void {
		const { base, sum, changed, changedNow, isHashedField } = this;
		sum.set(base.high, base.low);
		const count = this.scan(base.values, changed, changedNow);
		this.changedCount = count;
		for (let at = 0; at < count; at++) {
			const number = changed[at]!;
			if (isHashedField[number] === 0) continue;
			this.addField(number, base.values[number], -1);
			this.addField(number, changedNow[at], 1);
		}
		this.hashContainers(base);
		this.comparison.begin();
		this.hashWholeBlocks(base.words);
		this.hashBlocks(base);
		this.highNow = sum.high;
		this.lowNow = sum.low;
		this.settled = true;
	}

	/**
	 * Adds what a field's value is to the sum, or takes it out. Objects that the code does not know are left out: they may
	 * hold something else by now.
	 */
	private addField(number: number, value: unknown, sign: 1 | -1): void {
		const { remembered, rememberedSums, sum, one } = this;
		let at = 2 * number;
		// Most fields have one of the two values that they had last.
		if (remembered[at] !== value && remembered[++at] !== value) {
			if (this.loose.has(value)) return;
			this.turn ^= 1;
			at = 2 * number + this.turn;
			one.set(0, 0);
			if (value !== this.firstValues[number]) one.part(number, value, 1);
			remembered[at] = value;
			rememberedSums[2 * at] = one.high;
			rememberedSums[2 * at + 1] = one.low;
		}
		sum.high = (sum.high + sign * rememberedSums[2 * at]!) | 0;
		sum.low = (sum.low + sign * rememberedSums[2 * at + 1]!) | 0;
	}

	/** Fields that lead to the same object as in the snapshot, which may hold something else by now. */
	private hashLooseFields({ looseValues, values }: Snapshot): void {
		for (let at = 0; at < looseValues.length; at++) {
			const number = looseValues[at]!;
			const field = this.fields[number];
			if (field === undefined || !field.hashed) continue;
			const now = (this.owners[field.owner] as Record<string, unknown>)[field.name];
			if (now === values[number]) this.sum.part(number, now, 1);
		}
	}

	private hashContainers(base: Snapshot): void {
		const { containers, changedContainers, sum, one } = this;
		empty(changedContainers);
		for (let number = 0; number < containers.length; number++) {
			const { value, hashed } = containers[number]!;
			const place = this.fields.length + number;
			if (holds(value, base.values[place] as unknown[]) && !base.looseValues.includes(place)) continue;
			changedContainers.push(number);
			if (!hashed) continue;
			this.sumContainer(number);
			this.putSum(this.containerSumsNow, number);
			sum.high = (sum.high + one.high - base.containerSums[2 * number]!) | 0;
			sum.low = (sum.low + one.low - base.containerSums[2 * number + 1]!) | 0;
		}
	}

	/** @param saved words of the snapshot */
	private hashWholeBlocks(saved: Uint32Array): void {
		const { sum, comparison, changedWords, changedWordsNow, isHashedWord, firstWords } = this;
		let { high, low } = sum;
		const count = comparison.whole(changedWords, changedWordsNow);
		this.changedWordCount = count;
		for (let at = 0; at < count; at++) {
			const number = changedWords[at]!;
			if (isHashedWord[number] === 0) continue;
			const was = saved[number]!;
			const is = changedWordsNow[at]!;
			const initially = firstWords[number]!;
			if (was !== initially) {
				high = (high - highOf(number, was)) | 0;
				low = (low - lowOf(number, was)) | 0;
			}
			if (is !== initially) {
				high = (high + highOf(number, is)) | 0;
				low = (low + lowOf(number, is)) | 0;
			}
		}
		sum.high = high;
		sum.low = low;
	}

	private hashBlocks(base: Snapshot): void {
		const { blocks, changedBlocks, usedNow, sum, one, comparison, found } = this;
		empty(changedBlocks);
		for (let number = this.wholeBlocks; number < blocks.length; number++) {
			const block = blocks[number]!;
			const { live, count, hashed, hashedFrom } = block;
			const used = live === null ? count : Math.min(live(), count);
			usedNow[number] = used;
			if (!hashed) {
				changedBlocks.push(number);
				continue;
			}
			const from = hashedFrom === null ? 0 : hashedFrom();
			if (used === base.used[number] && from === base.from[number]) {
				const count = comparison.differences(number, used, found);
				if (count === 0) continue;
				const { high, low } = sum;
				this.exchange(block, base.words, base.starts[number]!, from, count);
				one.set(
					(base.blockSums[2 * number]! + sum.high - high) | 0,
					(base.blockSums[2 * number + 1]! + sum.low - low) | 0,
				);
				this.putSum(this.blockSumsNow, number);
			} else {
				this.sumBlock(block, used, from);
				this.putSum(this.blockSumsNow, number);
				sum.high = (sum.high + one.high - base.blockSums[2 * number]!) | 0;
				sum.low = (sum.low + one.low - base.blockSums[2 * number + 1]!) | 0;
			}
			changedBlocks.push(number);
		}
	}

	/** Takes words that were found to differ out of the hash, and puts in what they are now. */
	private exchange(block: Block, saved: Uint32Array, start: number, from: number, count: number): void {
		const { words, first, before } = block;
		const { sum, firstWords, found } = this;
		let { high, low } = sum;
		for (let at = 0; at < count; at++) {
			const i = found[at]!;
			if (i < from) continue;
			const was = saved[start + i]!;
			const is = words[first + i]!;
			const initially = firstWords[before + i]!;
			if (was !== initially) {
				high = (high - highOf(before + i, was)) | 0;
				low = (low - lowOf(before + i, was)) | 0;
			}
			if (is !== initially) {
				high = (high + highOf(before + i, is)) | 0;
				low = (low + lowOf(before + i, is)) | 0;
			}
		}
		sum.high = high;
		sum.low = low;
	}

	/** Hashes a container into `one`. */
	private sumContainer(number: number): void {
		const { one, containers } = this;
		const place = this.fields.length + number;
		const { value } = containers[number]!;
		one.set(0, 0);
		if (!holds(value, this.firstValues[place] as unknown[])) one.content(place, value);
	}

	/** Hashes a block's words into `one`. */
	private sumBlock(block: Block, used: number, from: number): void {
		const { words, first, live, before } = block;
		const { firstWords } = this;
		let high = 0;
		let low = 0;
		for (let i = from; i < used; i++) {
			const value = words[first + i]!;
			if (value === firstWords[before + i]) continue;
			high = (high + highOf(before + i, value)) | 0;
			low = (low + lowOf(before + i, value)) | 0;
		}
		this.one.set(high, low);
		// Where a live part ends counts too: what lies behind it was left out here and not there.
		if (live !== null) this.one.number(this.firstValues.length + before, used);
	}

	/** Notes the sum in `one` as that of a container or block. */
	private putSum(sums: Int32Array, number: number): void {
		sums[2 * number] = this.one.high;
		sums[2 * number + 1] = this.one.low;
	}
}
