/** RDTSC and PAUSE within translated code do what the system side does, and leave to it what only it can do. */
import { describe, expect, it } from "vitest";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import { INTERCEPT } from "../../../src/silicon/cpu/intercepts.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { ASM, bareMachine, program } from "../guest-machine.ts";
import { AT, hypervisor, setLevel } from "../machine-code.ts";
import { Random } from "./random.ts";

const ADD_RBX_RAX = [0x48, 0x01, 0xc3];
const XOR_RSI_RDX = [0x48, 0x31, 0xd6];
const DEC_ECX = [0xff, 0xc9];
const jnz = (back: number) => [0x75, 0x100 - back - 2];

/** ECX rounds of RDTSC and PAUSE between sums of what was read. */
const BODY = [
	ASM.rdtsc,
	ADD_RBX_RAX,
	XOR_RSI_RDX,
	ASM.pause,
	ASM.nop,
	ASM.rdtsc,
	ADD_RBX_RAX,
	DEC_ECX,
].flat();

interface Setting {
	readonly rounds: number;
	readonly tscOffset: number;
	readonly bias: number;
	readonly deadlineEvery: number;
}

/** Runs BODY in a guest. @param asked whether the hypervisor is asked about each RDTSC and PAUSE, which it lets pass */
function run(asked: boolean, { rounds, tscOffset, bias, deadlineEvery }: Setting) {
	const { cpu } = bareMachine("vmx");
	program(cpu, BODY, jnz(BODY.length));
	cpu.setGpr(L.RCX, BigInt(rounds));
	for (const register of [L.RAX, L.RBX, L.RDX, L.RSI]) cpu.setGpr(register, -1n);
	cpu.f64[(cpu.base + L.TSC_BIAS) >> 3] = bias;
	const deadlines: number[] = [];
	let entries = 0;
	cpu.onDeadline = (one) => {
		deadlines.push(one.cycles);
		one.deadline = one.cycles + deadlineEvery;
	};
	cpu.deadline = deadlineEvery;
	cpu.guest = hypervisor({
		interceptsTsc: asked,
		interceptsPause: asked,
		tscOffset,
		instruction: (one, intercept) => {
			entries++;
			if (intercept !== INTERCEPT.hlt) return false;
			one.guest = null;
			return true;
		},
	});
	cpu.execute(cpu);
	const registers = Array.from({ length: 8 }, (_, n) => cpu.gpr(n));
	return { state: { registers, cycles: cpu.cycles, instructions: cpu.instructions, deadlines }, entries };
}

describe("RDTSC and PAUSE in a region", () => {
	it("read and cost what they do where the hypervisor is asked about each, whatever was added and whenever events come", () => {
		const random = new Random(11);
		const added = [0, 1, -1, 12345678901, -(2 ** 40), 2 ** 52, -(2 ** 63), 2 ** 63, 2 ** 64];
		for (let round = 0; round < 60; round++) {
			const setting = {
				rounds: 1 + random.below(random.pick([3, 40, 1500])),
				tscOffset: random.pick(added),
				bias: random.pick(added),
				deadlineEvery: random.pick([10, 97, 1003, 1e9]),
			};
			const inline = run(false, setting);
			const asked = run(true, setting);
			expect(inline.state, JSON.stringify(setting)).toEqual(asked.state);
			expect(asked.entries).toBe(3 * setting.rounds + 1);
			const fits = Math.abs(setting.bias + setting.tscOffset) < 2 ** 62;
			if (fits) expect(inline.entries, "HLT alone").toBe(1);
		}
	});

	it.each([
		["RDTSC", ASM.rdtsc],
		["PAUSE", ASM.pause],
	] as const)(
		"%s lets processors that are behind catch up: it is not carried out past the horizon",
		(_, code) => {
			for (const single of [false, true]) {
				const { cpu } = bareMachine("vmx");
				const block = single ? code : [...ASM.nop, ...code, ...ASM.nop, ...code];
				program(cpu, block, [0xeb, 0x100 - block.length - 2]);
				cpu.beginSlice(500, 100_000);
				cpu.execute(cpu);
				expect(cpu.paused).toBe(true);
				expect(cpu.cycles).toBeGreaterThan(500);
				const { cycles } = cpu;
				const rip = Number(cpu.read64(L.RIP)) - AT.code;
				expect(block.slice(rip, rip + 2)).toEqual(code);
				cpu.beginSlice(cycles - 1, 100_000);
				cpu.execute(cpu);
				expect([cpu.paused, cpu.cycles, Number(cpu.read64(L.RIP)) - AT.code]).toEqual([true, cycles, rip]);
				cpu.beginSlice(cycles, 100_000);
				cpu.execute(cpu);
				expect(cpu.cycles).toBeGreaterThan(cycles);
			}
		},
	);

	it("RDTSC at level 3 faults with CR4.TSD set, also in code that ran before it was", () => {
		const { cpu } = bareMachine("vmx");
		program(cpu, ASM.rdtsc, ASM.int80);
		const ends = [0, CR4.TSD].map((bit) => {
			cpu.write32(L.CR4, cpu.read32(L.CR4) | bit);
			cpu.write64(L.RIP, BigInt(AT.code));
			setLevel(cpu, 3);
			cpu.halted = "no";
			cpu.execute(cpu);
			return (Number(cpu.read64(L.RIP)) - 1 - AT.handler) / 16;
		});
		expect(ends).toEqual([0x80, 13]);
	});
});
