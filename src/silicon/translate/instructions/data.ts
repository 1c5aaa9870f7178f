/** Data transfer: MOV and its kin, stack, exchange, sign extension (SDM Vol. 1, 5.1.1). */
import * as L from "../../cpu/layout.ts";
import { CC } from "../../cpu/rflags.ts";
import { OPCODE as O } from "../../wasm/builder.ts";
import { Mnemonic as M } from "../decode.ts";
import type { Emitter } from "../emitter.ts";
import { pushCondition, setFlags } from "../flags.ts";
import { placeOf } from "../registers.ts";
import { type Definition, readSigned } from "./definition.ts";

function mov(e: Emitter): void {
	const bytes = e.bytes(0);
	e.read(1, bytes);
	const source = e.operand(1);
	// A segment selector is zero-extended into a wide register.
	if (source.kind === "register" && placeOf(source.register) === undefined && bytes === 8) e.widen(2);
	e.write(0);
}

function movzx(e: Emitter): void {
	e.read(1);
	if (e.bytes(0) === 8) e.widen(e.bytes(1));
	e.write(0);
}

function movsx(e: Emitter): void {
	readSigned(e, 1, e.bytes(0));
	e.write(0);
}

function lea(e: Emitter): void {
	e.effectiveAddress();
	e.narrow(e.bytes(0));
	e.write(0);
}

function xchg(e: Emitter): void {
	// With a memory operand, that is the one modified.
	const first = e.operand(0).kind === "memory" ? 0 : 1;
	const bytes = e.bytes(0);
	const old = e.temp(bytes);
	const register = e.temp(bytes);
	const modification = e.beginModify(e.operand(first));
	e.code.set(old);
	e.read(1 - first);
	e.code.set(register);
	e.endModify(modification, register);
	e.code.get(old);
	e.write(1 - first);
}

function xadd(e: Emitter): void {
	const bytes = e.bytes(0);
	const old = e.temp(bytes);
	const addend = e.temp(bytes);
	const sum = e.temp(bytes);
	const modification = e.beginModify(e.operand(0));
	e.code.tee(old);
	e.read(1);
	e.code.tee(addend);
	e.by(bytes, O.i64Add, O.i32Add);
	e.clean(bytes);
	e.code.set(sum);
	if (modification.operand.kind === "memory") {
		e.endModify(modification, sum);
		e.code.get(old);
		e.write(1);
	} else {
		// XADD of a register with itself leaves the sum.
		e.code.get(old);
		e.write(1);
		e.endModify(modification, sum);
	}
	setFlags(e, CC.add, bytes, sum, addend);
}

function cmpxchg(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const old = e.temp(bytes);
	const accumulator = e.temp(bytes);
	const value = e.temp(bytes);
	const modification = e.beginModify(e.operand(0));
	code.set(old);
	e.getIndex(L.RAX, bytes);
	code.set(accumulator);
	e.read(1);
	code.get(old);
	code.get(old);
	code.get(accumulator);
	e.by(bytes, O.i64Eq, O.i32Eq);
	code.op(O.select);
	code.set(value);
	const equal = e.temp32();
	code.get(old);
	code.get(accumulator);
	e.by(bytes, O.i64Eq, O.i32Eq);
	code.set(equal);
	// Of registers only one is written, since a 32-bit write would clear the other's upper half: the accumulator
	// keeps it when they are equal, and, on an EPYC, the destination when they differ. Memory is always written.
	const isRegister = modification.operand.kind === "register";
	if (!isRegister) e.endModify(modification, value);
	code.get(equal);
	code.op(O.i32Eqz);
	code.if();
	code.get(old);
	e.setIndex(L.RAX, bytes);
	if (isRegister) {
		code.else();
		e.endModify(modification, value);
	}
	code.end();
	setFlags(e, CC.sub, bytes, accumulator, old);
}

function bswap(e: Emitter): void {
	const bytes = e.bytes(0);
	const value = e.temp(bytes);
	e.read(0);
	e.code.set(value);
	pushSwapped(e, value, bytes);
	e.write(0);
}

/** Pushes a local with its bytes reversed. */
function pushSwapped(e: Emitter, value: number, bytes: number): void {
	const code = e.code;
	if (bytes === 2) {
		code.get(value);
		code.i32(8);
		code.op(O.i32Shl);
		code.get(value);
		code.i32(8);
		code.op(O.i32ShrU);
		code.op(O.i32Or);
		e.clean(2);
		return;
	}
	if (bytes === 4) {
		code.get(value);
		code.i32(8);
		code.op(O.i32Rotl);
		code.i32(0x00ff00ff);
		code.op(O.i32And);
		code.get(value);
		code.i32(8);
		code.op(O.i32Rotr);
		code.i32(0xff00ff00 | 0);
		code.op(O.i32And);
		code.op(O.i32Or);
		return;
	}
	const steps: [number, bigint][] = [
		[8, 0x00ff00ff00ff00ffn],
		[16, 0x0000ffff0000ffffn],
	];
	for (const [shift, mask] of steps) {
		code.get(value);
		code.i64(shift);
		code.op(O.i64ShrU);
		code.i64(mask);
		code.op(O.i64And);
		code.get(value);
		code.i64(mask);
		code.op(O.i64And);
		code.i64(shift);
		code.op(O.i64Shl);
		code.op(O.i64Or);
		code.set(value);
	}
	code.get(value);
	code.i64(32);
	code.op(O.i64Rotl);
}

function movbe(e: Emitter): void {
	const bytes = e.bytes(0);
	const value = e.temp(bytes);
	e.read(1);
	e.code.set(value);
	pushSwapped(e, value, bytes);
	e.write(0);
}

function push(e: Emitter): void {
	const bytes = e.insn.operandBytes;
	const value = e.temp(bytes);
	const operand = e.operand(0);
	e.read(0, bytes);
	if (operand.kind === "register" && placeOf(operand.register) === undefined && bytes === 8) e.widen(2);
	e.code.set(value);
	e.pushLocal(bytes, value);
}

function pop(e: Emitter): void {
	const bytes = e.insn.operandBytes;
	const operand = e.operand(0);
	const value = e.temp(bytes);
	e.peek(bytes);
	e.code.set(value);
	if (operand.kind === "register") {
		e.moveStackPointer(bytes);
		e.code.get(value);
		e.write(0);
		return;
	}
	// The address of the destination is computed with RSP already moved.
	const onStack = placeOf(e.insn.base)?.index === L.RSP;
	const linear = e.temp64();
	e.linearAddress(onStack ? bytes : 0, bytes, true);
	e.code.set(linear);
	e.storeLocal(linear, bytes, value);
	e.moveStackPointer(bytes);
}

function leave(e: Emitter): void {
	const bytes = e.insn.operandBytes;
	const frame = e.temp64();
	const value = e.temp(bytes);
	e.code.get(e.registerLocal(L.RBP));
	e.cutAddress(e.mode.stackBytes);
	e.code.tee(frame);
	e.addSegmentBase(L.SS, bytes, false);
	e.load(bytes);
	e.code.set(value);
	e.code.get(frame);
	e.code.i64(bytes);
	e.code.op(O.i64Add);
	e.setStackPointer();
	e.code.get(value);
	e.setIndex(L.RBP, bytes);
}

/** CBW, CWDE, CDQE: the accumulator's lower half sign-extended. */
function extendAccumulator(to: number): Definition {
	return (e) => {
		e.getIndex(L.RAX, to / 2);
		if (to === 8) e.code.op(O.i64ExtendI32S);
		else e.signed(to / 2);
		e.setIndex(L.RAX, to);
	};
}

/** CWD, CDQ, CQO: the accumulator's sign in RDX. */
function signOfAccumulator(bytes: number): Definition {
	return (e) => {
		e.getIndex(L.RAX, bytes);
		e.signed(bytes);
		e.constant(bytes, bytes === 8 ? 63 : 31);
		e.by(bytes, O.i64ShrS, O.i32ShrS);
		e.setIndex(L.RDX, bytes);
	};
}

/** SETcc. */
export function setcc(condition: number): Definition {
	return (e) => {
		pushCondition(e, condition);
		e.write(0);
	};
}

/** CMOVcc: the source is read, and a 32-bit destination zero-extended, whatever the condition says. */
export function cmovcc(condition: number): Definition {
	return (e) => {
		e.read(1);
		e.read(0);
		pushCondition(e, condition);
		e.code.op(O.select);
		e.write(0);
	};
}

function xlat(e: Emitter): void {
	const code = e.code;
	code.get(e.registerLocal(L.RBX));
	code.get(e.registerLocal(L.RAX));
	code.i64(0xff);
	code.op(O.i64And);
	code.op(O.i64Add);
	e.cutAddress(e.insn.addressBytes);
	e.addSegmentBase(e.insn.segment, 1, false);
	e.load(1);
	e.setIndex(L.RAX, 1);
}

function nop(): void {}

/**
 * What only advises the processor: it touches no memory and no processor refuses it, the opcodes that are left for later
 * hints included (0F 0D and 0F 18 to 0F 1F; SDM Vol. 2B, NOP, and table A-3).
 */
export const HINTS: readonly number[] = [
	...[M.Prefetchnta, M.Prefetcht0, M.Prefetcht1, M.Prefetcht2, M.Prefetchit0, M.Prefetchit1],
	...[M.Prefetch, M.Prefetchw, M.Prefetchwt1, M.Cldemote, M.Reservednop],
];

/** Data transfer, by mnemonic. */
// biome-ignore format: one row an instruction
export const DATA: ReadonlyMap<number, Definition> = new Map<number, Definition>([
	[M.Mov, mov],
	[M.Movnti, mov],
	[M.Movzx, movzx],
	[M.Movsx, movsx],
	[M.Movsxd, movsx],
	[M.Movbe, movbe],
	[M.Lea, lea],
	[M.Xchg, xchg],
	[M.Xadd, xadd],
	[M.Cmpxchg, cmpxchg],
	[M.Bswap, bswap],
	[M.Push, push],
	[M.Pop, pop],
	[M.Leave, leave],
	[M.Cbw, extendAccumulator(2)],
	[M.Cwde, extendAccumulator(4)],
	[M.Cdqe, extendAccumulator(8)],
	[M.Cwd, signOfAccumulator(2)],
	[M.Cdq, signOfAccumulator(4)],
	[M.Cqo, signOfAccumulator(8)],
	[M.Xlatb, xlat],
	[M.Nop, nop],
	[M.Endbr32, nop],
	[M.Endbr64, nop],
	[M.Lfence, nop],
	[M.Mfence, nop],
	[M.Sfence, nop],
	...HINTS.map((mnemonic): [number, Definition] => [mnemonic, nop]),
]);
