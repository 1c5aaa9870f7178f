/**
 * Saves a machine between two nodes, brings it back, and hashes it. What belongs to a machine is found by walking its
 * objects once; for what was found, straight code is made that reads and writes every field, so that a save costs about
 * a microsecond. A field that somebody adds tomorrow is saved and hashed without a word here; what shall be left out is
 * said in rules.ts.
 *
 *     const states = new Snapshotter([machine, runner], rules);
 *     const here = states.save();
 *     …                                  // run on
 *     states.restore(here);
 *     states.hash();                     // 53 bits over all that influences the future
 *
 * Fields may hold numbers, booleans, strings, bigints, null, functions, typed arrays, arrays, maps, sets, and objects of
 * these. An object that was not there when the code was made (a closure's holder, a queued work item) is saved by name
 * of its fields, which is slower. A function counts by its source text: what it captured must follow from the rest.
 */

import { Differences } from "./differences.ts";

/** What is done with a field: `saved` and hashed, `unhashed`: saved alone, `left`: neither. */
export type FieldRule = "saved" | "unhashed" | "left";

export interface SnapshotRules {
	/** Objects that never change: not walked. */
	readonly opaque: ReadonlySet<object>;
	/** Memory whose views are no part of any object. */
	readonly foreign: ReadonlySet<ArrayBufferLike>;
	/** @param owner the object @param field its field's name */
	rule(owner: object, field: string): FieldRule;
	/** Live words of a typed array, from its start; absent: all. */
	liveWords(owner: object, field: string): (() => number) | null;
	/** Ranges of foreign memory that belong to the machine. */
	readonly ranges: readonly MemoryRange[];
}

/** Words of a typed array. */
export interface MemoryRange {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
	/** Live words from `first`, when that changes. */
	readonly live?: () => number;
	/** Words, counted from `first`, that are not hashed. */
	readonly unhashed?: (word: number) => boolean;
}

/** A saved machine. */
export interface Snapshot {
	readonly values: unknown[];
	/** Words of the blocks, one behind the other; of those with a live part, that part. */
	words: Uint32Array;
	/** Words of each block with a live part. */
	readonly lives: number[];
	/** Objects that the code does not know, each with its fields. */
	loose: readonly LooseObject[];
}

interface LooseObject {
	readonly object: object;
	readonly fields: readonly (readonly [string, unknown])[] | readonly unknown[];
}

const NO_LOOSE: readonly LooseObject[] = [];

/** An object that cannot be saved: its class and where it was found. */
export class SnapshotError extends Error {
	override readonly name = "SnapshotError";
}

interface Block {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
	readonly live: (() => number) | null;
	readonly hashed: boolean;
	readonly unhashed: ((word: number) => boolean) | null;
}

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);
const big = new BigUint64Array(1);
const bigWords = new Uint32Array(big.buffer);

/** Two 32-bit lanes; each value is mixed into both. */
const lanes = { a: 0, b: 0 };

function mix(value: number): void {
	let { a, b } = lanes;
	a = Math.imul(a ^ value, 0x9e37_79b1);
	a ^= a >>> 15;
	b = Math.imul(b + value, 0x85eb_ca77) ^ (b >>> 13);
	lanes.a = a;
	lanes.b = (b << 7) | (b >>> 25);
}

const texts = new Map<string, number>();
const functionTexts = new WeakMap<object, number>();

function textId(text: string): number {
	let id = texts.get(text);
	if (id === undefined) {
		id = texts.size + 1;
		texts.set(text, id);
	}
	return id;
}

function mixNumber(value: number): void {
	if ((value | 0) === value) {
		mix(value);
		return;
	}
	float[0] = value;
	mix(floatWords[0]!);
	mix(floatWords[1]! ^ 0x5bd1_e995);
}

type View =
	| Uint8Array
	| Uint16Array
	| Uint32Array
	| Int32Array
	| Float64Array
	| BigUint64Array
	| BigInt64Array;

function isContainer(value: object): value is unknown[] | Map<unknown, unknown> | Set<unknown> {
	return Array.isArray(value) || value instanceof Map || value instanceof Set;
}

/** A container's content as a list: a map's keys and values take turns. */
function contentOf(container: unknown[] | Map<unknown, unknown> | Set<unknown>): unknown[] {
	if (Array.isArray(container)) return container.slice();
	if (container instanceof Set) return [...container];
	const list: unknown[] = [];
	for (const [key, value] of container) list.push(key, value);
	return list;
}

function fillContainer(
	container: unknown[] | Map<unknown, unknown> | Set<unknown>,
	list: readonly unknown[],
): void {
	if (Array.isArray(container)) {
		container.length = list.length;
		for (let at = 0; at < list.length; at++) container[at] = list[at];
		return;
	}
	container.clear();
	if (container instanceof Set) for (const value of list) container.add(value);
	else for (let at = 0; at < list.length; at += 2) container.set(list[at], list[at + 1]);
}

/** Whether an array has the elements that it had at first. */
function isSame(container: unknown, first: readonly unknown[]): boolean {
	if (!Array.isArray(container)) return (container as Map<unknown, unknown>).size === 0 && first.length === 0;
	if (container.length !== first.length) return false;
	for (let at = 0; at < first.length; at++) if (container[at] !== first[at]) return false;
	return true;
}

const INITIAL_WORDS = 4096;

/** What the code is made of: parts that are called one after the other. */
interface FieldCode {
	readonly save: readonly ((values: unknown[]) => void)[];
	readonly restore: readonly ((values: readonly unknown[]) => void)[];
	readonly hash: readonly (() => void)[];
	readonly first: (values: readonly unknown[]) => void;
}

type Maker = (different: (at: number, value: unknown) => void, ...owners: readonly object[]) => FieldCode;

/** By parameters and text: machines that are built alike share what V8 learned about the code and optimized. */
const makers = new Map<string, Maker>();

function makerOf(names: readonly string[], source: string): Maker {
	const key = `${names.length} ${source}`;
	let maker = makers.get(key);
	if (maker === undefined) {
		maker = new Function("different", ...names, source) as Maker;
		makers.set(key, maker);
	}
	return maker;
}

/** Copies words: short runs by hand, since a view is dearer than they are. */
function copy(from: Uint32Array, fromAt: number, to: Uint32Array, toAt: number, count: number): void {
	if (count > 100) to.set(from.subarray(fromAt, fromAt + count), toAt);
	else for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!;
}

export class Snapshotter {
	private readonly rules: SnapshotRules;
	/** Objects that the code knows, with their numbers. */
	private readonly known = new Map<object, number>();
	private readonly owners: object[] = [];
	private readonly fields: { readonly owner: number; readonly name: string; readonly hashed: boolean }[] = [];
	private readonly containers: { readonly value: ReturnType<typeof Object>; readonly hashed: boolean }[] = [];
	private readonly blocks: Block[] = [];
	private readonly buffers = new Set<ArrayBufferLike>();
	private readonly free: Snapshot[] = [];
	private readonly wordCount: number;
	/** What the words of all blocks were at first. */
	private readonly differences: Differences;
	private readonly livesBefore: number[] = [];
	private readonly saveFields: (values: unknown[]) => void;
	private readonly restoreFields: (values: readonly unknown[]) => void;
	private readonly hashFields: () => void;
	private readonly firstValues: readonly unknown[];

	/**
	 * @param roots objects whose fields, and all that is reached from them, are the machine
	 * @throws SnapshotError for a field that cannot be saved
	 */
	constructor(roots: readonly object[], rules: SnapshotRules) {
		this.rules = rules;
		for (const root of roots) this.walk(root, "root", true);
		for (const { words, first, count, live, unhashed } of rules.ranges) {
			this.blocks.push({ words, first, count, live: live ?? null, hashed: true, unhashed: unhashed ?? null });
		}
		this.wordCount = this.blocks.reduce((sum, { count }) => sum + count, 0);
		const made = this.compile();
		this.saveFields = made.save;
		this.restoreFields = made.restore;
		this.hashFields = made.hash;
		this.differences = new Differences(this.blocks);
		this.firstValues = this.save().values.slice();
		this.refer(made.first);
	}

	/** Fields, containers and words that are saved: for reports. */
	get size(): { readonly objects: number; readonly fields: number; readonly words: number } {
		return { objects: this.owners.length, fields: this.fields.length, words: this.wordCount };
	}

	// ---- finding what there is ------------------------------------------------------------------------

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
		for (const name of Object.keys(value)) this.field(value, owner, name, where, hashed);
	}

	private field(object: object, owner: number, name: string, where: string, parentHashed: boolean): void {
		const rule = this.rules.rule(object, name);
		if (rule === "left") return;
		const hashed = parentHashed && rule === "saved";
		const value = (object as Record<string, unknown>)[name];
		if (ArrayBuffer.isView(value)) {
			this.block(object, name, value as View, hashed);
			return;
		}
		this.fields.push({ owner, name, hashed });
		this.visit(value, `${where}.${name}`, hashed);
	}

	private visit(value: unknown, where: string, hashed: boolean): void {
		if (typeof value === "object" && value !== null) this.walk(value, where, hashed);
	}

	private block(object: object, name: string, view: View, hashed: boolean): void {
		const { buffer } = view;
		if (this.rules.foreign.has(buffer) || this.buffers.has(buffer)) return;
		this.buffers.add(buffer);
		if (buffer.byteLength % 4 !== 0)
			throw new SnapshotError(`${name}: ${buffer.byteLength} bytes, no whole words`);
		const words = new Uint32Array(buffer, 0, buffer.byteLength >> 2);
		const live = this.rules.liveWords(object, name);
		this.blocks.push({ words, first: 0, count: words.length, live, hashed, unhashed: null });
	}

	// ---- code ------------------------------------------------------------------------------------------

	private compile() {
		const names = this.owners.map((_, at) => `o${at}`);
		const read = this.fields.map(({ owner, name }) =>
			`o${owner}[${JSON.stringify(name)}]`.replace(/\["([A-Za-z_$][\w$]*)"\]/, ".$1"),
		);
		const save = read.map((field, at) => `v[${at}] = ${field};`);
		const restore = read.map((field, at) => `if (${field} !== v[${at}]) ${field} = v[${at}];`);
		const hash: string[] = [];
		for (const [at, field] of read.entries()) {
			// What stands as it stood at first needs no mixing: the number of the field goes in with each value.
			if (this.fields[at]!.hashed) hash.push(`x = ${field}; if (x !== first[${at}]) different(${at}, x);`);
		}
		const chunk = (lines: readonly string[], parameter: string) => {
			// Functions of a few hundred lines are as far as V8 likes to optimize at once.
			const parts: string[] = [];
			for (let at = 0; at < lines.length; at += 200) {
				parts.push(`(${parameter}) => { let x; ${lines.slice(at, at + 200).join("\n")} }`);
			}
			return `[${parts.join(",\n")}]`;
		};
		const source = `"use strict"; let first = [];
return { save: ${chunk(save, "v")}, restore: ${chunk(restore, "v")}, hash: ${chunk(hash, "")},
first: (values) => { first = values; } };`;
		const make = makerOf(names, source);
		const code = make((at, value) => this.different(at, value), ...this.owners);
		return {
			save: (values: unknown[]) => {
				for (const part of code.save) part(values);
			},
			restore: (values: readonly unknown[]) => {
				for (const part of code.restore) part(values);
			},
			hash: () => {
				for (const part of code.hash) part();
			},
			first: code.first,
		};
	}

	private refer(first: (values: readonly unknown[]) => void): void {
		first(this.firstValues);
	}

	// ---- save and restore --------------------------------------------------------------------------------

	/** Saves the machine. Give the snapshot back with `release` when nobody needs it any more. */
	save(): Snapshot {
		const snapshot = this.free.pop() ?? {
			values: new Array<unknown>(this.fields.length + this.containers.length).fill(null),
			words: new Uint32Array(INITIAL_WORDS),
			lives: [],
			loose: NO_LOOSE,
		};
		const { values, lives } = snapshot;
		this.saveFields(values);
		let at = this.fields.length;
		for (const { value } of this.containers) values[at++] = contentOf(value as unknown[]);
		lives.length = 0;
		let total = 0;
		for (const { live, count } of this.blocks) {
			const used = live === null ? count : Math.min(live(), count);
			if (live !== null) lives.push(used);
			total += used;
		}
		if (snapshot.words.length < total) snapshot.words = new Uint32Array(total + (total >> 2));
		const { words } = snapshot;
		let word = 0;
		let liveAt = 0;
		for (const { words: from, first, count, live } of this.blocks) {
			const used = live === null ? count : lives[liveAt++]!;
			copy(from, first, words, word, used);
			word += used;
		}
		snapshot.loose = this.saveLoose(values);
		return snapshot;
	}

	/** Hands a snapshot's memory to later ones. */
	release(snapshot: Snapshot): void {
		snapshot.values.fill(null);
		snapshot.loose = NO_LOOSE;
		this.free.push(snapshot);
	}

	/** Makes the machine what it was at a save. */
	restore(snapshot: Snapshot): void {
		const { values, words, lives, loose } = snapshot;
		const { livesBefore } = this;
		livesBefore.length = 0;
		for (const { live, count } of this.blocks) if (live !== null) livesBefore.push(Math.min(live(), count));
		this.restoreFields(values);
		let at = this.fields.length;
		for (const { value } of this.containers) {
			const list = values[at++] as unknown[];
			const container = value as unknown[];
			// Most containers are empty, then and now.
			if (list.length > 0 || !Array.isArray(container) || container.length > 0)
				fillContainer(container, list);
		}
		for (const { object, fields } of loose) {
			if (isContainer(object)) fillContainer(object, fields);
			else
				for (const [name, value] of fields as readonly (readonly [string, unknown])[])
					(object as Record<string, unknown>)[name] = value;
		}
		let word = 0;
		let liveAt = 0;
		for (const { words: to, first, count, live } of this.blocks) {
			const used = live === null ? count : lives[liveAt]!;
			copy(words, word, to, first, used);
			// What was live a moment ago and was not then had its initial value, 0.
			if (live !== null && livesBefore[liveAt++]! > used)
				to.fill(0, first + used, first + livesBefore[liveAt - 1]!);
			word += used;
		}
	}

	private saveLoose(values: readonly unknown[]): readonly LooseObject[] {
		let found: LooseObject[] | null = null;
		const seen = new Set<object>();
		const collect = (value: unknown): void => {
			if (typeof value !== "object" || value === null) return;
			if (this.known.has(value) || this.rules.opaque.has(value) || seen.has(value)) return;
			seen.add(value);
			if (ArrayBuffer.isView(value)) {
				if (this.rules.foreign.has(value.buffer)) return;
				throw new SnapshotError(`a typed array was made while the machine ran; it cannot be saved`);
			}
			found ??= [];
			if (isContainer(value)) {
				const list = contentOf(value);
				found.push({ object: value, fields: list });
				for (const element of list) collect(element);
				return;
			}
			const fields = Object.entries(value);
			found.push({ object: value, fields });
			for (const [, field] of fields) collect(field);
		};
		const { firstValues } = this;
		for (let at = 0; at < this.fields.length; at++) {
			const value = values[at];
			if (typeof value === "object" && value !== null && value !== firstValues?.[at]) collect(value);
		}
		for (let at = this.fields.length; at < values.length; at++) {
			const list = values[at] as readonly unknown[];
			for (let i = 0; i < list.length; i++) {
				const value = list[i];
				if (typeof value === "object" && value !== null) collect(value);
			}
		}
		return found ?? NO_LOOSE;
	}

	// ---- hash --------------------------------------------------------------------------------------------

	/**
	 * Hashes the machine.
	 * @param seed what else belongs to the state
	 * @returns 53 bits as a number: two machines of a million that are unlike share one with odds of 1 to 18,000
	 */
	hash(seed: number): number {
		lanes.a = 0x811c_9dc5;
		lanes.b = 0x1234_5678;
		mixNumber(seed);
		this.hashFields();
		let at = this.fields.length;
		for (const { value, hashed } of this.containers) {
			const first = this.firstValues[at++] as readonly unknown[];
			if (!hashed || isSame(value as unknown[], first)) continue;
			mix(at);
			this.mixContent(value as unknown[], 0);
		}
		this.hashBlocks();
		return (lanes.a >>> 0) * 0x20_0000 + (lanes.b >>> 11);
	}

	private hashBlocks(): void {
		let { a, b } = lanes;
		let word = 0;
		const { differences, blocks } = this;
		const found = differences.claim();
		for (let number = 0; number < blocks.length; number++) {
			const { words, first, count, live, hashed, unhashed } = blocks[number]!;
			if (hashed) {
				const used = live === null ? count : Math.min(live(), count);
				const different = differences.find(number, used);
				for (let entry = 0; entry < different; entry++) {
					const i = found[entry]!;
					if (unhashed?.(i)) continue;
					const value = words[first + i]!;
					const at = Math.imul(word + i + 1, 0xc2b2_ae3d);
					a = Math.imul(a ^ value ^ at, 0x9e37_79b1);
					a ^= a >>> 15;
					b = Math.imul(b + value + at, 0x85eb_ca77) ^ (b >>> 13);
					b = (b << 7) | (b >>> 25);
				}
				// Where a live part ends counts too: what lies behind it was left out here and not there.
				if (live !== null) {
					a = Math.imul(a ^ used, 0x27d4_eb2f);
					b = Math.imul(b + used, 0x1656_67b1);
				}
			}
			word += count;
		}
		lanes.a = a;
		lanes.b = b;
	}

	private different(at: number, value: unknown): void {
		mix(Math.imul(at + 1, 0x27d4_eb2f));
		this.mixValue(value, 0);
	}

	private mixValue(value: unknown, depth: number): void {
		switch (typeof value) {
			case "number":
				mixNumber(value);
				return;
			case "boolean":
				mix(value ? 0x51 : 0x52);
				return;
			case "string":
				mix(textId(value));
				return;
			case "bigint":
				big[0] = value;
				mix(bigWords[0]!);
				mix(bigWords[1]!);
				return;
			case "undefined":
				mix(0x53);
				return;
			case "function": {
				let id = functionTexts.get(value);
				if (id === undefined) {
					id = textId(value.toString());
					functionTexts.set(value, id);
				}
				mix(id);
				return;
			}
			case "object":
				this.mixObject(value, depth);
				return;
			default:
				throw new SnapshotError(`a ${typeof value} cannot be hashed`);
		}
	}

	private mixObject(value: object | null, depth: number): void {
		if (value === null) {
			mix(0x54);
			return;
		}
		const number = this.known.get(value);
		if (number !== undefined) {
			mix(number ^ 0x4000_0000);
			return;
		}
		if (this.rules.opaque.has(value) || ArrayBuffer.isView(value)) return;
		if (depth > 8)
			throw new SnapshotError("objects that were made while the machine ran lie too deep in each other");
		if (isContainer(value)) {
			this.mixContent(value, depth + 1);
			return;
		}
		for (const [name, field] of Object.entries(value)) {
			if (this.rules.rule(value, name) !== "saved") continue;
			mix(textId(name));
			this.mixValue(field, depth + 1);
		}
	}

	private mixContent(container: unknown[] | Map<unknown, unknown> | Set<unknown>, depth: number): void {
		if (Array.isArray(container)) {
			mix(container.length);
			for (let at = 0; at < container.length; at++) this.mixValue(container[at], depth);
			return;
		}
		mix(container.size);
		for (const element of contentOf(container)) this.mixValue(element, depth);
	}
}
