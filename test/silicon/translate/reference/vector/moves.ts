/** Moves (SDM Vol. 2). */
import { Mnemonic, OpKind, RegisterExt, type Instruction } from "iced-x86";
import type { Operation, Reference } from "../state.ts";
import { bytesOf, immediate, isVex, join, numberOf, putBytes, split, toNumber } from "./lanes.ts";

const isMemory = (i: Instruction, at: number) => i.opKind(at) === OpKind.Memory;
const isVectorOperand = (i: Instruction, at: number) =>
	i.opKind(at) === OpKind.Register && RegisterExt.isVectorRegister(i.opRegister(at));

const move: Operation = (r, i) => putBytes(r, i, 0, bytesOf(r, i, 1));

/** Low part of one vector above which another's bytes, or zeros, stand. */
function over(low: Uint8Array, above: Uint8Array): Uint8Array {
	const out = above.slice();
	out.set(low);
	return out;
}

function moveScalar(size: number): Operation {
	return (r, i) => {
		const last = i.opCount - 1;
		if (isMemory(i, 0)) putBytes(r, i, 0, bytesOf(r, i, 1).slice(0, size));
		else if (isMemory(i, last)) putBytes(r, i, 0, over(bytesOf(r, i, last), new Uint8Array(16)));
		else putBytes(r, i, 0, over(bytesOf(r, i, last).slice(0, size), bytesOf(r, i, last - 1)));
	};
}

/** MOVD and MOVQ. */
const moveInteger: Operation = (r, i) => {
	if (!isVectorOperand(i, 0)) putBytes(r, i, 0, bytesOf(r, i, 1).slice(0, r.size(i, 0)));
	else {
		const from = bytesOf(r, i, 1).slice(0, 8);
		putBytes(r, i, 0, over(from, new Uint8Array(16)));
	}
};

function moveHalf(half: number): Operation {
	return (r, i) => {
		if (isMemory(i, 0)) {
			putBytes(r, i, 0, bytesOf(r, i, 1).slice(half * 8, half * 8 + 8));
			return;
		}
		const loaded = bytesOf(r, i, i.opCount - 1);
		const out = bytesOf(r, i, isVex(i) ? 1 : 0);
		out.set(loaded, half * 8);
		putBytes(r, i, 0, out);
	};
}

function betweenHalves(high: boolean): Operation {
	return (r, i) => {
		const [x, y] = isVex(i) ? [1, 2] : [0, 1];
		const [a, b] = [split(bytesOf(r, i, x), 8), split(bytesOf(r, i, y), 8)];
		putBytes(r, i, 0, join(high ? [b[1]!, a[1]!] : [a[0]!, b[0]!], 8));
	};
}

const duplicate =
	(size: number, odd: number): Operation =>
	(r, i) => {
		let from = bytesOf(r, i, 1);
		// A load of 8 bytes for 16.
		if (from.length === 8) from = over(from, new Uint8Array(16));
		const lanes = split(from, size);
		putBytes(
			r,
			i,
			0,
			join(
				lanes.map((_, at) => lanes[(at & ~1) + odd]!),
				size,
			),
		);
	};

const mask =
	(size: number): Operation =>
	(r, i) => {
		let bits = 0n;
		for (const [at, lane] of split(bytesOf(r, i, 1), size).entries())
			bits |= (lane >> BigInt(size * 8 - 1)) << BigInt(at);
		r.write(i, 0, bits);
	};

function zero(r: Reference, all: boolean): void {
	for (let index = 0; index < (r.bitness === 64 ? 16 : 8); index++) {
		r.vectors.fill(0, index * 32 + (all ? 0 : 16), index * 32 + 32);
	}
}

const broadcast: Operation = (r, i) => {
	const from = bytesOf(r, i, 1);
	const lane = SCALARS[i.mnemonic] ?? from.length;
	const out = new Uint8Array(r.size(i, 0));
	for (let at = 0; at < out.length; at += lane) out.set(from.subarray(0, lane), at);
	putBytes(r, i, 0, out);
};
const SCALARS: Readonly<Record<number, number>> = {
	[Mnemonic.Vpbroadcastb]: 1,
	[Mnemonic.Vpbroadcastw]: 2,
	[Mnemonic.Vpbroadcastd]: 4,
	[Mnemonic.Vpbroadcastq]: 8,
	[Mnemonic.Vbroadcastss]: 4,
	[Mnemonic.Vbroadcastsd]: 8,
};

const insert128: Operation = (r, i) => {
	const part = bytesOf(r, i, 2);
	const out = bytesOf(r, i, 1);
	out.set(part, (immediate(i) & 1) * 16);
	putBytes(r, i, 0, out);
};

const extract128: Operation = (r, i) => {
	const at = (immediate(i) & 1) * 16;
	putBytes(r, i, 0, bytesOf(r, i, 1).slice(at, at + 16));
};

const insert =
	(size: number): Operation =>
	(r, i) => {
		const value = r.read(i, i.opCount - 2);
		const lanes = split(bytesOf(r, i, isVex(i) ? 1 : 0), size);
		lanes[immediate(i) % lanes.length] = value;
		putBytes(r, i, 0, join(lanes, size));
	};

const extract =
	(size: number): Operation =>
	(r, i) => {
		const lanes = split(bytesOf(r, i, 1), size);
		r.write(i, 0, lanes[immediate(i) % lanes.length]!);
	};

const insertps: Operation = (r, i) => {
	const control = immediate(i);
	const second = isVex(i) ? 2 : 1;
	const from = isMemory(i, second)
		? toNumber(bytesOf(r, i, second))
		: split(r.vectors.slice(numberOf(i, second) * 32, numberOf(i, second) * 32 + 16), 4)[control >> 6]!;
	const lanes = split(bytesOf(r, i, second - 1), 4);
	lanes[(control >> 4) & 3] = from;
	putBytes(
		r,
		i,
		0,
		join(
			lanes.map((lane, at) => ((control >> at) & 1 ? 0n : lane)),
			4,
		),
	);
};

/** By name. */
// biome-ignore format: one row an instruction
export const MOVES: readonly (readonly [string, Operation])[] = [
	...["movaps", "movapd", "movdqa", "movups", "movupd", "movdqu", "lddqu", "movntps", "movntpd", "movntdq", "movntdqa"]
		.map((name) => [name, move] as const),
	["movss", moveScalar(4)], ["movsd", moveScalar(8)],
	["movd", moveInteger], ["movq", moveInteger],
	["movlps", moveHalf(0)], ["movlpd", moveHalf(0)], ["movhps", moveHalf(1)], ["movhpd", moveHalf(1)],
	["movhlps", betweenHalves(true)], ["movlhps", betweenHalves(false)],
	["movsldup", duplicate(4, 0)], ["movshdup", duplicate(4, 1)], ["movddup", duplicate(8, 0)],
	["movmskps", mask(4)], ["movmskpd", mask(8)], ["pmovmskb", mask(1)],
	["zeroupper", (r) => zero(r, false)], ["zeroall", (r) => zero(r, true)],
	...["broadcastf128", "broadcasti128", "broadcastss", "broadcastsd", "pbroadcastb", "pbroadcastw", "pbroadcastd", "pbroadcastq"]
		.map((name) => [name, broadcast] as const),
	["insertf128", insert128], ["inserti128", insert128], ["extractf128", extract128], ["extracti128", extract128],
	["pinsrb", insert(1)], ["pinsrw", insert(2)], ["pinsrd", insert(4)], ["pinsrq", insert(8)],
	["pextrb", extract(1)], ["pextrw", extract(2)], ["pextrd", extract(4)], ["pextrq", extract(8)], ["extractps", extract(4)],
	["insertps", insertps],
];
