/** SDM Vol. 2: MOV and its kin, exchange, the stack, sign extension, SETcc, CMOVcc. */
import { type Instruction, Mnemonic as M, OpKind, Register, RegisterExt } from "iced-x86";
import { cut, F, type Operation, type Reference, signed, SIX, Unpredictable } from "./state.ts";

const RAX = 0;
const RDX = 2;
const RSP = 4;
const RBP = 5;

function extend(isSigned: boolean): Operation {
	return (r, i) => {
		const value = r.read(i, 1);
		r.write(i, 0, cut(isSigned ? signed(value, r.bits(i, 1)) : value, r.bits(i, 0)));
	};
}

function xchg(r: Reference, i: Instruction): void {
	const first = r.read(i, 0);
	const second = r.read(i, 1);
	r.write(i, 0, second);
	r.write(i, 1, first);
}

function swapped(value: bigint, bytes: number): bigint {
	let result = 0n;
	for (let at = 0; at < bytes; at++) result = (result << 8n) | ((value >> BigInt(8 * at)) & 0xffn);
	return result;
}

function bswap(r: Reference, i: Instruction): void {
	const bytes = r.size(i, 0);
	if (bytes === 2) throw new Unpredictable("BSWAP of 16 bits");
	r.write(i, 0, swapped(r.read(i, 0), bytes));
}

function push(r: Reference, i: Instruction): void {
	const bytes = -i.stackPointerIncrement;
	const value = r.read(i, 0);
	const kind = i.opKind(0);
	const isImmediate = kind !== OpKind.Register && kind !== OpKind.Memory;
	r.push(bytes, isImmediate ? signed(value, r.bits(i, 0)) : value);
}

function pop(r: Reference, i: Instruction): void {
	// RSP is incremented before the destination's address is computed, and before it is written.
	const value = r.pop(i.stackPointerIncrement);
	r.write(i, 0, value);
}

function leave(r: Reference, i: Instruction): void {
	const bytes = operandBytes(r, i);
	const stackBytes = r.bitness / 8;
	r.put(RSP, stackBytes, r.get(RBP, stackBytes));
	r.put(RBP, bytes, r.pop(bytes));
}

/** 2 with the prefix 66, else that of the mode's stack. */
function operandBytes(r: Reference, i: Instruction): number {
	return i.toString().startsWith(i.mnemonic === M.Leave ? "leavew" : "enterw") ? 2 : r.bitness / 8;
}

function enter(r: Reference, i: Instruction): void {
	const bytes = operandBytes(r, i);
	const stackBytes = r.bitness / 8;
	const size = i.immediate(0);
	const nesting = Number(i.immediate(1)) % 32;
	const frameBase = r.get(RBP, stackBytes);
	r.push(bytes, r.get(RBP, bytes));
	const frame = r.get(RSP, stackBytes);
	for (let level = 1; level < nesting; level++) {
		const at = cut(frameBase - BigInt(level * bytes), stackBytes * 8);
		r.push(bytes, r.memory.read(r.linearIn(2, at), bytes));
	}
	if (nesting > 0) r.push(bytes, frame);
	r.put(RBP, bytes, frame);
	r.moveStack(-size);
	// #PF "if a write using the final value of the stack pointer would cause a page fault".
	r.memory.probe(r.stackLinear(0n), bytes);
}

function extendAccumulator(bytes: number): Operation {
	return (r) => r.put(RAX, bytes, signed(r.get(RAX, bytes / 2), bytes * 4));
}

function signOfAccumulator(bytes: number): Operation {
	return (r) => r.put(RDX, bytes, signed(r.get(RAX, bytes), bytes * 8) < 0n ? -1n : 0n);
}

function xlat(r: Reference, i: Instruction): void {
	const bytes = RegisterExt.size(i.memoryBase);
	const offset = cut(r.get(3, bytes) + r.get(RAX, 1), bytes * 8);
	r.put(RAX, 1, r.memory.read(r.linearIn(i.memorySegment - Register.ES, offset), 1));
}

function cmov(condition: number): Operation {
	return (r, i) => {
		// The source is read, and a 32-bit destination written, in any case.
		const source = r.read(i, 1);
		r.write(i, 0, r.condition(condition) ? source : r.read(i, 0));
	};
}

const DEFINED_BY_POPF = SIX | F.DF | F.TF | 0x4000 | 0x40000 | 0x200000;

/** CPL 0: IOPL and IF change. */
function popf(bytes: number): Operation {
	return (r) => {
		const value = Number(r.pop(bytes) & 0xffffffffn);
		const mask = (DEFINED_BY_POPF | F.IF | 0x3000) & (bytes === 2 ? 0xffff : -1);
		r.flags = (r.flags & ~mask & ~0x10000) | (value & mask);
		r.undefinedFlags = 0;
	};
}

function pushf(bytes: number): Operation {
	return (r) => {
		for (const mask of [F.CF, F.PF, F.AF, F.ZF, F.SF, F.OF]) r.flag(mask);
		r.push(bytes, BigInt(r.flags & ~0x30000));
	};
}

function pusha(bytes: number): Operation {
	return (r) => {
		const values = r.regs.slice(0, 8);
		for (const value of values) r.push(bytes, value);
	};
}

function popa(bytes: number): Operation {
	return (r) => {
		for (let index = 7; index >= 0; index--) {
			const value = r.pop(bytes);
			if (index !== RSP) r.put(index, bytes, value);
		}
	};
}

const SET = [
	M.Seto,
	M.Setno,
	M.Setb,
	M.Setae,
	M.Sete,
	M.Setne,
	M.Setbe,
	M.Seta,
	M.Sets,
	M.Setns,
	M.Setp,
	M.Setnp,
	M.Setl,
	M.Setge,
	M.Setle,
	M.Setg,
];
const CMOV = [
	M.Cmovo,
	M.Cmovno,
	M.Cmovb,
	M.Cmovae,
	M.Cmove,
	M.Cmovne,
	M.Cmovbe,
	M.Cmova,
	M.Cmovs,
	M.Cmovns,
	M.Cmovp,
	M.Cmovnp,
	M.Cmovl,
	M.Cmovge,
	M.Cmovle,
	M.Cmovg,
];

const nothing: Operation = () => {};

// biome-ignore format: one row an instruction
export const DATA: readonly [number, Operation][] = [
	[M.Movnti, (r, i) => r.write(i, 0, r.read(i, 1))],
	[M.Mov, (r, i) => r.write(i, 0, cut(r.read(i, 1), r.bits(i, 0)))],
	[M.Movzx, extend(false)],
	[M.Movsx, extend(true)],
	[M.Movsxd, extend(true)],
	[M.Movbe, (r, i) => r.write(i, 0, swapped(r.read(i, 1), r.size(i, 1)))],
	[M.Lea, (r, i) => r.write(i, 0, cut(r.effectiveAddress(i), r.bits(i, 0)))],
	[M.Xchg, xchg],
	[M.Bswap, bswap],
	[M.Push, push],
	[M.Pop, pop],
	[M.Leave, leave],
	[M.Enter, enter],
	[M.Cbw, extendAccumulator(2)], [M.Cwde, extendAccumulator(4)], [M.Cdqe, extendAccumulator(8)],
	[M.Cwd, signOfAccumulator(2)], [M.Cdq, signOfAccumulator(4)], [M.Cqo, signOfAccumulator(8)],
	[M.Xlatb, xlat],
	[M.Pushf, pushf(2)], [M.Pushfd, pushf(4)], [M.Pushfq, pushf(8)],
	[M.Popf, popf(2)], [M.Popfd, popf(4)], [M.Popfq, popf(8)],
	[M.Pusha, pusha(2)], [M.Pushad, pusha(4)],
	[M.Popa, popa(2)], [M.Popad, popa(4)],
	...SET.map((mnemonic, condition): [number, Operation] => [
		mnemonic, (r, i) => r.write(i, 0, r.condition(condition) ? 1n : 0n),
	]),
	...CMOV.map((mnemonic, condition): [number, Operation] => [mnemonic, cmov(condition)]),
	...[
		M.Nop, M.Endbr32, M.Endbr64, M.Lfence, M.Mfence, M.Sfence,
		M.Prefetchnta, M.Prefetcht0, M.Prefetcht1, M.Prefetcht2, M.Prefetchw,
	].map((mnemonic): [number, Operation] => [mnemonic, nothing]),
];
