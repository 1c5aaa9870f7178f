/** Code that changes code: what was stored is what runs, from the very next instruction on. */
import { describe, expect, test } from "vitest";
import { CODE, Differential, WINDOW } from "./differential.ts";
import { ProgramMaker } from "./programs.ts";
import { Random } from "./random.ts";

const STACK = BigInt(WINDOW.from + 0x8000);

function registers(overrides: Readonly<Record<number, bigint>> = {}): bigint[] {
	const regs = new Array<bigint>(16).fill(0x1111n);
	regs[4] = STACK;
	for (const [index, value] of Object.entries(overrides)) regs[Number(index)] = value;
	return regs;
}

function run(
	code: readonly number[],
	overrides: Readonly<Record<number, bigint>>,
	entry = CODE,
): Differential {
	const pair = new Differential(64, undefined, 2);
	pair.fill(entry, code);
	for (let time = 0; time < 3; time++)
		expect(pair.run({ regs: registers(overrides), flags: 2 }, entry)).toEqual([]);
	return pair;
}

/** Each stores BL, or RBX, over the immediate or opcode of an instruction that follows; RAX points there. */
const STORES: Readonly<Record<string, readonly number[]>> = {
	"MOV r/m8, r8": [0x88, 0x18],
	"ADD r/m8, r8": [0x00, 0x18],
	XCHG: [0x86, 0x18],
	XADD: [0x0f, 0xc0, 0x18],
	"LOCK CMPXCHG": [0xf0, 0x0f, 0xb0, 0x18],
	SETE: [0x0f, 0x94, 0x00],
	INC: [0xfe, 0x00],
	NOT: [0xf6, 0x10],
	"ROL by 1": [0xd0, 0x00],
	BTC: [0x0f, 0xba, 0x38, 0x03],
	SHLD: [0x0f, 0xa4, 0x18, 0x05],
	NEG: [0xf6, 0x18],
	SBB: [0x18, 0x18],
	MOVBE: [0x0f, 0x38, 0xf1, 0x18],
};

describe("a store to the next instruction in the same block", () => {
	for (const [name, store] of Object.entries(STORES)) {
		test(name, () => {
			// store; mov ecx, imm32; mov edx, imm32
			const code = [...store, 0xb9, 0, 0, 0, 0, 0xba, 0x77, 0, 0, 0];
			const pair = run(code, { 0: BigInt(CODE + store.length + 1), 3: 0x5an });
			expect(pair.machine.translator.stats.droppedPages).toBeGreaterThan(0);
		});
	}
	test("PUSH, CALL and POP to memory", () => {
		// push rbx, onto mov rcx, imm64
		run([0x53, 0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0], { 3: 0x1234_5678n, 4: BigInt(CODE + 3 + 8) });
		// pop [rax], over mov rcx, imm64
		run([0x8f, 0x00, 0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0], { 0: BigInt(CODE + 4) });
		// call +0, whose return address lands in mov rcx, imm64
		run([0xe8, 0, 0, 0, 0, 0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0], { 4: BigInt(CODE + 7 + 8) });
	});
	test("a store that turns the next instruction into another one", () => {
		// mov [rax], bl over nop: it becomes HLT, so the INC behind it never runs
		const pair = run([0x88, 0x18, 0x90, 0xff, 0xc1], { 0: BigInt(CODE + 2), 3: 0xf4n });
		expect(pair.reference.regs[1]).toBe(0x1111n);
	});
});

test("a store to an instruction that was executed already takes effect in the next round of the loop", () => {
	// 1: mov ecx, imm32; add edx, ecx; add dword [rax], 3; dec esi; jnz 1b
	const code = [0xb9, 1, 0, 0, 0, 0x01, 0xca, 0x83, 0x00, 3, 0xff, 0xce, 0x75, 0xf2];
	const pair = run(code, { 0: BigInt(CODE + 1), 2: 0n, 6: 900n });
	expect(pair.machine.translator.stats.droppedPages).toBeGreaterThan(100);
});

test("a store that runs over the border of two pages with code changes both", () => {
	// At the border: mov ecx, imm32 with two bytes of it on either page.
	const entry = CODE + 0x1000 - 6;
	const code = [0x48, 0x89, 0x18, 0xb9, 1, 2, 3, 4, 0xff, 0xc2];
	run(code, { 0: BigInt(entry + 4), 3: 0xc1ff_5566_7788_99aan }, entry);
});

test("code on one page that changes code on another, and is changed by it, is exact", () => {
	const pair = new Differential(64, undefined, 2);
	const other = CODE + 0x1000;
	// here: inc byte [other+1]; call other; add ecx, imm8; dec esi; jnz here; hlt
	const call = (from: number, to: number) => {
		const distance = to - (from + 5);
		return [0xe8, distance & 0xff, (distance >> 8) & 0xff, (distance >> 16) & 0xff, (distance >> 24) & 0xff];
	};
	pair.fill(CODE, [0xfe, 0x00, ...call(CODE + 2, other), 0x83, 0xc1, 1, 0xff, 0xce, 0x75, 0xf2, 0xf4]);
	// other: mov dl, imm8; add [here + 9], dl; ret
	pair.fill(other, [0xb2, 0, 0x00, 0x13, 0xc3]);
	const begin = { regs: registers({ 0: BigInt(other + 1), 3: BigInt(CODE + 9), 6: 700n }), flags: 2 };
	expect(pair.run(begin)).toEqual([]);
});

test("data next to code on one page does not cost the code its translation", () => {
	const pair = new Differential(64, undefined, 2);
	// 1: add [rax], ecx; dec esi; jnz 1b
	pair.fill(CODE, [0x01, 0x08, 0xff, 0xce, 0x75, 0xfa, 0xf4]);
	const begin = { regs: registers({ 0: BigInt(CODE + 0x800), 6: 500n }), flags: 2 };
	expect(pair.run(begin)).toEqual([]);
	expect(pair.machine.translator.stats.droppedPages).toBe(0);
});

test("stores to data next to code, of what is there and of something else in turn, are all done", () => {
	const pair = new Differential(64, undefined, 2);
	// 1: mov [rax], ecx; mov [rax], ecx; mov [rax+9], cl; xor ecx, edx; dec esi; jnz 1b
	pair.fill(CODE, [0x89, 0x08, 0x89, 0x08, 0x88, 0x48, 9, 0x31, 0xd1, 0xff, 0xce, 0x75, 0xf3, 0xf4]);
	for (const at of [CODE + 0x800, CODE + 0x801]) {
		const begin = { regs: registers({ 0: BigInt(at), 1: 0x1234_5678n, 2: 0xff00n, 6: 501n }), flags: 2 };
		expect(pair.run(begin)).toEqual([]);
	}
	expect(pair.machine.translator.stats.droppedPages).toBe(0);
});

test("random programs that overwrite their own immediates end as the reference interpreter says", () => {
	let dropped = 0;
	for (let seed = 1; seed <= 60; seed++) {
		const pair = new Differential(64, undefined, 2);
		const options = { rounds: 6, length: 30, defined: true, modifiesItselfAt: CODE };
		pair.code(new ProgramMaker(new Random(seed), options).make());
		const regs = Array.from({ length: 16 }, (_, at) => new Random(seed + at).value());
		regs[4] = STACK;
		regs[15] = BigInt(WINDOW.from);
		const wrong = pair.run({ regs, flags: 2 });
		expect([seed, ...wrong!]).toEqual([seed]);
		dropped += pair.machine.translator.stats.droppedPages;
	}
	expect(dropped).toBeGreaterThan(200);
});
