/** Constants of the TDX module's interface (TDX Module ABI Specification), and what a SEAMCALL is to the processor. */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { OP } from "../ops.ts";

/** Completion status: the upper 32 bits of RAX (TDX Module ABI, "Function Completion Status Codes"). */
export const TDX_STATUS = {
	success: 0,
	nonRecoverableVcpu: 0x4000_0001,
	nonRecoverableTdNonAccessible: 0x6000_0005,
	operandBusy: 0x8000_0200,
	operandInvalid: 0xc000_0100,
	vcpuAssociated: 0x8000_0701,
	opStateIncorrect: 0xc000_0608,
	tdFatal: 0xe000_0604,
	noVeInfo: 0xc000_0704,
	eptWalkFailed: 0xc000_0b00,
	eptEntryStateIncorrect: 0xc000_0b0d,
} as const;

/**
 * MSRs that TDH.VP.ENTER leaves with the module's values (tdx_uret_msrs, arch/x86/kvm/vmx/tdx.c v6.18): the field
 * of the state block, and the value.
 */
export const TDX_MODULE_USER_RETURN_MSRS: readonly { readonly field: number; readonly value: bigint }[] = [
	{ field: L.SFMASK, value: 0x20200n },
	{ field: L.STAR, value: 0n },
	{ field: L.LSTAR, value: 0n },
	{ field: L.TSC_AUX, value: 0n },
];

/** IA32_DEBUGCTL bits that TDH.VP.ENTER leaves as the host had them: BTF, FREEZE_PERFMON_ON_PMI, FREEZE_IN_SMM. */
export const TDX_PRESERVED_DEBUGCTL = (1 << 1) | (1 << 12) | (1 << 14);

/** Address bits that a table of the secure EPT translates. */
const LEVEL_BITS = 9;

/**
 * Byte offset of the entry that translates a guest physical address, in a table of a level.
 * @param level 1 maps 4 KiB pages, 4 is the root
 */
export function entryOffset(gpa: number, level: number): number {
	return (Math.floor(gpa / 2 ** (12 + LEVEL_BITS * (level - 1))) % 512) * 8;
}

/** A leaf of the module: SEAMCALL, what it does, SEAMRET. @returns what it returns */
export function seamcall<T>(cpu: Cpu, leaf: () => T): T {
	cpu.op(OP.seamcall);
	const result = leaf();
	cpu.op(OP.seamret);
	return result;
}
