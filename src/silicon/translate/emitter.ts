/**
 * Code for one region: guest registers and lazy flags in Wasm locals, memory through the inlined TLB.
 *
 * Values of 8 bytes are i64; values of 1, 2 and 4 bytes are i32, zero-extended. A definition
 * (instructions/) reads its operands, then does everything that may fault, then writes.
 */
import * as L from "../cpu/layout.ts";
import { Code, OPCODE as O, TYPE, type ValueType } from "../wasm/builder.ts";
import { EXIT, type Site } from "./exits.ts";
import type { Insn, Operand } from "./insn.ts";
import { placeOf, segmentOf } from "./registers.ts";

/** Function indices of the imports of every region, in the order of `regionImports` (translator.ts). */
export const IMPORT = { load: 0, store: 1, probe: 2, flags: 3, divide: 4 } as const;

/** What a region is translated for. Part of the key under which it is kept. */
export interface Mode {
	/** Its number (mode.ts). */
	readonly key: number;
	readonly bitness: 16 | 32 | 64;
	/** Bases of ES, CS, SS and DS are 0. Always so in 64-bit mode. */
	readonly flat: boolean;
	/** Bytes of the stack pointer: 2, 4 or 8. */
	readonly stackBytes: number;
	/** One instruction only, for interrupt shadows and restarted stores. */
	readonly single: boolean;
}

/** Gives out ids that stay valid for the life of the translator. */
export interface Ids {
	site(site: Site): number;
	system(insn: Insn): number;
}

/** The memory operand being changed by a read-modify-write. */
export interface Modification {
	readonly operand: Operand;
	readonly bytes: number;
	readonly linear: number;
	readonly host: number;
}

const CPU = 0;

export class Emitter {
	readonly code = new Code();
	readonly mode: Mode;
	readonly ids: Ids;
	/** Types of the locals behind the parameter. */
	readonly locals: ValueType[] = [];
	/** Local of each general-purpose register, or -1. */
	readonly gpr = new Int32Array(16).fill(-1);
	/** Registers that the region writes, one bit each. */
	dirty = 0;
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
	private readonly freeI32: number[] = [];
	private readonly freeI64: number[] = [];
	private usedI32 = 0;
	private usedI64 = 0;

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
		this.usedI32 = 0;
		this.usedI64 = 0;
		this.mayHaveModifiedCode = false;
	}
	temp32(): number {
		if (this.usedI32 === this.freeI32.length) this.freeI32.push(this.local(TYPE.i32));
		return this.freeI32[this.usedI32++]!;
	}
	temp64(): number {
		if (this.usedI64 === this.freeI64.length) this.freeI64.push(this.local(TYPE.i64));
		return this.freeI64[this.usedI64++]!;
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

	// ---- addresses -----------------------------------------------------------------------------------

	private pushAddressRegister(register: number): void {
		this.code.get(this.registerLocal(placeOf(register)!.index));
	}
	/** Pushes the effective address of the memory operand as i64, cut to the address size. */
	effectiveAddress(extraDisplacement = 0): void {
		const { insn, code } = this;
		let pushed = false;
		if (insn.base !== 0) {
			this.pushAddressRegister(insn.base);
			pushed = true;
		}
		if (insn.index !== 0) {
			this.pushAddressRegister(insn.index);
			if (insn.scale > 1) {
				code.i64(Math.log2(insn.scale));
				code.op(O.i64Shl);
			}
			if (pushed) code.op(O.i64Add);
			pushed = true;
		}
		const displacement = insn.displacement + BigInt(extraDisplacement);
		if (!pushed) {
			code.i64(BigInt.asUintN(insn.addressBytes * 8, displacement));
			return;
		}
		if (displacement !== 0n) {
			code.i64(displacement);
			code.op(O.i64Add);
		}
		this.cutAddress(insn.addressBytes);
	}
	/** Cuts the i64 on the stack to an address size. */
	cutAddress(bytes: number): void {
		const code = this.code;
		if (bytes === 4) {
			code.op(O.i32WrapI64);
			code.op(O.i64ExtendI32U);
		} else if (bytes === 2) {
			code.i64(0xffff);
			code.op(O.i64And);
		}
	}
	/** Adds a segment's base to the i64 on the stack: an offset becomes a linear address. No limit is checked. */
	addSegmentBase(segment: number): void {
		const code = this.code;
		const special = segment === L.FS || segment === L.GS;
		if (this.mode.bitness === 64 ? !special : this.mode.flat && !special) return;
		code.get(CPU);
		code.access(O.i64Load, L.SEG + segment * L.SEG_BYTES + L.SEG_BASE);
		code.op(O.i64Add);
		if (this.mode.bitness !== 64) this.cutAddress(4);
	}
	/** Pushes the linear address of the memory operand. */
	linearAddress(extraDisplacement = 0): void {
		this.effectiveAddress(extraDisplacement);
		this.addSegmentBase(this.insn.segment);
	}

	// ---- memory --------------------------------------------------------------------------------------

	/** The id of the current instruction as a place that can fault. */
	private site(): number {
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
	private leaveIfFault(): void {
		this.code.get(CPU);
		this.code.access(O.i32Load, L.FAULT);
		this.code.if();
		this.leaveWithFault();
		this.code.end();
	}
	/** Pushes whether the TLB has the page of the linear address in a local, and tees the entry. */
	private lookUp(tlb: number, linear: number, entry: number, bytes: number): void {
		const code = this.code;
		code.get(linear);
		code.op(O.i32WrapI64);
		code.i32(8);
		code.op(O.i32ShrU);
		code.i32((L.TLB_ENTRIES - 1) * L.TLB_ENTRY_BYTES);
		code.op(O.i32And);
		code.get(CPU);
		code.op(O.i32Add);
		code.tee(entry);
		code.access(O.i64Load, tlb);
		code.get(linear);
		if (bytes > 1) {
			code.i64(bytes - 1);
			code.op(O.i64Add);
		}
		code.i64(-4096);
		code.op(O.i64And);
		code.op(O.i64Eq);
	}
	private hostAddress(tlb: number, linear: number, entry: number): void {
		const code = this.code;
		code.get(linear);
		code.op(O.i32WrapI64);
		code.get(entry);
		code.access(O.i32Load, tlb + 8);
		code.op(O.i32Add);
	}
	private rawLoad(bytes: number): void {
		const opcode = { 1: O.i32Load8U, 2: O.i32Load16U, 4: O.i32Load, 8: O.i64Load }[bytes]!;
		this.code.access(opcode, 0);
	}
	private rawStore(bytes: number): void {
		const opcode = { 1: O.i32Store8, 2: O.i32Store16, 4: O.i32Store, 8: O.i64Store }[bytes]!;
		this.code.access(opcode, 0);
	}
	private slowLoad(linear: number, bytes: number): void {
		this.code.get(linear);
		this.code.i32(bytes);
		this.code.call(IMPORT.load);
		if (bytes !== 8) this.code.op(O.i32WrapI64);
		this.leaveIfFault();
	}
	/** Pops a linear address, pushes the value loaded from it. */
	load(bytes: number): void {
		const code = this.code;
		const linear = this.temp64();
		const entry = this.temp32();
		code.set(linear);
		this.lookUp(L.TLB_READ, linear, entry, bytes);
		code.if(bytes === 8 ? TYPE.i64 : TYPE.i32);
		this.hostAddress(L.TLB_READ, linear, entry);
		this.rawLoad(bytes);
		code.else();
		this.slowLoad(linear, bytes);
		code.end();
	}
	/** Calls the slow store. @returns with its status on the Wasm stack: 0 done, 1 fault, 2 wrote to code */
	private slowStore(linear: number, bytes: number, value: number): void {
		const code = this.code;
		code.get(linear);
		code.i32(bytes);
		code.get(value);
		this.widen(bytes);
		code.call(IMPORT.store);
	}
	/** Events that a device raised in a slow store are due at the next check. */
	private refreshLimit(): void {
		const code = this.code;
		code.get(this.limit);
		code.get(CPU);
		code.access(O.f64Load, L.DEADLINE);
		code.op(O.f64Min);
		code.set(this.limit);
	}
	/**
	 * Stores a local to a linear address in a local. Everything before it in the instruction must be free of
	 * effects: a store that hits translated code is done again by itself.
	 */
	storeLocal(linear: number, bytes: number, value: number): void {
		const code = this.code;
		const entry = this.temp32();
		this.lookUp(L.TLB_WRITE, linear, entry, bytes);
		code.if();
		this.hostAddress(L.TLB_WRITE, linear, entry);
		code.get(value);
		this.rawStore(bytes);
		code.else();
		this.slowStore(linear, bytes, value);
		code.tee(entry);
		code.if();
		if (this.mode.single) {
			// Nothing of this region runs after the store, so a status of 2 needs nothing.
			code.get(entry);
			code.i32(1);
			code.op(O.i32Eq);
			code.if();
			this.leaveWithFault();
			code.end();
		} else {
			code.get(entry);
			code.i32((this.site() << 8) + EXIT.fault - 1);
			code.op(O.i32Add);
			code.set(this.exitCode);
			code.br(this.leave);
		}
		code.end();
		this.refreshLimit();
		code.end();
	}
	/** Begins a read-modify-write of a register or memory operand, and pushes its value. */
	beginModify(operand: Operand): Modification {
		if (operand.kind === "register") {
			this.getRegister(operand.register);
			return { operand, bytes: operand.bytes, linear: -1, host: -1 };
		}
		if (operand.kind !== "memory") throw new TypeError(`cannot modify an operand of kind ${operand.kind}`);
		const bytes = operand.bytes;
		const linear = this.temp64();
		this.linearAddress();
		this.code.set(linear);
		return this.beginModifyAt(operand, linear, bytes);
	}
	/** The same, for memory at a linear address in a local. */
	beginModifyAt(operand: Operand, linear: number, bytes: number): Modification {
		const code = this.code;
		const entry = this.temp32();
		const host = this.temp32();
		this.lookUp(L.TLB_WRITE, linear, entry, bytes);
		code.if(bytes === 8 ? TYPE.i64 : TYPE.i32);
		this.hostAddress(L.TLB_WRITE, linear, entry);
		code.tee(host);
		this.rawLoad(bytes);
		code.else();
		code.i32(-1);
		code.set(host);
		code.get(linear);
		code.i32(bytes);
		code.call(IMPORT.probe);
		this.leaveIfFault();
		this.slowLoad(linear, bytes);
		code.end();
		return { operand, bytes, linear, host };
	}
	/** Ends a read-modify-write: stores a local. Cannot fault. */
	endModify(modification: Modification, value: number): void {
		const code = this.code;
		if (modification.operand.kind === "register") {
			code.get(value);
			this.setRegister(modification.operand.register);
			return;
		}
		this.mayHaveModifiedCode = true;
		code.get(modification.host);
		code.i32(-1);
		code.op(O.i32Ne);
		code.if();
		code.get(modification.host);
		code.get(value);
		this.rawStore(modification.bytes);
		code.else();
		this.slowStore(modification.linear, modification.bytes, value);
		code.set(this.selfModified);
		this.refreshLimit();
		code.end();
	}

	// ---- operands ------------------------------------------------------------------------------------

	operand(at: number): Operand {
		return this.insn.operands[at]!;
	}
	/** Size in bytes of an operand. */
	bytes(at: number): number {
		const operand = this.operand(at);
		return "bytes" in operand ? operand.bytes : this.insn.operandBytes;
	}
	/** Pushes an operand. @param bytes the size wanted of an immediate */
	read(at: number, bytes = this.bytes(at)): void {
		const operand = this.operand(at);
		if (operand.kind === "register") {
			const segment = segmentOf(operand.register);
			if (segment < 0) this.getRegister(operand.register);
			else {
				this.code.get(CPU);
				this.code.access(O.i32Load16U, L.SEG + segment * L.SEG_BYTES + L.SEG_SELECTOR);
			}
		} else if (operand.kind === "immediate") {
			const value = bytes === 8 ? operand.value : BigInt.asUintN(bytes * 8, operand.value);
			this.constant(bytes, value);
		} else if (operand.kind === "memory") {
			this.linearAddress();
			this.load(operand.bytes);
		} else throw new TypeError(`cannot read an operand of kind ${operand.kind}`);
	}
	/** Pops a value into a register or memory operand that is only written. */
	write(at: number): void {
		const operand = this.operand(at);
		if (operand.kind === "register") {
			this.setRegister(operand.register);
			return;
		}
		if (operand.kind !== "memory") throw new TypeError(`cannot write an operand of kind ${operand.kind}`);
		const value = this.temp(operand.bytes);
		const linear = this.temp64();
		this.code.set(value);
		this.linearAddress();
		this.code.set(linear);
		this.storeLocal(linear, operand.bytes, value);
	}

	// ---- the stack -----------------------------------------------------------------------------------

	/** Sets the stack pointer to the i64 on the stack, which is cut to the stack's address size. */
	setStackPointer(): void {
		const bytes = this.mode.stackBytes;
		if (bytes !== 8) this.code.op(O.i32WrapI64);
		this.setIndex(L.RSP, bytes);
	}
	/** Pushes RSP + an offset as i64, cut to the stack's address size. */
	stackPointer(offset: number): void {
		this.code.get(this.registerLocal(L.RSP));
		if (offset !== 0) {
			this.code.i64(offset);
			this.code.op(O.i64Add);
		}
		this.cutAddress(this.mode.stackBytes);
	}
	/** Pushes a local of a size on the guest's stack. */
	pushLocal(bytes: number, value: number): void {
		const top = this.temp64();
		const linear = this.temp64();
		this.stackPointer(-bytes);
		this.code.tee(top);
		this.addSegmentBase(L.SS);
		this.code.set(linear);
		this.storeLocal(linear, bytes, value);
		this.code.get(top);
		this.setStackPointer();
	}
	/** Pushes (on the Wasm stack) the value at the top of the guest's stack; RSP stays. */
	peek(bytes: number): void {
		this.stackPointer(0);
		this.addSegmentBase(L.SS);
		this.load(bytes);
	}
	/** Adds to RSP. */
	moveStackPointer(offset: number): void {
		this.stackPointer(offset);
		this.setStackPointer();
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
}
