/** SDM Vol. 2: SAL/SAR/SHL/SHR, ROL/ROR/RCL/RCR, SHLD, SHRD, SARX/SHLX/SHRX, RORX. One bit at a time, as the manual does. */
import { type Instruction, Mnemonic as M } from "iced-x86";
import { bit, cut, F, type Operation, type Reference, signed, Unpredictable } from "./state.ts";

function maskedCount(r: Reference, i: Instruction, at: number, bits: number): number {
	return Number(r.read(i, at) & (bits === 64 ? 63n : 31n));
}

function shift(left: boolean, arithmetic: boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const count = maskedCount(r, i, 1, bits);
		const first = r.read(i, 0);
		let value = first;
		let carry = 0;
		for (let n = 0; n < count; n++) {
			carry = bit(value, left ? bits - 1 : 0);
			if (left) value = cut(value << 1n, bits);
			else if (arithmetic) value = cut(signed(value, bits) >> 1n, bits);
			else value >>= 1n;
		}
		r.write(i, 0, value);
		if (count === 0) return;
		r.set({ CF: carry });
		if (!arithmetic && count >= bits) r.leaveUndefined(F.CF);
		if (left) r.set({ OF: bit(value, bits - 1) !== carry });
		else r.set({ OF: arithmetic ? 0 : bit(first, bits - 1) });
		if (count !== 1) r.leaveUndefined(F.OF);
		r.setResult(value, bits);
		r.leaveUndefined(F.AF);
	};
}

function rotate(left: boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const count = maskedCount(r, i, 1, bits);
		let value = r.read(i, 0);
		for (let n = count % bits; n > 0; n--) {
			if (left) value = cut(value << 1n, bits) | BigInt(bit(value, bits - 1));
			else value = (value >> 1n) | (BigInt(bit(value, 0)) << BigInt(bits - 1));
		}
		r.write(i, 0, value);
		if (count === 0) return;
		const top = bit(value, bits - 1);
		r.set({ CF: left ? bit(value, 0) : top });
		if (count !== 1) r.leaveUndefined(F.OF);
		else r.set({ OF: left ? top !== bit(value, 0) : top !== bit(value, bits - 2) });
	};
}

function rotateThroughCarry(left: boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const count = maskedCount(r, i, 1, bits);
		const turns = bits === 8 ? count % 9 : bits === 16 ? count % 17 : count;
		let value = r.read(i, 0);
		let carry = turns === 0 ? 0 : Number(r.flag(F.CF));
		// For RCR the manual computes OF before the rotation.
		const overflowBefore = bit(value, bits - 1) !== carry;
		for (let n = 0; n < turns; n++) {
			const out = bit(value, left ? bits - 1 : 0);
			if (left) value = cut(value << 1n, bits) | BigInt(carry);
			else value = (value >> 1n) | (BigInt(carry) << BigInt(bits - 1));
			carry = out;
		}
		r.write(i, 0, value);
		if (count === 0) return;
		if (turns > 0) r.set({ CF: carry });
		if (count !== 1) r.leaveUndefined(F.OF);
		else r.set({ OF: left ? bit(value, bits - 1) !== carry : overflowBefore });
	};
}

function doubleShift(left: boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const count = maskedCount(r, i, 2, bits);
		const first = r.read(i, 0);
		const source = r.read(i, 1);
		if (count === 0) {
			r.write(i, 0, first);
			return;
		}
		if (count > bits) throw new Unpredictable("a double shift by more than the operand's size");
		const by = BigInt(count);
		const rest = BigInt(bits - count);
		const value = left
			? cut((first << by) | (source >> rest), bits)
			: cut((first >> by) | (source << rest), bits);
		r.write(i, 0, value);
		r.set({ CF: bit(first, left ? bits - count : count - 1) });
		if (count !== 1) r.leaveUndefined(F.OF);
		else r.set({ OF: bit(value, bits - 1) !== bit(first, bits - 1) });
		r.setResult(value, bits);
		r.leaveUndefined(F.AF);
	};
}

function shiftX(compute: (value: bigint, count: bigint, bits: number) => bigint): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const count = r.read(i, 2) & (bits === 64 ? 63n : 31n);
		r.write(i, 0, cut(compute(r.read(i, 1), count, bits), bits));
	};
}

// biome-ignore format: one row an instruction
export const SHIFT: readonly [number, Operation][] = [
	[M.Shl, shift(true, false)],
	[M.Sal, shift(true, false)],
	[M.Shr, shift(false, false)],
	[M.Sar, shift(false, true)],
	[M.Rol, rotate(true)],
	[M.Ror, rotate(false)],
	[M.Rcl, rotateThroughCarry(true)],
	[M.Rcr, rotateThroughCarry(false)],
	[M.Shld, doubleShift(true)],
	[M.Shrd, doubleShift(false)],
	[M.Shlx, shiftX((value, count) => value << count)],
	[M.Shrx, shiftX((value, count) => value >> count)],
	[M.Sarx, shiftX((value, count, bits) => signed(value, bits) >> count)],
	[M.Rorx, shiftX((value, count, bits) => (value >> count) | (value << (BigInt(bits) - count)))],
];
