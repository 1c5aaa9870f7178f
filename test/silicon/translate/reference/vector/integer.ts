/** Packed integers (SDM Vol. 2). */
import { OpKind } from "iced-x86";
import type { Operation } from "../state.ts";
import {
	bytesOf,
	eachHalf,
	immediate,
	isVex,
	join,
	packed,
	putBytes,
	split,
	splitSigned,
	toNumber,
} from "./lanes.ts";

const saturate = (bits: number, signed: boolean) => (value: bigint) => {
	const [least, most] = signed
		? [-(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n]
		: [0n, (1n << BigInt(bits)) - 1n];
	return value < least ? least : value > most ? most : value;
};
const add = (a: bigint, b: bigint) => a + b;
const subtract = (a: bigint, b: bigint) => a - b;
const min = (a: bigint, b: bigint) => (a < b ? a : b);
const max = (a: bigint, b: bigint) => (a > b ? a : b);
const absolute = (a: bigint) => (a < 0n ? -a : a);

function saturating(size: number, signed: boolean, operation: typeof add): Operation {
	const limit = saturate(size * 8, signed);
	return packed(size, (a, b) => limit(operation(a, b)), signed);
}

const bitwise = (operation: typeof add) => packed(8, operation);
const compare = (size: number, test: (a: bigint, b: bigint) => boolean) =>
	packed(size, (a, b) => (test(a, b) ? -1n : 0n), true);

/** Products of even doublewords. */
const even = (signed: boolean): Operation =>
	eachHalf((a, b) => {
		const cut = signed ? splitSigned : split;
		const [x, y] = [cut(a, 4), cut(b, 4)];
		return join([x[0]! * y[0]!, x[2]! * y[2]!], 8);
	});

const pmaddwd = eachHalf((a, b) => {
	const [x, y] = [splitSigned(a, 2), splitSigned(b, 2)];
	return join(
		[0, 2, 4, 6].map((at) => x[at]! * y[at]! + x[at + 1]! * y[at + 1]!),
		4,
	);
});

const pmaddubsw = eachHalf((a, b) => {
	const [x, y] = [split(a, 1), splitSigned(b, 1)];
	const limit = saturate(16, true);
	return join(
		[0, 2, 4, 6, 8, 10, 12, 14].map((at) => limit(x[at]! * y[at]! + x[at + 1]! * y[at + 1]!)),
		2,
	);
});

const psadbw = eachHalf((a, b) => {
	const [x, y] = [split(a, 1), split(b, 1)];
	const sum = (from: number) => {
		let total = 0n;
		for (let at = from; at < from + 8; at++) total += absolute(x[at]! - y[at]!);
		return total;
	};
	return join([sum(0), sum(8)], 8);
});

const sign = (size: number) => packed(size, (a, b) => (b < 0n ? -a : b === 0n ? 0n : a), true);

const horizontal = (
	size: number,
	operation: typeof add,
	limit: (value: bigint) => bigint = (value) => value,
) =>
	eachHalf((a, b) => {
		const out: bigint[] = [];
		for (const lanes of [splitSigned(a, size), splitSigned(b, size)]) {
			for (let at = 0; at < lanes.length; at += 2) out.push(limit(operation(lanes[at]!, lanes[at + 1]!)));
		}
		return join(out, size);
	});

const unary =
	(size: number, operation: (a: bigint) => bigint): Operation =>
	(r, i) => {
		putBytes(r, i, 0, join(splitSigned(bytesOf(r, i, 1), size).map(operation), size));
	};

/** Shifts by one count for all lanes. */
function shift(size: number, operation: (a: bigint, count: bigint) => bigint, signed = false): Operation {
	return (r, i) => {
		const last = i.opCount - 1;
		const count =
			i.opKind(last) === OpKind.Immediate8
				? BigInt(immediate(i))
				: toNumber(bytesOf(r, i, last).subarray(0, 8));
		const lanes = (signed ? splitSigned : split)(bytesOf(r, i, isVex(i) ? 1 : 0), size);
		const limited = count > BigInt(size * 8) ? BigInt(size * 8) : count;
		putBytes(
			r,
			i,
			0,
			join(
				lanes.map((lane) => operation(lane, limited)),
				size,
			),
		);
	};
}
const left = (a: bigint, count: bigint) => a << count;
const right = (a: bigint, count: bigint) => a >> count;

function shiftBytes(operation: (a: bigint, bits: bigint) => bigint): Operation {
	return (r, i) => {
		const bits = BigInt(Math.min(immediate(i), 16) * 8);
		const halves = split(bytesOf(r, i, isVex(i) ? 1 : 0), 16);
		putBytes(
			r,
			i,
			0,
			join(
				halves.map((half) => operation(half, bits)),
				16,
			),
		);
	};
}

const variable = (size: number, operation: typeof left, signed = false) =>
	eachHalf((a, b) => {
		const counts = split(b, size);
		const most = BigInt(size * 8);
		return join(
			(signed ? splitSigned : split)(a, size).map((lane, at) => operation(lane, min(counts[at]!, most))),
			size,
		);
	});

/** PTEST, VTESTPS, VTESTPD: bits of every lane, or its sign. */
function test(signs: bigint): Operation {
	return (r, i) => {
		const b = split(bytesOf(r, i, 1), 8);
		const a = split(bytesOf(r, i, 0), 8);
		const all = (combine: (x: bigint, y: bigint) => bigint) =>
			a.every((lane, at) => (combine(lane, b[at]!) & signs) === 0n);
		const ones = (1n << 64n) - 1n;
		r.set({ ZF: all((x, y) => x & y), CF: all((x, y) => (x ^ ones) & y), OF: 0, SF: 0, AF: 0, PF: 0 });
	};
}

/** By name. */
// biome-ignore format: one row an instruction
export const INTEGER: readonly (readonly [string, Operation])[] = [
	["pand", bitwise((a, b) => a & b)], ["andps", bitwise((a, b) => a & b)], ["andpd", bitwise((a, b) => a & b)],
	["por", bitwise((a, b) => a | b)], ["orps", bitwise((a, b) => a | b)], ["orpd", bitwise((a, b) => a | b)],
	["pxor", bitwise((a, b) => a ^ b)], ["xorps", bitwise((a, b) => a ^ b)], ["xorpd", bitwise((a, b) => a ^ b)],
	["pandn", bitwise((a, b) => ~a & b)], ["andnps", bitwise((a, b) => ~a & b)], ["andnpd", bitwise((a, b) => ~a & b)],
	["paddb", packed(1, add)], ["paddw", packed(2, add)], ["paddd", packed(4, add)], ["paddq", packed(8, add)],
	["psubb", packed(1, subtract)], ["psubw", packed(2, subtract)], ["psubd", packed(4, subtract)], ["psubq", packed(8, subtract)],
	["paddsb", saturating(1, true, add)], ["paddsw", saturating(2, true, add)],
	["paddusb", saturating(1, false, add)], ["paddusw", saturating(2, false, add)],
	["psubsb", saturating(1, true, subtract)], ["psubsw", saturating(2, true, subtract)],
	["psubusb", saturating(1, false, subtract)], ["psubusw", saturating(2, false, subtract)],
	["pavgb", packed(1, (a, b) => (a + b + 1n) >> 1n)], ["pavgw", packed(2, (a, b) => (a + b + 1n) >> 1n)],
	["pminub", packed(1, min)], ["pminuw", packed(2, min)], ["pminud", packed(4, min)],
	["pmaxub", packed(1, max)], ["pmaxuw", packed(2, max)], ["pmaxud", packed(4, max)],
	["pminsb", packed(1, min, true)], ["pminsw", packed(2, min, true)], ["pminsd", packed(4, min, true)],
	["pmaxsb", packed(1, max, true)], ["pmaxsw", packed(2, max, true)], ["pmaxsd", packed(4, max, true)],
	["pcmpeqb", compare(1, (a, b) => a === b)], ["pcmpeqw", compare(2, (a, b) => a === b)],
	["pcmpeqd", compare(4, (a, b) => a === b)], ["pcmpeqq", compare(8, (a, b) => a === b)],
	["pcmpgtb", compare(1, (a, b) => a > b)], ["pcmpgtw", compare(2, (a, b) => a > b)],
	["pcmpgtd", compare(4, (a, b) => a > b)], ["pcmpgtq", compare(8, (a, b) => a > b)],
	["pmullw", packed(2, (a, b) => a * b)], ["pmulld", packed(4, (a, b) => a * b)],
	["pmulhw", packed(2, (a, b) => (a * b) >> 16n, true)], ["pmulhuw", packed(2, (a, b) => (a * b) >> 16n)],
	["pmulhrsw", packed(2, (a, b) => (((a * b) >> 14n) + 1n) >> 1n, true)],
	["pmuludq", even(false)], ["pmuldq", even(true)],
	["pmaddwd", pmaddwd], ["pmaddubsw", pmaddubsw], ["psadbw", psadbw],
	["pabsb", unary(1, absolute)], ["pabsw", unary(2, absolute)], ["pabsd", unary(4, absolute)],
	["psignb", sign(1)], ["psignw", sign(2)], ["psignd", sign(4)],
	["phaddw", horizontal(2, add)], ["phaddd", horizontal(4, add)], ["phaddsw", horizontal(2, add, saturate(16, true))],
	["phsubw", horizontal(2, subtract)], ["phsubd", horizontal(4, subtract)], ["phsubsw", horizontal(2, subtract, saturate(16, true))],
	["psllw", shift(2, left)], ["pslld", shift(4, left)], ["psllq", shift(8, left)],
	["psrlw", shift(2, right)], ["psrld", shift(4, right)], ["psrlq", shift(8, right)],
	["psraw", shift(2, right, true)], ["psrad", shift(4, right, true)],
	["pslldq", shiftBytes(left)], ["psrldq", shiftBytes(right)],
	["psllvd", variable(4, left)], ["psllvq", variable(8, left)],
	["psrlvd", variable(4, right)], ["psrlvq", variable(8, right)], ["psravd", variable(4, right, true)],
	["ptest", test((1n << 64n) - 1n)], ["testps", test(0x8000000080000000n)], ["testpd", test(1n << 63n)],
];
