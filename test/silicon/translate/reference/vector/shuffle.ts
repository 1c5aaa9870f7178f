/** Shuffles, packing, unpacking and blends (SDM Vol. 2). */
import { OpKind } from "iced-x86";
import type { Operation } from "../state.ts";
import {
	bytesOf,
	eachHalf,
	eachHalfOfOne,
	immediate,
	isVex,
	join,
	putBytes,
	split,
	splitSigned,
	toNumber,
	twoSources,
} from "./lanes.ts";

const unpack = (size: number, high: boolean) =>
	eachHalf((a, b) => {
		const [x, y] = [split(a, size), split(b, size)];
		const half = x.length / 2;
		const out: bigint[] = [];
		for (let at = 0; at < half; at++) out.push(x[at + (high ? half : 0)]!, y[at + (high ? half : 0)]!);
		return join(out, size);
	});

/** Lanes of `size` made half as wide, with saturation to a signed or unsigned number. */
const pack = (size: number, signed: boolean) =>
	eachHalf((a, b) => {
		const bits = BigInt(size * 4);
		const [least, most] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
		const lanes = [...splitSigned(a, size), ...splitSigned(b, size)];
		return join(
			lanes.map((lane) => (lane < least ? least : lane > most ? most : lane)),
			size / 2,
		);
	});

const two = (control: number, at: number) => (control >> (2 * at)) & 3;

const pshufd = eachHalfOfOne((a, control) => {
	const x = split(a, 4);
	return join(
		[0, 1, 2, 3].map((at) => x[two(control, at)]!),
		4,
	);
});
const words = (first: number) =>
	eachHalfOfOne((a, control) => {
		const x = split(a, 2);
		const out = [...x];
		for (let at = 0; at < 4; at++) out[first + at] = x[first + two(control, at)]!;
		return join(out, 2);
	});

const shufps = eachHalf((a, b, control) => {
	const [x, y] = [split(a, 4), split(b, 4)];
	return join([x[two(control, 0)]!, x[two(control, 1)]!, y[two(control, 2)]!, y[two(control, 3)]!], 4);
});
const shufpd = eachHalf((a, b, control, half) => {
	const bits = control >> (half * 2);
	return join([split(a, 8)[bits & 1]!, split(b, 8)[(bits >> 1) & 1]!], 8);
});

const pshufb = eachHalf((a, b) => a.map((_, at) => (b[at]! >= 0x80 ? 0 : a[b[at]! & 15]!)));

const palignr = eachHalf((a, b, control) => {
	const both = (toNumber(a) << 128n) | toNumber(b);
	return join([both >> BigInt(control * 8)], 16);
});

/** @param repeats the immediate means the same in each half */
const blend = (size: number, repeats: boolean) =>
	eachHalf((a, b, control, half) => {
		const y = split(b, size);
		const first = repeats ? 0 : half * y.length;
		return join(
			split(a, size).map((lane, at) => ((control >> (first + at)) & 1 ? y[at]! : lane)),
			size,
		);
	});

const blendVariable =
	(size: number): Operation =>
	(r, i) => {
		const [a, b] = twoSources(r, i);
		const masks = split(isVex(i) ? bytesOf(r, i, 3) : r.vectors.slice(0, 16), size);
		const y = split(b, size);
		const out = split(a, size).map((lane, at) => (masks[at]! >> BigInt(size * 8 - 1) ? y[at]! : lane));
		putBytes(r, i, 0, join(out, size));
	};

const extend =
	(from: number, to: number, signed: boolean): Operation =>
	(r, i) => {
		const lanes = (signed ? splitSigned : split)(bytesOf(r, i, 1), from);
		putBytes(r, i, 0, join(lanes.slice(0, r.size(i, 0) / to), to));
	};

const permuteHalves: Operation = (r, i) => {
	const [a, b] = twoSources(r, i);
	const all = [...split(a, 16), ...split(b, 16)];
	const pick = (control: number) => ((control & 8) !== 0 ? 0n : all[control & 3]!);
	putBytes(r, i, 0, join([pick(immediate(i)), pick(immediate(i) >> 4)], 16));
};

const permuteQuadwords: Operation = (r, i) => {
	const lanes = split(bytesOf(r, i, 1), 8);
	putBytes(
		r,
		i,
		0,
		join(
			[0, 1, 2, 3].map((at) => lanes[two(immediate(i), at)]!),
			8,
		),
	);
};

const permuteDoublewords: Operation = (r, i) => {
	const lanes = split(bytesOf(r, i, 2), 4);
	const indices = split(bytesOf(r, i, 1), 4);
	putBytes(
		r,
		i,
		0,
		join(
			indices.map((index) => lanes[Number(index & 7n)]!),
			4,
		),
	);
};

const permilps: Operation = (r, i) => {
	if (i.opKind(2) === OpKind.Immediate8) {
		pshufd(r, i);
		return;
	}
	const control = split(bytesOf(r, i, 2), 4);
	const lanes = split(bytesOf(r, i, 1), 4);
	putBytes(
		r,
		i,
		0,
		join(
			lanes.map((_, at) => lanes[(at & ~3) + Number(control[at]! & 3n)]!),
			4,
		),
	);
};

const permilpd: Operation = (r, i) => {
	const byImmediate = i.opKind(2) === OpKind.Immediate8;
	const control = byImmediate ? [] : split(bytesOf(r, i, 2), 8);
	const lanes = split(bytesOf(r, i, 1), 8);
	const bit = (at: number) => (byImmediate ? (immediate(i) >> at) & 1 : Number((control[at]! >> 1n) & 1n));
	putBytes(
		r,
		i,
		0,
		join(
			lanes.map((_, at) => lanes[(at & ~1) + bit(at)]!),
			8,
		),
	);
};

/** By name. */
// biome-ignore format: one row an instruction
export const SHUFFLE: readonly (readonly [string, Operation])[] = [
	["punpcklbw", unpack(1, false)], ["punpckhbw", unpack(1, true)], ["punpcklwd", unpack(2, false)], ["punpckhwd", unpack(2, true)],
	["punpckldq", unpack(4, false)], ["punpckhdq", unpack(4, true)], ["punpcklqdq", unpack(8, false)], ["punpckhqdq", unpack(8, true)],
	["unpcklps", unpack(4, false)], ["unpckhps", unpack(4, true)], ["unpcklpd", unpack(8, false)], ["unpckhpd", unpack(8, true)],
	["packsswb", pack(2, true)], ["packssdw", pack(4, true)], ["packuswb", pack(2, false)], ["packusdw", pack(4, false)],
	["pshufd", pshufd], ["pshuflw", words(0)], ["pshufhw", words(4)], ["shufps", shufps], ["shufpd", shufpd],
	["pshufb", pshufb], ["palignr", palignr],
	["pblendw", blend(2, true)], ["pblendd", blend(4, false)], ["blendps", blend(4, false)], ["blendpd", blend(8, false)],
	["pblendvb", blendVariable(1)], ["blendvps", blendVariable(4)], ["blendvpd", blendVariable(8)],
	["pmovsxbw", extend(1, 2, true)], ["pmovsxbd", extend(1, 4, true)], ["pmovsxbq", extend(1, 8, true)],
	["pmovsxwd", extend(2, 4, true)], ["pmovsxwq", extend(2, 8, true)], ["pmovsxdq", extend(4, 8, true)],
	["pmovzxbw", extend(1, 2, false)], ["pmovzxbd", extend(1, 4, false)], ["pmovzxbq", extend(1, 8, false)],
	["pmovzxwd", extend(2, 4, false)], ["pmovzxwq", extend(2, 8, false)], ["pmovzxdq", extend(4, 8, false)],
	["perm2f128", permuteHalves], ["perm2i128", permuteHalves], ["permq", permuteQuadwords], ["permpd", permuteQuadwords],
	["permd", permuteDoublewords], ["permps", permuteDoublewords], ["permilps", permilps], ["permilpd", permilpd],
];
