/**
 * Code for one region: memory through the inlined TLB, operands and the stack, on top of block-emitter.ts.
 *
 * A definition (instructions/) reads its operands, then does everything that may fault, then writes.
 */
import * as L from "../cpu/layout.ts";
import { OPCODE as O, TYPE } from "../wasm/builder.ts";
import { BlockEmitter, CPU } from "./block-emitter.ts";
import { ACCESS, CHECK, HELPER } from "./core.ts";
import { EXIT } from "./exits.ts";
import type { Operand } from "./insn.ts";
import { placeOf, segmentOf } from "./registers.ts";
import { pushTlbEntry } from "./tlb-entry.ts";

/** The memory operand being changed by a read-modify-write. */
export interface Modification {
	readonly operand: Operand;
	readonly bytes: number;
	readonly linear: number;
	readonly host: number;
}

/** What definitions emit with. */
export class Emitter extends BlockEmitter {
	/** Of the linear address that was made last. */
	private segment = L.DS;

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
	/**
	 * Adds a segment's base to the i64 on the stack: an offset becomes a linear address. Outside 64-bit mode the access
	 * is checked against the segment, unless the mode says that nothing can fail.
	 * @param bytes of the access, and whether it is a `write`
	 */
	addSegmentBase(segment: number, bytes: number, write: boolean): void {
		const code = this.code;
		this.segment = segment;
		const special = segment === L.FS || segment === L.GS;
		// Code may not be written, and not always be read, wherever it ends.
		if (this.mode.bitness === 64 ? !special : this.mode.flat && !special && segment !== L.CS) return;
		if (this.mode.bitness !== 64) this.checkSegment(segment, bytes, write);
		code.get(CPU);
		code.access(O.i64Load, L.SEG + segment * L.SEG_BYTES + L.SEG_BASE);
		code.op(O.i64Add);
		if (this.mode.bitness !== 64) this.cutAddress(4);
	}
	/**
	 * Checks the offset on the stack, which stays: data that grows upward and code that may be read here by their limit,
	 * everything else by the helper.
	 */
	private checkSegment(segment: number, bytes: number, write: boolean): void {
		const code = this.code;
		const offset = this.temp64();
		const at = L.SEG + segment * L.SEG_BYTES;
		code.tee(offset);
		if (bytes > 1) {
			code.i64(bytes - 1);
			code.op(O.i64Add);
		}
		code.get(CPU);
		code.access(O.i32Load, at + L.SEG_LIMIT);
		code.op(O.i64ExtendI32U);
		code.op(O.i64GtU);
		code.get(CPU);
		code.access(O.i32Load, at + L.SEG_ATTR);
		// Usable data, not expand-down, and writable for a write.
		code.i32(write ? 0x1000e : 0x1000c);
		code.op(O.i32And);
		code.i32(write ? 2 : 0);
		code.op(O.i32Ne);
		code.op(O.i32Or);
		code.if();
		this.beginHelper(HELPER.check, bytes | (segment << CHECK.segmentShift) | (write ? CHECK.write : 0));
		code.get(offset);
		this.endHelper(1);
		code.op(O.drop);
		this.leaveIfFault();
		code.end();
		code.get(offset);
	}
	/**
	 * Pushes the linear address of the memory operand.
	 * @param bytes of the access, and whether it is a `write`
	 */
	linearAddress(extraDisplacement = 0, bytes = this.memoryBytes(), write = false): void {
		this.effectiveAddress(extraDisplacement);
		this.addSegmentBase(this.insn.segment, bytes, write);
	}
	private memoryBytes(): number {
		for (const operand of this.insn.operands)
			if (operand.kind === "memory") return Math.max(1, operand.bytes);
		return 1;
	}
	/** The detail of a helper's access to memory: its bytes, whether the address was made with SS, and the level. */
	private accessDetail(bytes: number): number {
		return (
			bytes | (this.segment === L.SS ? ACCESS.stack : 0) | (this.mode.bank === L.USER_BANK ? ACCESS.user : 0)
		);
	}
	/** Leaves with #GP(0) if a near branch may not lead to an offset outside 64-bit mode. */
	checkTarget(target: bigint): void {
		if (this.mode.bitness === 64 || this.mode.flat) return;
		this.code.i64(target);
		this.code.set(this.rip);
		this.checkBranch(this.rip);
	}
	/** Leaves with #GP(0) if a near branch may not lead to the offset in an i64 local. */
	checkBranch(target: number): void {
		const code = this.code;
		if (this.mode.bitness === 64) {
			// Bits 63:47 are equal; with 57-bit addresses the helper looks again.
			code.get(target);
			code.i64(16);
			code.op(O.i64Shl);
			code.i64(16);
			code.op(O.i64ShrS);
			code.get(target);
			code.op(O.i64Ne);
			code.if();
		} else if (this.mode.flat) return;
		this.beginHelper(HELPER.check, CHECK.branch);
		code.get(target);
		this.endHelper(1);
		code.op(O.drop);
		this.leaveIfFault();
		if (this.mode.bitness === 64) code.end();
	}

	// ---- memory --------------------------------------------------------------------------------------

	/**
	 * Pushes whether the TLB has the page of the linear address in a local, and tees the entry.
	 * @param aligned the page is not to be found for an address that is no multiple of `bytes`
	 */
	lookUp(table: number, linear: number, entry: number, bytes: number, aligned = false): void {
		const code = this.code;
		const tlb = table + this.mode.bank;
		pushTlbEntry(code, linear, entry);
		code.tee(entry);
		code.access(O.i64Load, tlb);
		code.get(linear);
		if (bytes > 1 && !aligned) {
			code.i64(bytes - 1);
			code.op(O.i64Add);
		}
		code.i64(aligned ? -4096 + bytes - 1 : -4096);
		code.op(O.i64And);
		code.op(O.i64Eq);
		if (!this.mode.aligned || bytes === 1) return;
		code.get(linear);
		code.i64(bytes - 1);
		code.op(O.i64And);
		code.op(O.i64Eqz);
		code.op(O.i32And);
	}
	/** Pushes the address in the machine's memory of a linear address whose TLB entry was found. */
	hostAddress(table: number, linear: number, entry: number): void {
		const code = this.code;
		code.get(linear);
		code.op(O.i32WrapI64);
		code.get(entry);
		code.access(O.i32Load, table + this.mode.bank + 8);
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
		this.beginHelper(HELPER.load, this.accessDetail(bytes));
		this.code.get(linear);
		this.endHelper(1);
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
		this.beginHelper(HELPER.store, this.accessDetail(bytes));
		code.get(linear);
		code.get(value);
		this.widen(bytes);
		this.endHelper(2);
		code.op(O.i32WrapI64);
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
	/** Leaves if the status of a slow store on the stack says so. @param status an i32 temporary */
	endSlowStore(status: number): void {
		const code = this.code;
		code.tee(status);
		code.if();
		if (this.mode.single) {
			// Nothing of this region runs after the store, so a status of 2 needs nothing.
			code.get(status);
			code.i32(1);
			code.op(O.i32Eq);
			code.if();
			this.leaveWithFault();
			code.end();
		} else {
			code.get(status);
			code.i32((this.site() << 8) + EXIT.fault - 1);
			code.op(O.i32Add);
			code.set(this.exitCode);
			code.br(this.leave);
		}
		code.end();
		this.refreshLimit();
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
		this.endSlowStore(entry);
		code.end();
	}
	/** Leaves with the fault that a store to the linear address in a local would have. */
	probeStore(linear: number, bytes: number): void {
		this.beginHelper(HELPER.probe, this.accessDetail(bytes));
		this.code.get(linear);
		this.endHelper(1);
		this.code.op(O.drop);
		this.leaveIfFault();
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
		this.linearAddress(0, bytes, true);
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
		this.probeStore(linear, bytes);
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

	/** An operand of the current instruction. */
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
			this.linearAddress(0, operand.bytes);
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
		this.linearAddress(0, operand.bytes, true);
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
		this.addSegmentBase(L.SS, bytes, true);
		this.code.set(linear);
		this.storeLocal(linear, bytes, value);
		this.code.get(top);
		this.setStackPointer();
	}
	/** Pushes (on the Wasm stack) the value at the top of the guest's stack; RSP stays. */
	peek(bytes: number): void {
		this.stackPointer(0);
		this.addSegmentBase(L.SS, bytes, false);
		this.load(bytes);
	}
	/** Adds to RSP. */
	moveStackPointer(offset: number): void {
		this.stackPointer(offset);
		this.setStackPointer();
	}
}
