/** Runs the same code on the translator and on the reference interpreter, from the same state, and compares all of it. */
import { Mnemonic } from "iced-x86";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { readRflags, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { BareMachine, RAM_BYTES } from "./bare-machine.ts";
import { runReference } from "./reference/reference.ts";
import { Reference, ReferenceMemory, type ReferenceFault, Unpredictable } from "./reference/state.ts";

/** Where code lies. Its page holds HLT where nothing else was put. */
export const CODE = 0x100000;
/** Readable and writable memory for 64-bit code: [from, to). The last page but one is read-only. */
export const WINDOW = { from: 0x200000, to: 0x210000 } as const;
/** The same for 32-bit code, in reach of 16-bit addresses. */
export const LOW_WINDOW = { from: 0x3000, to: 0x10000 } as const;

const PAGE = 4096;
const HLT = 0xf4;
const STEPS_MAX = 20_000;

/** The registers that a run begins with. */
export interface Start {
	readonly regs: readonly bigint[];
	readonly flags: number;
	/** YMM0 to YMM15, 32 bytes each; as the last run left them if not given. */
	readonly vectors?: Uint8Array;
	readonly mxcsr?: number;
}

/** Both machines, with the same memory. */
export class Differential {
	readonly machine: BareMachine;
	readonly reference: Reference;
	readonly window: { readonly from: number; readonly to: number };
	/** Runs that were compared, and those that the manual leaves open. */
	compared = 0;
	skipped = 0;
	faults = 0;
	private readonly bytes = new Uint8Array(RAM_BYTES);

	constructor(bitness: 32 | 64, bases: readonly bigint[] = [0n, 0n, 0n, 0n, 0n, 0n], codePages = 1) {
		this.machine = new BareMachine(bitness);
		this.window = bitness === 64 ? WINDOW : LOW_WINDOW;
		const { machine, window } = this;
		machine.cpu.write32(L.CR4, CR4.OSFXSR | CR4.OSXSAVE | CR4.OSXMMEXCPT);
		machine.cpu.write32(L.XCR0, 7);
		machine.cpu.write32(L.MXCSR, 0x1f80);
		for (let page = 0; page < RAM_BYTES / PAGE; page++) {
			const at = page * PAGE;
			const isCode = at >= CODE && at < CODE + codePages * PAGE;
			if (!isCode && (at < window.from || at >= window.to)) machine.absent.add(page);
		}
		machine.readOnly.add(window.to / PAGE - 2);
		this.reference = new Reference(
			bitness,
			new ReferenceMemory(this.bytes, machine.absent, machine.readOnly),
		);
		for (const [segment, base] of bases.entries()) {
			const at = L.SEG + segment * L.SEG_BYTES;
			machine.cpu.write64(at + L.SEG_BASE, base);
			machine.cpu.write32(at + L.SEG_SELECTOR, 8 * (segment + 1));
			this.reference.bases[segment] = base;
			this.reference.selectors[segment] = 8 * (segment + 1);
		}
		this.fill(CODE, new Uint8Array(codePages * PAGE).fill(HLT));
		const pattern = new Uint8Array(window.to - window.from);
		for (let at = 0; at < pattern.length; at++) pattern[at] = (at * 167 + (at >> 8) * 59) & 0xff;
		this.fill(window.from, pattern);
	}

	/** Puts bytes into both memories, with what was translated from there dropped. */
	fill(address: number, bytes: ArrayLike<number>): void {
		const { machine } = this;
		for (let page = address >> 12; page <= (address + bytes.length - 1) >> 12; page++) {
			if (machine.memory.codePages[page] !== 0) machine.translator.dropPage(page);
		}
		machine.poke(address, bytes);
		this.bytes.set(bytes, address);
	}

	/** Puts code at CODE and HLT behind it. */
	code(bytes: ArrayLike<number>): void {
		const page = new Uint8Array(PAGE).fill(HLT);
		page.set(bytes);
		this.fill(CODE, page);
	}

	/**
	 * Runs code from CODE to a HLT or a fault on both.
	 * @returns what differs, one line each; null if the manual leaves the outcome open
	 */
	run(start: Start, rip = CODE): string[] | null {
		const { machine, reference } = this;
		const { cpu } = machine;
		const offset = BigInt(rip) - reference.bases[1]!;
		for (const [index, value] of start.regs.entries()) {
			cpu.setGpr(index, value);
			reference.regs[index] = value;
		}
		if (start.vectors !== undefined) {
			reference.vectors.set(start.vectors);
			putVectors(cpu, start.vectors);
		}
		if (start.mxcsr !== undefined) {
			reference.mxcsr = start.mxcsr;
			cpu.write32(L.MXCSR, start.mxcsr);
		}
		writeRflags(cpu, start.flags);
		reference.flags = start.flags | 2;
		reference.undefinedFlags = 0;
		reference.rip = offset;
		let expected: { fault: ReferenceFault | null; instructions: number };
		const before = this.bytes.slice(this.window.from, this.window.to);
		try {
			expected = runReference(reference, STEPS_MAX, (i) => i.mnemonic === Mnemonic.Hlt);
		} catch (error) {
			if (!(error instanceof Unpredictable)) throw error;
			this.bytes.set(before, this.window.from);
			this.skipped++;
			return null;
		}
		const instructions = cpu.instructions;
		machine.run(Number(offset));
		this.compared++;
		if (expected.fault !== null) this.faults++;
		return this.compare(expected.fault, cpu.instructions - instructions - expected.instructions);
	}

	private compare(fault: ReferenceFault | null, moreInstructions: number): string[] {
		const { machine, reference, window } = this;
		const { cpu } = machine;
		const differences: string[] = [];
		const expect = (name: string, got: unknown, want: unknown): void => {
			if (got !== want) differences.push(`${name}: got ${show(got)}, want ${show(want)}`);
		};
		for (let index = 0; index < 16; index++) expect(`r${index}`, cpu.gpr(index), reference.regs[index]);
		const vectors = takeVectors(cpu);
		for (let index = 0; index < 16; index++) {
			const [at, end] = [index * 32, index * 32 + 32];
			expect(`ymm${index}`, hex(vectors.subarray(at, end)), hex(reference.vectors.subarray(at, end)));
		}
		expect("mxcsr", cpu.read32(L.MXCSR), reference.mxcsr);
		expect("rip", cpu.read64(L.RIP), reference.rip);
		const known = ~reference.undefinedFlags;
		expect("rflags", readRflags(cpu) & known, reference.flags & known);
		expect("fault", machine.fault?.vector ?? null, fault?.vector ?? null);
		if (fault?.vector === 14) expect("fault address", machine.fault?.linear, fault.linear);
		expect("instructions beyond the reference's", moreInstructions, 0);
		const host = machine.memory.ramBase;
		const ours = Buffer.from(machine.memory.u8.buffer, host, RAM_BYTES);
		for (const [from, to] of [
			[window.from, window.to],
			[CODE, CODE + 2 * PAGE],
		] as const) {
			if (Buffer.compare(ours.subarray(from, to), this.bytes.subarray(from, to)) === 0) continue;
			for (let at = from; at < to; at++) expect(`memory ${at.toString(16)}`, ours[at], this.bytes[at]);
			this.machine.poke(from, this.bytes.subarray(from, to));
		}
		return differences;
	}
}

/** Bytes as one number would be written: the highest first. */
function hex(bytes: Uint8Array): string {
	return Buffer.from(bytes).reverse().toString("hex");
}

/** Writes YMM0 to YMM15. */
function putVectors(cpu: Cpu, vectors: Uint8Array): void {
	for (let index = 0; index < 16; index++) {
		const at = index * 32;
		cpu.memory.u8.set(vectors.subarray(at, at + 16), cpu.base + L.XMM + index * 16);
		cpu.memory.u8.set(vectors.subarray(at + 16, at + 32), cpu.base + L.YMM_HIGH + index * 16);
	}
}

/** Reads YMM0 to YMM15. */
function takeVectors(cpu: Cpu): Uint8Array {
	const vectors = new Uint8Array(512);
	for (let index = 0; index < 16; index++) {
		const [low, high] = [cpu.base + L.XMM + index * 16, cpu.base + L.YMM_HIGH + index * 16];
		vectors.set(cpu.memory.u8.subarray(low, low + 16), index * 32);
		vectors.set(cpu.memory.u8.subarray(high, high + 16), index * 32 + 16);
	}
	return vectors;
}

function show(value: unknown): string {
	return typeof value === "bigint" || typeof value === "number" ? `0x${value.toString(16)}` : String(value);
}
