/** The x87 instructions, by mnemonic. */
import { Mnemonic as M } from "../translate/decode.ts";
import type { Microcode } from "../translate/microcode.ts";
import {
	arithmetic,
	fprem,
	frndint,
	fscale,
	fsqrt,
	fxtract,
	signOf,
	withMemory,
	withRegisters,
} from "./arithmetic.ts";
import { compareFlags, compareMemory, compareStack, ftst, fxam } from "./compare.ts";
import { CONSTANTS } from "./elementary.ts";
import * as E from "./environment.ts";
import { type Effect, fwait, nonWaiting, numeric, waiting } from "./instruction.ts";
import * as D from "./moves.ts";
import { f2xm1, fcos, fpatan, fptan, fsin, fsincos, fyl2x, fyl2xp1 } from "./transcendental.ts";

const constant = ({ m, e }: { m: bigint; e: number }): Effect => D.constant(m, e);

// biome-ignore format: one row an instruction
const NUMERIC: readonly (readonly [number, Effect])[] = [
	[M.Fadd, arithmetic("add")],                [M.Faddp, withRegisters("add", true)],                [M.Fiadd, withMemory("add", true)],
	[M.Fmul, arithmetic("multiply")],           [M.Fmulp, withRegisters("multiply", true)],           [M.Fimul, withMemory("multiply", true)],
	[M.Fsub, arithmetic("subtract")],           [M.Fsubp, withRegisters("subtract", true)],           [M.Fisub, withMemory("subtract", true)],
	[M.Fsubr, arithmetic("subtractReversed")],  [M.Fsubrp, withRegisters("subtractReversed", true)],  [M.Fisubr, withMemory("subtractReversed", true)],
	[M.Fdiv, arithmetic("divide")],             [M.Fdivp, withRegisters("divide", true)],             [M.Fidiv, withMemory("divide", true)],
	[M.Fdivr, arithmetic("divideReversed")],    [M.Fdivrp, withRegisters("divideReversed", true)],    [M.Fidivr, withMemory("divideReversed", true)],
	[M.Fsqrt, fsqrt],
	[M.Fabs, signOf(() => false)],
	[M.Fchs, signOf((negative) => !negative)],
	[M.Frndint, frndint],
	[M.Fscale, fscale],
	[M.Fxtract, fxtract],
	[M.Fprem, fprem(false)],
	[M.Fprem1, fprem(true)],
	[M.Fcom, compareStack(false, 0)],    [M.Fcomp, compareStack(false, 1)],    [M.Fcompp, compareStack(false, 2)],
	[M.Fucom, compareStack(true, 0)],    [M.Fucomp, compareStack(true, 1)],    [M.Fucompp, compareStack(true, 2)],
	[M.Ficom, compareMemory(true, 0)],   [M.Ficomp, compareMemory(true, 1)],
	[M.Fcomi, compareFlags(false, 0)],   [M.Fcomip, compareFlags(false, 1)],
	[M.Fucomi, compareFlags(true, 0)],   [M.Fucomip, compareFlags(true, 1)],
	[M.Ftst, ftst],
	[M.Fxam, fxam],
	[M.Fld, D.fld],
	[M.Fild, D.fild],
	[M.Fbld, D.fbld],
	[M.Fst, D.fst(false)],               [M.Fstp, D.fst(true)],                [M.Fstpnce, D.fstpnce],
	[M.Fist, D.fist(false, false)],      [M.Fistp, D.fist(true, false)],       [M.Fisttp, D.fist(true, true)],
	[M.Fbstp, D.fbstp],
	[M.Fld1, constant(CONSTANTS.one)],
	[M.Fldl2t, constant(CONSTANTS.log2of10)],
	[M.Fldl2e, constant(CONSTANTS.log2e)],
	[M.Fldpi, constant(CONSTANTS.pi)],
	[M.Fldlg2, constant(CONSTANTS.log10of2)],
	[M.Fldln2, constant(CONSTANTS.ln2)],
	[M.Fldz, D.constant(0n, 0)],
	[M.Fxch, D.fxch],
	[M.Fcmovb, D.fcmov(D.BELOW, false)],             [M.Fcmovnb, D.fcmov(D.BELOW, true)],
	[M.Fcmove, D.fcmov(D.EQUAL, false)],             [M.Fcmovne, D.fcmov(D.EQUAL, true)],
	[M.Fcmovbe, D.fcmov(D.BELOW_OR_EQUAL, false)],   [M.Fcmovnbe, D.fcmov(D.BELOW_OR_EQUAL, true)],
	[M.Fcmovu, D.fcmov(D.UNORDERED, false)],         [M.Fcmovnu, D.fcmov(D.UNORDERED, true)],
	[M.Fincstp, D.moveTop(1)],
	[M.Fdecstp, D.moveTop(-1)],
	[M.Ffree, D.ffree(false)],                       [M.Ffreep, D.ffree(true)],
	[M.Fnop, D.fnop],
	[M.F2xm1, f2xm1],
	[M.Fyl2x, fyl2x],
	[M.Fyl2xp1, fyl2xp1],
	[M.Fptan, fptan],
	[M.Fpatan, fpatan],
	[M.Fsin, fsin],
	[M.Fcos, fcos],
	[M.Fsincos, fsincos],
];

/** The x87 instructions, by iced-x86 `Mnemonic`. */
// biome-ignore format: one row an instruction
export const X87: ReadonlyMap<number, Microcode> = new Map<number, Microcode>([
	...NUMERIC.map(([mnemonic, effect]) => [mnemonic, numeric(effect)] as const),
	[M.Emms, E.emms],
	[M.Fninit, nonWaiting(E.fninit)],
	[M.Fnclex, nonWaiting(E.fnclex)],
	[M.Fnstcw, nonWaiting(E.fnstcw)],
	[M.Fnstsw, nonWaiting(E.fnstsw)],
	[M.Fnstenv, nonWaiting(E.fnstenv)],
	[M.Fnsave, nonWaiting(E.fnsave)],
	[M.Fneni, nonWaiting(E.nothing)],
	[M.Fndisi, nonWaiting(E.nothing)],
	[M.Fnsetpm, nonWaiting(E.nothing)],
	[M.Fldcw, waiting(E.fldcw)],
	[M.Fldenv, waiting(E.fldenv)],
	[M.Frstor, waiting(E.frstor)],
	[M.Wait, fwait],
]);
