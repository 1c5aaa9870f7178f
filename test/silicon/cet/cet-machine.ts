/**
 * A processor in 64-bit mode with control-flow enforcement: CR4.CET set, a shadow stack of supervisor mode and one of user
 * mode, each a page, and behind each gate of the IDT an ENDBR64 and a HLT.
 */
import { CET } from "../../../src/silicon/cpu/cet.ts";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { resetCpu } from "../../../src/silicon/cpu/modes.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import type { CpuModel } from "../../../src/silicon/models/model.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { createProcessor } from "../../../src/silicon/processor.ts";
import { ASM } from "../guest-machine.ts";
import { AT, enterLongMode, P, peek64, poke64, RAM, setGate, setLevel, US } from "../machine-code.ts";

export const intel: CpuModel = {
	...emeraldRapids,
	features: { ...emeraldRapids.features, cetSs: true, cetIbt: true },
};
export const amd: CpuModel = { ...turin, features: { ...turin.features, cetSs: true } };

export const D = 0x40n;
/** Pages of the two shadow stacks, and of a second one each. */
export const SHADOW = { kernel: 0x60000, user: 0x61000, kernel2: 0x62000, user2: 0x63000 } as const;
/** Where user code is put, and its stack. */
export const USER = { code: 0x70000, stack: 0x78000 } as const;

const cpus = new Map<CpuModel, Cpu>();

/** Gives a page to a shadow stack. */
export function mapShadow(cpu: Cpu, page: number, rights: bigint): void {
	poke64(cpu, AT.table + (page >> 12) * 8, BigInt(page) | P | D | rights);
}

/**
 * The processor, at level 0.
 * @param control of IA32_S_CET and IA32_U_CET alike
 */
export function cetMachine(model: CpuModel = intel, control: number = CET.SH_STK_EN): Cpu {
	let cpu = cpus.get(model);
	if (cpu === undefined) {
		cpu = createProcessor(new MachineMemory(1, RAM), model);
		cpus.set(model, cpu);
	}
	const { memory } = cpu;
	for (let page = memory.codePages.indexOf(1); page >= 0; page = memory.codePages.indexOf(1, page + 1))
		memory.onCodeWrite(page);
	memory.u8.fill(0, memory.ramBase);
	resetCpu(cpu);
	enterLongMode(cpu);
	for (let vector = 0; vector < 256; vector++) {
		const handler = AT.handler + vector * 16;
		setGate(cpu, vector, handler, 0xe, 3);
		memory.u8.set([...ENDBR64, ...ASM.hlt], memory.ramBase + handler);
	}
	mapShadow(cpu, SHADOW.kernel, 0n);
	mapShadow(cpu, SHADOW.kernel2, 0n);
	mapShadow(cpu, SHADOW.user, US);
	mapShadow(cpu, SHADOW.user2, US);
	cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.CET);
	cpu.write64(L.S_CET, BigInt(control));
	cpu.write64(L.U_CET, BigInt(control));
	cpu.write64(L.SSP, BigInt(SHADOW.kernel + 0xff8));
	cpu.write64(L.PL0_SSP, BigInt(SHADOW.kernel2 + 0xff8));
	poke64(cpu, SHADOW.kernel2 + 0xff8, BigInt(SHADOW.kernel2 + 0xff8));
	cpu.write64(L.PL3_SSP, BigInt(SHADOW.user + 0x1000));
	contextChanged(cpu);
	return cpu;
}

/** The same at level 3, with the user's shadow stack in use. */
export function userMachine(model: CpuModel = intel, control: number = CET.SH_STK_EN): Cpu {
	const cpu = cetMachine(model, control);
	setLevel(cpu, 3);
	cpu.write64(L.SSP, BigInt(SHADOW.user + 0x1000));
	cpu.setGpr(L.RSP, BigInt(USER.stack));
	cpu.write64(L.RIP, BigInt(USER.code));
	return cpu;
}

export const ENDBR64 = [0xf3, 0x0f, 0x1e, 0xfa];
export const ENDBR32 = [0xf3, 0x0f, 0x1e, 0xfb];
// biome-ignore format: machine code with its assembly
export const CODE = {
	ret: [0xc3], callRax: [0xff, 0xd0], jmpRax: [0xff, 0xe0], notrackJmpRax: [0x3e, 0xff, 0xe0], incRsi: [0x48, 0xff, 0xc6],
	retf: [0x48, 0xcb], rdsspqRax: [0xf3, 0x48, 0x0f, 0x1e, 0xc8], rdsspdEax: [0xf3, 0x0f, 0x1e, 0xc8],
	incsspqRax: [0xf3, 0x48, 0x0f, 0xae, 0xe8], incsspdEax: [0xf3, 0x0f, 0xae, 0xe8], saveprevssp: [0xf3, 0x0f, 0x01, 0xea],
	rstorsspRbx: [0xf3, 0x0f, 0x01, 0x2b], wrssqRbxRax: [0x48, 0x0f, 0x38, 0xf6, 0x03], wrssdRbxEax: [0x0f, 0x38, 0xf6, 0x03],
	wrussqRbxRax: [0x66, 0x48, 0x0f, 0x38, 0xf5, 0x03], setssbsy: [0xf3, 0x0f, 0x01, 0xe8], clrssbsyRbx: [0xf3, 0x0f, 0xae, 0x33],
	syscall: [0x0f, 0x05], sysretq: [0x48, 0x0f, 0x07], iretq: [0x48, 0xcf], int80: [0xcd, 0x80], hlt: [0xf4],
} as const;

/** Four bytes, little-endian. */
export const imm32 = (value: number) => [
	value & 255,
	(value >> 8) & 255,
	(value >> 16) & 255,
	(value >>> 24) & 255,
];
/** CALL rel32 at an address. */
export const call = (at: number, to: number) => [0xe8, ...imm32(to - at - 5)];
/** MOV RAX, imm32 sign-extended. */
export const movRax = (value: number) => [0x48, 0xc7, 0xc0, ...imm32(value)];

/** Puts code at an address. */
export function poke(cpu: Cpu, at: number, ...parts: readonly (readonly number[])[]): void {
	if (cpu.memory.codePages[at >> 12] !== 0) cpu.memory.onCodeWrite(at >> 12);
	cpu.memory.u8.set(parts.flat(), cpu.memory.ramBase + at);
}

/** How a run ended: at a HLT of its own, or in a handler, with the error code and RIP of the frame. */
export interface Ended {
	readonly vector: number | null;
	readonly errorCode: number | null;
	readonly rip: number;
}

const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17, 21];

/** Runs until a HLT. */
export function run(cpu: Cpu): Ended {
	cpu.halted = "no";
	cpu.write32(L.ACTIVITY, 0);
	cpu.execute(cpu);
	const halted: string = cpu.halted;
	if (halted !== "hlt") throw new Error(`the processor is in ${halted}`);
	const rip = Number(cpu.read64(L.RIP)) - 1;
	if (rip < AT.handler || rip >= AT.handler + 4096) return { vector: null, errorCode: null, rip };
	const vector = (rip - AT.handler) >> 4;
	const top = Number(cpu.gpr(L.RSP));
	const hasCode = WITH_ERROR_CODE.includes(vector);
	return {
		vector,
		errorCode: hasCode ? Number(peek64(cpu, top)) : null,
		rip: Number(peek64(cpu, hasCode ? top + 8 : top)),
	};
}

/** The shadow-stack pointer. */
export const ssp = (cpu: Cpu) => Number(cpu.read64(L.SSP));
