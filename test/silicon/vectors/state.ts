/** The states that scripts/vectors/native.c makes of a seed, made again: the same numbers in the same order. */

import { MODE, modeOf } from "./modes.ts";

export const REGION_BYTES = 256;
export const X_WORDS = 82;
/** CF PF AF ZF SF DF OF. */
export const FLAGS = 0xcd5;
export const CLASS = { x87: 1, vector: 2 } as const;
/** Either. modes.ts has the other bits. */
export const CLASS_X = CLASS.x87 | CLASS.vector;

/** A register that an instruction needs in reach: (random AND and) + add. */
export interface Pin {
	readonly register: number;
	readonly and: bigint;
	readonly add: bigint;
}

/** One encoding, and what its cases are made with. */
export interface Record {
	readonly bytes: Uint8Array;
	/** CLASS bits: which registers beside the general ones are random. */
	readonly classes: number;
	/** Linear address of the memory that is random. */
	readonly region: number;
	readonly pins: readonly Pin[];
	/** A gather's vector register of indices, which stay small, and their bytes. */
	readonly indices: { readonly register: number; readonly bytes: number } | null;
}

const SHIFTS = [0, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 64, 24, 23, 52, 62];
const mask64 = (value: bigint) => BigInt.asUintN(64, value);

/** The state before a case: registers, flags, memory, and x87 and vector registers as native.c's flat words. */
export class CaseState {
	readonly gpr = new BigUint64Array(16);
	flags = 0;
	readonly memory = new BigUint64Array(REGION_BYTES / 8);
	readonly x = new BigUint64Array(X_WORDS);
	private seed = 0;

	private next(): number {
		this.seed = (this.seed + 0x6d2b79f5) | 0;
		let t = this.seed;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return (t ^ (t >>> 14)) >>> 0;
	}
	private next64(): bigint {
		const high = this.next();
		return (BigInt(high) << 32n) | BigInt(this.next());
	}
	private value(): bigint {
		const how = this.next();
		if ((how & 1) !== 0) return this.next64();
		const shift = SHIFTS[(how >>> 8) & 15]!;
		const power = shift === 64 ? 0n : 1n << BigInt(shift);
		return mask64(power + BigInt((how >>> 12) % 5) - 2n);
	}
	private single(): number {
		const how = this.next();
		const bits = this.next();
		const pick = how >>> 8;
		switch (how & 15) {
			case 0:
				return bits & 0x80000000;
			case 1:
				return bits & 0x807fffff;
			case 2:
				return (bits & 0x80000000) | 0x7f800000;
			case 3:
				return bits | 0x7f800000;
			case 4:
				return (bits & 0x80000fff) | ((1 + (pick % 30)) << 23);
			case 5:
				return (bits & 0x807fffff) | ((225 + (pick % 30)) << 23);
			case 6:
				return (bits & 0x80000000) | ((120 + (pick % 16)) << 23);
			case 7:
				return bits;
			default:
				return (bits & 0x807fffff) | ((110 + (pick % 56)) << 23);
		}
	}
	private double(): bigint {
		const how = this.next();
		const bits = this.next64();
		const sign = bits & 0x8000000000000000n;
		const number = bits & 0x800fffffffffffffn;
		const exponent = (field: number) => BigInt(field) << 52n;
		const pick = how >>> 8;
		switch (how & 15) {
			case 0:
				return sign;
			case 1:
				return number;
			case 2:
				return sign | 0x7ff0000000000000n;
			case 3:
				return bits | 0x7ff0000000000000n;
			case 4:
				return (bits & 0x8000000000ffffffn) | exponent(1 + (pick % 60));
			case 5:
				return number | exponent(1986 + (pick % 60));
			case 6:
				return sign | exponent(1016 + (pick % 16));
			case 7:
				return bits;
			default:
				return number | exponent(990 + (pick % 100));
		}
	}
	private lane(kind: number): bigint {
		if (kind > 1) return this.value();
		if (kind === 1) return this.double();
		const high = this.single() >>> 0;
		return (BigInt(high) << 32n) | BigInt(this.single() >>> 0);
	}
	/** @returns significand, then sign and exponent */
	private extended(): [bigint, number] {
		const how = this.next();
		const bits = this.next64();
		const sign = how & 0x8000;
		const pick = how >>> 16;
		const top = 1n << 63n;
		const set = bits | top;
		switch (how & 15) {
			case 0:
				return [0n, sign];
			case 1:
				return [top, sign | 0x7fff];
			case 2:
				return [set, sign | 0x7fff];
			case 3:
				return [bits, sign];
			case 4:
				return [bits, sign | (pick & 0x7fff)];
			case 5:
				return [set, sign | (pick & 31)];
			case 6:
				return [set, sign | (0x7ffe - (pick & 31))];
			case 7:
				return [top, sign | (16376 + (pick % 16))];
			case 8:
				return [(set >> 40n) << 40n, sign | (16376 + (pick % 48))];
			case 9:
				return [set, sign | (16256 + (pick % 254))];
			case 10:
				return [(set >> 11n) << 11n, sign | (15360 + (pick % 2047))];
			default:
				return [set, sign | (16368 + (pick % 48))];
		}
	}
	private makeX({ classes, indices }: Record): void {
		const a = this.next();
		const b = this.next();
		const x87 = (classes & CLASS.x87) !== 0;
		const vector = (classes & CLASS.vector) !== 0;
		let fcw = 0x7f | (a & 0xf00);
		let tags = b & 0xff;
		let mxcsr = 0x1f80 | ((b >>> 8) & 0x6000);
		if ((a & 7) === 0) fcw &= ~((a >>> 4) & 0x3f) | 0x40;
		if (((b >>> 16) & 3) !== 0) tags |= 0xff >>> ((b >>> 18) & 3);
		if (((b >>> 20) & 7) === 0) mxcsr |= (b >>> 8) & 0x8040;
		if (((b >>> 23) & 15) === 0) mxcsr &= ~(b & 0x1f80);
		const fsw = (a >>> 16) & 0x7f00;
		this.x.fill(0n);
		this.x[0] = x87 ? BigInt(fcw) | (BigInt(fsw) << 16n) | (BigInt(tags) << 32n) : 0x37fn;
		this.x[1] = BigInt(vector ? mxcsr : 0x1f80);
		if (x87) {
			for (let at = 0; at < 8; at++) {
				const [significand, signExponent] = this.extended();
				this.x[2 + 2 * at] = significand;
				this.x[3 + 2 * at] = BigInt(signExponent);
			}
		}
		if (vector) {
			const kinds = this.next();
			for (let at = 0; at < 64; at++) this.x[18 + at] = this.lane((kinds >>> ((at >> 2) * 2)) & 3);
			if (indices === null) return;
			const mask = indices.bytes === 4 ? 0x0000001f0000001fn : 0x1fn;
			for (let at = 0; at < 4; at++) this.x[18 + 4 * indices.register + at]! &= mask;
		}
	}
	/** Makes the state of a case. @param number of the record in its file @param at number of the case */
	make(record: Record, seed: number, number: number, at: number): void {
		this.seed = (seed ^ (Math.imul(number, 0x9e3779b1) + Math.imul(at, 0x85ebca77))) | 0;
		for (let index = 0; index < 16; index++) this.gpr[index] = this.value();
		this.flags = (this.next() & FLAGS) | 0x202;
		for (const { register, and, add } of record.pins) {
			this.gpr[register] = mask64((this.gpr[register]! & and) + add);
		}
		if (modeOf(record.classes) !== MODE.long)
			for (let index = 0; index < 16; index++) this.gpr[index]! &= index < 8 ? 0xffffffffn : 0n;
		for (let word = 0; word < REGION_BYTES / 8; word++) this.memory[word] = this.lane(this.next() & 3);
		if ((record.classes & CLASS_X) !== 0) this.makeX(record);
	}
}
