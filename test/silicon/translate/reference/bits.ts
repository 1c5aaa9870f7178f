/** SDM Vol. 2: BT*, BSF, BSR, TZCNT, LZCNT, POPCNT, BMI1 and BMI2, and the instructions on single flags. */
import { type Instruction, Mnemonic as M, OpKind } from "iced-x86";
import { bit, cut, F, type Operation, type Reference, signed } from "./state.ts";

function bitTest(change: ((value: bigint, mask: bigint) => bigint) | null): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const size = bits / 8;
		const undefinedOnes = F.OF | F.SF | F.AF | F.PF;
		if (i.opKind(0) === OpKind.Register || i.opKind(1) !== OpKind.Register) {
			const at = r.read(i, 1) % BigInt(bits);
			const value = r.read(i, 0);
			if (change !== null) r.write(i, 0, change(value, 1n << at));
			r.set({ CF: bit(value, at) });
		} else {
			// A register's offset reaches the whole bit string, in units of the operand size.
			const offset = signed(r.read(i, 1), bits);
			const at = BigInt.asUintN(bits === 64 ? 6 : bits === 32 ? 5 : 4, offset);
			const unit = ((offset - at) / BigInt(bits)) * BigInt(size);
			const linear = r.linear(i, unit);
			const value = r.memory.read(linear, size);
			if (change !== null) r.memory.write(linear, size, cut(change(value, 1n << at), bits));
			r.set({ CF: bit(value, at) });
		}
		r.leaveUndefined(undefinedOnes);
	};
}

function scan(order: (bits: number) => number[]): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const source = r.read(i, 1);
		r.set({ ZF: source === 0n });
		r.leaveUndefined(F.CF | F.OF | F.SF | F.AF | F.PF);
		const found = order(bits).find((at) => bit(source, at) === 1);
		// With a source of 0 the destination keeps its value (APM Vol. 3; SDM: undefined).
		if (found !== undefined) r.write(i, 0, BigInt(found));
	};
}

const upward = (bits: number) => Array.from({ length: bits }, (_, at) => at);
const downward = (bits: number) => upward(bits).reverse();

function countZeros(order: (bits: number) => number[]): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const source = r.read(i, 1);
		const places = order(bits);
		const first = places.findIndex((at) => bit(source, at) === 1);
		const result = first < 0 ? bits : first;
		r.write(i, 0, BigInt(result));
		r.set({ CF: result === bits, ZF: result === 0 });
		r.leaveUndefined(F.OF | F.SF | F.AF | F.PF);
	};
}

function popcnt(r: Reference, i: Instruction): void {
	const source = r.read(i, 1);
	let count = 0;
	for (let at = 0; at < r.bits(i, 1); at++) count += bit(source, at);
	r.write(i, 0, BigInt(count));
	r.set({ OF: 0, SF: 0, ZF: source === 0n, AF: 0, CF: 0, PF: 0 });
}

function setBmi(r: Reference, result: bigint, bits: number, carry: boolean): void {
	r.set({ ZF: result === 0n, SF: bit(result, bits - 1), OF: 0, CF: carry });
	r.leaveUndefined(F.AF | F.PF);
}

function andn(r: Reference, i: Instruction): void {
	const bits = r.bits(i, 0);
	const result = cut(~r.read(i, 1), bits) & r.read(i, 2);
	r.write(i, 0, result);
	setBmi(r, result, bits, false);
}

function lowest(compute: (value: bigint) => bigint, carry: (source: bigint) => boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const source = r.read(i, 1);
		const result = cut(compute(source), bits);
		r.write(i, 0, result);
		setBmi(r, result, bits, carry(source));
	};
}

function bzhi(r: Reference, i: Instruction): void {
	const bits = r.bits(i, 0);
	const index = r.read(i, 2) & 0xffn;
	const source = r.read(i, 1);
	const result = index < BigInt(bits) ? cut(source, Number(index)) : source;
	r.write(i, 0, result);
	setBmi(r, result, bits, index > BigInt(bits - 1));
}

function bextr(r: Reference, i: Instruction): void {
	const control = r.read(i, 2);
	const start = control & 0xffn;
	const length = Number((control >> 8n) & 0xffn);
	const result = cut(r.read(i, 1) >> start, length);
	r.write(i, 0, result);
	r.set({ ZF: result === 0n, CF: 0, OF: 0 });
	r.leaveUndefined(F.AF | F.SF | F.PF);
}

function lahf(r: Reference): void {
	let value = 2n;
	for (const mask of [F.SF, F.ZF, F.AF, F.PF, F.CF]) if (r.flag(mask)) value |= BigInt(mask);
	r.regs[0] = (r.regs[0]! & ~0xff00n) | (value << 8n);
}

function sahf(r: Reference): void {
	const value = Number((r.regs[0]! >> 8n) & 0xffn);
	const names = ["SF", "ZF", "AF", "PF", "CF"] as const;
	for (const name of names) r.set({ [name]: value & F[name] });
}

/** The remainder of the data, bits reversed, behind the sum so far, by the Castagnoli polynomial (SDM Vol. 2A, CRC32). */
const crc32: Operation = (r, i) => {
	let data = r.read(i, 1);
	let sum = r.read(i, 0) & 0xffffffffn;
	for (let at = 0; at < r.bits(i, 1); at++) {
		const carry = (sum ^ data) & 1n;
		sum = (sum >> 1n) ^ (carry === 1n ? 0x82f63b78n : 0n);
		data >>= 1n;
	}
	r.write(i, 0, sum);
};

// biome-ignore format: one row an instruction
export const BITS: readonly [number, Operation][] = [
	[M.Bt, bitTest(null)],
	[M.Bts, bitTest((value, mask) => value | mask)],
	[M.Btr, bitTest((value, mask) => value & ~mask)],
	[M.Btc, bitTest((value, mask) => value ^ mask)],
	[M.Bsf, scan(upward)],
	[M.Bsr, scan(downward)],
	[M.Tzcnt, countZeros(upward)],
	[M.Lzcnt, countZeros(downward)],
	[M.Popcnt, popcnt],
	[M.Crc32, crc32],
	[M.Andn, andn],
	[M.Blsi, lowest((value) => -value & value, (source) => source !== 0n)],
	[M.Blsr, lowest((value) => (value - 1n) & value, (source) => source === 0n)],
	[M.Blsmsk, lowest((value) => (value - 1n) ^ value, (source) => source === 0n)],
	[M.Bzhi, bzhi],
	[M.Bextr, bextr],
	[M.Clc, (r) => r.set({ CF: 0 })],
	[M.Stc, (r) => r.set({ CF: 1 })],
	[M.Cmc, (r) => r.set({ CF: !r.flag(F.CF) })],
	[M.Cld, (r) => r.set({ DF: 0 })],
	[M.Std, (r) => r.set({ DF: 1 })],
	[M.Lahf, lahf],
	[M.Sahf, sahf],
];
