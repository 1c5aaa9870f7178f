/**
 * A processor for tests of the system side: 64-bit mode with 4 KiB identity-mapped tables, a GDT, an IDT and a TSS
 * at fixed addresses. Instructions are decoded and handed to the system-instruction table one at a time.
 */
import { CR0, CR4, EFER } from "../../src/silicon/cpu/control.ts";
import { Cpu } from "../../src/silicon/cpu/cpu.ts";
import type { GuestMode } from "../../src/silicon/cpu/guest-mode.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { resetCpu } from "../../src/silicon/cpu/modes.ts";
import { setSegment } from "../../src/silicon/cpu/segments.ts";
import { MachineMemory } from "../../src/silicon/machine.ts";
import { emeraldRapids } from "../../src/silicon/models/emerald-rapids.ts";
import type { CpuModel } from "../../src/silicon/models/model.ts";
import { contextChanged } from "../../src/silicon/paging/tlb.ts";
import { system } from "../../src/silicon/system/table.ts";
import { decode } from "../../src/silicon/translate/decode.ts";
import { OUTCOME, type Outcome } from "../../src/silicon/translate/services.ts";

export const RAM = 4 << 20;
/** Where things lie, as linear and physical addresses. */
export const AT = {
	pml4: 0x1000,
	pdpt: 0x2000,
	directory: 0x3000,
	/** Page table of the first 2 MiB. */
	table: 0x4000,
	gdt: 0x6000,
	idt: 0x7000,
	tss: 0x8000,
	code: 0x10000,
	stack: 0x20000,
	kernelStack: 0x30000,
	istStack: 0x38000,
	handler: 0x40000,
	data: 0x50000,
} as const;

export const P = 1n;
export const RW = 2n;
export const US = 4n;
export const PS = 0x80n;
export const NX = 1n << 63n;

/** Selectors in the test GDT. */
export const SELECTOR = {
	kernelCode: 0x08,
	kernelData: 0x10,
	userData: 0x1b,
	userCode: 0x23,
	tss: 0x28,
	code32: 0x38,
} as const;

export const ATTRIBUTES = { code64: 0xa09b, data: 0xc093, userCode64: 0xa0fb, userData: 0xc0f3 } as const;

/** Reads 8 bytes of host physical memory. */
export function peek64(cpu: Cpu, hpa: number): bigint {
	return cpu.memory.view.getBigUint64(cpu.memory.ramBase + hpa, true);
}

/** Writes 8 bytes of host physical memory. */
export function poke64(cpu: Cpu, hpa: number, value: bigint): void {
	cpu.memory.view.setBigUint64(cpu.memory.ramBase + hpa, value, true);
}

/** A bare processor after reset. */
export function freshCpu(model: CpuModel = emeraldRapids): Cpu {
	const cpu = new Cpu(new MachineMemory(1, RAM), model);
	resetCpu(cpu);
	return cpu;
}

/** Identity tables for the first 2 MiB in 4 KiB pages, all with the given rights. */
export function buildTables(cpu: Cpu, rights: bigint = P | RW | US): void {
	poke64(cpu, AT.pml4, BigInt(AT.pdpt) | P | RW | US);
	poke64(cpu, AT.pdpt, BigInt(AT.directory) | P | RW | US);
	poke64(cpu, AT.directory, BigInt(AT.table) | P | RW | US);
	for (let page = 0; page < 512; page++) poke64(cpu, AT.table + page * 8, BigInt(page * 4096) | rights);
}

/** A processor in 64-bit mode at CPL 0 with RIP at AT.code and RSP at AT.stack. */
export function longModeCpu(model: CpuModel = emeraldRapids): Cpu {
	return enterLongMode(freshCpu(model));
}

/** Brings a processor from reset into 64-bit mode at CPL 0, with tables, GDT, TSS and an empty IDT at `AT`. */
export function enterLongMode(cpu: Cpu): Cpu {
	buildTables(cpu);
	cpu.write64(L.CR0, BigInt(CR0.PE | CR0.WP | CR0.NE | CR0.ET) | (1n << 31n));
	cpu.write64(L.CR3, BigInt(AT.pml4));
	cpu.write32(L.CR4, CR4.PAE | CR4.OSXSAVE | CR4.OSFXSR | CR4.PGE);
	cpu.write32(L.EFER, EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE);
	setLevel(cpu, 0);
	const descriptors = [
		0n,
		0x00af9b000000ffffn,
		0x00cf93000000ffffn,
		0x00cff3000000ffffn,
		0x00affb000000ffffn,
	];
	const tss = 0x0000890000000067n | (BigInt(AT.tss) << 16n);
	for (const [at, value] of [...descriptors, tss, 0n, 0x00cf9b000000ffffn].entries()) {
		poke64(cpu, AT.gdt + at * 8, value);
	}
	setSegment(cpu, L.GDTR, 0, BigInt(AT.gdt), 8 * 8 - 1, 0);
	setSegment(cpu, L.IDTR, 0, BigInt(AT.idt), 256 * 16 - 1, 0);
	setSegment(cpu, L.TR, SELECTOR.tss, BigInt(AT.tss), 0x67, 0x8b);
	poke64(cpu, AT.tss + 4, BigInt(AT.kernelStack));
	// No I/O permission bitmap: it would begin behind the limit.
	cpu.memory.view.setUint16(cpu.memory.ramBase + AT.tss + 0x66, 0x68, true);
	poke64(cpu, AT.tss + 36, BigInt(AT.istStack));
	cpu.setGpr(L.RDX, 0n);
	cpu.write64(L.RIP, BigInt(AT.code));
	cpu.setGpr(L.RSP, BigInt(AT.stack));
	contextChanged(cpu);
	return cpu;
}

/** Sets CPL by flat 64-bit segments. */
export function setLevel(cpu: Cpu, level: 0 | 3): void {
	const user = level === 3;
	setSegment(
		cpu,
		L.CS,
		user ? SELECTOR.userCode : 8,
		0n,
		0xffffffff,
		user ? ATTRIBUTES.userCode64 : ATTRIBUTES.code64,
	);
	setSegment(
		cpu,
		L.SS,
		user ? SELECTOR.userData : 16,
		0n,
		0xffffffff,
		user ? ATTRIBUTES.userData : ATTRIBUTES.data,
	);
	contextChanged(cpu);
}

/** Writes a 64-bit gate. @param type 0xe interrupt, 0xf trap */
export function setGate(cpu: Cpu, vector: number, offset: number, type = 0xe, dpl = 0, ist = 0): void {
	const low = BigInt(offset & 0xffff) | (0x08n << 16n);
	const high = BigInt(((offset & 0xffff0000) | 0x8000 | (dpl << 13) | (type << 8) | ist) >>> 0);
	poke64(cpu, AT.idt + vector * 16, low | (high << 32n));
	poke64(cpu, AT.idt + vector * 16 + 8, 0n);
}

/** Carries out one instruction at RIP. `next` moves RIP on, as the dispatcher does. */
export function step(cpu: Cpu, bytes: readonly number[], bitness: 32 | 64 = 64): Outcome {
	const insn = decode(new Uint8Array(bytes), cpu.read64(L.RIP), bitness);
	const outcome = system(cpu, insn);
	if (outcome === OUTCOME.next) cpu.write64(L.RIP, cpu.read64(L.RIP) + BigInt(insn.length));
	return outcome;
}

/** The fault that is noted, as `vector` or `vector(errorCode)`; takes it away. */
export function takeFault(cpu: Cpu): { vector: number; errorCode: number | null } | "second level" | null {
	const kind = cpu.read32(L.FAULT);
	cpu.write32(L.FAULT, 0);
	if (kind === 0) return null;
	if (kind === 2) return "second level";
	const hasCode = cpu.read32(L.FAULT_HAS_ERROR_CODE) !== 0;
	return { vector: cpu.read32(L.FAULT_VECTOR), errorCode: hasCode ? cpu.read32(L.FAULT_ERROR_CODE) : null };
}

/** A hypervisor that lets everything pass, except what `overrides` say. */
export function hypervisor(overrides: Partial<GuestMode> = {}): GuestMode {
	return {
		instruction: () => false,
		exception: () => false,
		secondLevelFault: (cpu) => {
			cpu.guest = null;
		},
		pendingEvent: () => false,
		tripleFault: (cpu) => {
			cpu.guest = null;
		},
		secondLevel: null,
		tscOffset: 0,
		interceptsTsc: true,
		interceptsPause: true,
		...overrides,
	};
}
