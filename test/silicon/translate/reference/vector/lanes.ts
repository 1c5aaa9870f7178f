/** Vector operands of the reference, as bytes and as lanes, and the rules of encodings with and without VEX. */
import { Code, type Instruction, Mnemonic, OpKind, RegisterExt } from "iced-x86";
import { type Operation, type Reference, ReferenceFault } from "../state.ts";

const GP = 13;

/** Without VEX, 16-byte operands of all others have to be aligned (SDM Vol. 2, 2.4, exceptions type 4). */
const UNALIGNED = new Set<number>([
	Mnemonic.Movups,
	Mnemonic.Movupd,
	Mnemonic.Movdqu,
	Mnemonic.Lddqu,
	Mnemonic.Pcmpestri,
	Mnemonic.Pcmpestrm,
	Mnemonic.Pcmpistri,
	Mnemonic.Pcmpistrm,
]);
/** With VEX, only these (exceptions type 1). */
const ALIGNED_WITH_VEX = new Set<number>([
	Mnemonic.Vmovaps,
	Mnemonic.Vmovapd,
	Mnemonic.Vmovdqa,
	Mnemonic.Vmovntps,
	Mnemonic.Vmovntpd,
	Mnemonic.Vmovntdq,
	Mnemonic.Vmovntdqa,
]);

/** Whether an instruction is encoded with VEX. */
export function isVex(i: Instruction): boolean {
	return Code[i.code]!.startsWith("VEX");
}

function checkAlignment(r: Reference, i: Instruction, bytes: number): void {
	const wanted = isVex(i) ? ALIGNED_WITH_VEX.has(i.mnemonic) : bytes === 16 && !UNALIGNED.has(i.mnemonic);
	if (wanted && r.linear(i) % BigInt(bytes) !== 0n) throw new ReferenceFault(GP);
}

/** Number of the vector register that an operand is. */
export function numberOf(i: Instruction, at: number): number {
	return RegisterExt.number(i.opRegister(at));
}

/** Bytes of an operand: a vector register's, a general-purpose register's, or memory's. */
export function bytesOf(r: Reference, i: Instruction, at: number): Uint8Array {
	const size = r.size(i, at);
	if (i.opKind(at) === OpKind.Register && RegisterExt.isVectorRegister(i.opRegister(at))) {
		const first = numberOf(i, at) * 32;
		return r.vectors.slice(first, first + size);
	}
	if (i.opKind(at) === OpKind.Memory) checkAlignment(r, i, size);
	return fromNumber(r.read(i, at), size);
}

/** Writes an operand: a vector register by the encoding's rules, memory, or a general-purpose register. */
export function putBytes(r: Reference, i: Instruction, at: number, bytes: Uint8Array): void {
	if (i.opKind(at) === OpKind.Register && RegisterExt.isVectorRegister(i.opRegister(at))) {
		const first = numberOf(i, at) * 32;
		if (isVex(i)) r.vectors.fill(0, first, first + 32);
		r.vectors.set(bytes, first);
		return;
	}
	if (i.opKind(at) === OpKind.Memory) checkAlignment(r, i, bytes.length);
	r.write(i, at, toNumber(bytes));
}

/** Bytes of a number, the lowest first. */
export function fromNumber(value: bigint, size: number): Uint8Array {
	return Uint8Array.from({ length: size }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn));
}

/** The number that bytes make. */
export function toNumber(bytes: Uint8Array): bigint {
	let value = 0n;
	for (const byte of bytes.toReversed()) value = (value << 8n) | BigInt(byte);
	return value;
}

/** Lanes of a size in bytes, unsigned. */
export function split(bytes: Uint8Array, size: number): bigint[] {
	const lanes: bigint[] = [];
	for (let at = 0; at < bytes.length; at += size) lanes.push(toNumber(bytes.subarray(at, at + size)));
	return lanes;
}

/** Lanes of a size, signed. */
export function splitSigned(bytes: Uint8Array, size: number): bigint[] {
	return split(bytes, size).map((lane) => BigInt.asIntN(size * 8, lane));
}

/** Bytes of lanes, each cut to its size. */
export function join(lanes: readonly bigint[], size: number): Uint8Array {
	const bytes = new Uint8Array(lanes.length * size);
	for (const [at, lane] of lanes.entries())
		bytes.set(fromNumber(BigInt.asUintN(size * 8, lane), size), at * size);
	return bytes;
}

/** Numbers of the two source operands: the destination is the first without VEX. */
export function sourceNumbers(i: Instruction): [number, number] {
	return isVex(i) ? [1, 2] : [0, 1];
}

/** Both sources' bytes, of the destination's size. */
export function twoSources(r: Reference, i: Instruction): [Uint8Array, Uint8Array] {
	const [first, second] = sourceNumbers(i);
	// Memory faults come first, whichever operand it is.
	const b = bytesOf(r, i, second);
	return [bytesOf(r, i, first), b];
}

/** The immediate, which is the last operand. */
export function immediate(i: Instruction): number {
	return Number(i.immediate(i.opCount - 1) & 0xffn);
}

/** An operation that does the same to each 16 bytes of both sources. */
export function eachHalf(
	operation: (a: Uint8Array, b: Uint8Array, immediate: number, half: number) => Uint8Array,
): Operation {
	return (r, i) => {
		const [a, b] = twoSources(r, i);
		const control = i.opKind(i.opCount - 1) === OpKind.Immediate8 ? immediate(i) : 0;
		const out = new Uint8Array(a.length);
		for (let at = 0; at < a.length; at += 16) {
			out.set(operation(a.subarray(at, at + 16), b.subarray(at, at + 16), control, at / 16), at);
		}
		putBytes(r, i, 0, out);
	};
}

/** An operation of one source, operand 1, on each 16 bytes. */
export function eachHalfOfOne(operation: (a: Uint8Array, immediate: number) => Uint8Array): Operation {
	return (r, i) => {
		const a = bytesOf(r, i, 1);
		const control = i.opKind(i.opCount - 1) === OpKind.Immediate8 ? immediate(i) : 0;
		const out = new Uint8Array(a.length);
		for (let at = 0; at < a.length; at += 16) out.set(operation(a.subarray(at, at + 16), control), at);
		putBytes(r, i, 0, out);
	};
}

/** An operation lane by lane on both sources. */
export function packed(size: number, operation: (a: bigint, b: bigint) => bigint, signed = false): Operation {
	const cut = signed ? splitSigned : split;
	return eachHalf((a, b) => {
		const right = cut(b, size);
		return join(
			cut(a, size).map((lane, at) => operation(lane, right[at]!)),
			size,
		);
	});
}

/** The number of the mnemonic of a name, and of that with a V. */
export function named(rows: readonly (readonly [string, Operation])[]): [number, Operation][] {
	const out: [number, Operation][] = [];
	for (const [name, operation] of rows) {
		for (const text of [name, `v${name}`]) {
			const key = (text[0]!.toUpperCase() + text.slice(1)) as keyof typeof Mnemonic;
			if (Mnemonic[key] !== undefined) out.push([Mnemonic[key], operation]);
		}
	}
	return out;
}
