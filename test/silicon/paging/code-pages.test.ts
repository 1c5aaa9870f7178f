/**
 * Stores to pages that code is translated from. Two processors reach three frames through three linear pages, which are
 * remapped, protected, watched, executed and written in turn. After each step memory, dirty bits and faults are what tables,
 * registers and bytes ask for at that moment; translations are dropped as software has to drop them, and no more.
 */
import { expect, it } from "vitest";
import { CR0, CR4 } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { createProcessor, translatorOf } from "../../../src/silicon/processor.ts";
import { ASM } from "../guest-machine.ts";
import { AT, enterLongMode, P, peek64, poke64, RAM, RW, setGate, setLevel, US } from "../machine-code.ts";
import { Random } from "../translate/random.ts";

const SEEDS = 10;
const FRAMES = [0x60000, 0x61000, 0x62000] as const;
const PAGES = [0x70000, 0x71000, 0x72000] as const;
const DIRTY = 0x40n;
const KEY_1 = 1n << 59n;
/** PKRU: no writes through key 1. */
const WRITE_DISABLE_1 = 8;
const DONE = 0x80;
/** DR7: a breakpoint of 8 bytes for writes at DR0. */
const WATCH_WRITES = 0x90401n;
const [DB, PF] = [1, 14];

/** What is stored, of RAX and what was there. */
type Stored = (rax: bigint, old: bigint) => bigint;
const plain: Stored = (rax) => rax;

// biome-ignore format: one row an instruction: its bytes, those that it stores at [RBX], and what
const STORES: readonly (readonly [code: readonly number[], bytes: number, stored: Stored])[] = [
	/* mov [rbx], al */                [[0x88, 0x03], 1, plain],
	/* mov [rbx], ax */                [[0x66, 0x89, 0x03], 2, plain],
	/* mov [rbx], eax */               [[0x89, 0x03], 4, plain],
	/* mov [rbx], rax */               [[0x48, 0x89, 0x03], 8, plain],
	/* or [rbx], eax */                [[0x09, 0x03], 4, (rax, old) => rax | old],
	/* lock add [rbx], eax */          [[0xf0, 0x01, 0x03], 4, (rax, old) => rax + old],
	/* xchg [rbx], eax */              [[0x87, 0x03], 4, plain],
	/* movq xmm0, rax; movq [rbx] */   [[0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xd6, 0x03], 8, plain],
	/* mov rdi, rbx; stosb */          [[0x48, 0x89, 0xdf, 0xaa], 1, plain],
	/* lea rsp, [rbx+8]; push rax */   [[0x48, 0x8d, 0x63, 0x08, 0x50], 8, plain],
];

// biome-ignore format: machine code with its assembly
const CODE = {
	invlpg: [0x0f, 0x01, 0x3b], movCr0: ASM.movCr0Rax, movCr3: ASM.movCr3Rax, movCr4: ASM.movCr4Rax,
	wrpkru: [0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef], watch: [0x0f, 0x23, 0xc3, 0x0f, 0x23, 0xf8],
} as const;

interface Mapping {
	readonly frame: number;
	readonly writable: boolean;
	readonly user: boolean;
	readonly key: boolean;
	dirty: boolean;
}

/** What one processor's registers say. */
interface Context {
	writeProtect: boolean;
	writeDisable: boolean;
	/** Linear address that DR0 watches, or -1. */
	watched: number;
}

class Machine {
	readonly cpus: readonly Cpu[];
	readonly contexts: readonly Context[];
	private readonly random: Random;
	private readonly mappings: Mapping[] = [];
	/** Bytes of the frames as they should be. */
	private readonly expected = new Map<number, Uint8Array>();
	/** Where each piece of code lies. */
	private readonly places = new Map<readonly number[], number>();

	constructor(seed: number) {
		this.random = new Random(seed);
		const memory = new MachineMemory(2, RAM);
		this.cpus = [0, 1].map((index) => createProcessor(memory, emeraldRapids, index));
		this.contexts = this.cpus.map(() => ({ writeProtect: true, writeDisable: false, watched: -1 }));
		for (const cpu of this.cpus) {
			enterLongMode(cpu);
			cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PKE);
			contextChanged(cpu);
		}
		const { u8, ramBase } = memory;
		for (let vector = 0; vector < 256; vector++) {
			setGate(this.cpus[0]!, vector, AT.handler + vector * 16, 0xe, 3, 1);
			u8[ramBase + AT.handler + vector * 16] = ASM.hlt[0];
		}
		for (const code of [...STORES.map(([bytes]) => bytes), ...Object.values(CODE)]) {
			const place = AT.code + 64 * this.places.size;
			this.places.set(code, place);
			u8.set([...code, 0xcd, DONE], ramBase + place);
		}
		for (const [value, frame] of FRAMES.entries()) {
			// mov eax, imm32; int 80h
			u8.set([0xb8, value, 0, 0, 0, 0xcd, DONE], ramBase + frame);
			this.expected.set(frame, this.bytesOf(frame).slice());
		}
		for (let page = 0; page < PAGES.length; page++) this.map(page);
	}

	private bytesOf(frame: number): Uint8Array {
		const { u8, ramBase } = this.cpus[0]!.memory;
		return u8.subarray(ramBase + frame, ramBase + frame + 4096);
	}

	/** Maps a page anew, as chance has it. */
	private map(page: number): void {
		const { random } = this;
		const flags = { writable: !random.oneIn(2), user: !random.oneIn(4), key: random.oneIn(4) };
		const mapping = { frame: random.pick(FRAMES), ...flags, dirty: false };
		this.mappings[page] = mapping;
		const rights = P | (flags.writable ? RW : 0n) | (flags.user ? US : 0n) | (flags.key ? KEY_1 : 0n);
		poke64(this.cpus[0]!, AT.table + (PAGES[page]! >> 12) * 8, BigInt(mapping.frame) | rights);
	}

	/** Runs from an address. @returns the vector at which it ended */
	private run(cpu: Cpu, level: 0 | 3, rip: number): number {
		setLevel(cpu, level);
		cpu.setGpr(L.RSP, BigInt(AT.stack));
		cpu.write64(L.RIP, BigInt(rip));
		cpu.halted = "no";
		cpu.execute(cpu);
		return (Number(cpu.read64(L.RIP)) - 1 - AT.handler) / 16;
	}

	private carryOut(cpu: Cpu, code: readonly number[], rax: bigint, rbx = 0n): void {
		cpu.setGpr(L.RAX, rax);
		cpu.setGpr(L.RBX, rbx);
		expect(this.run(cpu, 0, this.places.get(code)!)).toBe(DONE);
	}

	/** A store at one level by one processor, to code or to data beside it; mostly of what is there. */
	private store(index: number): string {
		const { random } = this;
		const [code, bytes, stored] = random.pick(STORES);
		const page = random.below(PAGES.length);
		const level = random.pick([0, 3] as const);
		const offset = bytes <= 4 && random.oneIn(2) ? 1 : random.pick([0x40, 0x44, 0xff8]);
		const mapping = this.mappings[page]!;
		const frame = this.expected.get(mapping.frame)!;
		const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
		const old = view.getBigUint64(offset, true);
		const rax = random.oneIn(3) ? random.bits64() : old;
		const cpu = this.cpus[index]!;
		const linear = PAGES[page]! + offset;
		cpu.setGpr(L.RAX, rax);
		cpu.setGpr(L.RBX, BigInt(linear));
		const vector = this.run(cpu, level, this.places.get(code)!);
		const { writeProtect, writeDisable, watched } = this.contexts[index]!;
		const protects = level === 3 || writeProtect;
		const refused =
			(level === 3 && !mapping.user) ||
			(protects && (!mapping.writable || (mapping.key && mapping.user && writeDisable)));
		const met = watched >= 0 && linear < watched + 8 && watched < linear + bytes;
		const wanted = refused ? PF : met ? DB : DONE;
		const name = `${code.map((byte) => byte.toString(16)).join(" ")} at ${linear.toString(16)}, level ${level}`;
		expect(vector, name).toBe(wanted);
		if (refused) return name;
		mapping.dirty = true;
		const mask = (1n << BigInt(8 * bytes)) - 1n;
		view.setBigUint64(offset, (old & ~mask) | (stored(rax, old) & mask), true);
		return name;
	}

	/** Runs the code at the beginning of a page: it loads what was stored there last. */
	private runPage(index: number): string {
		const page = this.random.below(PAGES.length);
		const level = this.random.pick([0, 3] as const);
		const { frame, user } = this.mappings[page]!;
		const cpu = this.cpus[index]!;
		const vector = this.run(cpu, level, PAGES[page]!);
		expect(vector).toBe(level === 3 && !user ? PF : DONE);
		const bytes = this.expected.get(frame)!;
		const immediate = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1, true);
		if (vector === DONE) expect(cpu.gpr(L.RAX)).toBe(BigInt(immediate));
		return `code of ${page}`;
	}

	/** Another mapping, which each processor is told of in one of the ways that there are. */
	private remap(): string {
		const page = this.random.below(PAGES.length);
		this.map(page);
		for (const cpu of this.cpus) {
			const cr4 = cpu.read64(L.CR4);
			const way = this.random.below(3);
			if (way === 0) this.carryOut(cpu, CODE.invlpg, 0n, BigInt(PAGES[page]! + 0x123));
			else if (way === 1) this.carryOut(cpu, CODE.movCr3, BigInt(AT.pml4));
			else this.carryOut(cpu, CODE.movCr4, cr4 ^ BigInt(CR4.PGE));
		}
		return `another mapping of ${page}`;
	}

	/** Other rights, or a breakpoint, by registers of one processor. */
	private changeRegisters(index: number): string {
		const cpu = this.cpus[index]!;
		const context = this.contexts[index]!;
		const what = this.random.pick(["CR0.WP", "PKRU", "DR7"] as const);
		if (what === "CR0.WP") {
			context.writeProtect = !context.writeProtect;
			this.carryOut(cpu, CODE.movCr0, cpu.read64(L.CR0) ^ BigInt(CR0.WP));
		} else if (what === "PKRU") {
			context.writeDisable = !context.writeDisable;
			this.carryOut(cpu, CODE.wrpkru, context.writeDisable ? BigInt(WRITE_DISABLE_1) : 0n);
		} else {
			context.watched = context.watched >= 0 ? -1 : this.random.pick(PAGES) + 0x40;
			const at = context.watched >= 0 ? BigInt(context.watched) : 0n;
			this.carryOut(cpu, CODE.watch, context.watched >= 0 ? WATCH_WRITES : 0x400n, at);
		}
		return what;
	}

	step(): string {
		const index = this.random.below(2);
		const chance = this.random.below(20);
		if (chance < 12) return this.store(index);
		if (chance < 17) return this.runPage(index);
		return chance < 18 ? this.remap() : this.changeRegisters(index);
	}

	check(): void {
		for (const frame of FRAMES) {
			const same = Buffer.compare(this.bytesOf(frame), this.expected.get(frame)!) === 0;
			expect(same, `frame ${frame.toString(16)} holds what was stored`).toBe(true);
		}
		for (const [page, { dirty }] of this.mappings.entries()) {
			const entry = peek64(this.cpus[0]!, AT.table + (PAGES[page]! >> 12) * 8);
			expect((entry & DIRTY) !== 0n).toBe(dirty);
		}
	}
}

it.each([
	["", Number.POSITIVE_INFINITY],
	[", while translated code is thrown away all the time", 20_000],
])(
	"stores to pages with code are what tables, registers and bytes ask for at that moment%s",
	(_, codeBytes) => {
		let dropped = 0;
		for (let seed = 1; seed <= SEEDS; seed++) {
			const machine = new Machine(seed);
			const translator = translatorOf(machine.cpus[0]!.memory);
			if (codeBytes < Number.POSITIVE_INFINITY) translator.codeBytesMax = codeBytes;
			const steps: string[] = [];
			try {
				for (let step = 0; step < 350; step++) {
					steps.push(machine.step());
					machine.check();
				}
			} catch (error) {
				throw new Error(`seed ${seed}, behind ${steps.slice(-5).join("; ")}`, { cause: error });
			}
			dropped += translator.stats.droppedPages;
		}
		if (codeBytes === Number.POSITIVE_INFINITY) expect(dropped).toBeGreaterThan(50);
	},
);
