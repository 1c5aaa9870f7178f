/** Near branches, calls and returns go where SDM Vol. 2 says and move the stack by the right amount. */
import { expect, test } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { CODE, Differential, type Start, WINDOW } from "./differential.ts";
import { Random } from "./random.ts";

const STACK = BigInt(WINDOW.from + 0x4000);
const random = new Random(3);

function start(overrides: Readonly<Record<number, bigint>> = {}): Start {
	const regs = Array.from({ length: 16 }, () => random.value());
	regs[4] = STACK;
	for (const [index, value] of Object.entries(overrides)) regs[Number(index)] = value;
	return { regs, flags: 2 | (random.next() & 0x8d5) };
}

function check(pair: Differential, begin: Start): void {
	const wrong = pair.run(begin);
	expect(wrong).toEqual([]);
}

test("Jcc with 8- and 32-bit displacements, forward and backward, jumps on its condition alone", () => {
	const pair = new Differential(64);
	for (let condition = 0; condition < 16; condition++) {
		const near = [0x0f, 0x80 + condition, 0x20, 1, 0, 0];
		for (const code of [[0x70 + condition, 0x30], near, [0xeb, 2, 0xf4, 0xf4, 0x70 + condition, 0xfc]]) {
			pair.code(code);
			for (let round = 0; round < 12; round++) check(pair, start());
		}
	}
	expect(pair.compared).toBe(16 * 3 * 12);
});

test("the first instruction of a loop sees the flags from before it, and then those from its end", () => {
	const pair = new Differential(64);
	// cmp rsi, rdx; sbb rax, rdx or adc rax, rdx; loop back to that.
	for (const carrying of [0x19, 0x11]) {
		pair.code([0x48, 0x39, 0xd6, 0x48, carrying, 0xd0, 0xe2, 0xfb]);
		for (let round = 0; round < 12; round++) check(pair, start({ 1: BigInt(1 + random.below(4)) }));
	}
	expect(pair.compared).toBe(24);
});

test("LOOP, LOOPE and LOOPNE count in RCX, or in ECX with an address-size prefix, and leave the flags alone", () => {
	const pair = new Differential(64);
	for (const opcode of [0xe0, 0xe1, 0xe2]) {
		for (const prefix of [[], [0x67]]) {
			// dec al changes ZF on the way; loop back to it.
			const body = [0xfe, 0xc8];
			pair.code([...body, ...prefix, opcode, 0x100 - body.length - prefix.length - 2]);
			for (const count of [0n, 1n, 2n, 3n, 0x1_0000_0001n, 0x5_0000_0002n]) {
				// A count of 0 goes round 2^64 times, unless ZF ends it.
				if (opcode === 0xe2 && (count === 0n || (count > 100n && prefix.length === 0))) continue;
				check(pair, start({ 0: BigInt(random.below(5)), 1: count }));
			}
		}
	}
	expect(pair.compared).toBeGreaterThan(20);
});

test("JRCXZ and JECXZ look at their register alone", () => {
	const pair = new Differential(64);
	for (const prefix of [[], [0x67]]) {
		pair.code([...prefix, 0xe3, 0x20]);
		for (const rcx of [0n, 1n, 0x1_0000_0000n, 0x1_0000_0001n, 2n ** 63n]) check(pair, start({ 1: rcx }));
	}
});

test("JCXZ and LOOP with an address-size prefix in 32-bit code count in CX", () => {
	const pair = new Differential(32);
	for (const code of [
		[0x67, 0xe3, 0x20],
		[0x67, 0xe2, 0x20],
		[0xe2, 0x20],
		[0xe3, 0x20],
	]) {
		pair.code(code);
		for (const ecx of [0n, 1n, 0x10000n, 0x10001n, 0xffff0000n]) {
			const regs = [0n, ecx, 1n, 2n, 0x9000n, 3n, 4n, 5n, ...new Array<bigint>(8).fill(0n)];
			check(pair, { regs, flags: 2 });
		}
	}
});

test("CALL pushes the address behind it and RET takes it back, with its bytes to release", () => {
	const pair = new Differential(64);
	// call +0x20; hlt … ret / ret 0x18
	for (const ret of [[0xc3], [0xc2, 0x18, 0]]) {
		const code = new Uint8Array(0x40).fill(0xf4);
		code.set([0xe8, 0x1b, 0, 0, 0]);
		code.set(ret, 0x20);
		pair.code(code);
		for (let round = 0; round < 4; round++) check(pair, start());
		// Backward too.
		const back = new Uint8Array(0x40).fill(0xf4);
		back.set([0xeb, 0x0e]);
		back.set(ret, 0x08);
		back.set([0xe8, 0xf3, 0xff, 0xff, 0xff], 0x10);
		pair.code(back);
		check(pair, start());
	}
});

test("CALL and JMP through a register and through memory read their target before they push", () => {
	const pair = new Differential(64);
	const to = BigInt(CODE + 0x80);
	const slot = WINDOW.from + 0x3ff8;
	const bytes = new Uint8Array(16);
	new DataView(bytes.buffer).setBigUint64(0, to, true);
	for (const code of [
		[0xff, 0xd0], // call rax
		[0xff, 0xe0], // jmp rax
		[0xff, 0x13], // call [rbx]
		[0xff, 0x23], // jmp [rbx]
		[0xff, 0x54, 0x24, 0xf8], // call [rsp-8]: the slot that it pushes to
		[0xff, 0x64, 0x24, 0xf8], // jmp [rsp-8]
	]) {
		pair.fill(slot, bytes);
		pair.code(code);
		check(pair, start({ 0: to, 3: BigInt(slot) }));
	}
	pair.code([0xff, 0xd4]);
	// CALL RSP goes to the old stack pointer.
	check(pair, start({ 4: BigInt(CODE + 0x100) }));
});

test("a CALL whose push faults has not happened", () => {
	const pair = new Differential(64);
	for (const code of [
		[0xe8, 0x10, 0, 0, 0],
		[0xff, 0xd0],
		[0x68, 1, 2, 3, 4],
		[0x50],
		[0x9c],
		[0xc8, 16, 0, 3],
	]) {
		pair.code(code);
		check(pair, start({ 4: BigInt(WINDOW.from + 4), 5: STACK }));
		check(pair, start({ 4: BigInt(WINDOW.to - 0x1000), 5: STACK }));
	}
	expect(pair.faults).toBe(12);
});

test("a RET whose pop faults has not happened", () => {
	const pair = new Differential(64);
	for (const code of [[0xc3], [0xc2, 8, 0], [0x58], [0x9d], [0xc9]]) {
		pair.code(code);
		const at = BigInt(WINDOW.to - 4);
		check(pair, start({ 4: at, 5: at }));
	}
	expect(pair.faults).toBe(5);
});

test("a branch to the last byte of the address space faults there, whatever code was run and dropped before", () => {
	const machine = new BareMachine();
	// Its entry of the jump cache is the first, where that of the last byte belongs as well: inc eax; hlt.
	const first = 0x1001;
	machine.poke(first, [0xff, 0xc0, 0xf4]);
	machine.run(first);
	machine.translator.flush(machine.cpu);
	// mov rax, -1; jmp rax
	machine.poke(0x3000, [0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0]);
	machine.run(0x3000);
	expect(machine.fault).toEqual({ vector: 14, rip: 0xffff_ffff_ffff_ffffn, linear: 0xffff_ffff_ffff_ffffn });
});
