/** Bit and byte instructions, BMI and ADX (SDM Vol. 1, 5.1.6 and 5.1.15). */
import { ARITHMETIC_FLAGS, CC, FLAG } from "../../cpu/rflags.ts";
import { OPCODE as O } from "../../wasm/builder.ts";
import { CPU } from "../block-emitter.ts";
import { Mnemonic as M } from "../decode.ts";
import type { Emitter } from "../emitter.ts";
import { flagsMatter, pushFlags, setFlags } from "../flags.ts";
import { pushHighProduct } from "./arithmetic.ts";
import * as L from "../../cpu/layout.ts";
import type { Definition } from "./definition.ts";
import { callOperation } from "./vector/operations.ts";

type BitAction = "test" | "set" | "reset" | "complement";

/** Replaces CF by the i32 on the stack, 0 or 1, and keeps the other flags. */
export function setCarry(e: Emitter): void {
	const code = e.code;
	pushFlags(e);
	code.i32(~FLAG.CF);
	code.op(O.i32And);
	code.op(O.i32Or);
	code.op(O.i64ExtendI32U);
	code.set(e.ccSrc);
	e.op = CC.flags;
}

/** Pushes the linear address of the operand that holds the bit: a register index reaches beyond the operand. */
function bitAddress(e: Emitter, bytes: number, write: boolean): void {
	const code = e.code;
	e.effectiveAddress();
	if (e.operand(1).kind === "register") {
		e.read(1);
		if (bytes !== 8) {
			e.signed(bytes);
			code.op(O.i64ExtendI32S);
		}
		code.i64(Math.log2(bytes * 8));
		code.op(O.i64ShrS);
		code.i64(bytes);
		code.op(O.i64Mul);
		code.op(O.i64Add);
		e.cutAddress(e.insn.addressBytes);
	}
	e.addSegmentBase(e.insn.segment, bytes, write);
}

function bitTest(action: BitAction): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const operand = e.operand(0);
		const value = e.temp(bytes);
		const index = e.temp(bytes);
		const result = e.temp(bytes);
		e.read(1, bytes);
		e.constant(bytes, bytes * 8 - 1);
		e.by(bytes, O.i64And, O.i32And);
		code.set(index);
		const linear = e.temp64();
		if (operand.kind === "memory") {
			bitAddress(e, bytes, action !== "test");
			code.set(linear);
		}
		if (action === "test") {
			if (operand.kind === "memory") {
				code.get(linear);
				e.load(bytes);
			} else e.read(0);
			code.set(value);
		} else {
			const modification =
				operand.kind === "memory" ? e.beginModifyAt(operand, linear, bytes) : e.beginModify(operand);
			code.tee(value);
			e.constant(bytes, 1);
			code.get(index);
			e.by(bytes, O.i64Shl, O.i32Shl);
			if (action === "reset") {
				e.constant(bytes, -1);
				e.by(bytes, O.i64Xor, O.i32Xor);
				e.by(bytes, O.i64And, O.i32And);
			} else if (action === "set") e.by(bytes, O.i64Or, O.i32Or);
			else e.by(bytes, O.i64Xor, O.i32Xor);
			code.set(result);
			e.endModify(modification, result);
		}
		if (!flagsMatter(e)) return;
		code.get(value);
		code.get(index);
		e.by(bytes, O.i64ShrU, O.i32ShrU);
		if (bytes === 8) code.op(O.i32WrapI64);
		code.i32(1);
		code.op(O.i32And);
		setCarry(e);
	};
}

/** BSF and BSR: with a source of 0 the destination stays, whole. */
function bitScan(reverse: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const value = e.temp(bytes);
		e.read(1);
		code.tee(value);
		e.by(bytes, O.i64Eqz, O.i32Eqz);
		code.op(O.i32Eqz);
		code.if();
		if (reverse) e.constant(bytes, bytes === 8 ? 63 : 31);
		code.get(value);
		if (reverse) {
			e.by(bytes, O.i64Clz, O.i32Clz);
			e.by(bytes, O.i64Sub, O.i32Sub);
		} else e.by(bytes, O.i64Ctz, O.i32Ctz);
		e.write(0);
		code.end();
		if (flagsMatter(e)) setFlags(e, CC.logic, bytes, value);
	};
}

/** LZCNT and TZCNT: CF says that the source was 0, ZF that the result is. */
function countZeros(trailing: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const value = e.temp(bytes);
		const result = e.temp(bytes);
		e.read(1);
		code.set(value);
		if (trailing) {
			code.get(value);
			if (bytes === 2) {
				code.i32(0x10000);
				code.op(O.i32Or);
			}
			e.by(bytes, O.i64Ctz, O.i32Ctz);
		} else {
			code.get(value);
			e.by(bytes, O.i64Clz, O.i32Clz);
			if (bytes === 2) {
				code.i32(16);
				code.op(O.i32Sub);
			}
		}
		code.tee(result);
		e.write(0);
		if (!flagsMatter(e)) return;
		code.get(value);
		e.by(bytes, O.i64Eqz, O.i32Eqz);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		setFlags(e, CC.result, bytes, result);
	};
}

function popcnt(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const value = e.temp(bytes);
	e.read(1);
	code.tee(value);
	e.by(bytes, O.i64Popcnt, O.i32Popcnt);
	e.write(0);
	if (!flagsMatter(e)) return;
	// Only ZF is ever set.
	code.get(value);
	e.by(bytes, O.i64Eqz, O.i32Eqz);
	code.i32(Math.log2(FLAG.ZF));
	code.op(O.i32Shl);
	code.op(O.i64ExtendI32U);
	code.set(e.ccSrc);
	e.op = CC.flags;
}

/** CRC32, by an operation of simd/. */
function crc32(e: Emitter): void {
	const { code } = e;
	const bytes = e.bytes(1);
	const data = e.temp(bytes);
	e.read(1);
	code.set(data);
	code.get(CPU);
	e.read(0);
	if (e.bytes(0) === 8) code.op(O.i32WrapI64);
	code.access(O.i32Store, L.VECTOR_A);
	code.get(CPU);
	code.get(data);
	code.access(bytes === 8 ? O.i64Store : O.i32Store, L.VECTOR_B);
	callOperation(e, "crc32", [], bytes);
	code.get(CPU);
	code.access(O.i32Load, L.VECTOR_RESULT);
	if (e.bytes(0) === 8) e.widen(4);
	e.write(0);
}

function andn(e: Emitter): void {
	const bytes = e.bytes(0);
	const result = e.temp(bytes);
	e.read(2);
	e.read(1);
	e.constant(bytes, -1);
	e.by(bytes, O.i64Xor, O.i32Xor);
	e.by(bytes, O.i64And, O.i32And);
	e.code.tee(result);
	e.write(0);
	if (flagsMatter(e)) setFlags(e, CC.logic, bytes, result);
}

/** BLSI, BLSR, BLSMSK: the lowest set bit isolated, reset, or masked up to. */
function lowestBit(wide: number, narrow: number, negate: boolean, carryIfZero: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const value = e.temp(bytes);
		const result = e.temp(bytes);
		e.read(1);
		code.set(value);
		if (negate) e.constant(bytes, 0);
		code.get(value);
		if (!negate) e.constant(bytes, 1);
		e.by(bytes, O.i64Sub, O.i32Sub);
		code.get(value);
		e.by(bytes, wide, narrow);
		code.tee(result);
		e.write(0);
		if (!flagsMatter(e)) return;
		code.get(value);
		e.by(bytes, O.i64Eqz, O.i32Eqz);
		if (!carryIfZero) code.op(O.i32Eqz);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		setFlags(e, CC.result, bytes, result);
	};
}

/** Pushes a local with the bits from a position (i32 local) on cleared. */
function pushLowBits(e: Emitter, value: number, bits: number, bytes: number): void {
	const code = e.code;
	code.get(value);
	code.get(value);
	e.constant(bytes, -1);
	code.get(bits);
	e.widen(bytes === 8 ? 4 : 8);
	e.by(bytes, O.i64Shl, O.i32Shl);
	e.constant(bytes, -1);
	e.by(bytes, O.i64Xor, O.i32Xor);
	e.by(bytes, O.i64And, O.i32And);
	// Both lie on the stack: the whole value where the position is past its end.
	code.get(bits);
	code.i32(bytes * 8);
	code.op(O.i32GeU);
	code.op(O.select);
}

function bzhi(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const value = e.temp(bytes);
	const result = e.temp(bytes);
	const bits = e.temp32();
	e.read(1);
	code.set(value);
	e.read(2);
	if (bytes === 8) code.op(O.i32WrapI64);
	e.clean(1);
	code.set(bits);
	pushLowBits(e, value, bits, bytes);
	code.tee(result);
	e.write(0);
	if (!flagsMatter(e)) return;
	code.get(bits);
	code.i32(bytes * 8);
	code.op(O.i32GeU);
	code.op(O.i64ExtendI32U);
	code.set(e.ccSrc);
	setFlags(e, CC.result, bytes, result);
}

function bextr(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const value = e.temp(bytes);
	const control = e.temp32();
	const length = e.temp32();
	const result = e.temp(bytes);
	e.read(1);
	code.set(value);
	e.read(2);
	if (bytes === 8) code.op(O.i32WrapI64);
	code.tee(control);
	code.i32(8);
	code.op(O.i32ShrU);
	e.clean(1);
	code.set(length);
	// Shifted down by the start, 0 if that is past the end.
	code.get(value);
	code.get(control);
	e.clean(1);
	e.widen(bytes === 8 ? 4 : 8);
	e.by(bytes, O.i64ShrU, O.i32ShrU);
	e.constant(bytes, 0);
	code.get(control);
	e.clean(1);
	code.i32(bytes * 8);
	code.op(O.i32LtU);
	code.op(O.select);
	code.set(value);
	pushLowBits(e, value, length, bytes);
	code.tee(result);
	e.write(0);
	if (flagsMatter(e)) setFlags(e, CC.logic, bytes, result);
}

function mulx(e: Emitter): void {
	const bytes = e.bytes(0);
	const code = e.code;
	const left = e.temp64();
	const right = e.temp64();
	const high = e.temp64();
	e.read(2);
	e.widen(bytes);
	code.set(left);
	code.get(e.registerLocal(L.RDX));
	if (bytes === 4) e.cutAddress(4);
	code.set(right);
	if (bytes === 8) pushHighProduct(e, left, right, false);
	else {
		code.get(left);
		code.get(right);
		code.op(O.i64Mul);
		code.i64(32);
		code.op(O.i64ShrU);
	}
	code.set(high);
	code.get(left);
	code.get(right);
	code.op(O.i64Mul);
	e.narrow(bytes);
	e.write(1);
	code.get(high);
	e.narrow(bytes);
	e.write(0);
}

/** PEXT and PDEP: one round for each bit set in the mask. @param deposit PDEP: bits go to the mask's places */
function parallelBits(deposit: boolean): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const [source, mask, result, next, lowest] = [e.temp64(), e.temp64(), e.temp64(), e.temp64(), e.temp64()];
		for (const [at, local] of [source, mask].entries()) {
			e.read(at + 1);
			e.widen(bytes);
			code.set(local);
		}
		code.i64(0);
		code.set(result);
		code.i64(1);
		code.set(next);
		code.get(mask);
		code.i64(0);
		code.op(O.i64Ne);
		code.if();
		const again = code.loop();
		code.get(mask);
		code.i64(0);
		code.get(mask);
		code.op(O.i64Sub);
		code.op(O.i64And);
		code.set(lowest);
		code.get(result);
		code.get(deposit ? lowest : next);
		code.i64(0);
		code.get(source);
		code.get(deposit ? next : lowest);
		code.op(O.i64And);
		code.i64(0);
		code.op(O.i64Ne);
		code.op(O.select);
		code.op(O.i64Or);
		code.set(result);
		code.get(next);
		code.i64(1);
		code.op(O.i64Shl);
		code.set(next);
		code.get(mask);
		code.get(lowest);
		code.op(O.i64Xor);
		code.tee(mask);
		code.i64(0);
		code.op(O.i64Ne);
		code.brIf(again);
		code.end();
		code.end();
		code.get(result);
		e.narrow(bytes);
		e.write(0);
	};
}

/** ADCX and ADOX: an addition whose carry chain runs through one flag, the others staying. */
function addChain(flag: number): Definition {
	return (e) => {
		const bytes = e.bytes(0);
		const code = e.code;
		const flags = e.temp32();
		const left = e.temp(bytes);
		const right = e.temp(bytes);
		const sum = e.temp(bytes);
		const carry = e.temp32();
		e.read(1);
		code.set(right);
		e.read(0);
		code.set(left);
		pushFlags(e);
		code.tee(flags);
		code.i32(Math.log2(flag));
		code.op(O.i32ShrU);
		code.i32(1);
		code.op(O.i32And);
		code.set(carry);
		code.get(left);
		code.get(right);
		e.by(bytes, O.i64Add, O.i32Add);
		code.get(carry);
		if (bytes === 8) code.op(O.i64ExtendI32U);
		e.by(bytes, O.i64Add, O.i32Add);
		code.tee(sum);
		e.write(0);
		code.get(flags);
		code.i32(~flag);
		code.op(O.i32And);
		// Carry out: below the operand, or equal to it with a carry in.
		code.get(sum);
		code.get(right);
		e.by(bytes, O.i64LtU, O.i32LtU);
		code.get(sum);
		code.get(right);
		e.by(bytes, O.i64Eq, O.i32Eq);
		code.get(carry);
		code.op(O.i32And);
		code.op(O.i32Or);
		code.i32(Math.log2(flag));
		code.op(O.i32Shl);
		code.op(O.i32Or);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		e.op = CC.flags;
	};
}

/** CLC, STC, CMC. */
function carryFlag(how: "clear" | "set" | "complement"): Definition {
	return (e) => {
		if (!flagsMatter(e)) return;
		const code = e.code;
		pushFlags(e);
		code.i32(how === "clear" ? ~FLAG.CF : FLAG.CF);
		code.op(how === "clear" ? O.i32And : how === "set" ? O.i32Or : O.i32Xor);
		code.op(O.i64ExtendI32U);
		code.set(e.ccSrc);
		e.op = CC.flags;
	};
}

/** CLD and STD: DF stands in RFLAGS always. */
function directionFlag(set: boolean): Definition {
	return (e) => {
		const code = e.code;
		code.get(0);
		code.get(0);
		code.access(O.i32Load, L.RFLAGS);
		code.i32(set ? FLAG.DF : ~FLAG.DF);
		code.op(set ? O.i32Or : O.i32And);
		code.access(O.i32Store, L.RFLAGS);
	};
}

function lahf(e: Emitter): void {
	const code = e.code;
	const value = e.temp32();
	pushFlags(e);
	code.i32(0xd5);
	code.op(O.i32And);
	code.i32(2);
	code.op(O.i32Or);
	code.i32(8);
	code.op(O.i32Shl);
	e.getIndex(L.RAX, 1);
	code.op(O.i32Or);
	code.set(value);
	code.get(value);
	e.setIndex(L.RAX, 2);
}

function sahf(e: Emitter): void {
	const code = e.code;
	pushFlags(e);
	code.i32(FLAG.OF);
	code.op(O.i32And);
	e.getIndex(L.RAX, 2);
	code.i32(8);
	code.op(O.i32ShrU);
	code.i32(0xd5);
	code.op(O.i32And);
	code.op(O.i32Or);
	code.op(O.i64ExtendI32U);
	code.set(e.ccSrc);
	e.op = CC.flags;
}

/** PUSHF: VM and RF are pushed as 0 (SDM Vol. 2B, PUSHF). */
function pushf(e: Emitter): void {
	const code = e.code;
	const bytes = e.insn.operandBytes;
	const value = e.temp(bytes);
	pushFlags(e);
	code.get(0);
	code.access(O.i32Load, L.RFLAGS);
	code.i32(~(ARITHMETIC_FLAGS | FLAG.VM | FLAG.RF));
	code.op(O.i32And);
	code.op(O.i32Or);
	if (bytes === 8) code.op(O.i64ExtendI32U);
	else e.clean(bytes);
	code.set(value);
	e.pushLocal(bytes, value);
}

/** Bit, byte and flag instructions, by mnemonic. */
// biome-ignore format: one row an instruction
export const BITS_CHAPTER: ReadonlyMap<number, Definition> = new Map<number, Definition>([
	[M.Bt,     bitTest("test")],
	[M.Bts,    bitTest("set")],
	[M.Btr,    bitTest("reset")],
	[M.Btc,    bitTest("complement")],
	[M.Bsf,    bitScan(false)],
	[M.Bsr,    bitScan(true)],
	[M.Tzcnt,  countZeros(true)],
	[M.Lzcnt,  countZeros(false)],
	[M.Popcnt, popcnt],
	[M.Crc32,  crc32],
	[M.Andn,   andn],
	[M.Blsi,   lowestBit(O.i64And, O.i32And, true, false)],
	[M.Blsr,   lowestBit(O.i64And, O.i32And, false, true)],
	[M.Blsmsk, lowestBit(O.i64Xor, O.i32Xor, false, true)],
	[M.Bzhi,   bzhi],
	[M.Bextr,  bextr],
	[M.Mulx,   mulx],
	[M.Pext,   parallelBits(false)],
	[M.Pdep,   parallelBits(true)],
	[M.Adcx,   addChain(FLAG.CF)],
	[M.Adox,   addChain(FLAG.OF)],
	[M.Clc,    carryFlag("clear")],
	[M.Stc,    carryFlag("set")],
	[M.Cmc,    carryFlag("complement")],
	[M.Cld,    directionFlag(false)],
	[M.Std,    directionFlag(true)],
	[M.Lahf,   lahf],
	[M.Pushf,  pushf],
	[M.Pushfd, pushf],
	[M.Pushfq, pushf],
	[M.Sahf,   sahf],
]);
