/**
 * RFLAGS, whose six arithmetic flags are kept lazily: CC_OP says how to compute them from CC_DST, CC_SRC and
 * CC_SRC2. CC.explicit: they stand in RFLAGS itself.
 *
 * Every kind but `explicit` and `flags` exists for each operand size: CC_OP is the kind plus log2 of the size
 * in bytes. Operands are zero-extended to 64 bits.
 *
 *     kind      CC_DST          CC_SRC                        CC_SRC2
 *     add       result          right operand
 *     adc       result          right operand                 carry in
 *     sub       left operand    right operand
 *     sbb       result          right operand                 borrow in
 *     logic     result
 *     inc, dec  result          CF as it was (0 or 1)
 *     result    result          CF, AF and OF in their RFLAGS places
 *     imul      result          left operand                  right operand
 *     flags                     all six in their RFLAGS places
 */
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";

export const FLAG = {
	CF: 1 << 0,
	PF: 1 << 2,
	AF: 1 << 4,
	ZF: 1 << 6,
	SF: 1 << 7,
	TF: 1 << 8,
	IF: 1 << 9,
	DF: 1 << 10,
	OF: 1 << 11,
	IOPL: 3 << 12,
	NT: 1 << 14,
	RF: 1 << 16,
	VM: 1 << 17,
	AC: 1 << 18,
	VIF: 1 << 19,
	VIP: 1 << 20,
	ID: 1 << 21,
} as const;

/** The six arithmetic flags. */
export const ARITHMETIC_FLAGS = 0x8d5;

/** CC_OP 0: the arithmetic flags stand in RFLAGS. */
export const CC_EXPLICIT = 0;

/** Kinds of CC_OP; see the table above. */
export const CC = {
	explicit: CC_EXPLICIT,
	flags: 1,
	add: 4,
	adc: 8,
	sub: 12,
	sbb: 16,
	logic: 20,
	inc: 24,
	dec: 28,
	result: 32,
	imul: 36,
} as const;

/** PF by the low byte of a result. */
const PARITY = Uint8Array.from({ length: 256 }, (_, byte) => {
	let odd = 0;
	for (let rest = byte; rest !== 0; rest >>= 1) odd ^= rest & 1;
	return odd === 0 ? FLAG.PF : 0;
});

// 64-bit sums of the helper below, as halves, so that reading RFLAGS at a VM exit makes no BigInt.
let sumLow = 0;
let sumHigh = 0;

function add(aLow: number, aHigh: number, bLow: number, bHigh: number, carry: number): void {
	const low = aLow + bLow + carry;
	sumLow = low | 0;
	sumHigh = (aHigh + bHigh + (low > 0xffff_ffff ? 1 : 0)) | 0;
}

function subtract(aLow: number, aHigh: number, bLow: number, bHigh: number, borrow: number): void {
	const low = aLow - bLow - borrow;
	sumLow = low | 0;
	sumHigh = (aHigh - bHigh - (low < 0 ? 1 : 0)) | 0;
}

/** The flags of a truncated signed product. Rare enough for BigInt. @param bits operand size */
function imulFlags(cpu: Cpu, bits: number): number {
	const left = BigInt.asIntN(bits, cpu.read64(L.CC_SRC));
	const right = BigInt.asIntN(bits, cpu.read64(L.CC_SRC2));
	const result = BigInt.asIntN(bits, cpu.read64(L.CC_DST));
	let flags = PARITY[Number(result & 0xffn)]!;
	if (left * right !== result) flags |= FLAG.CF | FLAG.OF;
	if (result === 0n) flags |= FLAG.ZF;
	if (result < 0n) flags |= FLAG.SF;
	return flags;
}

/** Computes the six flags of a lazy state in the state block. @param op CC_OP, not CC.explicit */
function lazyFlags(cpu: Cpu, op: number): number {
	const at = (cpu.base + L.CC_DST) >> 2;
	const words = cpu.u32;
	const srcLow = words[at + 2]!;
	if (op === CC.flags) return srcLow & ARITHMETIC_FLAGS;
	const dstLow = words[at]!;
	const dstHigh = words[at + 1]!;
	const srcHigh = words[at + 3]!;
	const carry = words[at + 4]!;
	const kind = op & ~3;
	let resultLow = dstLow | 0;
	let resultHigh = dstHigh | 0;
	let aLow = 0;
	let aHigh = 0;
	let bLow = srcLow | 0;
	let bHigh = srcHigh | 0;
	let direction = 0; // 1: an addition, -1: a subtraction, 0: no carries
	if (kind === CC.add || kind === CC.adc) {
		direction = 1;
		subtract(dstLow, dstHigh, srcLow, srcHigh, kind === CC.adc ? carry : 0);
		aLow = sumLow;
		aHigh = sumHigh;
	} else if (kind === CC.sub) {
		direction = -1;
		aLow = dstLow;
		aHigh = dstHigh;
		subtract(dstLow, dstHigh, srcLow, srcHigh, 0);
		resultLow = sumLow;
		resultHigh = sumHigh;
	} else if (kind === CC.sbb) {
		direction = -1;
		add(dstLow, dstHigh, srcLow, srcHigh, carry);
		aLow = sumLow;
		aHigh = sumHigh;
	} else if (kind === CC.inc || kind === CC.dec) {
		direction = kind === CC.inc ? 1 : -1;
		if (direction === 1) subtract(dstLow, dstHigh, 1, 0, 0);
		else add(dstLow, dstHigh, 1, 0, 0);
		aLow = sumLow;
		aHigh = sumHigh;
		bLow = 1;
		bHigh = 0;
	}
	if (kind === CC.imul) return imulFlags(cpu, 8 << (op & 3));
	let carriesLow = 0;
	let carriesHigh = 0;
	if (direction === 1) {
		carriesLow = (aLow & bLow) | ((aLow | bLow) & ~resultLow);
		carriesHigh = (aHigh & bHigh) | ((aHigh | bHigh) & ~resultHigh);
	} else if (direction === -1) {
		carriesLow = (~aLow & bLow) | ((~aLow | bLow) & resultLow);
		carriesHigh = (~aHigh & bHigh) | ((~aHigh | bHigh) & resultHigh);
	}
	const size = op & 3;
	// Everything is shifted so that the operand's sign lies in bit 31.
	const shift = size === 3 ? 0 : 32 - (8 << size);
	const top = size === 3 ? carriesHigh : carriesLow << shift;
	const sign = size === 3 ? resultHigh : resultLow << shift;
	const zero = size === 3 ? resultLow | resultHigh : sign;
	let flags = PARITY[resultLow & 0xff]!;
	flags |= (carriesLow << 1) & FLAG.AF;
	if (zero === 0) flags |= FLAG.ZF;
	if (sign < 0) flags |= FLAG.SF;
	if ((top ^ (top << 1)) < 0) flags |= FLAG.OF;
	if (kind === CC.inc || kind === CC.dec) flags |= srcLow & FLAG.CF;
	else if (top < 0) flags |= FLAG.CF;
	if (kind === CC.result) flags |= srcLow & (FLAG.CF | FLAG.AF | FLAG.OF);
	return flags;
}

/** Computes lazy arithmetic flags, makes them explicit, and returns RFLAGS (its low 32 bits). */
export function readRflags(cpu: Cpu): number {
	const op = cpu.read32(L.CC_OP);
	const stored = cpu.read32(L.RFLAGS);
	if (op === CC_EXPLICIT) return stored;
	const flags = (stored & ~ARITHMETIC_FLAGS) | lazyFlags(cpu, op);
	cpu.write32(L.RFLAGS, flags);
	cpu.write32(L.CC_OP, CC_EXPLICIT);
	return flags;
}

/** Writes RFLAGS, with the arithmetic flags explicit. Bit 1 is always set. */
export function writeRflags(cpu: Cpu, value: number): void {
	cpu.write32(L.RFLAGS, value | 2);
	cpu.write32(L.RFLAGS + 4, 0);
	cpu.write32(L.CC_OP, CC_EXPLICIT);
}
