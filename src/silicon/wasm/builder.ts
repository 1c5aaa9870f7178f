/**
 * A small WebAssembly encoder. Translation is on the hot path of first execution, so code is appended as
 * bytes at once, without an intermediate tree.
 *
 *     const code = new Code();
 *     code.get(0);
 *     code.i32(1);
 *     code.op(OPCODE.i32Add);
 */

import { SIMD } from "./simd.ts";

/** Value types, and the type of a block without a result. */
export const TYPE = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b, empty: 0x40 } as const;
/** Type of a local, parameter or result. */
export type ValueType = 0x7f | 0x7e | 0x7d | 0x7c | 0x7b;

/** Opcodes that are used here. */
// biome-ignore format: opcodes in the order of the specification's tables
export const OPCODE = {
	unreachable: 0x00, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d,
	return: 0x0f, call: 0x10, callIndirect: 0x11, drop: 0x1a, select: 0x1b,
	localGet: 0x20, localSet: 0x21, localTee: 0x22, globalGet: 0x23, globalSet: 0x24,
	i32Load: 0x28, i64Load: 0x29, f32Load: 0x2a, f64Load: 0x2b, i32Load8U: 0x2d, i32Load16U: 0x2f,
	i64Load8U: 0x31, i64Load16U: 0x33, i64Load32U: 0x35,
	i32Store: 0x36, i64Store: 0x37, f32Store: 0x38, f64Store: 0x39, i32Store8: 0x3a, i32Store16: 0x3b,
	i32Const: 0x41, i64Const: 0x42, f32Const: 0x43, f64Const: 0x44,
	i32Eqz: 0x45, i32Eq: 0x46, i32Ne: 0x47, i32LtS: 0x48, i32LtU: 0x49, i32GtS: 0x4a, i32GtU: 0x4b,
	i32LeS: 0x4c, i32LeU: 0x4d, i32GeS: 0x4e, i32GeU: 0x4f,
	i64Eqz: 0x50, i64Eq: 0x51, i64Ne: 0x52, i64LtS: 0x53, i64LtU: 0x54, i64GtS: 0x55, i64GtU: 0x56,
	i64LeS: 0x57, i64LeU: 0x58, i64GeS: 0x59, i64GeU: 0x5a,
	f32Eq: 0x5b, f32Ne: 0x5c, f32Lt: 0x5d, f32Gt: 0x5e, f32Le: 0x5f, f32Ge: 0x60,
	f64Eq: 0x61, f64Ne: 0x62, f64Lt: 0x63, f64Gt: 0x64, f64Le: 0x65, f64Ge: 0x66,
	i32Clz: 0x67, i32Ctz: 0x68, i32Popcnt: 0x69, i32Add: 0x6a, i32Sub: 0x6b, i32Mul: 0x6c, i32DivS: 0x6d,
	i32DivU: 0x6e, i32RemS: 0x6f, i32RemU: 0x70, i32And: 0x71, i32Or: 0x72, i32Xor: 0x73, i32Shl: 0x74,
	i32ShrS: 0x75, i32ShrU: 0x76, i32Rotl: 0x77, i32Rotr: 0x78,
	i64Clz: 0x79, i64Ctz: 0x7a, i64Popcnt: 0x7b, i64Add: 0x7c, i64Sub: 0x7d, i64Mul: 0x7e, i64DivS: 0x7f,
	i64DivU: 0x80, i64RemS: 0x81, i64RemU: 0x82, i64And: 0x83, i64Or: 0x84, i64Xor: 0x85, i64Shl: 0x86,
	i64ShrS: 0x87, i64ShrU: 0x88, i64Rotl: 0x89, i64Rotr: 0x8a,
	f32Abs: 0x8b, f32Ceil: 0x8d, f32Floor: 0x8e, f32Trunc: 0x8f, f32Nearest: 0x90, f32Sqrt: 0x91, f32Add: 0x92,
	f32Sub: 0x93, f32Mul: 0x94, f32Div: 0x95,
	f64Abs: 0x99, f64Ceil: 0x9b, f64Floor: 0x9c, f64Trunc: 0x9d, f64Nearest: 0x9e, f64Sqrt: 0x9f, f64Add: 0xa0,
	f64Sub: 0xa1, f64Mul: 0xa2, f64Div: 0xa3, f64Min: 0xa4, i32WrapI64: 0xa7, i64TruncF64S: 0xb0,
	i64ExtendI32S: 0xac, i64ExtendI32U: 0xad, f32ConvertI32S: 0xb2, f32ConvertI64S: 0xb4, f32DemoteF64: 0xb6,
	f64ConvertI32S: 0xb7, f64ConvertI32U: 0xb8, f64ConvertI64S: 0xb9, f64PromoteF32: 0xbb, i32ReinterpretF32: 0xbc,
	i64ReinterpretF64: 0xbd, f32ReinterpretI32: 0xbe, f64ReinterpretI64: 0xbf, i32Extend8S: 0xc0, i32Extend16S: 0xc1, i64Extend8S: 0xc2, i64Extend16S: 0xc3,
	i64Extend32S: 0xc4,
} as const;

const doubleBytes = new Uint8Array(8);
const doubleView = new DataView(doubleBytes.buffer);
const vectorBytes = new Uint8Array(16);
const vectorView = new DataView(vectorBytes.buffer);

/** Bytes of code, growing as they are appended. Labels are depths, converted to relative ones by `br`. */
export class Code {
	bytes = new Uint8Array(512);
	length = 0;
	/** Number of blocks open now. */
	depth = 0;

	private reserve(count: number): void {
		if (this.length + count <= this.bytes.length) return;
		const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count));
		grown.set(this.bytes.subarray(0, this.length));
		this.bytes = grown;
	}
	/** Appends one byte: an opcode without immediates. */
	op(byte: number): void {
		if (this.length === this.bytes.length) this.reserve(1);
		this.bytes[this.length++] = byte;
	}
	/** Appends raw bytes. */
	raw(bytes: ArrayLike<number>): void {
		this.reserve(bytes.length);
		this.bytes.set(bytes, this.length);
		this.length += bytes.length;
	}
	/** Appends what another Code holds. */
	append(other: Code): void {
		this.raw(other.bytes.subarray(0, other.length));
	}
	/** Unsigned LEB128 of a number below 2^32. */
	unsigned(value: number): void {
		let rest = value >>> 0;
		while (rest > 0x7f) {
			this.op((rest & 0x7f) | 0x80);
			rest >>>= 7;
		}
		this.op(rest);
	}
	/** Signed LEB128 of a 32-bit number. */
	signed(value: number): void {
		let rest = value | 0;
		while (rest < -64 || rest > 63) {
			this.op((rest & 0x7f) | 0x80);
			rest >>= 7;
		}
		this.op(rest & 0x7f);
	}
	private signedBig(value: bigint): void {
		let rest = BigInt.asIntN(64, value);
		while (rest < -64n || rest > 63n) {
			this.op(Number(rest & 0x7fn) | 0x80);
			rest >>= 7n;
		}
		this.op(Number(rest & 0x7fn));
	}
	/** A name: length and UTF-8 bytes; names here are ASCII. */
	name(text: string): void {
		this.unsigned(text.length);
		for (let at = 0; at < text.length; at++) this.op(text.charCodeAt(at));
	}
	/** Pushes a constant, taken modulo 2^32. */
	i32(value: number): void {
		this.op(OPCODE.i32Const);
		this.signed(value);
	}
	/** Pushes a constant, taken modulo 2^64. */
	i64(value: number | bigint): void {
		this.op(OPCODE.i64Const);
		if (typeof value === "number" && value === (value | 0)) this.signed(value);
		else this.signedBig(BigInt(value));
	}
	/** Pushes a constant. */
	f64(value: number): void {
		this.op(OPCODE.f64Const);
		doubleView.setFloat64(0, value, true);
		this.raw(doubleBytes);
	}
	/** Appends an opcode of the prefix FCH: conversions to integers that saturate. */
	saturating(opcode: number): void {
		this.op(0xfc);
		this.op(opcode);
	}
	/** Appends a vector opcode without immediates. @param opcode of SIMD */
	simd(opcode: number): void {
		this.op(0xfd);
		this.unsigned(opcode);
	}
	/** A vector opcode with a lane as its immediate: extract_lane and replace_lane. */
	simdLane(opcode: number, lane: number): void {
		this.simd(opcode);
		this.op(lane);
	}
	/** A vector load or store, with alignment hint 0. @param offset in bytes */
	simdAccess(opcode: number, offset: number): void {
		this.simd(opcode);
		this.op(0);
		this.unsigned(offset);
	}
	/** Pushes a vector constant. @param low and @param high its 64-bit halves */
	v128(low: bigint, high: bigint): void {
		this.simd(SIMD.v128Const);
		vectorView.setBigUint64(0, low, true);
		vectorView.setBigUint64(8, high, true);
		this.raw(vectorBytes);
	}
	/** Pops two vectors, pushes bytes picked from them. @param lanes 16 numbers: 0-15 of the first, 16-31 of the second */
	shuffle(lanes: ArrayLike<number>): void {
		this.simd(SIMD.i8x16Shuffle);
		this.raw(lanes);
	}
	/** Pushes a local. */
	get(local: number): void {
		this.op(OPCODE.localGet);
		this.unsigned(local);
	}
	/** Pops into a local. */
	set(local: number): void {
		this.op(OPCODE.localSet);
		this.unsigned(local);
	}
	/** Copies the top of the stack into a local. */
	tee(local: number): void {
		this.op(OPCODE.localTee);
		this.unsigned(local);
	}
	/** A load or store, with natural-alignment hint 0. @param opcode of the access @param offset in bytes */
	access(opcode: number, offset: number): void {
		this.op(opcode);
		this.op(0);
		this.unsigned(offset);
	}
	/** Calls a function by index: imports first. */
	call(index: number): void {
		this.op(OPCODE.call);
		this.unsigned(index);
	}
	/** Opens a block. @returns its label */
	block(type: number = TYPE.empty): number {
		this.op(OPCODE.block);
		this.op(type);
		return ++this.depth;
	}
	/** Opens a loop. @returns its label */
	loop(): number {
		this.op(OPCODE.loop);
		this.op(TYPE.empty);
		return ++this.depth;
	}
	/** Opens an if on the i32 on the stack. @returns its label */
	if(type: number = TYPE.empty): number {
		this.op(OPCODE.if);
		this.op(type);
		return ++this.depth;
	}
	/** The other arm of the innermost if. */
	else(): void {
		this.op(OPCODE.else);
	}
	/** Closes the innermost block, loop or if. */
	end(): void {
		this.op(OPCODE.end);
		this.depth--;
	}
	/** Branches to a label: behind a block or if, to the start of a loop. */
	br(label: number): void {
		this.op(OPCODE.br);
		this.unsigned(this.depth - label);
	}
	/** The same if the i32 on the stack is not 0. */
	brIf(label: number): void {
		this.op(OPCODE.brIf);
		this.unsigned(this.depth - label);
	}
}

/** Parameters and results of a function. */
export interface Signature {
	readonly parameters: readonly ValueType[];
	readonly results: readonly ValueType[];
}

/** An import of a module. */
export type Import =
	| { readonly kind: "function"; readonly name: string; readonly type: number }
	| { readonly kind: "memory"; readonly name: string }
	| { readonly kind: "table"; readonly name: string };

/** A function to be encoded: its locals by type, in order, and its body without the final `end`. */
export interface FunctionBody {
	readonly type: number;
	readonly locals: readonly ValueType[];
	readonly parts: readonly Code[];
	readonly exportName?: string;
}

/** What a module is made of. */
export interface ModuleParts {
	readonly types: readonly Signature[];
	/** All from the import module `m`. */
	readonly imports: readonly Import[];
	/** Initial values of mutable i32 globals. */
	readonly globals: readonly number[];
	readonly functions: readonly FunctionBody[];
}

function section(out: Code, id: number, body: Code): void {
	out.op(id);
	out.unsigned(body.length);
	out.append(body);
}

function importSection(imports: readonly Import[]): Code {
	const body = new Code();
	body.unsigned(imports.length);
	for (const entry of imports) {
		body.name("m");
		body.name(entry.name);
		if (entry.kind === "function") {
			body.op(0);
			body.unsigned(entry.type);
		} else if (entry.kind === "table") {
			body.raw([1, 0x70, 0, 0]);
		} else {
			body.raw([2, 0, 0]);
		}
	}
	return body;
}

function functionBytes(fn: FunctionBody): Code {
	const body = new Code();
	const runs: [number, ValueType][] = [];
	for (const type of fn.locals) {
		const last = runs.at(-1);
		if (last !== undefined && last[1] === type) last[0]++;
		else runs.push([1, type]);
	}
	body.unsigned(runs.length);
	for (const [count, type] of runs) {
		body.unsigned(count);
		body.op(type);
	}
	for (const part of fn.parts) body.append(part);
	body.op(OPCODE.end);
	return body;
}

/** Encodes a module. @returns its bytes */
export function encodeModule(parts: ModuleParts): Uint8Array<ArrayBuffer> {
	const out = new Code();
	out.raw([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
	const types = new Code();
	types.unsigned(parts.types.length);
	for (const type of parts.types) {
		types.op(0x60);
		types.unsigned(type.parameters.length);
		types.raw(type.parameters);
		types.unsigned(type.results.length);
		types.raw(type.results);
	}
	section(out, 1, types);
	section(out, 2, importSection(parts.imports));
	const declared = new Code();
	const exported = new Code();
	const bodies = new Code();
	let exportCount = 0;
	const firstFunction = parts.imports.filter((entry) => entry.kind === "function").length;
	declared.unsigned(parts.functions.length);
	bodies.unsigned(parts.functions.length);
	for (const [at, fn] of parts.functions.entries()) {
		declared.unsigned(fn.type);
		if (fn.exportName !== undefined) {
			exportCount++;
			exported.name(fn.exportName);
			exported.op(0);
			exported.unsigned(firstFunction + at);
		}
		const body = functionBytes(fn);
		bodies.unsigned(body.length);
		bodies.append(body);
	}
	section(out, 3, declared);
	if (parts.globals.length > 0) {
		const globals = new Code();
		globals.unsigned(parts.globals.length);
		for (const initial of parts.globals) {
			globals.raw([TYPE.i32, 1]);
			globals.i32(initial);
			globals.op(OPCODE.end);
		}
		section(out, 6, globals);
	}
	sectionWithCount(out, 7, exportCount, exported);
	section(out, 10, bodies);
	return out.bytes.slice(0, out.length);
}

function sectionWithCount(out: Code, id: number, count: number, entries: Code): void {
	if (count === 0) return;
	const body = new Code();
	body.unsigned(count);
	body.append(entries);
	section(out, id, body);
}
