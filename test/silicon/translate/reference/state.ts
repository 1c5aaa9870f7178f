/**
 * An x86 interpreter for tests, on BigInt, written from the operation sections of SDM Vol. 2 without a look at the
 * emitters. It decodes nothing itself: it is given iced-x86 instructions, and shares no code with src/.
 *
 * What the manual leaves undefined is not made up: undefined flags are noted in `undefinedFlags`, and whoever reads
 * one, or computes an undefined result, throws `Unpredictable`.
 */
import { type Instruction, MemorySizeExt, OpKind, Register, RegisterExt } from "iced-x86";

export const F = {
	CF: 1,
	PF: 4,
	AF: 0x10,
	ZF: 0x40,
	SF: 0x80,
	TF: 0x100,
	IF: 0x200,
	DF: 0x400,
	OF: 0x800,
} as const;
/** The six arithmetic flags. */
export const SIX = F.CF | F.PF | F.AF | F.ZF | F.SF | F.OF;
const RSP = 4;

/** The manual does not say what happens. */
export class Unpredictable extends Error {}

/** An exception. @property linear of a page fault */
export class ReferenceFault extends Error {
	readonly vector: number;
	readonly linear: bigint;
	constructor(vector: number, linear = 0n) {
		super(`#${vector}`);
		this.vector = vector;
		this.linear = linear;
	}
}

/** Cuts a number to a size in bits. */
export function cut(value: bigint, bits: number): bigint {
	return BigInt.asUintN(bits, value);
}
/** Reads a number of a size in bits as signed. */
export function signed(value: bigint, bits: number): bigint {
	return BigInt.asIntN(bits, value);
}
/** A bit of a number. */
export function bit(value: bigint, at: number | bigint): number {
	return Number((value >> BigInt(at)) & 1n);
}

/** Linear memory in pages, some of which are absent or read-only. */
export class ReferenceMemory {
	readonly bytes: Uint8Array;
	readonly absent: ReadonlySet<number>;
	readonly readOnly: ReadonlySet<number>;
	private journal: [number, number][] = [];

	constructor(bytes: Uint8Array, absent: ReadonlySet<number>, readOnly: ReadonlySet<number>) {
		this.bytes = bytes;
		this.absent = absent;
		this.readOnly = readOnly;
	}
	private check(linear: bigint, write: boolean): number {
		const page = Number(linear >> 12n);
		const inside = linear < BigInt(this.bytes.length);
		if (!inside || this.absent.has(page) || (write && this.readOnly.has(page)))
			throw new ReferenceFault(14, linear);
		return Number(linear);
	}
	read(linear: bigint, bytes: number): bigint {
		let value = 0n;
		for (let at = 0; at < bytes; at++) {
			value |= BigInt(this.bytes[this.check(linear + BigInt(at), false)]!) << BigInt(8 * at);
		}
		return value;
	}
	write(linear: bigint, bytes: number, value: bigint): void {
		for (let at = 0; at < bytes; at++) this.check(linear + BigInt(at), true);
		for (let at = 0; at < bytes; at++) {
			const place = Number(linear) + at;
			this.journal.push([place, this.bytes[place]!]);
			this.bytes[place] = Number((value >> BigInt(8 * at)) & 0xffn);
		}
	}
	/** Faults where a write would. */
	probe(linear: bigint, bytes: number): void {
		for (let at = 0; at < bytes; at++) this.check(linear + BigInt(at), true);
	}
	/** What was written so far stays. */
	commit(): void {
		this.journal = [];
	}
	/** Takes back what was written since `commit`. */
	rollBack(): void {
		for (const [place, byte] of this.journal.toReversed()) this.bytes[place] = byte;
		this.journal = [];
	}
}

/** The registers, and operands by instruction. */
export class Reference {
	readonly bitness: 32 | 64;
	readonly memory: ReferenceMemory;
	readonly regs: bigint[] = new Array<bigint>(16).fill(0n);
	/** Bases of ES CS SS DS FS GS. */
	readonly bases: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n];
	readonly selectors: number[] = [0, 0, 0, 0, 0, 0];
	flags = 2;
	undefinedFlags = 0;
	rip = 0n;
	/** YMM0 to YMM15, 32 bytes each. */
	readonly vectors = new Uint8Array(16 * 32);
	mxcsr = 0x1f80;

	constructor(bitness: 32 | 64, memory: ReferenceMemory) {
		this.bitness = bitness;
		this.memory = memory;
	}

	// ---- faults --------------------------------------------------------------------------------------

	private saved = { regs: [] as bigint[], flags: 0, undefinedFlags: 0, vectors: new Uint8Array(0) };

	/** What happened so far stays when a fault comes. */
	checkpoint(): void {
		const { flags, undefinedFlags } = this;
		this.saved = { regs: [...this.regs], flags, undefinedFlags, vectors: this.vectors.slice() };
		this.memory.commit();
	}
	/** Takes back what happened since the checkpoint. */
	rollBack(): void {
		for (const [at, value] of this.saved.regs.entries()) this.regs[at] = value;
		this.flags = this.saved.flags;
		this.undefinedFlags = this.saved.undefinedFlags;
		this.vectors.set(this.saved.vectors);
		this.memory.rollBack();
	}

	// ---- flags ---------------------------------------------------------------------------------------

	/** Sets or clears flags, which are defined from now on. */
	set(values: { readonly [name in keyof typeof F]?: number | boolean }): void {
		for (const [name, value] of Object.entries(values)) {
			const mask = F[name as keyof typeof F];
			this.flags = value ? this.flags | mask : this.flags & ~mask;
			this.undefinedFlags &= ~mask;
		}
	}
	/** Sets SF, ZF and PF by a result. */
	setResult(result: bigint, bits: number): void {
		let ones = 0;
		for (let at = 0; at < 8; at++) ones += bit(result, at);
		this.set({ SF: bit(result, bits - 1), ZF: cut(result, bits) === 0n, PF: ones % 2 === 0 });
	}
	/** Leaves flags undefined. */
	leaveUndefined(mask: number): void {
		this.undefinedFlags |= mask;
	}
	/** Reads a flag. */
	flag(mask: number): boolean {
		if ((this.undefinedFlags & mask) !== 0) throw new Unpredictable("an undefined flag is read");
		return (this.flags & mask) !== 0;
	}
	/** A condition by its encoding (SDM Vol. 1, appendix B). */
	condition(code: number): boolean {
		const { CF, ZF, SF, OF, PF } = F;
		const less = () => this.flag(SF) !== this.flag(OF);
		const met = [
			() => this.flag(OF),
			() => this.flag(CF),
			() => this.flag(ZF),
			() => this.flag(CF) || this.flag(ZF),
			() => this.flag(SF),
			() => this.flag(PF),
			less,
			() => this.flag(ZF) || less(),
		][code >> 1]!();
		return (code & 1) === 0 ? met : !met;
	}

	// ---- registers -----------------------------------------------------------------------------------

	/** A register by encoding number and size in bytes. */
	get(index: number, bytes: number): bigint {
		return cut(this.regs[index]!, bytes * 8);
	}
	/** In 64-bit mode 4-byte writes clear the upper half; 1- and 2-byte writes keep the rest. */
	put(index: number, bytes: number, value: bigint): void {
		const bits = bytes * 8;
		if (bytes >= 4) this.regs[index] = cut(value, bits);
		else this.regs[index] = ((this.regs[index]! >> BigInt(bits)) << BigInt(bits)) | cut(value, bits);
	}
	private isHigh(register: Register): boolean {
		return register >= Register.AH && register <= Register.BH;
	}
	private indexOf(register: Register): number {
		if (this.isHigh(register)) return register - Register.AH;
		// AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8L …: those from SPL on are four late.
		if (register >= Register.SPL && register <= Register.R15L) return register - Register.SPL + 4;
		return RegisterExt.number(register);
	}
	/** A register by iced-x86 number. */
	register(register: Register): bigint {
		if (RegisterExt.isSegmentRegister(register)) return BigInt(this.selectors[register - Register.ES]!);
		const index = this.indexOf(register);
		if (this.isHigh(register)) return (this.regs[index]! >> 8n) & 0xffn;
		return this.get(index, RegisterExt.size(register));
	}
	setRegister(register: Register, value: bigint): void {
		const index = this.indexOf(register);
		if (this.isHigh(register)) this.regs[index] = (this.regs[index]! & ~0xff00n) | (cut(value, 8) << 8n);
		else this.put(index, RegisterExt.size(register), value);
	}

	// ---- operands ------------------------------------------------------------------------------------

	/** Size of an operand in bytes. */
	size(i: Instruction, at: number): number {
		const kind = i.opKind(at);
		switch (kind) {
			case OpKind.Register:
				return RegisterExt.size(i.opRegister(at));
			case OpKind.Immediate8:
			case OpKind.Immediate8_2nd:
				return 1;
			case OpKind.Immediate16:
			case OpKind.Immediate8to16:
				return 2;
			case OpKind.Immediate32:
			case OpKind.Immediate8to32:
				return 4;
			case OpKind.Immediate64:
			case OpKind.Immediate8to64:
			case OpKind.Immediate32to64:
				return 8;
			default:
				return MemorySizeExt.size(i.memorySize);
		}
	}
	/** Size of an operand in bits. */
	bits(i: Instruction, at: number): number {
		return this.size(i, at) * 8;
	}
	/** Address size in bytes of the memory operand. */
	addressBytes(i: Instruction): number {
		for (const register of [i.memoryBase, i.memoryIndex]) {
			if (register === Register.RIP) return 8;
			if (register === Register.EIP) return 4;
			if (register !== Register.None) return RegisterExt.size(register);
		}
		return i.memoryDisplSize > 1 ? i.memoryDisplSize : this.bitness / 8;
	}
	/** Offset of the memory operand in its segment. @param more added to the base register */
	effectiveAddress(i: Instruction, more = 0n): bigint {
		const base = i.memoryBase;
		const index = i.memoryIndex;
		let sum = i.memoryDisplacement + more;
		if (base !== Register.None && base !== Register.RIP && base !== Register.EIP) sum += this.register(base);
		if (index !== Register.None) sum += this.register(index) * BigInt(i.memoryIndexScale);
		return cut(sum, this.addressBytes(i) * 8);
	}
	/** Linear address of an offset in a segment: ES = 0 … GS = 5. */
	linearIn(segment: number, offset: bigint): bigint {
		if (this.bitness === 64) return segment >= 4 ? cut(offset + this.bases[segment]!, 64) : offset;
		return cut(offset + this.bases[segment]!, 32);
	}
	linear(i: Instruction, more = 0n): bigint {
		return this.linearIn(i.memorySegment - Register.ES, this.effectiveAddress(i, more));
	}
	/** Value of an operand, zero-extended from its size. */
	read(i: Instruction, at: number): bigint {
		const kind = i.opKind(at);
		if (kind === OpKind.Register) return this.register(i.opRegister(at));
		if (kind === OpKind.Memory) return this.memory.read(this.linear(i), this.size(i, at));
		return cut(i.immediate(at), this.bits(i, at));
	}
	write(i: Instruction, at: number, value: bigint): void {
		if (i.opKind(at) === OpKind.Register) this.setRegister(i.opRegister(at), value);
		else this.memory.write(this.linear(i), this.size(i, at), cut(value, this.bits(i, at)));
	}

	// ---- the stack (SS is 32-bit in 32-bit mode) -------------------------------------------------------

	private get stackBytes(): number {
		return this.bitness / 8;
	}
	stackLinear(offset: bigint): bigint {
		return this.linearIn(2, cut(this.regs[RSP]! + offset, this.stackBytes * 8));
	}
	moveStack(by: bigint): void {
		this.put(RSP, this.stackBytes, this.regs[RSP]! + by);
	}
	push(bytes: number, value: bigint): void {
		this.memory.write(this.stackLinear(BigInt(-bytes)), bytes, cut(value, bytes * 8));
		this.moveStack(BigInt(-bytes));
	}
	pop(bytes: number): bigint {
		const value = this.memory.read(this.stackLinear(0n), bytes);
		this.moveStack(BigInt(bytes));
		return value;
	}
}

/** Carries out one kind of instruction. RIP names the next one already. */
export type Operation = (r: Reference, i: Instruction) => void;
