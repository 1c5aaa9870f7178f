/**
 * The one place that uses iced-x86. Instructions become plain objects and iced's own are freed or reused, since
 * they lie in the decoder's WebAssembly memory, which no garbage collector frees.
 */
import { Code, CodeExt, CpuidFeature, Decoder, DecoderError, EncodingKind } from "iced-x86";
import {
	Formatter,
	FormatterSyntax,
	Instruction,
	MemorySizeExt,
	Mnemonic,
	OpKind,
	Register,
	RegisterExt,
} from "iced-x86";
import * as L from "../cpu/layout.ts";
import type { Insn, Operand } from "./insn.ts";

export { Code, Mnemonic, Register };

/** Width of the code's default operands and addresses in bits. */
export type Bitness = 16 | 32 | 64;

const encodings: string[] = [];
/** How an encoding is encoded: "Legacy", "VEX", "EVEX" … @param code iced-x86 `Code` */
export function encodingOf(code: number): string {
	if (encodings[code] === undefined) {
		const info = CodeExt.opCode(code);
		encodings[code] = EncodingKind[info.encoding]!;
		info.free();
	}
	return encodings[code]!;
}

const features: string[][] = [];
/** The CPUID features that an encoding needs, as iced-x86 names them. @param code iced-x86 `Code` */
export function featuresOf(code: number): readonly string[] {
	if (features[code] === undefined) {
		const instruction = new Instruction();
		instruction.code = code;
		features[code] = Array.from(instruction.cpuidFeatures(), (feature) => CpuidFeature[feature]!);
		instruction.free();
	}
	return features[code]!;
}

/** Which encodings a processor has: what it lacks decodes as invalid. Told by iced-x86 `Code`. */
export type HasEncoding = (code: number) => boolean;

const hasAll: HasEncoding = () => true;

/** Whether an encoding is VEX. @param code iced-x86 `Code` */
export function isVex(code: number): boolean {
	return encodingOf(code) === "VEX";
}

/** The operands of an encoding as iced-x86 names them: "xmm", "xmmm128", "imm8" … @param code iced-x86 `Code` */
export function operandNames(code: number): string[] {
	const prefixed = encodingOf(code) === "Legacy" ? 1 : 2;
	return Code[code]!.split("_").slice(prefixed);
}

/** Whether a JMP or CALL is far. */
export function isFar([operand]: readonly Operand[], code: number): boolean {
	if (operand!.kind === "far") return true;
	// A near indirect branch through 16 bits of memory reads 2 bytes; a far one 4, 6 or 10.
	return operand!.kind === "memory" && operand!.bytes !== 2 && Code[code]!.includes("_m16");
}

const registerBytes: number[] = [];
function bytesOfRegister(register: number): number {
	registerBytes[register] ??= RegisterExt.size(register);
	return registerBytes[register]!;
}
const memoryBytes: number[] = [];
function bytesOfMemory(size: number): number {
	memoryBytes[size] ??= MemorySizeExt.size(size);
	return memoryBytes[size]!;
}

function immediateBytes(kind: number): number {
	switch (kind) {
		case OpKind.Immediate8:
		case OpKind.Immediate8_2nd:
			return 1;
		case OpKind.Immediate16:
		case OpKind.Immediate8to16:
			return 2;
		case OpKind.Immediate32:
		case OpKind.Immediate8to32:
			return 4;
		default:
			return 8;
	}
}

function operand(from: Instruction, at: number): Operand {
	const kind = from.opKind(at);
	if (kind === OpKind.Register) {
		const register = from.opRegister(at);
		return { kind: "register", register, bytes: bytesOfRegister(register) };
	}
	if (kind <= OpKind.NearBranch64) return { kind: "near", target: from.nearBranchTarget };
	if (kind === OpKind.FarBranch16 || kind === OpKind.FarBranch32) {
		const offset = kind === OpKind.FarBranch16 ? from.farBranch16 : from.farBranch32;
		return { kind: "far", selector: from.farBranchSelector, offset: BigInt(offset) };
	}
	if (kind <= OpKind.Immediate32to64) {
		return { kind: "immediate", value: from.immediate(at), bytes: immediateBytes(kind) };
	}
	return { kind: "memory", bytes: bytesOfMemory(from.memorySize) };
}

function stringAddressBytes(kind: number): number {
	switch (kind) {
		case OpKind.MemorySegSI:
		case OpKind.MemorySegDI:
		case OpKind.MemoryESDI:
			return 2;
		case OpKind.MemorySegESI:
		case OpKind.MemorySegEDI:
		case OpKind.MemoryESEDI:
			return 4;
		default:
			return 8;
	}
}

/** LOOP and JCXZ name their counter in the encoding only. */
function counterBytes(code: number, fallback: number): number {
	const name = Code[code]!;
	if (name.endsWith("_RCX") || name.startsWith("Jrcxz")) return 8;
	if (name.endsWith("_ECX") || name.startsWith("Jecxz")) return 4;
	if (name.endsWith("_CX") || name.startsWith("Jcxz")) return 2;
	return fallback;
}

const STACK_BY_INCREMENT = new Set<number>([
	Mnemonic.Push,
	Mnemonic.Pop,
	Mnemonic.Pushf,
	Mnemonic.Pushfd,
	Mnemonic.Pushfq,
	Mnemonic.Popf,
	Mnemonic.Popfd,
	Mnemonic.Popfq,
	Mnemonic.Call,
]);

function operandBytes(from: Instruction, operands: readonly Operand[], bitness: Bitness): number {
	const mnemonic = from.mnemonic;
	if (STACK_BY_INCREMENT.has(mnemonic)) return Math.abs(from.stackPointerIncrement);
	if (mnemonic === Mnemonic.Ret) {
		const first = operands[0];
		return from.stackPointerIncrement - (first?.kind === "immediate" ? Number(first.value) : 0);
	}
	if (mnemonic === Mnemonic.Pushad || mnemonic === Mnemonic.Popad) return 4;
	if (mnemonic === Mnemonic.Pusha || mnemonic === Mnemonic.Popa) return 2;
	if (mnemonic === Mnemonic.Leave || mnemonic === Mnemonic.Enter) {
		const name = Code[from.code]!;
		return name.startsWith("Leavew") || name.startsWith("Enterw") ? 2 : bitness === 64 ? 8 : 4;
	}
	for (const entry of operands) {
		if (entry.kind === "register" || entry.kind === "memory") return entry.bytes;
	}
	return bitness === 16 ? 2 : 4;
}

const INDIRECT = new Set<number>([Mnemonic.Jmp, Mnemonic.Call]);
const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** What FOP holds for the instruction at an offset of its code bytes: 0 unless it is an x87 one, whose escapes are D8 to DF. */
function x87OpcodeAt(bytes: Uint8Array, offset: number, bitness: Bitness): number {
	let at = offset;
	while (PREFIXES.has(bytes[at]!) || (bitness === 64 && (bytes[at]! & 0xf0) === 0x40)) at++;
	const opcode = bytes[at]!;
	return (opcode & 0xf8) === 0xd8 ? ((opcode & 7) << 8) | bytes[at + 1]! : 0;
}

/** An instruction that the processor does not have. */
function invalid(from: Instruction, bitness: Bitness): Insn {
	return {
		rip: from.ip,
		length: from.length,
		code: Code.INVALID,
		mnemonic: Mnemonic.INVALID,
		operands: [],
		operandBytes: 4,
		addressBytes: bitness / 8,
		base: 0,
		index: 0,
		scale: 1,
		displacement: 0n,
		segment: L.DS,
		lock: false,
		rep: false,
		repne: false,
		noTrack: false,
		flagsRead: 0,
		flagsWritten: 0,
		flagsUndefined: 0,
		bitness,
		x87Opcode: 0,
	};
}

/** Copies an iced instruction. @param bytes the code it lies in, at `offset` */
function plain(from: Instruction, bitness: Bitness, bytes: Uint8Array, offset: number): Insn {
	const operands: Operand[] = [];
	let addressBytes = 0;
	let hasMemory = false;
	let plainMemory = false;
	const count = from.opCount;
	for (let at = 0; at < count; at++) {
		const entry = operand(from, at);
		operands.push(entry);
		if (entry.kind !== "memory") continue;
		hasMemory = true;
		const kind = from.opKind(at);
		if (kind === OpKind.Memory) plainMemory = true;
		else addressBytes = stringAddressBytes(kind);
	}
	let base = 0;
	let index = 0;
	let scale = 1;
	let displacement = 0n;
	if (plainMemory) {
		base = from.memoryBase;
		index = from.memoryIndex;
		scale = from.memoryIndexScale;
		displacement = from.memoryDisplacement;
		addressBytes = base !== 0 ? bytesOfRegister(base) : index !== 0 ? bytesOfRegister(index) : 0;
		// A gather's index is a vector.
		if (addressBytes > 8) addressBytes = 0;
		if (addressBytes === 0) {
			const displacementBytes = from.memoryDisplSize;
			addressBytes = bitness === 64 ? (displacementBytes === 4 ? 4 : 8) : displacementBytes;
		}
		// RIP-relative displacements are absolute already.
		if (base === Register.RIP || base === Register.EIP) base = 0;
		displacement = BigInt.asIntN(addressBytes * 8, displacement);
	}
	if (addressBytes === 0) addressBytes = counterBytes(from.code, bitness / 8);
	return {
		rip: from.ip,
		length: from.length,
		code: from.code,
		mnemonic: from.mnemonic,
		operands,
		operandBytes: operandBytes(from, operands, bitness),
		addressBytes,
		base,
		index,
		scale,
		displacement,
		segment: hasMemory ? from.memorySegment - Register.ES : L.DS,
		lock: from.hasLockPrefix,
		rep: from.hasRepPrefix,
		repne: from.hasRepnePrefix,
		noTrack: INDIRECT.has(from.mnemonic) && from.segmentPrefix === Register.DS,
		flagsRead: from.rflagsRead,
		flagsWritten: from.rflagsModified & ~from.rflagsUndefined,
		// MOV to and from control and debug registers: the SDM leaves them open, processors leave them alone (APM Vol. 2).
		flagsUndefined: from.mnemonic === Mnemonic.Mov ? 0 : from.rflagsUndefined,
		bitness,
		x87Opcode: x87OpcodeAt(bytes, offset, bitness),
	};
}

/** Decodes instructions from a run of bytes, in any order. Free it after use. */
export class RunDecoder {
	private readonly decoder: Decoder;
	private readonly instruction = new Instruction();
	private readonly bytes: Uint8Array;
	private readonly rip: bigint;
	private readonly bitness: Bitness;
	private readonly has: HasEncoding;

	/** @param bytes code @param rip offset in CS of the first byte @param bitness of the code segment */
	constructor(bytes: Uint8Array, rip: bigint, bitness: Bitness, has: HasEncoding = hasAll) {
		this.has = has;
		this.decoder = new Decoder(bitness, bytes, 0);
		this.bytes = bytes;
		this.rip = rip;
		this.bitness = bitness;
	}
	/**
	 * Decodes the instruction at a byte offset.
	 * @returns it, or null if the bytes end within it
	 */
	at(offset: number): Insn | null {
		this.decoder.position = offset;
		this.decoder.ip = this.rip + BigInt(offset);
		this.decoder.decodeOut(this.instruction);
		if (this.decoder.lastError === DecoderError.NoMoreBytes) return null;
		if (!this.has(this.instruction.code)) return invalid(this.instruction, this.bitness);
		return plain(this.instruction, this.bitness, this.bytes, offset);
	}
	/** Gives the decoder's memory back. */
	free(): void {
		this.instruction.free();
		this.decoder.free();
	}
}

/**
 * Decodes one instruction. An invalid one has mnemonic `Mnemonic.INVALID`.
 * @param bytes at least the instruction's bytes, at most 15 are used
 * @param rip offset in CS at which it lies
 */
export function decode(bytes: Uint8Array, rip: bigint, bitness: Bitness, has: HasEncoding = hasAll): Insn {
	const decoder = new Decoder(bitness, bytes, 0);
	decoder.ip = rip;
	const instruction = decoder.decode();
	const insn = has(instruction.code) ? plain(instruction, bitness, bytes, 0) : invalid(instruction, bitness);
	instruction.free();
	decoder.free();
	return insn;
}

let formatter: Formatter | null = null;

/**
 * An instruction as text, in the manuals' syntax.
 * @param bytes at least the instruction's bytes
 * @param rip offset in CS at which it lies
 */
export function disassemble(bytes: Uint8Array, rip: bigint, bitness: Bitness): string {
	formatter ??= new Formatter(FormatterSyntax.Intel);
	const decoder = new Decoder(bitness, bytes, 0);
	decoder.ip = rip;
	const instruction = decoder.decode();
	const text = formatter.format(instruction);
	instruction.free();
	decoder.free();
	return text;
}
