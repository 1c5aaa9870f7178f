/**
 * Code for one region, below memory: guest registers and lazy flags in Wasm locals, values of the operand sizes,
 * accounts of instructions and cycles, and the ways out.
 *
 * Values of 8 bytes are i64; values of 1, 2 and 4 bytes are i32, zero-extended.
 */
import * as L from "../cpu/layout.ts";
import { Code, OPCODE as O, TYPE, type ValueType } from "../wasm/builder.ts";
import { EXIT, type Site } from "./exits.ts";
import type { Insn } from "./insn.ts";
import type { Mode } from "./mode.ts";
import { placeOf } from "./registers.ts";

/** The local that holds the processor's area in the machine's memory: the parameter of every region. */
export const CPU = 0;

/** Gives out ids that stay valid for the life of the translator. */
export interface Ids {
	site(site: Site): number;
	system(insn: Insn): number;
}

/** Emits code for the instructions of one region. What it pops and pushes lies on the Wasm stack. */
export class BlockEmitter {
	readonly code = new Code();
	readonly mode: Mode;
	readonly ids: Ids;
	/** Types of the locals behind the parameter. */
	readonly locals: ValueType[] = [];
	/** Local of each general-purpose register, or -1. */
	readonly gpr = new Int32Array(16).fill(-1);
	/** Registers that the region writes, one bit each. */
	dirty = 0;
	/** Local of each XMM register, and of each upper half of a YMM register, or -1. */
	readonly xmm = new Int32Array(16).fill(-1);
	readonly ymmHigh = new Int32Array(16).fill(-1);
	/** Those that the region writes, one bit each. */
	xmmDirty = 0;
	ymmHighDirty = 0;
	readonly rip: number;
	readonly exitCode: number;
	readonly cycles: number;
	readonly limit: number;
	readonly retired: number;
	readonly ccOp: number;
	readonly ccDst: number;
	readonly ccSrc: number;
	readonly ccSrc2: number;
	/** Set by a slow store into translated code within a read-modify-write. */
	readonly selfModified: number;
	/** CC_OP at this point of the code, or -1 if only the local knows. */
	op = -1;
	/** Flags (iced-x86 RflagsBits) of the current instruction that are read later on. */
	live = -1;
	insn!: Insn;
	/** Instructions and cycles since the last `retire`, without the current instruction. */
	blockInstructions = 0;
	blockCycles = 0;
	/** Label of the region's exit tail, and of the one that checks the deadline first. */
	leave = 0;
	checked = 0;
	/** The current instruction may have modified code that follows it. */
	mayHaveModifiedCode = false;
	private siteId = -1;
	private readonly temporaries = new Map<ValueType, { readonly locals: number[]; used: number }>();

	constructor(mode: Mode, ids: Ids) {
		this.mode = mode;
		this.ids = ids;
		this.rip = this.local(TYPE.i64);
		this.ccDst = this.local(TYPE.i64);
		this.ccSrc = this.local(TYPE.i64);
		this.ccSrc2 = this.local(TYPE.i64);
		this.exitCode = this.local(TYPE.i32);
		this.ccOp = this.local(TYPE.i32);
		this.retired = this.local(TYPE.i32);
		this.selfModified = this.local(TYPE.i32);
		this.cycles = this.local(TYPE.f64);
		this.limit = this.local(TYPE.f64);
	}

	// ---- locals --------------------------------------------------------------------------------------

	private local(type: ValueType): number {
		this.locals.push(type);
		return this.locals.length;
	}
	/** Starts an instruction: temporaries of the last one are free again. */
	begin(insn: Insn): void {
		this.insn = insn;
		this.siteId = -1;
		for (const pool of this.temporaries.values()) pool.used = 0;
		this.mayHaveModifiedCode = false;
	}
	/** A local of a type, free until the next instruction. */
	temporary(type: ValueType): number {
		let pool = this.temporaries.get(type);
		if (pool === undefined) {
			pool = { locals: [], used: 0 };
			this.temporaries.set(type, pool);
		}
		if (pool.used === pool.locals.length) pool.locals.push(this.local(type));
		return pool.locals[pool.used++]!;
	}
	/** An i32 local, free until the next instruction. */
	temp32(): number {
		return this.temporary(TYPE.i32);
	}
	/** An i64 local, free until the next instruction. */
	temp64(): number {
		return this.temporary(TYPE.i64);
	}
	/** A vector local, free until the next instruction. */
	tempVector(): number {
		return this.temporary(TYPE.v128);
	}
	/** A temporary for a value of an operand size. */
	temp(bytes: number): number {
		return bytes === 8 ? this.temp64() : this.temp32();
	}

	// ---- values --------------------------------------------------------------------------------------

	/** Emits the i64 or i32 form of an operation. */
	by(bytes: number, wide: number, narrow: number): void {
		this.code.op(bytes === 8 ? wide : narrow);
	}
	/** A constant of an operand size. */
	constant(bytes: number, value: number | bigint): void {
		if (bytes === 8) this.code.i64(value);
		else this.code.i32(Number(BigInt.asIntN(32, BigInt(value))));
	}
	/** Cuts the value on the stack to its size: 1- and 2-byte results need it. */
	clean(bytes: number): void {
		if (bytes > 2) return;
		this.code.i32(bytes === 1 ? 0xff : 0xffff);
		this.code.op(O.i32And);
	}
	/** Sign-extends the value on the stack to i32 or, for 8 bytes, leaves it. */
	signed(bytes: number): void {
		if (bytes === 1) this.code.op(O.i32Extend8S);
		else if (bytes === 2) this.code.op(O.i32Extend16S);
	}
	/** Zero-extends the value on the stack to i64. */
	widen(bytes: number): void {
		if (bytes !== 8) this.code.op(O.i64ExtendI32U);
	}
	/** Cuts the i64 on the stack to a value of a size. */
	narrow(bytes: number): void {
		if (bytes === 8) return;
		this.code.op(O.i32WrapI64);
		this.clean(bytes);
	}

	// ---- the helper ----------------------------------------------------------------------------------

	/** Begins a call of the helper. @param what of HELPER @param detail see HELPER; -1: CC_OP, known here or not */
	beginHelper(what: number, detail: number): void {
		const code = this.code;
		code.i32(what);
		if (detail >= 0) code.i32(detail);
		else if (this.op >= 0) code.i32(this.op);
		else code.get(this.ccOp);
		code.get(CPU);
	}
	/** Calls it, with its result on the stack. @param pushed how many of its three i64 parameters are there */
	endHelper(pushed: number): void {
		for (let at = pushed; at < 3; at++) this.code.i64(0);
		this.code.call(0);
	}

	// ---- registers -----------------------------------------------------------------------------------

	/** Local of a register by its encoding number. */
	registerLocal(index: number): number {
		if (this.gpr[index] === -1) this.gpr[index] = this.local(TYPE.i64);
		return this.gpr[index]!;
	}
	/** Pushes a register by encoding number, cut to a size. */
	getIndex(index: number, bytes: number): void {
		this.code.get(this.registerLocal(index));
		this.narrow(bytes);
	}
	/** Pops a value of a size into a register by encoding number, with x86's rules for the rest of it. */
	setIndex(index: number, bytes: number): void {
		const local = this.registerLocal(index);
		this.dirty |= 1 << index;
		const code = this.code;
		if (bytes === 4) code.op(O.i64ExtendI32U);
		else if (bytes < 4) {
			const mask = bytes === 1 ? 0xff : 0xffff;
			code.i32(mask);
			code.op(O.i32And);
			code.op(O.i64ExtendI32U);
			code.get(local);
			code.i64(~mask);
			code.op(O.i64And);
			code.op(O.i64Or);
		}
		code.set(local);
	}
	/** Pushes a register by iced-x86 number. */
	getRegister(register: number): void {
		const place = placeOf(register)!;
		if (!place.high) {
			this.getIndex(place.index, place.bytes);
			return;
		}
		this.code.get(this.registerLocal(place.index));
		this.code.op(O.i32WrapI64);
		this.code.i32(8);
		this.code.op(O.i32ShrU);
		this.clean(1);
	}
	/** Pops into a register by iced-x86 number. */
	setRegister(register: number): void {
		const place = placeOf(register)!;
		if (!place.high) {
			this.setIndex(place.index, place.bytes);
			return;
		}
		const local = this.registerLocal(place.index);
		const code = this.code;
		this.dirty |= 1 << place.index;
		this.clean(1);
		code.i32(8);
		code.op(O.i32Shl);
		code.op(O.i64ExtendI32U);
		code.get(local);
		code.i64(~0xff00);
		code.op(O.i64And);
		code.op(O.i64Or);
		code.set(local);
	}

	/** Local of an XMM register. */
	xmmLocal(index: number): number {
		if (this.xmm[index] === -1) this.xmm[index] = this.local(TYPE.v128);
		return this.xmm[index]!;
	}
	/** Local of the upper half of a YMM register. */
	ymmHighLocal(index: number): number {
		if (this.ymmHigh[index] === -1) this.ymmHigh[index] = this.local(TYPE.v128);
		return this.ymmHigh[index]!;
	}
	/** Pops a vector into an XMM register; the upper half of the YMM register stays. */
	setXmm(index: number): void {
		this.code.set(this.xmmLocal(index));
		this.xmmDirty |= 1 << index;
	}
	/** Pops a vector into the upper half of a YMM register. */
	setYmmHigh(index: number): void {
		this.code.set(this.ymmHighLocal(index));
		this.ymmHighDirty |= 1 << index;
	}

	// ---- leaving -------------------------------------------------------------------------------------

	/** Emits the local's CC_OP if it is known here, so that code elsewhere can rely on the local. */
	settleOp(): void {
		if (this.op < 0) return;
		this.code.i32(this.op);
		this.code.set(this.ccOp);
	}
	/** Accounts for the instructions so far in this block. */
	retire(instructions: number, cycles: number): void {
		const code = this.code;
		if (instructions === 0) return;
		code.get(this.cycles);
		code.f64(cycles);
		code.op(O.f64Add);
		code.set(this.cycles);
		code.get(this.retired);
		code.i32(instructions);
		code.op(O.i32Add);
		code.set(this.retired);
	}
	/** Leaves for code outside of the region. @param check whether this is a point that checks the deadline */
	leaveTo(rip: bigint, check: boolean): void {
		this.settleOp();
		this.code.i64(BigInt.asIntN(64, rip));
		this.code.set(this.rip);
		this.code.br(check ? this.checked : this.leave);
	}
	/** Leaves to the address in `rip`. */
	leaveIndirect(): void {
		this.settleOp();
		this.code.br(this.checked);
	}
	/** Leaves with an exit code, at an address. */
	leaveWith(exitCode: number, rip: bigint): void {
		this.settleOp();
		this.code.i64(BigInt.asIntN(64, rip));
		this.code.set(this.rip);
		this.code.i32(exitCode);
		this.code.set(this.exitCode);
		this.code.br(this.leave);
	}

	// ---- faults --------------------------------------------------------------------------------------

	/** The id of the current instruction as a place that can fault. */
	protected site(): number {
		if (this.siteId < 0) {
			this.siteId = this.ids.site({
				rip: this.insn.rip,
				ccOp: this.op,
				instructions: this.blockInstructions,
				cycles: this.blockCycles,
			});
		}
		return this.siteId;
	}
	/** Leaves the region for the fault noted in the state block, as if the instruction had not begun. */
	leaveWithFault(): void {
		this.code.i32((this.site() << 8) | EXIT.fault);
		this.code.set(this.exitCode);
		this.code.br(this.leave);
	}
	protected leaveIfFault(): void {
		this.code.get(CPU);
		this.code.access(O.i32Load, L.FAULT);
		this.code.if();
		this.leaveWithFault();
		this.code.end();
	}
}
