/** What a guest computes depends on its code alone: not on regions, deadlines, interrupts or what was translated before. */
import { describe, expect, test } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { readRflags, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { Mnemonic } from "../../../src/silicon/translate/decode.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import { BareMachine } from "./bare-machine.ts";
import { CODE, Differential } from "./differential.ts";
import { DATA_BYTES, ProgramMaker, type ProgramOptions } from "./programs.ts";
import { Random } from "./random.ts";

const DATA = 0x200000;
const STACK = 0x208000;

/** Everything that a run leaves, as text. */
interface Outcome {
	readonly registers: string;
	readonly rflags: string;
	readonly cycles: number;
	readonly instructions: number;
	readonly memory: string;
}

function prepare(machine: BareMachine, program: Uint8Array, seed: number): void {
	const { cpu } = machine;
	const random = new Random(seed);
	for (let index = 0; index < 16; index++) cpu.setGpr(index, random.value());
	cpu.setGpr(L.RSP, BigInt(STACK));
	cpu.setGpr(15, BigInt(DATA));
	writeRflags(cpu, 2);
	machine.poke(
		DATA,
		Uint8Array.from({ length: DATA_BYTES + 0x1000 }, () => random.next()),
	);
	machine.poke(STACK - 0x100, new Uint8Array(0x200));
	const page = CODE >> 12;
	for (const touched of [page, page + 1])
		if (machine.memory.codePages[touched] !== 0) machine.translator.dropPage(touched);
	machine.poke(CODE, program);
}

/** Runs a program to its HLT. @param fresh cycles and instructions are counted from here */
function finish(machine: BareMachine, entry = CODE): Outcome {
	const { cpu, memory } = machine;
	const [cycles, instructions] = [cpu.cycles, cpu.instructions];
	machine.run(entry);
	expect(machine.fault).toBe(null);
	const registers = Array.from({ length: 16 }, (_, index) => cpu.gpr(index).toString(16)).join(" ");
	const bytes = (from: number, length: number) =>
		Buffer.from(memory.u8.buffer, memory.ramBase + from, length).toString("base64");
	return {
		registers: `${registers} rip ${cpu.read64(L.RIP).toString(16)}`,
		rflags: readRflags(cpu).toString(16),
		cycles: cpu.cycles - cycles,
		instructions: cpu.instructions - instructions,
		memory: bytes(DATA, DATA_BYTES + 0x1000) + bytes(STACK - 0x100, 0x200) + bytes(CODE, 0x2000),
	};
}

function makeProgram(seed: number, options: ProgramOptions): Uint8Array<ArrayBuffer> {
	return new ProgramMaker(new Random(seed), options).make();
}

let hotRegions = 0;
let evicting: BareMachine | null = null;

/** How the outcome is to be the same. Each changes the machine before the run. */
const WAYS: Readonly<Record<string, (machine: BareMachine, program: Uint8Array, seed: number) => void>> = {
	"one instruction at a time": (machine) => {
		machine.cpu.deadline = 0;
		machine.onBoundary = () => {
			// An interrupt shadow makes the next instruction run alone; a deadline of 0 brings us back behind it.
			machine.cpu.write32(L.INTERRUPTIBILITY, 1);
			return false;
		};
	},
	"with deadlines at random cycles": (machine, _program, seed) => {
		const random = new Random(seed ^ 0x5555);
		const next = () => {
			machine.cpu.deadline = machine.cpu.cycles + random.below(120) / 4;
			return false;
		};
		next();
		machine.onBoundary = next;
	},
	"with its hot regions there already": (machine, program, seed) => {
		for (let run = 0; run < 3; run++) {
			prepare(machine, program, seed + run);
			finish(machine);
		}
		hotRegions += machine.translator.stats.hotRegions;
	},
	"with the page dropped again and again": (machine, _program, seed) => {
		const random = new Random(seed ^ 0x3333);
		machine.onBoundary = () => {
			machine.cpu.deadline = machine.cpu.cycles + random.below(2000);
			machine.translator.dropPage(CODE >> 12);
			return false;
		};
		machine.cpu.deadline = 0;
	},
	"with code thrown away again and again, for want of room": (machine) => {
		machine.translator.codeBytesMax = 60_000;
		evicting = machine;
	},
	"on another machine, with the same modules": (machine, program, seed) => {
		const other = new BareMachine();
		prepare(other, program, seed);
		finish(other);
		prepare(machine, program, seed);
		finish(machine);
		expect(machine.modules.map((bytes) => Buffer.from(bytes).toString("base64"))).toEqual(
			other.modules.map((bytes) => Buffer.from(bytes).toString("base64")),
		);
	},
};

describe("a random program leaves the same registers, flags, memory, cycles and instruction count", () => {
	for (const [way, change] of Object.entries(WAYS)) {
		test(way, () => {
			for (let seed = 1; seed <= 24; seed++) {
				const program = makeProgram(seed, { rounds: seed % 4 === 0 ? 700 : 300, length: 10 + seed * 2 });
				const plain = new BareMachine();
				prepare(plain, program, seed);
				const want = finish(plain);
				expect(want.instructions).toBeGreaterThan(300);
				const machine = new BareMachine();
				prepare(machine, program, seed);
				change(machine, program, seed);
				prepare(machine, program, seed);
				expect({ seed, ...finish(machine) }).toEqual({ seed, ...want });
			}
			if (way.includes("thrown away")) expect(evicting!.translator.stats.evictions).toBeGreaterThan(1);
			if (way.includes("hot")) expect(hotRegions).toBeGreaterThan(20);
		});
	}
});

test("interrupts at random deadlines, whose handler keeps the registers, do not change what a program computes", () => {
	const handler = CODE + 0x1800;
	const counter = STACK + 0x1000;
	// pushfq; push rax; mov eax, counter; add dword [rax], 1; pop rax; popfq; cpuid (stands for IRET)
	const code = [
		0x9c,
		0x50,
		0xb8,
		counter & 0xff,
		(counter >> 8) & 0xff,
		counter >> 16,
		0,
		0x83,
		0,
		1,
		0x58,
		0x9d,
		0x0f,
		0xa2,
	];
	for (let seed = 1; seed <= 12; seed++) {
		const program = makeProgram(seed, { rounds: 400, length: 30 });
		const plain = new BareMachine();
		prepare(plain, program, seed);
		plain.poke(handler, code);
		const want = finish(plain);
		const machine = new BareMachine();
		prepare(machine, program, seed);
		machine.poke(handler, code);
		const random = new Random(seed);
		const { cpu } = machine;
		let back = -1n;
		let interrupts = 0;
		machine.onBoundary = () => {
			cpu.deadline = cpu.cycles + 20 + random.below(3000) / 4;
			if (back >= 0n) return false;
			interrupts++;
			back = cpu.read64(L.RIP);
			cpu.setGpr(L.RSP, cpu.gpr(L.RSP) - 0x800n);
			cpu.writeNumber(L.RIP, handler);
			return false;
		};
		machine.onSystem = (insn) => {
			expect(insn.mnemonic).toBe(Mnemonic.Cpuid);
			cpu.write64(L.RIP, back);
			cpu.setGpr(L.RSP, cpu.gpr(L.RSP) + 0x800n);
			back = -1n;
			return OUTCOME.jumped;
		};
		cpu.deadline = 0;
		const got = finish(machine);
		expect(machine.memory.u32[(machine.memory.ramBase + counter) >> 2]).toBe(interrupts);
		expect(interrupts).toBeGreaterThan(5);
		expect({ ...got, cycles: 0, instructions: got.instructions - 7 * interrupts }).toEqual({
			...want,
			cycles: 0,
		});
	}
});

test("page faults in the middle of blocks leave the program restartable: paged in on demand, it ends the same", () => {
	let faults = 0;
	for (let seed = 1; seed <= 16; seed++) {
		const program = makeProgram(seed, { rounds: seed === 1 ? 500 : 2, length: 40 });
		const plain = new BareMachine();
		prepare(plain, program, seed);
		const want = finish(plain);
		const machine = new BareMachine();
		prepare(machine, program, seed);
		const first = DATA >> 12;
		for (let page = first; page < first + 4; page++)
			(page % 2 === 0 ? machine.absent : machine.readOnly).add(page);
		machine.absent.add((STACK - 8) >> 12);
		const [cycles, instructions] = [machine.cpu.cycles, machine.cpu.instructions];
		machine.run(CODE);
		while (machine.fault !== null) {
			faults++;
			const page = Number((machine.fault as { linear: bigint }).linear >> 12n);
			expect(machine.absent.delete(page) || machine.readOnly.delete(page)).toBe(true);
			machine.run(Number(machine.cpu.read64(L.RIP)));
		}
		const done = {
			cycles: machine.cpu.cycles - cycles,
			instructions: machine.cpu.instructions - instructions,
		};
		const got = finish(machine, Number(machine.cpu.read64(L.RIP)));
		// A string instruction that faulted half way is charged for its steps again.
		const close = Math.abs(done.cycles - want.cycles) < 30;
		expect(close).toBe(true);
		expect({ seed, ...got, ...done, cycles: 0 }).toEqual({ seed, ...want, cycles: 0 });
	}
	expect(faults).toBeGreaterThan(40);
});

test("programs whose flags are defined end as the reference interpreter says", () => {
	let compared = 0;
	for (let seed = 1; seed <= 40; seed++) {
		const pair = new Differential(64, undefined, 2);
		pair.code(makeProgram(seed, { rounds: 4, length: 40, defined: true }));
		const regs = Array.from({ length: 16 }, () => new Random(seed).value());
		regs[4] = BigInt(STACK);
		regs[15] = BigInt(DATA);
		const wrong = pair.run({ regs, flags: 2 });
		if (wrong === null) continue;
		compared++;
		expect([seed, ...wrong]).toEqual([seed]);
	}
	expect(compared).toBe(40);
});

test("code that lies across two pages runs the same wherever the border is", () => {
	const program = makeProgram(5, { rounds: 3, length: 30 });
	const plain = new BareMachine();
	prepare(plain, new Uint8Array(0), 5);
	plain.poke(CODE + 0x400, program);
	const want = finish(plain, CODE + 0x400);
	for (let shift = 1; shift < program.length; shift += 1) {
		const machine = new BareMachine();
		prepare(machine, new Uint8Array(0), 5);
		const entry = CODE + 0x1000 - shift;
		machine.poke(entry, program);
		const got = finish(machine, entry);
		const same = (outcome: Outcome) => [
			outcome.rflags,
			outcome.cycles,
			outcome.instructions,
			outcome.registers.split(" rip ")[0],
		];
		expect([shift, ...same(got)]).toEqual([shift, ...same(want)]);
	}
});
