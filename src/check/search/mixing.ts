/**
 * Hashes of values. A machine's hash is the sum of its parts', so that a part that changes is taken out and put in again,
 * and the others are not looked at. A part is mixed into two lanes of 32 bits, which are scrambled before they are added.
 */
import { type Container, contentOf, isContainer } from "./containers.ts";
import { SnapshotError, type SnapshotRules } from "./snapshot-rules.ts";

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);
const big = new BigUint64Array(1);
const bigWords = new Uint32Array(big.buffer);

/** How deep objects that the code does not know may lie in each other. */
const DEPTH_MAX = 8;

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

/** Sums up parts. */
export class Mixer {
	/** The sum so far. */
	high = 0;
	low = 0;
	/** The part that is being mixed. */
	private a = 0;
	private b = 0;
	private readonly known: ReadonlyMap<object, number>;
	private readonly rules: SnapshotRules;

	/** @param known objects that count by their numbers */
	constructor(known: ReadonlyMap<object, number>, rules: SnapshotRules) {
		this.known = known;
		this.rules = rules;
	}

	/** Begins a sum. */
	set(high: number, low: number): void {
		this.high = high;
		this.low = low;
	}

	/** Adds a part. @param place its number @param sign -1 takes it out */
	part(place: number, value: unknown, sign: 1 | -1): void {
		this.begin(place);
		this.value(value, 0);
		this.end(sign);
	}

	/** Adds a number that belongs to a place. */
	number(place: number, value: number): void {
		this.begin(place);
		this.mixNumber(value);
		this.end(1);
	}

	/** Adds a container's content. */
	content(place: number, container: Container): void {
		this.begin(place);
		this.mixContent(container, 0);
		this.end(1);
	}

	private begin(place: number): void {
		this.a = Math.imul(place + 1, 0x27d4_eb2f) ^ 0x811c_9dc5;
		this.b = Math.imul(place + 1, 0x1656_67b1) ^ 0x1234_5678;
	}

	private mix(value: number): void {
		let { a, b } = this;
		a = Math.imul(a ^ value, 0x9e37_79b1);
		a ^= a >>> 15;
		b = Math.imul(b + value, 0x85eb_ca77);
		b ^= b >>> 13;
		this.a = Math.imul(a, 0xc2b2_ae3d);
		this.b = (b << 7) | (b >>> 25);
	}

	private end(sign: 1 | -1): void {
		this.high = (this.high + sign * scramble(this.a)) | 0;
		this.low = (this.low + sign * scramble(this.b ^ 0x5bd1_e995)) | 0;
	}

	private mixNumber(value: number): void {
		if ((value | 0) === value) {
			this.mix(value);
			return;
		}
		float[0] = value;
		this.mix(floatWords[0]!);
		this.mix(floatWords[1]! ^ 0x5bd1_e995);
	}

	private value(value: unknown, depth: number): void {
		switch (typeof value) {
			case "number":
				this.mixNumber(value);
				return;
			case "boolean":
				this.mix(value ? 0x51 : 0x52);
				return;
			case "string":
				this.mix(textId(value));
				return;
			case "bigint":
				big[0] = value;
				this.mix(bigWords[0]!);
				this.mix(bigWords[1]!);
				return;
			case "undefined":
				this.mix(0x53);
				return;
			case "function": {
				let id = functionTexts.get(value);
				if (id === undefined) {
					id = textId(value.toString());
					functionTexts.set(value, id);
				}
				this.mix(id);
				return;
			}
			case "object":
				this.object(value, depth);
				return;
			default:
				throw new SnapshotError(`a ${typeof value} cannot be hashed`);
		}
	}

	private object(value: object | null, depth: number): void {
		if (value === null) {
			this.mix(0x54);
			return;
		}
		const number = this.known.get(value);
		if (number !== undefined) {
			this.mix(number ^ 0x4000_0000);
			return;
		}
		if (this.rules.opaque.has(value) || ArrayBuffer.isView(value)) return;
		if (depth > DEPTH_MAX)
			throw new SnapshotError("objects that were made while the machine ran lie too deep in each other");
		if (isContainer(value)) {
			this.mixContent(value, depth + 1);
			return;
		}
		for (const [name, field] of Object.entries(value)) {
			const rule = this.rules.rule(value, name);
			if (rule === "unhashed" || rule === "left") continue;
			this.mix(textId(name));
			this.value(field, depth + 1);
		}
	}

	private mixContent(container: Container, depth: number): void {
		if (Array.isArray(container)) {
			this.mix(container.length);
			for (let at = 0; at < container.length; at++) this.value(container[at], depth);
			return;
		}
		this.mix(container.size);
		for (const element of contentOf(container)) this.value(element, depth);
	}
}

/** The finish of MurmurHash3: every bit in changes every bit out with odds of a half. */
export function scramble(value: number): number {
	let x = value ^ (value >>> 16);
	x = Math.imul(x, 0x85eb_ca6b);
	x ^= x >>> 13;
	x = Math.imul(x, 0xc2b2_ae35);
	return x ^ (x >>> 16);
}

/** What a word adds to the upper half of a hash. @param place its number among all words */
export function highOf(place: number, word: number): number {
	const scattered = Math.imul(place + 1, 0x9e37_79b1);
	return scramble(Math.imul(word ^ scattered, 0x85eb_ca77) ^ scattered);
}

/** The same for the lower half. */
export function lowOf(place: number, word: number): number {
	return scramble((Math.imul((word + Math.imul(place + 1, 0x9e37_79b1)) | 0, 0xc2b2_ae3d) + place) | 0);
}

/** Copies a hash of one of a machine's parts. @param number the part's: each has two words */
export function copySum(from: Int32Array, to: Int32Array, number: number): void {
	to[2 * number] = from[2 * number]!;
	to[2 * number + 1] = from[2 * number + 1]!;
}
