/** A whole processor at privilege level 3, as Linux gives it to a process: what runs code with a stack, segments and branches. */
import { CR0, CR4, EFER } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { resetCpu } from "../../../src/silicon/cpu/modes.ts";
import { readRflags, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { createProcessor } from "../../../src/silicon/processor.ts";
import { hypervisor } from "../machine-code.ts";
import type { CaseFault, CaseMachine } from "./compare.ts";
import { codeBase, GDT, LDT, modeOf, SELECTORS } from "./modes.ts";
import { CODE, WINDOW, WINDOW_BYTES } from "./places.ts";
import { type CaseState, type Record, REGION_BYTES } from "./state.ts";

/** Behind the instructions: their end. */
const UD2 = [0x0f, 0x0b] as const;
const RAM_BYTES = 4 << 20;
/** Physical addresses of tables, and the linear ones of what the processor reads by linear address. */
const TABLES = 0x1000;
const DESCRIPTORS = 0x10000;
const DESCRIPTORS_LINEAR = 0xfffffe0000000000n;
const AT = { gdt: 0, ldt: 0x100, tss: 0x200, idt: 0x1000 } as const;
const TSS_LIMIT = 0x67;
const IDT_BYTES = 4096;
/** Present, writable, user. */
const USER = 7n;
const SUPERVISOR = 3n;
const NX = 1n << 63n;

export class CodeMachine implements CaseMachine {
	private readonly cpu: Cpu;
	private ended = -1;
	private error = 0;
	/** Bytes of INT3 or INTO, which return behind themselves. */
	private passed = 0;
	private length = 0;

	constructor() {
		const cpu = createProcessor(new MachineMemory(1, RAM_BYTES), turin);
		this.cpu = cpu;
		resetCpu(cpu);
		const poke = (at: number, value: bigint) =>
			cpu.memory.view.setBigUint64(cpu.memory.ramBase + at, value, true);
		const table = (level: number) => TABLES + level * 4096;
		const link = (from: number, index: number, to: number) => poke(from + index * 8, BigInt(to) | USER);
		// Code and window, each with a page table of its own; the descriptors in the upper half.
		link(table(0), 0, table(1));
		link(table(1), 0, table(2));
		link(table(2), CODE >> 21, table(3));
		link(table(2), WINDOW >> 21, table(4));
		const page = (linear: number) => table(linear < WINDOW ? 3 : 4) + ((linear >> 12) & 511) * 8;
		poke(page(CODE), BigInt(CODE) | USER);
		for (let at = WINDOW; at < WINDOW + WINDOW_BYTES; at += 4096) poke(page(at), BigInt(at) | USER | NX);
		const upper = Number((DESCRIPTORS_LINEAR >> 39n) & 511n);
		for (const [level, index] of [upper, 0, 0].entries())
			link(level === 0 ? table(0) : table(4 + level), index, table(5 + level));
		for (let at = 0; at < 2; at++) poke(table(7) + at * 8, BigInt(DESCRIPTORS + at * 4096) | SUPERVISOR);
		for (const [at, value] of GDT.entries()) poke(DESCRIPTORS + AT.gdt + at * 8, value);
		for (const [at, value] of LDT.entries()) poke(DESCRIPTORS + AT.ldt + at * 8, value);
		// No I/O permissions: their bitmap would begin behind the limit.
		poke(DESCRIPTORS + AT.tss + 0x60, BigInt(TSS_LIMIT + 1) << 48n);
		// Interrupt gates; INT3 and INTO may be asked for at level 3.
		for (let vector = 0; vector < 256; vector++) {
			const access = vector === VECTOR.BP || vector === VECTOR.OF ? 0xee : 0x8e;
			poke(DESCRIPTORS + AT.idt + vector * 16, (0x10n << 16n) | (BigInt(access) << 40n));
		}
		cpu.write64(L.CR0, BigInt(CR0.PE | CR0.WP | CR0.NE | CR0.ET | CR0.MP | CR0.PG) & 0xffffffffn);
		cpu.write64(L.CR3, BigInt(table(0)));
		cpu.write32(L.CR4, CR4.PAE | CR4.OSXSAVE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.UMIP);
		cpu.write32(L.EFER, EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE);
	}

	private loadSegments(record: Record): void {
		const { cpu } = this;
		const mode = modeOf(record.classes);
		setSegment(cpu, L.GDTR, 0, DESCRIPTORS_LINEAR + BigInt(AT.gdt), 127, 0);
		setSegment(cpu, L.IDTR, 0, DESCRIPTORS_LINEAR + BigInt(AT.idt), IDT_BYTES - 1, 0);
		setSegment(cpu, L.TR, 0x40, DESCRIPTORS_LINEAR + BigInt(AT.tss), TSS_LIMIT, 0x8b);
		setSegment(cpu, L.LDTR, 0x50, DESCRIPTORS_LINEAR + BigInt(AT.ldt), LDT.length * 8 - 1, 0x82);
		const order = [L.CS, L.SS, L.DS, L.ES] as const;
		for (const [at, selector] of SELECTORS[mode].entries()) {
			const segment = order[at]!;
			const value = ((selector & 4) !== 0 ? LDT : GDT)[selector >> 3]!;
			if (selector === 0) {
				setSegment(cpu, segment, 0, 0n, 0, 0x10000);
				continue;
			}
			const base = ((value >> 16n) & 0xffffffn) | ((value >> 56n) << 24n);
			const low = Number(value & 0xffffn) | (Number((value >> 48n) & 15n) << 16);
			const attributes = Number((value >> 40n) & 0xf0ffn);
			const limit = (attributes & 0x8000) !== 0 ? ((low << 12) | 0xfff) >>> 0 : low;
			setSegment(cpu, segment, selector, base, limit, attributes);
		}
		setSegment(cpu, L.FS, 0, 0n, 0, 0x10000);
		setSegment(cpu, L.GS, 0, 0n, 0, 0x10000);
		contextChanged(cpu);
	}

	begin(record: Record): void {
		const { memory } = this.cpu;
		const code = new Uint8Array(4096).fill(0xcc);
		code.set(record.bytes);
		code.set(UD2, record.bytes.length);
		if (memory.codePages[CODE >> 12] !== 0) memory.onCodeWrite(CODE >> 12);
		memory.u8.set(code, memory.ramBase + CODE);
		this.length = record.bytes.length;
	}

	fillWindow(bytes: Uint8Array): void {
		this.cpu.memory.u8.set(bytes, this.cpu.memory.ramBase + WINDOW);
	}

	run(record: Record, state: CaseState): number {
		const { cpu } = this;
		this.loadSegments(record);
		for (let index = 0; index < 16; index++) cpu.setGpr(index, state.gpr[index]!);
		writeRflags(cpu, state.flags);
		cpu.write32(L.INTERRUPTIBILITY, 0);
		cpu.memory.u64.set(state.memory, (cpu.memory.ramBase + record.region) >> 3);
		const start = CODE - codeBase(modeOf(record.classes));
		cpu.write64(L.RIP, BigInt(start));
		this.ended = -1;
		cpu.guest = hypervisor({
			exception: (running, vector, error, hasError) => {
				this.ended = vector;
				this.error = hasError ? error : 0;
				this.passed = vector === VECTOR.BP || vector === VECTOR.OF ? running.read32(L.VECTORING_LENGTH) : 0;
				running.write32(L.VECTORING_INFO, 0);
				running.write32(L.FAULT, 0);
				running.guest = null;
				return true;
			},
		});
		while (cpu.guest !== null) cpu.execute(cpu);
		const end = this.ended === VECTOR.UD && cpu.read64(L.RIP) === BigInt(start + this.length);
		return end ? -1 : this.ended;
	}

	fault(record: Record): CaseFault {
		const { cpu } = this;
		const start = BigInt(CODE - codeBase(modeOf(record.classes)));
		return {
			at: Number((cpu.read64(L.RIP) - start + BigInt(this.passed)) & 0xffn),
			error: this.error & 0xffff,
			cr2: cpu.read64(L.FAULT_LINEAR),
		};
	}

	gpr(index: number): bigint {
		return this.cpu.gpr(index);
	}
	flags(): number {
		return readRflags(this.cpu);
	}
	region(record: Record): BigUint64Array {
		const { memory } = this.cpu;
		const first = (memory.ramBase + record.region) >> 3;
		return memory.u64.subarray(first, first + REGION_BYTES / 8);
	}
	x(): bigint {
		return 0n;
	}
}
