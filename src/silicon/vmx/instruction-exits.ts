/** Instructions that cause VM exits, unconditionally or by a control (SDM Vol. 3C, 26.1.2 and 26.1.3). */
import { CR0 } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { CPU_BASED, EXIT_REASON, SECONDARY } from "./controls.ts";
import { O } from "./fields.ts";
import type { VmxGuestMode } from "./guest-mode.ts";

/** Which control decides about an instruction. */
const PRIMARY = 1;
const SECOND = 2;

/** Instructions whose exit one control bit decides, or none: reason, control word (0: always), bit. */
const SIMPLE: readonly (readonly [reason: number, word: number, bit: number] | undefined)[] = (() => {
	const table: (readonly [number, number, number] | undefined)[] = [];
	const set = (intercept: number, reason: number, word = 0, bit = 0) => {
		table[intercept] = [reason, word, bit];
	};
	set(INTERCEPT.cpuid, EXIT_REASON.cpuid);
	set(INTERCEPT.invd, EXIT_REASON.invd);
	set(INTERCEPT.xsetbv, EXIT_REASON.xsetbv);
	set(INTERCEPT.vmcall, EXIT_REASON.vmcall);
	set(INTERCEPT.vmx, EXIT_REASON.vmclear);
	set(INTERCEPT.tdcall, EXIT_REASON.tdcall);
	set(INTERCEPT.hlt, EXIT_REASON.hlt, PRIMARY, CPU_BASED.hltExiting);
	set(INTERCEPT.rdtsc, EXIT_REASON.rdtsc, PRIMARY, CPU_BASED.rdtscExiting);
	set(INTERCEPT.rdtscp, EXIT_REASON.rdtscp, PRIMARY, CPU_BASED.rdtscExiting);
	set(INTERCEPT.rdpmc, EXIT_REASON.rdpmc, PRIMARY, CPU_BASED.rdpmcExiting);
	set(INTERCEPT.invlpg, EXIT_REASON.invlpg, PRIMARY, CPU_BASED.invlpgExiting);
	set(INTERCEPT.invpcid, EXIT_REASON.invpcid, PRIMARY, CPU_BASED.invlpgExiting);
	set(INTERCEPT.monitor, EXIT_REASON.monitor, PRIMARY, CPU_BASED.monitorExiting);
	set(INTERCEPT.mwait, EXIT_REASON.mwait, PRIMARY, CPU_BASED.mwaitExiting);
	set(INTERCEPT.pause, EXIT_REASON.pause, PRIMARY, CPU_BASED.pauseExiting);
	set(INTERCEPT.dr, EXIT_REASON.movDr, PRIMARY, CPU_BASED.movDrExiting);
	set(INTERCEPT.wbinvd, EXIT_REASON.wbinvd, SECOND, SECONDARY.wbinvdExiting);
	set(INTERCEPT.rdrand, EXIT_REASON.rdrand, SECOND, SECONDARY.rdrandExiting);
	set(INTERCEPT.rdseed, EXIT_REASON.rdseed, SECOND, SECONDARY.rdseedExiting);
	set(INTERCEPT.descriptorTable, EXIT_REASON.gdtrOrIdtr, SECOND, SECONDARY.descriptorTableExiting);
	set(INTERCEPT.localDescriptor, EXIT_REASON.ldtrOrTr, SECOND, SECONDARY.descriptorTableExiting);
	return table;
})();

/**
 * Whether an instruction causes a VM exit; if so it is noted.
 * @param intercept one of INTERCEPT
 * @param length instruction length in bytes
 * @param info what INTERCEPT says for it
 */
export function instructionExits(
	mode: VmxGuestMode,
	cpu: Cpu,
	intercept: number,
	length: number,
	info: number,
): boolean {
	const simple = SIMPLE[intercept];
	if (simple !== undefined) {
		const word = simple[1];
		if (word !== 0 && ((word === PRIMARY ? mode.primary : mode.secondary) & simple[2]) === 0) return false;
		return mode.exit(simple[0], info, length);
	}
	switch (intercept) {
		case INTERCEPT.io:
			return ioExits(mode, cpu, info) && mode.exit(EXIT_REASON.ioInstruction, info, length);
		case INTERCEPT.rdmsr:
			return msrExits(mode, cpu, info, 0) && mode.exit(EXIT_REASON.rdmsr, 0, length);
		case INTERCEPT.wrmsr:
			return msrExits(mode, cpu, info, 2048) && mode.exit(EXIT_REASON.wrmsr, 0, length);
		case INTERCEPT.cr:
			return crExits(mode, cpu, info) && mode.exit(EXIT_REASON.crAccess, info, length);
		case INTERCEPT.xsaves:
			return xssExits(mode, cpu) && mode.exit(EXIT_REASON.xsaves, 0, length);
		case INTERCEPT.xrstors:
			return xssExits(mode, cpu) && mode.exit(EXIT_REASON.xrstors, 0, length);
		default:
			return false;
	}
}

/** A bit of a bitmap in host physical memory. What lies behind the end of RAM reads as ones. */
function bitmapBit(cpu: Cpu, mode: VmxGuestMode, field: number, byteOffset: number, bit: number): boolean {
	const at = field >> 2;
	const hpa = mode.vmcs.u32[at]! + mode.vmcs.u32[at + 1]! * 2 ** 32 + byteOffset + (bit >>> 3);
	if (hpa >= cpu.memory.ramBytes) return true;
	return ((cpu.memory.u8[cpu.memory.ramBase + hpa]! >>> (bit & 7)) & 1) !== 0;
}

/** I/O bitmaps A (ports 0-7FFFH) and B; an access that wraps around the port space exits (SDM 26.1.3). */
function ioExits(mode: VmxGuestMode, cpu: Cpu, info: number): boolean {
	if ((mode.primary & CPU_BASED.useIoBitmaps) === 0)
		return (mode.primary & CPU_BASED.unconditionalIoExiting) !== 0;
	const first = info >>> 16;
	const last = first + (info & 7);
	if (last > 0xffff) return true;
	for (let port = first; port <= last; port++) {
		const field = port < 0x8000 ? O.IO_BITMAP_A : O.IO_BITMAP_B;
		if (bitmapBit(cpu, mode, field, 0, port & 0x7fff)) return true;
	}
	return false;
}

/** MSR bitmaps: low and high MSRs, for reads at 0 and for writes at 2048 (SDM 25.6.9). */
function msrExits(mode: VmxGuestMode, cpu: Cpu, index: number, base: number): boolean {
	if ((mode.primary & CPU_BASED.useMsrBitmaps) === 0) return true;
	if (index < 0x2000) return bitmapBit(cpu, mode, O.MSR_BITMAP, base, index);
	const high = index - 0xc0000000;
	if (high < 0 || high >= 0x2000) return true;
	return bitmapBit(cpu, mode, O.MSR_BITMAP, base + 1024, high);
}

/** XSAVES and XRSTORS: the components asked for against the XSS-exiting bitmap (SDM 26.1.3). */
function xssExits(mode: VmxGuestMode, cpu: Cpu): boolean {
	const at = O.XSS_EXIT_BITMAP >> 2;
	const { u32 } = mode.vmcs;
	const low = u32[at]! & cpu.read32(L.XSS) & cpu.read32(L.GPR + 8 * L.RAX);
	const high = u32[at + 1]! & cpu.read32(L.XSS + 4) & cpu.read32(L.GPR + 8 * L.RDX);
	return (low | high) !== 0;
}

const ACCESS = { to: 0, from: 1, clts: 2, lmsw: 3 } as const;

function crExits(mode: VmxGuestMode, cpu: Cpu, info: number): boolean {
	const access = (info >> 4) & 3;
	const gpr = L.GPR + 8 * ((info >> 8) & 15);
	const { u32 } = mode.vmcs;
	const mask = u32[O.CR0_GUEST_HOST_MASK >> 2]!;
	const shadow = u32[O.CR0_READ_SHADOW >> 2]!;
	if (access === ACCESS.clts) return (mask & shadow & CR0.TS) !== 0;
	if (access === ACCESS.lmsw) {
		const source = info >>> 16;
		if ((mask & (shadow ^ source) & (CR0.MP | CR0.EM | CR0.TS)) !== 0) return true;
		// LMSW can set PE and cannot clear it.
		return (mask & source & ~shadow & CR0.PE) !== 0;
	}
	switch (info & 15) {
		case 0:
			return access === ACCESS.to && (mask & (shadow ^ cpu.read32(gpr))) !== 0;
		case 4:
			return (
				access === ACCESS.to &&
				(u32[O.CR4_GUEST_HOST_MASK >> 2]! & (u32[O.CR4_READ_SHADOW >> 2]! ^ cpu.read32(gpr))) !== 0
			);
		case 3:
			if (access === ACCESS.from) return (mode.primary & CPU_BASED.cr3StoreExiting) !== 0;
			return (mode.primary & CPU_BASED.cr3LoadExiting) !== 0 && !isCr3Target(mode, cpu, gpr);
		case 8:
			return (
				(mode.primary & (access === ACCESS.to ? CPU_BASED.cr8LoadExiting : CPU_BASED.cr8StoreExiting)) !== 0
			);
		default:
			return false;
	}
}

/** Whether the value is one of the CR3-target values, which load without an exit. */
function isCr3Target(mode: VmxGuestMode, cpu: Cpu, gpr: number): boolean {
	const { u32, u64 } = mode.vmcs;
	const count = u32[O.CR3_TARGET_COUNT >> 2]!;
	for (let n = 0; n < count; n++) {
		if (u64[(O.CR3_TARGET_VALUE0 >> 3) + n] === cpu.read64(gpr)) return true;
	}
	return false;
}
