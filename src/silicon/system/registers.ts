/** CPUID, MSRs, time stamp counter, random numbers, and the extended control registers (SDM Vol. 2). */
import { CR4, readXcr, rdpkru, wrpkru, writeXcr } from "../cpu/control.ts";
import { cpuid } from "../cpu/cpuid.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { type Fault, GP0, UD } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { is64Bit } from "../cpu/modes.ts";
import { isCanonicalForRegister, readMsr, readTsc, writeMsr } from "../cpu/msr.ts";
import { ARITHMETIC_FLAGS, FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import { segmentAt } from "../cpu/segments.ts";
import { contextChanged } from "../paging/tlb.ts";
import { Mnemonic } from "../translate/decode.ts";
import { OUTCOME } from "../translate/services.ts";
import {
	advance,
	edxEax,
	fail,
	gpr32,
	type Handler,
	intercepted,
	isUndefined,
	operandSize,
	privileged,
	registerIndex,
	setGpr32,
	waitsForOthers,
	writeGpr,
} from "./operands.ts";

const TWO_32 = 2 ** 32;

/** EDX:EAX := a number below 2^53, or a negative one modulo 2^64. */
function setEdxEax(cpu: Cpu, value: number): void {
	setGpr32(cpu, L.RAX, value >>> 0);
	setGpr32(cpu, L.RDX, Math.floor(value / TWO_32) >>> 0);
}

const cpuidHandler: Handler = (cpu, insn) => {
	if (intercepted(cpu, insn, INTERCEPT.cpuid)) return OUTCOME.stop;
	const { eax, ebx, ecx, edx } = cpuid(cpu, gpr32(cpu, L.RAX), gpr32(cpu, L.RCX));
	setGpr32(cpu, L.RAX, eax);
	setGpr32(cpu, L.RBX, ebx);
	setGpr32(cpu, L.RCX, ecx);
	setGpr32(cpu, L.RDX, edx);
	return OUTCOME.next;
};

const rdmsr: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	const index = gpr32(cpu, L.RCX);
	if (intercepted(cpu, insn, INTERCEPT.rdmsr, index)) return OUTCOME.stop;
	const value = cpu.guest?.readMsr?.(index) ?? readMsr(cpu, index);
	if (typeof value === "object") return fail(cpu, value);
	setGpr32(cpu, L.RAX, Number(value & 0xffffffffn));
	setGpr32(cpu, L.RDX, Number(value >> 32n));
	return OUTCOME.next;
};

const wrmsr: Handler = (cpu, insn) => {
	if (!privileged(cpu)) return fail(cpu, GP0);
	const index = gpr32(cpu, L.RCX);
	if (intercepted(cpu, insn, INTERCEPT.wrmsr, index)) return OUTCOME.stop;
	const virtual = cpu.guest?.writeMsr?.(index, Number(edxEax(cpu))) ?? null;
	if (virtual === true) return advance(cpu, insn);
	if (virtual === false) return fail(cpu, GP0);
	const fault = writeMsr(cpu, index, edxEax(cpu));
	if (fault !== null) return fail(cpu, fault);
	contextChanged(cpu);
	if (cpu.onGuestMsr !== null && cpu.guest !== null) cpu.onGuestMsr(cpu, index);
	return advance(cpu, insn);
};

/** RDTSC and RDTSCP at CPL > 0 need CR4.TSD clear. */
function timeForbidden(cpu: Cpu): boolean {
	return (cpu.read32(L.CR4) & CR4.TSD) !== 0 && !privileged(cpu);
}

// Time stamp counters are in step: time read on one processor must not lie before what another has read.
const rdtsc: Handler = (cpu, insn) => {
	if (waitsForOthers(cpu)) return OUTCOME.stop;
	if (timeForbidden(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.rdtsc)) return OUTCOME.stop;
	setEdxEax(cpu, readTsc(cpu));
	return OUTCOME.next;
};

const rdtscp: Handler = (cpu, insn) => {
	if (isUndefined(cpu, INTERCEPT.rdtscp)) return fail(cpu, UD);
	if (waitsForOthers(cpu)) return OUTCOME.stop;
	if (timeForbidden(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.rdtscp)) return OUTCOME.stop;
	setEdxEax(cpu, readTsc(cpu));
	setGpr32(cpu, L.RCX, cpu.read32(L.TSC_AUX));
	return OUTCOME.next;
};

const rdpmc: Handler = (cpu, insn) => {
	if (!privileged(cpu) && (cpu.read32(L.CR4) & CR4.PCE) === 0) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.rdpmc)) return OUTCOME.stop;
	// No performance counters are advertised, so no index is valid.
	return fail(cpu, GP0);
};

const rdpid: Handler = (cpu, insn) => {
	if (isUndefined(cpu, INTERCEPT.rdtscp)) return fail(cpu, UD);
	writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), BigInt(cpu.read32(L.TSC_AUX)));
	return OUTCOME.next;
};

/** RDPRU: MPERF and APERF, which count the time stamp counter's cycles; other registers read 0 (APM Vol. 3, RDPRU). */
const rdpru: Handler = (cpu, insn) => {
	if ((cpu.read32(L.CR4) & CR4.TSD) !== 0 && !privileged(cpu)) return fail(cpu, UD);
	if (intercepted(cpu, insn, INTERCEPT.rdpru)) return OUTCOME.stop;
	setEdxEax(cpu, gpr32(cpu, L.RCX) <= 1 ? Math.floor(cpu.cycles) : 0);
	writeRflags(cpu, readRflags(cpu) & ~ARITHMETIC_FLAGS);
	return OUTCOME.next;
};

/** The next number of this processor's sequence, which its seed chooses: SplitMix64 over a counter. */
function nextRandom(cpu: Cpu): bigint {
	const count = cpu.read32(L.RANDOM_COUNT) + 1;
	cpu.write32(L.RANDOM_COUNT, count);
	const place = BigInt(count) + (BigInt(cpu.index) << 40n) + BigInt(cpu.randomSeed - 1) * 0xd1342543de82ef95n;
	let z = BigInt.asUintN(64, place * 0x9e3779b97f4a7c15n);
	z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
	z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
	return z ^ (z >> 31n);
}

function random(intercept: typeof INTERCEPT.rdrand | typeof INTERCEPT.rdseed): Handler {
	return (cpu, insn) => {
		if (intercepted(cpu, insn, intercept)) return OUTCOME.stop;
		writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), nextRandom(cpu));
		// CF = 1: a number was available, as it always is here.
		writeRflags(cpu, (readRflags(cpu) & ~ARITHMETIC_FLAGS) | FLAG.CF);
		return OUTCOME.next;
	};
}

const xgetbv: Handler = (cpu) => {
	const value = readXcr(cpu, gpr32(cpu, L.RCX));
	if (typeof value === "object") return fail(cpu, value);
	setEdxEax(cpu, value);
	return OUTCOME.next;
};

const xsetbv: Handler = (cpu, insn) => {
	if ((cpu.read32(L.CR4) & CR4.OSXSAVE) === 0) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	if (intercepted(cpu, insn, INTERCEPT.xsetbv)) return OUTCOME.stop;
	const fault = writeXcr(cpu, gpr32(cpu, L.RCX), gpr32(cpu, L.RAX) + gpr32(cpu, L.RDX) * TWO_32);
	return fault === null ? OUTCOME.next : fail(cpu, fault);
};

const rdpkruHandler: Handler = (cpu) => {
	const value = rdpkru(cpu);
	if (typeof value === "object") return fail(cpu, value);
	if (gpr32(cpu, L.RCX) !== 0) return fail(cpu, GP0);
	setEdxEax(cpu, value);
	return OUTCOME.next;
};

const wrpkruHandler: Handler = (cpu, insn) => {
	if ((cpu.read32(L.CR4) & CR4.PKE) === 0) return fail(cpu, UD);
	if (gpr32(cpu, L.RCX) !== 0 || gpr32(cpu, L.RDX) !== 0) return fail(cpu, GP0);
	const fault: Fault | null = wrpkru(cpu, gpr32(cpu, L.RAX));
	if (fault !== null) return fail(cpu, fault);
	contextChanged(cpu);
	return advance(cpu, insn);
};

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: #UD outside 64-bit mode or with CR4.FSGSBASE clear. */
function segmentBaseHandler(segment: number, write: boolean): Handler {
	return (cpu, insn) => {
		if (!is64Bit(cpu) || (cpu.read32(L.CR4) & CR4.FSGSBASE) === 0) return fail(cpu, UD);
		const register = registerIndex(insn, 0);
		const bytes = operandSize(insn, 0);
		const at = segmentAt(segment) + L.SEG_BASE;
		if (!write) {
			writeGpr(cpu, register, bytes, cpu.read64(at));
			return OUTCOME.next;
		}
		const value = BigInt.asUintN(bytes * 8, cpu.gpr(register));
		if (!isCanonicalForRegister(value, cpu)) return fail(cpu, GP0);
		cpu.write64(at, value);
		return OUTCOME.next;
	};
}

/** Handlers by iced-x86 `Mnemonic`. */
export const registerHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Cpuid, cpuidHandler],
	[Mnemonic.Rdmsr, rdmsr],
	[Mnemonic.Wrmsr, wrmsr],
	[Mnemonic.Rdtsc, rdtsc],
	[Mnemonic.Rdtscp, rdtscp],
	[Mnemonic.Rdpmc, rdpmc],
	[Mnemonic.Rdpid, rdpid],
	[Mnemonic.Rdpru, rdpru],
	[Mnemonic.Rdrand, random(INTERCEPT.rdrand)],
	[Mnemonic.Rdseed, random(INTERCEPT.rdseed)],
	[Mnemonic.Xgetbv, xgetbv],
	[Mnemonic.Xsetbv, xsetbv],
	[Mnemonic.Rdpkru, rdpkruHandler],
	[Mnemonic.Wrpkru, wrpkruHandler],
	[Mnemonic.Rdfsbase, segmentBaseHandler(L.FS, false)],
	[Mnemonic.Rdgsbase, segmentBaseHandler(L.GS, false)],
	[Mnemonic.Wrfsbase, segmentBaseHandler(L.FS, true)],
	[Mnemonic.Wrgsbase, segmentBaseHandler(L.GS, true)],
];
