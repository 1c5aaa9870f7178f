/** Straight code that reads and writes the fields of a machine's objects, and reads few words: one takes about a nanosecond. */

/** A field of an object. */
export interface Field {
	/** Number of the object. */
	readonly owner: number;
	readonly name: string;
	readonly hashed: boolean;
}

/** What the code does, in parts that are called one after the other. */
interface Parts {
	readonly save: readonly ((values: unknown[]) => void)[];
	readonly restore: readonly ((values: readonly unknown[]) => void)[];
	readonly scan: readonly ((
		values: readonly unknown[],
		numbers: Int32Array,
		now: unknown[],
		count: number,
	) => number)[];
}

/** All fields at once. */
export interface FieldCode {
	save(values: unknown[]): void;
	restore(values: readonly unknown[]): void;
	/**
	 * Finds fields that do not hold what they are compared with.
	 * @param numbers takes their numbers @param now takes what they hold
	 * @returns how many there are
	 */
	scan(values: readonly unknown[], numbers: Int32Array, now: unknown[]): number;
}

type Maker = (...owners: readonly object[]) => unknown;

/** By parameters and text: machines that are built alike share what V8 learned about the code and optimized. */
const makers = new Map<string, Maker>();

/** Makes code for objects, which it calls by their letter and number. */
function make<Code>(letter: string, owners: readonly object[], source: string): Code {
	const key = `${letter} ${owners.length} ${source}`;
	let maker = makers.get(key);
	if (maker === undefined) {
		maker = new Function(...owners.map((_, at) => `${letter}${at}`), source) as Maker;
		makers.set(key, maker);
	}
	return maker(...owners) as Code;
}

/** Functions of a few hundred lines are as far as V8 likes to optimize at once. */
const LINES_MAX = 200;

/** Functions around lines. @param head what opens one @param tail what closes it */
function partsOf(lines: readonly string[], head: string, tail = ""): string {
	const parts: string[] = [];
	for (let at = 0; at < lines.length; at += LINES_MAX)
		parts.push(`${head}${lines.slice(at, at + LINES_MAX).join("\n")}${tail} }`);
	return `[${parts.join(",\n")}]`;
}

/** Makes the code for fields of these objects. */
export function fieldCode(owners: readonly object[], fields: readonly Field[]): FieldCode {
	const read = fields.map(({ owner, name }) =>
		`o${owner}[${JSON.stringify(name)}]`.replace(/\["([A-Za-z_$][\w$]*)"\]/, ".$1"),
	);
	const save = read.map((field, at) => `v[${at}] = ${field};`);
	const restore = read.map((field, at) => `if (${field} !== v[${at}]) ${field} = v[${at}];`);
	const scan = read.map((field, at) => `if ((x = ${field}) !== v[${at}]) { at[n] = ${at}; now[n++] = x; }`);
	const source = `"use strict"; return {
save: ${partsOf(save, "(v) => { ")},
restore: ${partsOf(restore, "(v) => { ")},
scan: ${partsOf(scan, "(v, at, now, n) => { let x; ", " return n;")} };`;
	const parts = make<Parts>("o", owners, source);
	return {
		save(values) {
			for (const part of parts.save) part(values);
		},
		restore(values) {
			for (const part of parts.restore) part(values);
		},
		scan(values, numbers, now) {
			let count = 0;
			for (const part of parts.scan) count = part(values, numbers, now, count);
			return count;
		},
	};
}

/** Words of a typed array, and where a snapshot has them. */
export interface SavedBlock {
	readonly words: Uint32Array;
	readonly first: number;
	readonly count: number;
	/** Number of the first one among a snapshot's words. */
	readonly before: number;
}

/**
 * Finds words that are unlike a snapshot's.
 * @param saved the snapshot's @param numbers takes their numbers among those, from `count` on @param now takes what they are
 * @returns how many are listed then
 */
export type WordScan = (saved: Uint32Array, numbers: Int32Array, now: Uint32Array, count: number) => number;

/** Makes the code that compares few words, each in a line. */
export function wordScan(blocks: readonly SavedBlock[]): WordScan {
	const lines = blocks.flatMap(({ first, count, before }, block) =>
		Array.from({ length: count }, (_, i) => {
			const number = before + i;
			return `if ((x = w${block}[${first + i}]) !== s[${number}]) { at[n] = ${number}; now[n++] = x; }`;
		}),
	);
	const source = `"use strict"; return ${partsOf(lines, "(s, at, now, n) => { let x; ", " return n;")};`;
	const owners = blocks.map(({ words }) => words);
	const parts = make<readonly WordScan[]>("w", owners, source);
	return (saved, numbers, now, before) => {
		let count = before;
		for (const part of parts) count = part(saved, numbers, now, count);
		return count;
	};
}
