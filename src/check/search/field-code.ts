/**
 * Straight code that reads and writes the fields of a machine's objects. Objects with the same fields share it, whichever
 * machine they belong to, and it comes in small functions: what V8 has learned and compiled of it serves the next machine too.
 */

/** A field of an object. */
export interface Field {
	/** Number of the object. */
	readonly owner: number;
	readonly name: string;
	readonly hashed: boolean;
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

/** What is done with some fields, from the number `first` on. */
interface Part {
	readonly save: (values: unknown[], first: number) => void;
	readonly restore: (values: readonly unknown[], first: number) => void;
	readonly scan: (
		values: readonly unknown[],
		first: number,
		numbers: Int32Array,
		now: unknown[],
		count: number,
	) => number;
}

type Maker = (...objects: readonly object[]) => Part;

/** By text. */
const makers = new Map<string, Maker>();

/** Makes the code for fields, of few objects. */
function partOf(owners: readonly object[], fields: readonly Field[]): Part {
	const numbers = [...new Set(fields.map(({ owner }) => owner))];
	const read = fields.map(({ owner, name }) => {
		const object = `o${numbers.indexOf(owner)}`;
		return /^[A-Za-z_$][\w$]*$/.test(name) ? `${object}.${name}` : `${object}[${JSON.stringify(name)}]`;
	});
	const saved = read.map((_, at) => (at === 0 ? "v[k]" : `v[k + ${at}]`));
	const save = read.map((field, at) => `${saved[at]} = ${field};`);
	const restore = read.map((field, at) => `if (${field} !== ${saved[at]}) ${field} = ${saved[at]};`);
	const scan = read.map(
		(field, at) => `if ((x = ${field}) !== ${saved[at]}) { at[n] = k + ${at}; now[n++] = x; }`,
	);
	const source = `"use strict"; return {
save: (v, k) => { ${save.join("\n")} },
restore: (v, k) => { ${restore.join("\n")} },
scan: (v, k, at, now, n) => { let x; ${scan.join("\n")} return n; } };`;
	const objects = numbers.map((number) => owners[number]!);
	const key = `${objects.map((object) => object.constructor?.name).join(" ")} ${source}`;
	let maker = makers.get(key);
	if (maker === undefined) {
		maker = new Function(...objects.map((_, at) => `o${at}`), source) as Maker;
		makers.set(key, maker);
	}
	return maker(...objects);
}

/** Fields of one part, at most: what V8 takes to optimize a function grows faster than its length. */
const FIELDS_MAX = 32;

/** Makes the code for fields of these objects. Those of one object stand together. */
export function fieldCode(owners: readonly object[], fields: readonly Field[]): FieldCode {
	const parts: Part[] = [];
	const firsts: number[] = [];
	for (let first = 0; first < fields.length; first += FIELDS_MAX) {
		firsts.push(first);
		parts.push(partOf(owners, fields.slice(first, first + FIELDS_MAX)));
	}
	return {
		save(values) {
			for (let at = 0; at < parts.length; at++) parts[at]!.save(values, firsts[at]!);
		},
		restore(values) {
			for (let at = 0; at < parts.length; at++) parts[at]!.restore(values, firsts[at]!);
		},
		scan(values, numbers, now) {
			let count = 0;
			for (let at = 0; at < parts.length; at++)
				count = parts[at]!.scan(values, firsts[at]!, numbers, now, count);
			return count;
		},
	};
}
