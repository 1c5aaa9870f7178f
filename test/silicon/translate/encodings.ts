/** Random instances of an encoding, assembled by iced-x86, with registers pinned so that memory operands hit the window. */
import {
	Code,
	CodeExt,
	Encoder,
	Instruction,
	Mnemonic,
	OpCodeOperandKind as K,
	OpKind,
	Register,
	RegisterExt,
} from "iced-x86";
import type { Random } from "./random.ts";

/** What is known of an encoding. */
export interface Encoding {
	readonly code: Code;
	readonly name: string;
	readonly mnemonic: Mnemonic;
	readonly operands: readonly K[];
	readonly bitnesses: readonly (32 | 64)[];
}

/**
 * All encodings of legacy and VEX instructions that iced-x86 knows, but for those of other makers' processors.
 * @param mmx with those that have MMX registers, which the reference interpreter does not know
 */
export function allEncodings(mmx = false): Encoding[] {
	const found: Encoding[] = [];
	for (const [name, code] of Object.entries(Code)) {
		if (
			typeof code !== "number" ||
			code === Code.INVALID ||
			/^(XOP|VEX_KNC|MVEX|EVEX|D3NOW|DeclareB|DeclareW|DeclareD|DeclareQ|Zero_bytes)/.test(name)
		)
			continue;
		const info = CodeExt.opCode(code);
		const operands: K[] = [];
		for (let at = 0; at < info.opCount; at++) operands.push(info.opKind(at));
		// Control, debug and test registers are the system side's.
		if (operands.some((kind) => kind === K.cr_reg || kind === K.dr_reg || kind === K.tr_reg)) continue;
		if (!mmx && operands.some((kind) => MMX.has(kind))) continue;
		const bitnesses = ([32, 64] as const).filter((bitness) => info.isAvailableInMode(bitness));
		found.push({ code, name, mnemonic: info.mnemonic, operands, bitnesses });
		info.free();
	}
	return found;
}

/** Operands that `Assembler` does not know: of AVX-512, MPX, AMX, TSX, XOP and MOVDIR64B, of strings, ports and branches. */
const NOT_MADE = /^(k_|bnd_|tmm|sibmem|xbegin|.mm_is5|r\d\d_reg_mem|es_rDI|seg_r|br\d|dx$)/;
/** The same: two immediates, of SSE4A. */
const TWO_IMMEDIATES = new Set<Code>([Code.Extrq_xmm_imm8_imm8, Code.Insertq_xmm_xmm_imm8_imm8]);

/** Whether `Assembler` knows the operands of an encoding. */
export function canBeMade({ code, operands }: Encoding): boolean {
	return !TWO_IMMEDIATES.has(code) && !operands.some((kind) => NOT_MADE.test(K[kind]!));
}

/** Where a random instruction may touch memory, and what it was assembled for. */
export interface Surroundings {
	readonly bitness: 32 | 64;
	readonly rip: bigint;
	/** Linear address that memory operands are to hit. */
	readonly target: bigint;
	/** Bases of ES CS SS DS FS GS. */
	readonly bases: readonly bigint[];
}

/** An assembled instruction. */
export interface Instance {
	readonly bytes: Uint8Array;
	readonly text: string;
	/** Register values that its memory operand needs. */
	readonly pinned: ReadonlyMap<number, bigint>;
	/** Registers that the operand's address is made of. */
	readonly addressing: ReadonlySet<number>;
	/** Register that holds a bit offset into memory, or -1. */
	readonly bitOffset: number;
	/** Vector register that holds small signed indices of a size in bytes. */
	readonly indices: { readonly register: number; readonly bytes: number } | null;
}

const BY_BYTES: Readonly<Record<number, Register>> = {
	1: Register.AL,
	2: Register.AX,
	4: Register.EAX,
	8: Register.RAX,
};

function randomRegister(random: Random, bytes: number, bitness: number): Register {
	const count = bytes === 1 ? (bitness === 64 ? 20 : 8) : bitness === 64 ? 16 : 8;
	return BY_BYTES[bytes]! + random.below(count);
}

const REGISTERS = new Map<K, number>([
	[K.r8_reg, 1],
	[K.r8_opcode, 1],
	[K.r16_reg, 2],
	[K.r16_opcode, 2],
	[K.r16_rm, 2],
	[K.r32_reg, 4],
	[K.r32_opcode, 4],
	[K.r32_rm, 4],
	[K.r32_vvvv, 4],
	[K.r64_reg, 8],
	[K.r64_opcode, 8],
	[K.r64_rm, 8],
	[K.r64_vvvv, 8],
]);
const EITHER = new Map<K, number>([
	[K.r8_or_mem, 1],
	[K.r16_or_mem, 2],
	[K.r32_or_mem, 4],
	[K.r64_or_mem, 8],
]);
const VECTORS = new Map<K, Register>([
	[K.xmm_reg, Register.XMM0],
	[K.xmm_rm, Register.XMM0],
	[K.xmm_vvvv, Register.XMM0],
	[K.xmm_is4, Register.XMM0],
	[K.ymm_reg, Register.YMM0],
	[K.ymm_rm, Register.YMM0],
	[K.ymm_vvvv, Register.YMM0],
	[K.ymm_is4, Register.YMM0],
]);
const VECTOR_OR_MEMORY = new Map<K, Register>([
	[K.xmm_or_mem, Register.XMM0],
	[K.ymm_or_mem, Register.YMM0],
]);
/** Memory operands with a vector of indices: its first register, and the bytes of an index. */
const VECTOR_MEMORY = new Map<K, readonly [Register, number]>([
	[K.mem_vsib32x, [Register.XMM0, 4]],
	[K.mem_vsib32y, [Register.YMM0, 4]],
	[K.mem_vsib64x, [Register.XMM0, 8]],
	[K.mem_vsib64y, [Register.YMM0, 8]],
]);
const MMX = new Set<K>([K.mm_reg, K.mm_rm, K.mm_or_mem]);
const FIXED = new Map<K, Register>([
	[K.al, Register.AL],
	[K.ax, Register.AX],
	[K.eax, Register.EAX],
	[K.rax, Register.RAX],
	[K.cl, Register.CL],
	[K.st0, Register.ST0],
	[K.es, Register.ES],
	[K.cs, Register.CS],
	[K.ss, Register.SS],
	[K.ds, Register.DS],
	[K.fs, Register.FS],
	[K.gs, Register.GS],
]);
const IMMEDIATES = new Map<K, [OpKind, number]>([
	[K.imm8, [OpKind.Immediate8, 8]],
	[K.imm16, [OpKind.Immediate16, 16]],
	[K.imm32, [OpKind.Immediate32, 32]],
	[K.imm64, [OpKind.Immediate64, 64]],
	[K.imm8sex16, [OpKind.Immediate8to16, 8]],
	[K.imm8sex32, [OpKind.Immediate8to32, 8]],
	[K.imm8sex64, [OpKind.Immediate8to64, 8]],
	[K.imm32sex64, [OpKind.Immediate32to64, 32]],
]);
const BIT_TESTS = new Set<number>([Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc]);

/** Makes random instances of encodings. */
export class Assembler {
	private readonly random: Random;
	private pinned = new Map<number, bigint>();
	private addressing = new Set<number>();
	private indices: Instance["indices"] = null;
	private surroundings!: Surroundings;

	constructor(random: Random) {
		this.random = random;
	}

	/** @returns an instance, or null if the random choice cannot be encoded (AH together with R8) */
	make(encoding: Encoding, surroundings: Surroundings): Instance | null {
		this.surroundings = surroundings;
		this.pinned = new Map();
		this.addressing = new Set();
		this.indices = null;
		const i = new Instruction();
		i.code = encoding.code;
		let hasMemory = false;
		for (const [at, kind] of encoding.operands.entries()) if (this.operand(i, at, kind)) hasMemory = true;
		let bitOffset = -1;
		if (hasMemory && BIT_TESTS.has(encoding.mnemonic) && i.opKind(1) === OpKind.Register) {
			bitOffset = RegisterExt.number(i.opRegister(1));
			if (this.addressing.has(bitOffset)) {
				i.free();
				return null;
			}
		}
		const encoder = new Encoder(surroundings.bitness);
		try {
			const length = encoder.encode(i, surroundings.rip);
			const bytes = encoder.takeBuffer().slice(0, length);
			const text = i.toString();
			return {
				bytes,
				text,
				pinned: this.pinned,
				addressing: this.addressing,
				bitOffset,
				indices: this.indices,
			};
		} catch {
			return null;
		} finally {
			encoder.free();
			i.free();
		}
	}

	/** @returns whether it is a memory operand */
	private operand(i: Instruction, at: number, kind: K): boolean {
		const { random } = this;
		const { bitness } = this.surroundings;
		const register = REGISTERS.get(kind) ?? (random.oneIn(2) ? EITHER.get(kind) : undefined);
		if (register !== undefined) {
			i.setOpKind(at, OpKind.Register);
			i.setOpRegister(at, randomRegister(random, register, bitness));
			return false;
		}
		const vector = VECTORS.get(kind) ?? (random.oneIn(2) ? VECTOR_OR_MEMORY.get(kind) : undefined);
		if (vector !== undefined) {
			i.setOpKind(at, OpKind.Register);
			// Few, so that operands are often the same.
			i.setOpRegister(at, vector + random.below(bitness === 64 ? random.pick([3, 16]) : 8));
			return false;
		}
		if (MMX.has(kind) && (kind !== K.mm_or_mem || random.oneIn(2))) {
			i.setOpKind(at, OpKind.Register);
			i.setOpRegister(at, Register.MM0 + random.below(8));
			return false;
		}
		const fixed = FIXED.get(kind);
		if (fixed !== undefined || kind === K.seg_reg) {
			i.setOpKind(at, OpKind.Register);
			i.setOpRegister(at, fixed ?? Register.ES + random.below(6));
			return false;
		}
		if (kind === K.sti_opcode) {
			i.setOpKind(at, OpKind.Register);
			i.setOpRegister(at, Register.ST0 + random.below(8));
			return false;
		}
		const immediate = IMMEDIATES.get(kind);
		if (immediate !== undefined) {
			const second = at > 0 && i.opKind(at - 1) === OpKind.Immediate16;
			i.setOpKind(at, second ? OpKind.Immediate8_2nd : immediate[0]);
			i.setImmediateI64(at, BigInt.asIntN(immediate[1], random.value()));
			return false;
		}
		if (kind === K.imm8_const_1) {
			i.setOpKind(at, OpKind.Immediate8);
			i.setImmediateI32(at, 1);
			return false;
		}
		const gathered = VECTOR_MEMORY.get(kind);
		if (kind === K.seg_rDI) {
			i.setOpKind(at, bitness === 64 ? OpKind.MemorySegRDI : OpKind.MemorySegEDI);
			this.pin(7, bitness / 8, this.offset(i, false));
			return true;
		}
		i.setOpKind(at, OpKind.Memory);
		if (gathered !== undefined) this.gathered(i, ...gathered);
		else if (kind === K.seg_rBX_al) this.xlat(i);
		else if (kind === K.mem_offs) this.absolute(i, random.oneIn(3) ? bitness / 16 : bitness / 8);
		else if (
			kind === K.mem ||
			kind === K.mem_mib ||
			EITHER.has(kind) ||
			VECTOR_OR_MEMORY.has(kind) ||
			MMX.has(kind)
		)
			this.memory(i);
		else throw new Error(`no instance of an operand of kind ${K[kind]}`);
		return true;
	}

	/** Picks a segment and gives the effective address that hits the target through it. */
	private offset(i: Instruction, stackByDefault: boolean): bigint {
		const { bitness, bases, target } = this.surroundings;
		let segment = stackByDefault ? 2 : 3;
		if (this.random.oneIn(4)) {
			// Not CS, through which nothing can be written.
			segment = bitness === 64 ? 4 + this.random.below(2) : [0, 2, 3, 4, 5][this.random.below(5)]!;
			i.segmentPrefix = Register.ES + segment;
		}
		const base = bitness === 64 && segment < 4 ? 0n : bases[segment]!;
		return BigInt.asUintN(bitness, target - base);
	}

	/** Bits above an address size are random: they must not matter. */
	private pin(index: number, bytes: number, value: bigint): void {
		const bits = BigInt(bytes * 8);
		const above = this.surroundings.bitness === 64 ? (this.random.bits64() >> bits) << bits : 0n;
		this.pinned.set(index, BigInt.asUintN(64, above | BigInt.asUintN(bytes * 8, value)));
		this.addressing.add(index);
	}

	private xlat(i: Instruction): void {
		const bytes = this.surroundings.bitness / 8;
		i.memoryBase = bytes === 8 ? Register.RBX : Register.EBX;
		i.memoryIndex = Register.AL;
		this.pin(3, bytes, this.offset(i, false));
	}

	private absolute(i: Instruction, addressBytes: number): void {
		const offset = this.offset(i, false);
		i.memoryDisplSize = addressBytes;
		i.memoryDisplacement = BigInt.asUintN(addressBytes * 8, offset);
	}

	private memory(i: Instruction): void {
		const { random } = this;
		const { bitness } = this.surroundings;
		const bytes = random.oneIn(4) ? bitness / 16 : bitness / 8;
		if (bytes === 2) {
			this.memory16(i);
			return;
		}
		const form = random.below(6);
		const first = bytes === 8 ? Register.RAX : Register.EAX;
		const count = bitness === 64 ? 16 : 8;
		if (form === 0) {
			if (bitness === 64 && random.oneIn(2)) {
				i.memoryBase = bytes === 8 ? Register.RIP : Register.EIP;
				i.memoryDisplSize = bytes;
				i.memoryDisplacement = BigInt.asUintN(bytes * 8, this.offset(i, false));
			} else this.absolute(i, bytes);
			return;
		}
		const base = form === 5 ? -1 : random.below(count);
		let index = form >= 4 ? random.below(count) : -1;
		// RSP is no index; base and index differ, so that both can be pinned.
		if (index === 4 || index === base) index = -1;
		if (base < 0 && index < 0) {
			this.absolute(i, bytes);
			return;
		}
		const scale = index < 0 ? 1 : random.pick([1, 2, 4, 8]);
		const offset = this.offset(i, base === 4 || base === 5);
		const displacement = form === 1 && base >= 0 ? 0n : BigInt.asIntN(random.pick([8, 32]), random.value());
		i.memoryDisplSize = displacement === 0n && base >= 0 ? 0 : bytes;
		i.memoryDisplacement = BigInt.asUintN(bytes * 8, displacement);
		let rest = offset - displacement;
		if (index >= 0) {
			i.memoryIndex = first + index;
			i.memoryIndexScale = scale;
			if (base < 0) {
				// The displacement takes what the scale cannot reach.
				const whole = (offset / BigInt(scale)) * BigInt(scale);
				i.memoryDisplacement = offset - whole;
				this.pin(index, bytes, whole / BigInt(scale));
				return;
			}
			const value = random.value();
			this.pin(index, bytes, value);
			rest -= value * BigInt(scale);
		}
		i.memoryBase = first + base;
		this.pin(base, bytes, rest);
	}

	/** A base register, and a vector of indices. */
	private gathered(i: Instruction, first: Register, indexBytes: number): void {
		const { random } = this;
		const { bitness } = this.surroundings;
		const bytes = bitness === 64 && random.oneIn(4) ? 4 : bitness / 8;
		const count = bitness === 64 ? 16 : 8;
		const base = random.below(count);
		const register = random.below(count);
		i.memoryBase = (bytes === 8 ? Register.RAX : Register.EAX) + base;
		i.memoryIndex = first + register;
		i.memoryIndexScale = random.pick([1, 2, 4, 8]);
		const displacement = BigInt.asIntN(8, random.value());
		i.memoryDisplSize = bytes;
		i.memoryDisplacement = BigInt.asUintN(bytes * 8, displacement);
		this.pin(base, bytes, this.offset(i, base === 4 || base === 5) - displacement);
		this.indices = { register, bytes: indexBytes };
	}

	/** The eight forms of 16-bit addressing. */
	private memory16(i: Instruction): void {
		const { random } = this;
		const [base, index] = random.pick([
			[3, 6],
			[3, 7],
			[5, 6],
			[5, 7],
			[6, -1],
			[7, -1],
			[5, -1],
			[3, -1],
		] as const);
		const offset = this.offset(i, base === 5);
		const displacement = BigInt.asIntN(16, random.value());
		i.memoryBase = Register.AX + base;
		i.memoryDisplSize = 2;
		i.memoryDisplacement = BigInt.asUintN(16, displacement);
		let rest = offset - displacement;
		if (index >= 0) {
			const value = random.value() & 0xffffn;
			i.memoryIndex = Register.AX + index;
			this.pin(index, 2, value);
			rest -= value;
		}
		this.pin(base, 2, rest);
	}
}
