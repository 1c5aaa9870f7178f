/** Instruction intercepts (APM Vol. 2, 15.9-15.11): which bit decides, and what EXITINFO1 says. */
import type { Cpu } from "../cpu/cpu.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { EXIT_CODE } from "./exit-codes.ts";
import type { SvmGuestMode } from "./guest-mode.ts";

/** Exit codes of the instructions that one bit decides about and that have no EXITINFO1; -1: others. */
const SIMPLE: Int16Array = (() => {
	const table = new Int16Array(64).fill(-1);
	table[INTERCEPT.cpuid] = EXIT_CODE.cpuid;
	table[INTERCEPT.invd] = EXIT_CODE.invd;
	table[INTERCEPT.wbinvd] = EXIT_CODE.wbinvd;
	table[INTERCEPT.hlt] = EXIT_CODE.hlt;
	table[INTERCEPT.xsetbv] = EXIT_CODE.xsetbv;
	table[INTERCEPT.rdtsc] = EXIT_CODE.rdtsc;
	table[INTERCEPT.rdtscp] = EXIT_CODE.rdtscp;
	table[INTERCEPT.rdpmc] = EXIT_CODE.rdpmc;
	table[INTERCEPT.invlpg] = EXIT_CODE.invlpg;
	table[INTERCEPT.invpcid] = EXIT_CODE.invpcid;
	table[INTERCEPT.monitor] = EXIT_CODE.monitor;
	table[INTERCEPT.mwait] = EXIT_CODE.mwait;
	table[INTERCEPT.pause] = EXIT_CODE.pause;
	table[INTERCEPT.vmcall] = EXIT_CODE.vmmcall;
	table[INTERCEPT.rsm] = EXIT_CODE.rsm;
	table[INTERCEPT.softwareInterrupt] = EXIT_CODE.swint;
	table[INTERCEPT.iret] = EXIT_CODE.iret;
	table[INTERCEPT.rdpru] = EXIT_CODE.rdpru;
	table[INTERCEPT.icebp] = EXIT_CODE.icebp;
	return table;
})();

/**
 * Whether an instruction is intercepted; if so the exit is noted.
 * @param intercept one of INTERCEPT
 * @param length instruction length in bytes
 * @param info what INTERCEPT says for it
 */
export function instructionExits(
	mode: SvmGuestMode,
	cpu: Cpu,
	intercept: number,
	length: number,
	info: number,
): boolean {
	const { vmcb } = mode;
	const code = SIMPLE[intercept]!;
	if (code >= 0) return vmcb.intercepted(code) && mode.exit(code, 0, length);
	switch (intercept) {
		case INTERCEPT.svm:
			return vmcb.intercepted(EXIT_CODE.vmrun + info) && mode.exit(EXIT_CODE.vmrun + info, 0, length);
		case INTERCEPT.io:
			return ioExits(mode, cpu, length, info);
		case INTERCEPT.rdmsr:
			return msrIntercepted(mode, cpu, info, 0) && mode.exit(EXIT_CODE.msr, 0, length);
		case INTERCEPT.wrmsr:
			return msrIntercepted(mode, cpu, info, 1) && mode.exit(EXIT_CODE.msr, 1, length);
		case INTERCEPT.cr:
			return crExits(mode, cpu, length, info);
		case INTERCEPT.dr: {
			const base = (info & 16) !== 0 ? EXIT_CODE.drReadBase : EXIT_CODE.drWriteBase;
			const exitCode = base + (info & 15);
			return vmcb.intercepted(exitCode) && mode.exit(exitCode, (info >> 8) & 15, length);
		}
		case INTERCEPT.descriptorTable:
			return vmcb.intercepted(EXIT_CODE.gdtrWrite) && mode.exit(EXIT_CODE.gdtrWrite, 0, length);
		case INTERCEPT.localDescriptor:
			return vmcb.intercepted(EXIT_CODE.trWrite) && mode.exit(EXIT_CODE.trWrite, 0, length);
		default:
			return false;
	}
}

/** A bit of a permissions map in host physical memory; behind the end of RAM all are set. */
function mapBit(cpu: Cpu, map: number, bit: number): boolean {
	const hpa = map + (bit >>> 3);
	if (map < 0 || hpa >= cpu.memory.ramBytes) return true;
	return ((cpu.memory.u8[cpu.memory.ramBase + hpa]! >>> (bit & 7)) & 1) !== 0;
}

/** MSRPM: two bits an MSR, read and write, in three ranges (APM 15.11). */
function msrIntercepted(mode: SvmGuestMode, cpu: Cpu, index: number, write: 0 | 1): boolean {
	const { vmcb } = mode;
	if (!vmcb.intercepted(EXIT_CODE.msr)) return false;
	let slot = -1;
	if (index < 0x2000) slot = index;
	else if (index >= 0xc0000000 && index < 0xc0002000) slot = 0x2000 + (index - 0xc0000000);
	else if (index >= 0xc0010000 && index < 0xc0012000) slot = 0x4000 + (index - 0xc0010000);
	return slot < 0 || mapBit(cpu, vmcb.msrpm, slot * 2 + write);
}

/** EXITINFO1 of APM 15.10.2: port 31:16, address size 9:7, operand size 6:4, REP 3, string 2, IN 0. */
function ioExits(mode: SvmGuestMode, cpu: Cpu, length: number, info: number): boolean {
	const { vmcb } = mode;
	if (!vmcb.intercepted(EXIT_CODE.ioio)) return false;
	const port = info >>> 16;
	const bytes = (info & 7) + 1;
	if (vmcb.iopm >= 0) {
		let wanted = false;
		for (let at = port; at < port + bytes; at++) wanted ||= mapBit(cpu, vmcb.iopm, at);
		if (!wanted) return false;
	}
	const long = (cpu.read32(L.EFER) & 0x400) !== 0;
	const kind = ((info >> 3) & 1) | ((info & 0x10) >> 2) | ((info & 0x20) >> 2);
	mode.exit(EXIT_CODE.ioio, ((port << 16) | (long ? 0x200 : 0x100) | (bytes << 4) | kind) >>> 0, length);
	// EXITINFO2 is the RIP behind the instruction, whether or not the model records the next RIP.
	const next = cpu.read32(L.RIP) + length;
	vmcb.setExitInfo2(next >>> 0, cpu.read32(L.RIP + 4) + (next > 0xffffffff ? 1 : 0));
	return true;
}

/** CR intercepts; with decode assists EXITINFO1 names the register (APM 15.33.1). CLTS and LMSW write CR0. */
function crExits(mode: SvmGuestMode, cpu: Cpu, length: number, info: number): boolean {
	const { vmcb } = mode;
	const access = (info >> 4) & 3;
	const moves = access <= 1;
	const cr = moves ? info & 15 : 0;
	const code = access === 1 ? EXIT_CODE.crReadBase + cr : EXIT_CODE.crWriteBase + cr;
	if (!vmcb.intercepted(code)) {
		return cr === 0 && access !== 1 && selectiveWriteExits(mode, cpu, length, info);
	}
	mode.exit(code, moves ? (info >> 8) & 15 : 0, length);
	vmcb.exitInfo1High = moves ? 0x80000000 : 0;
	return true;
}

/** The selective CR0 write intercept: writes that change more than TS and MP (APM 15.9). */
function selectiveWriteExits(mode: SvmGuestMode, cpu: Cpu, length: number, info: number): boolean {
	const access = (info >> 4) & 3;
	if (access === 2 || !mode.vmcb.intercepted(EXIT_CODE.cr0SelectiveWrite)) return false;
	const old = cpu.read32(L.CR0);
	const value = access === 3 ? (old & ~0xe) | (info >>> 16) : cpu.read32(L.GPR + 8 * ((info >> 8) & 15));
	return ((old ^ value) & ~0xa) !== 0 && mode.exit(EXIT_CODE.cr0SelectiveWrite, (info >> 8) & 15, length);
}
