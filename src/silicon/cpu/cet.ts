/**
 * Control-flow enforcement technology: the bits of IA32_U_CET and IA32_S_CET, and what they enable (SDM Vol. 1, chapter 17;
 * APM Vol. 2, chapter 18). AMD's processors have the shadow stacks alone.
 */
import type { Features } from "../models/model.ts";
import { CR0, CR4 } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import * as L from "./layout.ts";
import { cpl } from "./modes.ts";

/** Bits of IA32_U_CET and IA32_S_CET below the base of the legacy-code bitmap (SDM Vol. 4, table 2-2). */
export const CET = {
	SH_STK_EN: 1 << 0,
	WR_SHSTK_EN: 1 << 1,
	ENDBR_EN: 1 << 2,
	LEG_IW_EN: 1 << 3,
	NO_TRACK_EN: 1 << 4,
	SUPPRESS_DIS: 1 << 5,
	SUPPRESS: 1 << 10,
	/** 0 IDLE, 1 WAIT_FOR_ENDBRANCH. */
	TRACKER: 1 << 11,
} as const;

/** Error codes of #CP (SDM Vol. 3A, 7.15). */
export const CP = { nearRet: 1, farRetIret: 2, endbranch: 3, rstorssp: 4, setssbsy: 5 } as const;

const SHADOW_STACK_BITS = BigInt(CET.SH_STK_EN | CET.WR_SHSTK_EN);
const BRANCH_TRACKING_BITS =
	BigInt(CET.ENDBR_EN | CET.LEG_IW_EN | CET.NO_TRACK_EN | CET.SUPPRESS_DIS | CET.SUPPRESS | CET.TRACKER) |
	(0xf_ffff_ffff_ffffn << 12n);
const SUPPRESS_AND_TRACKER = BigInt(CET.SUPPRESS | CET.TRACKER);

/** What of CET there is, on a processor or for a guest. */
export type CetFeatures = Pick<Features, "cetSs" | "cetIbt">;

/** Whether a processor has any of it. */
export function hasCet({ cetSs, cetIbt }: CetFeatures): boolean {
	return cetSs || cetIbt;
}

/**
 * Whether IA32_U_CET or IA32_S_CET may hold a value, its bitmap's base apart, which WRMSR wants canonical.
 * @param value 64 bits
 */
export function isCetControl(value: bigint, { cetSs, cetIbt }: CetFeatures): boolean {
	const defined = (cetSs ? SHADOW_STACK_BITS : 0n) | (cetIbt ? BRANCH_TRACKING_BITS : 0n);
	return (value & ~defined) === 0n && (value & SUPPRESS_AND_TRACKER) !== SUPPRESS_AND_TRACKER;
}

/** Offset in the state block of the register that rules a privilege level: IA32_U_CET or IA32_S_CET. */
export function cetControlAt(level: number): number {
	return level === 3 ? L.U_CET : L.S_CET;
}

/** Whether CR4.CET is set, outside of real mode. */
export function isCetOn(cpu: Cpu): boolean {
	return (cpu.read32(L.CR4) & CR4.CET) !== 0 && (cpu.read32(L.CR0) & CR0.PE) !== 0;
}

/** The low half of IA32_U_CET or IA32_S_CET where CET is on; else 0. */
export function cetControl(cpu: Cpu, level: number): number {
	return isCetOn(cpu) ? cpu.read32(cetControlAt(level)) : 0;
}

/** ShadowStackEnabled() of the manuals. @param level privilege level; default the current one */
export function shadowStackEnabled(cpu: Cpu, level = cpl(cpu)): boolean {
	return (cetControl(cpu, level) & CET.SH_STK_EN) !== 0;
}

/** EndbranchEnabled() of the manuals. @param level privilege level; default the current one */
export function endbranchEnabled(cpu: Cpu, level = cpl(cpu)): boolean {
	return (cetControl(cpu, level) & CET.ENDBR_EN) !== 0;
}
