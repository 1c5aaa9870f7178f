/**
 * Straight code that compares the fields of a machine's objects with what a snapshot has of them. It comes in small functions,
 * which are given the objects: what V8 has learned and compiled of one serves the next machine that has such objects too.
 */

/** A field of an object. */
export interface Field {
	/** Number of the object. */
	readonly owner: number;
	readonly name: string;
	readonly hashed: boolean;
}

/**
 * Finds fields that do not hold what they are compared with.
 * @param numbers takes their numbers @param now takes what they hold
 * @returns how many there are
 */
export type FieldScan = (values: readonly unknown[], numbers: Int32Array, now: unknown[]) => number;

/** Compares some fields: `first` is the number of the first one. @returns a bit for each that differs, the lowest for the first */
type PartScan = (objects: readonly object[], values: readonly unknown[], first: number) => number;

/** Fields of one part: bits of a number that V8 keeps without a box. What it takes to optimize a function grows faster than its length. */
const FIELDS_MAX = 30;

/** By class of the objects and text. */
const scans = new Map<string, PartScan>();

/** Fields that stand together, of few objects. */
interface Part {
	readonly objects: readonly object[];
	readonly first: number;
	readonly scan: PartScan;
}

/**
 * An object of so many fields has parts of its own. Machines of all vendors have it, and the code for it in common, whatever stands
 * before it.
 */
const FIELDS_OF_ITS_OWN = 8;

/** Where each part begins, and behind the last one. Fields of one object stand together. */
function partStarts(fields: readonly Field[]): number[] {
	const sizes = new Map<number, number>();
	for (const { owner } of fields) sizes.set(owner, (sizes.get(owner) ?? 0) + 1);
	const starts: number[] = [];
	let first = 0;
	let before = -1;
	for (const [number, { owner }] of fields.entries()) {
		const isApart = (one: number) => (sizes.get(one) ?? 0) >= FIELDS_OF_ITS_OWN;
		const changes = owner !== before && (isApart(owner) || isApart(before));
		if (number === 0 || changes || number - first === FIELDS_MAX) {
			starts.push(number);
			first = number;
		}
		before = owner;
	}
	return [...starts, fields.length];
}

function partOf(owners: readonly object[], fields: readonly Field[], first: number, end: number): Part {
	const own = fields.slice(first, end);
	const numbers = [...new Set(own.map(({ owner }) => owner))];
	const objects = numbers.map((number) => owners[number]!);
	const bits = own.map(({ owner, name }, at) => {
		const object = `o${numbers.indexOf(owner)}`;
		const field = /^[A-Za-z_$][\w$]*$/.test(name)
			? `${object}.${name}`
			: `${object}[${JSON.stringify(name)}]`;
		return `(${field} !== v[(f + ${at}) | 0] ? ${1 << at} : 0)`;
	});
	const source = `"use strict";
const f = k | 0, ${numbers.map((_, at) => `o${at} = o[${at}]`).join(", ")};
return ${bits.join("\n| ")};`;
	const key = `${objects.map((object) => object.constructor?.name).join(" ")} ${source}`;
	let scan = scans.get(key);
	if (scan === undefined) {
		scan = new Function("o", "v", "k", source) as PartScan;
		scans.set(key, scan);
	}
	return { objects, first, scan };
}

/** Code for the fields of one machine's objects alone. */
type BoundScan = (values: readonly unknown[], numbers: Int32Array, now: unknown[], count: number) => number;

/**
 * From so many scans on a machine gets code of its own: its objects are constants there. That is faster by a third, and V8 takes
 * half a second for it.
 */
const SCANS_UNTIL_BOUND = 150_000;

function bind(owners: readonly object[], fields: readonly Field[], first: number): BoundScan {
	const own = fields.slice(first, first + FIELDS_MAX);
	const numbers = [...new Set(own.map(({ owner }) => owner))];
	const lines = own.map(({ owner, name }, at) => {
		const number = first + at;
		const field = `o${owner}[${JSON.stringify(name)}]`;
		return `if ((x = ${field}) !== v[${number}]) { at[n] = ${number}; now[n++] = x; }`;
	});
	const source = `"use strict"; return (v, at, now, n) => { let x; ${lines.join("\n")} return n; };`;
	const make = new Function(...numbers.map((number) => `o${number}`), source) as (
		...objects: readonly object[]
	) => BoundScan;
	return make(...numbers.map((number) => owners[number]!));
}

/** Makes the code for fields of these objects. Those of one object stand together. */
export function fieldScan(owners: readonly object[], fields: readonly Field[]): FieldScan {
	const parts: Part[] = [];
	const starts = partStarts(fields);
	for (let at = 0; at + 1 < starts.length; at++)
		parts.push(partOf(owners, fields, starts[at]!, starts[at + 1]!));
	const bound: BoundScan[] = [];
	let scans = 0;
	return (values, numbers, now) => {
		let count = 0;
		if (++scans > SCANS_UNTIL_BOUND) {
			if (bound.length === 0)
				for (let first = 0; first < fields.length; first += FIELDS_MAX)
					bound.push(bind(owners, fields, first));
			for (let at = 0; at < bound.length; at++) count = bound[at]!(values, numbers, now, count);
			return count;
		}
		for (let at = 0; at < parts.length; at++) {
			const { objects, first, scan } = parts[at]!;
			for (let bits = scan(objects, values, first); bits !== 0; bits &= bits - 1) {
				const number = first + 31 - Math.clz32(bits & -bits);
				const { owner, name } = fields[number]!;
				numbers[count] = number;
				now[count++] = (owners[owner] as Record<string, unknown>)[name];
			}
		}
		return count;
	};
}
