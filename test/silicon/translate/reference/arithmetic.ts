/** SDM Vol. 2: ADD, ADC, SUB, SBB, CMP, INC, DEC, NEG, logic, MUL, IMUL, DIV, IDIV, ADCX, ADOX, MULX, XADD, CMPXCHG. */
import { type Instruction, Mnemonic as M, OpKind } from "iced-x86";
import { bit, cut, F, type Operation, type Reference, ReferenceFault, signed } from "./state.ts";

const RAX = 0;
const RDX = 2;

/** Sum with all six flags. */
export function add(r: Reference, a: bigint, b: bigint, carry: bigint, bits: number): bigint {
	const sum = a + b + carry;
	const result = cut(sum, bits);
	r.setResult(result, bits);
	const exact = signed(a, bits) + signed(b, bits) + carry;
	r.set({ CF: sum !== result, OF: signed(exact, bits) !== exact, AF: (a & 15n) + (b & 15n) + carry > 15n });
	return result;
}

/** Difference with all six flags. */
export function subtract(r: Reference, a: bigint, b: bigint, borrow: bigint, bits: number): bigint {
	const result = cut(a - b - borrow, bits);
	r.setResult(result, bits);
	const exact = signed(a, bits) - signed(b, bits) - borrow;
	r.set({ CF: a < b + borrow, OF: signed(exact, bits) !== exact, AF: (a & 15n) < (b & 15n) + borrow });
	return result;
}

function carryIn(r: Reference): bigint {
	return r.flag(F.CF) ? 1n : 0n;
}

type Binary = (r: Reference, a: bigint, b: bigint, bits: number) => bigint;

function binary(compute: Binary, writes = true): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const result = compute(r, r.read(i, 0), cut(r.read(i, 1), bits), bits);
		if (writes) r.write(i, 0, result);
	};
}

function logic(compute: (a: bigint, b: bigint) => bigint): Binary {
	return (r, a, b, bits) => {
		const result = compute(a, b);
		r.setResult(result, bits);
		r.set({ CF: 0, OF: 0 });
		r.leaveUndefined(F.AF);
		return result;
	};
}

function step(compute: Binary): Operation {
	return (r, i) => {
		const undefinedCarry = r.undefinedFlags & F.CF;
		const carry = (r.flags & F.CF) !== 0;
		const result = compute(r, r.read(i, 0), 1n, r.bits(i, 0));
		r.set({ CF: carry });
		r.undefinedFlags |= undefinedCarry;
		r.write(i, 0, result);
	};
}

/** One-operand MUL and IMUL. */
function wideProduct(r: Reference, i: Instruction, isSigned: boolean): void {
	const bits = r.bits(i, 0);
	const extend = (value: bigint) => (isSigned ? signed(value, bits) : value);
	const product = extend(r.get(RAX, bits / 8)) * extend(r.read(i, 0));
	if (bits === 8) r.put(RAX, 2, product);
	else {
		r.put(RAX, bits / 8, product);
		r.put(RDX, bits / 8, product >> BigInt(bits));
	}
	const fits = extend(cut(product, bits)) === product;
	r.set({ CF: !fits, OF: !fits });
	r.leaveUndefined(F.SF | F.ZF | F.AF | F.PF);
}

function imul(r: Reference, i: Instruction): void {
	if (i.opCount === 1) {
		wideProduct(r, i, true);
		return;
	}
	const bits = r.bits(i, 0);
	const first = i.opCount === 3 ? 1 : 0;
	const exact = signed(r.read(i, first), bits) * signed(r.read(i, first + 1), bits);
	r.write(i, 0, exact);
	const fits = signed(exact, bits) === exact;
	r.set({ CF: !fits, OF: !fits });
	r.leaveUndefined(F.SF | F.ZF | F.AF | F.PF);
}

function divide(isSigned: boolean): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const wide = bits * 2;
		const extend = (value: bigint, width: number) => (isSigned ? signed(value, width) : value);
		const pair = bits === 8 ? r.get(RAX, 2) : (r.get(RDX, bits / 8) << BigInt(bits)) | r.get(RAX, bits / 8);
		const by = extend(r.read(i, 0), bits);
		if (by === 0n) throw new ReferenceFault(0);
		const dividend = extend(pair, wide);
		const quotient = dividend / by;
		if (extend(cut(quotient, bits), bits) !== quotient) throw new ReferenceFault(0);
		const remainder = cut(dividend % by, bits);
		if (bits === 8) r.put(RAX, 2, (remainder << 8n) | cut(quotient, 8));
		else {
			r.put(RAX, bits / 8, quotient);
			r.put(RDX, bits / 8, remainder);
		}
		r.leaveUndefined(F.CF | F.OF | F.SF | F.ZF | F.AF | F.PF);
	};
}

function addChain(name: "CF" | "OF"): Operation {
	return (r, i) => {
		const bits = r.bits(i, 0);
		const sum = r.read(i, 0) + r.read(i, 1) + (r.flag(F[name]) ? 1n : 0n);
		r.write(i, 0, cut(sum, bits));
		r.set({ [name]: bit(sum, bits) });
	};
}

function mulx(r: Reference, i: Instruction): void {
	const bits = r.bits(i, 0);
	const product = r.get(RDX, bits / 8) * r.read(i, 2);
	// With one register for both halves, it holds the upper one.
	r.write(i, 1, cut(product, bits));
	r.write(i, 0, product >> BigInt(bits));
}

function xadd(r: Reference, i: Instruction): void {
	const bits = r.bits(i, 0);
	const old = r.read(i, 0);
	const sum = add(r, old, r.read(i, 1), 0n, bits);
	// TEMP := SRC + DEST; SRC := DEST; DEST := TEMP. The destination is tried first, since it may fault.
	r.write(i, 0, sum);
	r.write(i, 1, old);
	if (i.opKind(0) === OpKind.Register) r.write(i, 0, sum);
}

function cmpxchg(r: Reference, i: Instruction): void {
	const bits = r.bits(i, 0);
	const accumulator = r.get(RAX, bits / 8);
	const old = r.read(i, 0);
	const source = r.read(i, 1);
	subtract(r, accumulator, old, 0n, bits);
	if (accumulator === old) r.write(i, 0, source);
	else {
		// A register keeps its upper half here (measured on an EPYC); memory goes through a write cycle.
		if (i.opKind(0) !== OpKind.Register) r.write(i, 0, old);
		r.put(RAX, bits / 8, old);
	}
}

function cmpxchgPair(half: number): Operation {
	return (r, i) => {
		const linear = r.linear(i);
		if (half === 8 && linear % 16n !== 0n) throw new ReferenceFault(13);
		const upper = linear + BigInt(half);
		const low = r.memory.read(linear, half);
		const high = r.memory.read(upper, half);
		const equal = low === r.get(RAX, half) && high === r.get(RDX, half);
		// The destination is written in any case.
		r.memory.write(linear, half, equal ? r.get(3, half) : low);
		r.memory.write(upper, half, equal ? r.get(1, half) : high);
		r.set({ ZF: equal });
		if (equal) return;
		r.put(RAX, half, low);
		r.put(RDX, half, high);
	};
}

// biome-ignore format: one row an instruction
export const ARITHMETIC: readonly [number, Operation][] = [
	[M.Add, binary((r, a, b, bits) => add(r, a, b, 0n, bits))],
	[M.Adc, binary((r, a, b, bits) => add(r, a, b, carryIn(r), bits))],
	[M.Sub, binary((r, a, b, bits) => subtract(r, a, b, 0n, bits))],
	[M.Sbb, binary((r, a, b, bits) => subtract(r, a, b, carryIn(r), bits))],
	[M.Cmp, binary((r, a, b, bits) => subtract(r, a, b, 0n, bits), false)],
	[M.And, binary(logic((a, b) => a & b))],
	[M.Or, binary(logic((a, b) => a | b))],
	[M.Xor, binary(logic((a, b) => a ^ b))],
	[M.Test, binary(logic((a, b) => a & b), false)],
	[M.Inc, step((r, a, b, bits) => add(r, a, b, 0n, bits))],
	[M.Dec, step((r, a, b, bits) => subtract(r, a, b, 0n, bits))],
	[M.Neg, (r, i) => r.write(i, 0, subtract(r, 0n, r.read(i, 0), 0n, r.bits(i, 0)))],
	[M.Not, (r, i) => r.write(i, 0, cut(~r.read(i, 0), r.bits(i, 0)))],
	[M.Mul, (r, i) => wideProduct(r, i, false)],
	[M.Imul, imul],
	[M.Div, divide(false)],
	[M.Idiv, divide(true)],
	[M.Adcx, addChain("CF")],
	[M.Adox, addChain("OF")],
	[M.Mulx, mulx],
	[M.Xadd, xadd],
	[M.Cmpxchg, cmpxchg],
	[M.Cmpxchg8b, cmpxchgPair(4)],
	[M.Cmpxchg16b, cmpxchgPair(8)],
];
