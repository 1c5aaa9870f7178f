/** x87 data transfer: FLD to FBSTP, FXCH, FCMOVcc, constants, and the stack itself (SDM Vol. 1, 8.3.3, 8.3.4 and 8.3.8). */
import type { Cpu } from "../cpu/cpu.ts";
import { FLAG, readRflags } from "../cpu/rflags.ts";
import * as general from "../fpu/arithmetic.ts";
import { EXCEPTION, ROUNDING } from "../fpu/environment.ts";
import { round } from "../fpu/rounding.ts";
import { type Extended, F32, F64, F80, INDEFINITE, toF32, toF64, toF80, type Value } from "../fpu/value.ts";
import type { Insn } from "../translate/insn.ts";
import { hasFault } from "../translate/memory-operands.ts";
import type { Services } from "../translate/services.ts";
import { emptyOperand, fromInteger, loadOperand } from "./arithmetic.ts";
import { type Effect, loadAt, probe, stackIndex, storeAt } from "./instruction.ts";
import * as X from "./state.ts";

const INDEFINITE_BITS = toF80(INDEFINITE);

function memoryBytes(insn: Insn): number {
	const operand = insn.operands[0]!;
	return operand.kind === "memory" ? operand.bytes : 0;
}

// ---- loads -------------------------------------------------------------------------------------------

/** Pushes bits, or what a stack overflow leaves. */
function pushBits(cpu: Cpu, bits: Extended): void {
	let pushed = bits;
	if (!X.isEmpty(cpu, 7)) {
		X.stackFault(cpu, true);
		if (X.unmasked()) return;
		pushed = INDEFINITE_BITS;
	} else X.end(cpu, false);
	X.setTop(cpu, X.top(cpu) - 1);
	const register = X.physical(cpu, 0);
	X.setRegisterBits(cpu, register, pushed);
	X.setTags(cpu, X.tags(cpu) | (1 << register));
}

/** FLD of a single or double: a signaling NaN becomes quiet. A denormal is loaded even where #D is unmasked. */
function pushConverted(cpu: Cpu, value: Value): void {
	if (!X.isEmpty(cpu, 7)) {
		pushBits(cpu, INDEFINITE_BITS);
		return;
	}
	const converted = general.convert(X.env, F80, value);
	if (X.unmasked(EXCEPTION.invalid)) X.end(cpu, false);
	else pushBits(cpu, toF80(converted));
}

/** FLD. */
export const fld: Effect = (cpu, insn, services) => {
	if (insn.operands[0]!.kind === "register") {
		const from = stackIndex(insn, 0);
		if (!X.isEmpty(cpu, from)) pushBits(cpu, X.registerBits(cpu, X.physical(cpu, from)));
		else {
			X.stackFault(cpu, false);
			if (!X.unmasked()) X.push(cpu, INDEFINITE);
		}
		return true;
	}
	if (memoryBytes(insn) !== 10) {
		const value = loadOperand(cpu, insn, services, false);
		if (hasFault(cpu)) return false;
		pushConverted(cpu, value);
		return true;
	}
	const significand = loadAt(cpu, insn, services, 0, 8);
	if (hasFault(cpu)) return false;
	const signExponent = Number(loadAt(cpu, insn, services, 8, 2));
	if (hasFault(cpu)) return false;
	pushBits(cpu, { signExponent, significand });
	return true;
};

/** FILD. */
export const fild: Effect = (cpu, insn, services) => {
	const value = loadOperand(cpu, insn, services, true);
	if (hasFault(cpu)) return false;
	pushBits(cpu, toF80(value));
	return true;
};

/** FBLD: 18 decimal digits and a sign. Digits above 9 are undefined; they count as they stand. */
export const fbld: Effect = (cpu, insn, services) => {
	const low = loadAt(cpu, insn, services, 0, 8);
	if (hasFault(cpu)) return false;
	const high = Number(loadAt(cpu, insn, services, 8, 2));
	if (hasFault(cpu)) return false;
	let value = 0n;
	const digits = (BigInt(high & 0xff) << 64n) | low;
	for (let at = 17; at >= 0; at--) value = value * 10n + ((digits >> BigInt(4 * at)) & 15n);
	const { signExponent, significand } = toF80(fromInteger(value));
	pushBits(cpu, { signExponent: signExponent | (high & 0x8000), significand });
	return true;
};

/** FLD1, FLDZ, FLDPI …: a constant, rounded as RC says without an exception. */
export function constant(significand: bigint, exponent: number): Effect {
	return (cpu) => {
		if (significand === 0n) pushBits(cpu, { signExponent: 0, significand: 0n });
		else {
			const value = round(X.env, F80, false, significand, exponent);
			X.env.begin();
			pushBits(cpu, toF80(value));
		}
		return true;
	};
}

// ---- stores ------------------------------------------------------------------------------------------

/** Ends a store: pops, unless an exception kept the store from being done. */
function finishStore(cpu: Cpu, pops: boolean, stored: boolean): true {
	X.end(cpu, X.env.roundedUp && stored);
	if (pops && stored) X.pop(cpu);
	return true;
}

/** A store of an empty register. @returns whether something is to be stored: what the masked response has */
function storesEmpty(cpu: Cpu): boolean {
	return (X.control(cpu) & EXCEPTION.invalid) !== 0;
}

function finishEmpty(cpu: Cpu, pops: boolean): true {
	X.stackFault(cpu, false);
	if (pops && !X.unmasked()) X.pop(cpu);
	return true;
}

/** FST and FSTP to m32 and m64. With an unmasked #I, #O or #U nothing is stored. */
function storeConverted(cpu: Cpu, insn: Insn, services: Services, pops: boolean): boolean {
	const bytes = memoryBytes(insn);
	const format = bytes === 4 ? F32 : F64;
	const encode = (value: Value) => (bytes === 4 ? BigInt(toF32(value)) : toF64(value));
	if (X.isEmpty(cpu, 0)) {
		if (storesEmpty(cpu) && !storeAt(cpu, insn, services, 0, bytes, encode(INDEFINITE))) return false;
		return finishEmpty(cpu, pops);
	}
	const from = X.read(cpu, 0);
	// What is a denormal here lies below every other format, and #D is not among the exceptions of a store.
	const value = general.convert(X.env, format, { ...from, denormal: false });
	const stored = !X.unmasked(EXCEPTION.invalid | EXCEPTION.overflow | EXCEPTION.underflow);
	// What is not stored has lost nothing.
	if (!stored) X.env.flags &= ~EXCEPTION.precision;
	if (stored && !storeAt(cpu, insn, services, 0, bytes, encode(value))) return false;
	return finishStore(cpu, pops, stored);
}

function storeWide(cpu: Cpu, insn: Insn, services: Services, bits: Extended): boolean {
	if (!probe(cpu, insn, services, 10)) return false;
	storeAt(cpu, insn, services, 0, 8, bits.significand);
	return storeAt(cpu, insn, services, 8, 2, BigInt(bits.signExponent));
}

function storeExtended(cpu: Cpu, insn: Insn, services: Services): boolean {
	if (X.isEmpty(cpu, 0)) {
		if (storesEmpty(cpu) && !storeWide(cpu, insn, services, INDEFINITE_BITS)) return false;
		return finishEmpty(cpu, true);
	}
	if (!storeWide(cpu, insn, services, X.registerBits(cpu, X.physical(cpu, 0)))) return false;
	return finishStore(cpu, true, true);
}

/** FST and FSTP. */
export function fst(pops: boolean): Effect {
	return (cpu, insn, services) => {
		if (insn.operands[0]!.kind === "memory") {
			if (memoryBytes(insn) === 10) return storeExtended(cpu, insn, services);
			return storeConverted(cpu, insn, services, pops);
		}
		const to = stackIndex(insn, 0);
		if (X.isEmpty(cpu, 0)) {
			emptyOperand(cpu, to, pops);
			return true;
		}
		const register = X.physical(cpu, to);
		X.setRegisterBits(cpu, register, X.registerBits(cpu, X.physical(cpu, 0)));
		X.setTags(cpu, X.tags(cpu) | (1 << register));
		X.end(cpu, false);
		if (pops) X.pop(cpu);
		return true;
	};
}

/** FSTPNCE, undocumented: FSTP that of an empty register only pops. */
export const fstpnce: Effect = (cpu, insn) => {
	if (!X.isEmpty(cpu, 0)) {
		const register = X.physical(cpu, stackIndex(insn, 0));
		X.setRegisterBits(cpu, register, X.registerBits(cpu, X.physical(cpu, 0)));
		X.setTags(cpu, X.tags(cpu) | (1 << register));
	}
	X.end(cpu, false);
	X.pop(cpu);
	return true;
};

/** FIST, FISTP and FISTTP. @param cuts FISTTP, whatever RC says */
export function fist(pops: boolean, cuts: boolean): Effect {
	return (cpu, insn, services) => {
		const bytes = memoryBytes(insn);
		const indefinite = 1n << BigInt(bytes * 8 - 1);
		if (X.isEmpty(cpu, 0)) {
			if (storesEmpty(cpu) && !storeAt(cpu, insn, services, 0, bytes, indefinite)) return false;
			return finishEmpty(cpu, pops);
		}
		const rounding = cuts ? ROUNDING.zero : X.env.rounding;
		const integer = general.toInteger(X.env, X.read(cpu, 0), bytes * 8, rounding);
		const stored = !X.unmasked(EXCEPTION.invalid);
		const value = integer === null ? indefinite : BigInt.asUintN(bytes * 8, integer);
		if (stored && !storeAt(cpu, insn, services, 0, bytes, value)) return false;
		return finishStore(cpu, pops, stored);
	};
}

const BCD_LIMIT = 10n ** 18n;
const BCD_INDEFINITE: Extended = { signExponent: 0xffff, significand: 0xc000000000000000n };

function toBcd(value: Value): Extended {
	const integer = general.toInteger(X.env, value, 64, X.env.rounding);
	if (integer === null || integer >= BCD_LIMIT || integer <= -BCD_LIMIT) {
		X.env.flags = EXCEPTION.invalid;
		X.env.roundedUp = false;
		return BCD_INDEFINITE;
	}
	let rest = integer < 0n ? -integer : integer;
	let digits = 0n;
	for (let at = 0n; rest > 0n; at += 4n) {
		digits |= (rest % 10n) << at;
		rest /= 10n;
	}
	const signExponent = Number(digits >> 64n) | (value.negative ? 0x8000 : 0);
	return { signExponent, significand: BigInt.asUintN(64, digits) };
}

/** FBSTP. */
export const fbstp: Effect = (cpu, insn, services) => {
	if (X.isEmpty(cpu, 0)) {
		if (storesEmpty(cpu) && !storeWide(cpu, insn, services, BCD_INDEFINITE)) return false;
		return finishEmpty(cpu, true);
	}
	const digits = toBcd(X.read(cpu, 0));
	const stored = !X.unmasked(EXCEPTION.invalid);
	if (stored && !storeWide(cpu, insn, services, digits)) return false;
	return finishStore(cpu, true, stored);
};

// ---- within the stack --------------------------------------------------------------------------------

/** FXCH. Empty registers become the indefinite first. */
export const fxch: Effect = (cpu, insn) => {
	const other = stackIndex(insn, insn.operands.length - 1);
	const empty = [0, other].filter((i) => X.isEmpty(cpu, i));
	if (empty.length > 0) {
		X.stackFault(cpu, false);
		if (X.unmasked()) return true;
		for (const i of empty) X.write(cpu, i, INDEFINITE);
	} else X.end(cpu, false);
	const [first, second] = [X.physical(cpu, 0), X.physical(cpu, other)];
	const bits = X.registerBits(cpu, first);
	X.setRegisterBits(cpu, first, X.registerBits(cpu, second));
	X.setRegisterBits(cpu, second, bits);
	return true;
};

/** FCMOVcc. @param flags any of which makes it move @param negate moves if none is set */
export function fcmov(flags: number, negate: boolean): Effect {
	return (cpu, insn) => {
		const from = stackIndex(insn, 1);
		if (X.isEmpty(cpu, 0) || X.isEmpty(cpu, from)) {
			emptyOperand(cpu, 0, false);
			return true;
		}
		if (((readRflags(cpu) & flags) !== 0) === negate) return true;
		X.setRegisterBits(cpu, X.physical(cpu, 0), X.registerBits(cpu, X.physical(cpu, from)));
		return true;
	};
}

/** The flags of FCMOVcc's conditions. */
export const BELOW = FLAG.CF;
export const EQUAL = FLAG.ZF;
export const BELOW_OR_EQUAL = FLAG.CF | FLAG.ZF;
export const UNORDERED = FLAG.PF;

/** FINCSTP and FDECSTP: TOP alone. */
export function moveTop(by: number): Effect {
	return (cpu) => {
		X.setTop(cpu, X.top(cpu) + by);
		X.setConditions(cpu, 0, X.STATUS.c1);
		return true;
	};
}

/** FFREE. @param pops the undocumented FFREEP */
export function ffree(pops: boolean): Effect {
	return (cpu, insn) => {
		X.free(cpu, stackIndex(insn, 0));
		// Undefined by the manuals; measured on Zen 4.
		X.setConditions(cpu, 0, X.STATUS.c1);
		if (pops) X.pop(cpu);
		return true;
	};
}

/** FNOP. */
export const fnop: Effect = () => true;
