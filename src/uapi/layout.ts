/**
 * C structs as tables: the layout that the x86-64 psABI gives them (3.1.2, natural alignment), and what reads and
 * writes them. A struct is written once, as its fields in order.
 *
 *     const kvmRegs = struct("kvm_regs", { rax: "u64", rbx: "u64" });
 *     kvmRegs.bytes; kvmRegs.offsets.rbx; kvmRegs.read(view, 0).rax;
 */

/** Integer types of linux/types.h. 64-bit ones are bigints in TypeScript. */
export type Scalar = "u8" | "u16" | "u32" | "u64" | "s64";

/** A field: a scalar, another struct, or an array of one of them. */
export type FieldType = Scalar | Struct | readonly [Scalar | Struct, number];

/** A struct's fields in order, by name. */
export type Fields = Readonly<Record<string, FieldType>>;

/** What a field is in TypeScript. */
export type FieldValue<F> = F extends "u64" | "s64"
	? bigint
	: F extends Scalar
		? number
		: F extends readonly ["u8", number]
			? Uint8Array
			: F extends readonly [infer E, number]
				? FieldValue<E>[]
				: F extends Struct<infer G>
					? { -readonly [K in keyof G]: FieldValue<G[K]> }
					: never;

/** What a struct is in TypeScript: an object with its fields. */
export type StructValue<S> =
	S extends Struct<infer F> ? { -readonly [K in keyof F]: FieldValue<F[K]> } : never;

/** A struct's layout and codec. */
export interface Struct<F extends Fields = Fields> {
	/** The C name behind `struct`. */
	readonly name: string;
	readonly fields: F;
	/** sizeof. */
	readonly bytes: number;
	/** alignof. */
	readonly align: number;
	/** offsetof each field. */
	readonly offsets: { readonly [K in keyof F]: number };
	/** Reads one at a byte offset of a view. */
	read(view: DataView, at: number): { -readonly [K in keyof F]: FieldValue<F[K]> };
	/** Writes one; fields that are not given are 0. */
	write(view: DataView, at: number, value: { readonly [K in keyof F]?: FieldValue<F[K]> }): void;
}

const SCALAR_BYTES: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, u64: 8, s64: 8 };

const isArray = (type: FieldType): type is readonly [Scalar | Struct, number] => Array.isArray(type);
const elementOf = (type: FieldType): Scalar | Struct => (isArray(type) ? type[0] : type);
const bytesOf = (type: Scalar | Struct) => (typeof type === "string" ? SCALAR_BYTES[type] : type.bytes);
const alignOf = (type: Scalar | Struct) => (typeof type === "string" ? SCALAR_BYTES[type] : type.align);
const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;

function readScalar(view: DataView, at: number, scalar: Scalar): number | bigint {
	switch (scalar) {
		case "u8":
			return view.getUint8(at);
		case "u16":
			return view.getUint16(at, true);
		case "u32":
			return view.getUint32(at, true);
		case "u64":
			return view.getBigUint64(at, true);
		case "s64":
			return view.getBigInt64(at, true);
		default:
			return scalar satisfies never;
	}
}

function writeScalar(view: DataView, at: number, scalar: Scalar, value: number | bigint): void {
	if (scalar === "u8") view.setUint8(at, Number(value));
	else if (scalar === "u16") view.setUint16(at, Number(value), true);
	else if (scalar === "u32") view.setUint32(at, Number(value), true);
	else view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
}

function readElement(view: DataView, at: number, type: Scalar | Struct): unknown {
	return typeof type === "string" ? readScalar(view, at, type) : type.read(view, at);
}

function writeElement(view: DataView, at: number, type: Scalar | Struct, value: unknown): void {
	if (typeof type === "string") writeScalar(view, at, type, (value ?? 0) as number | bigint);
	else type.write(view, at, (value ?? {}) as object);
}

function readField(view: DataView, at: number, type: FieldType): unknown {
	if (!isArray(type)) return readElement(view, at, type);
	const [element, count] = type;
	if (element === "u8") return new Uint8Array(view.buffer, view.byteOffset + at, count).slice();
	return Array.from({ length: count }, (_, n) => readElement(view, at + n * bytesOf(element), element));
}

function writeField(view: DataView, at: number, type: FieldType, value: unknown): void {
	if (!isArray(type)) {
		writeElement(view, at, type, value);
		return;
	}
	const [element, count] = type;
	const values = (value ?? []) as ArrayLike<unknown>;
	for (let n = 0; n < count; n++) writeElement(view, at + n * bytesOf(element), element, values[n]);
}

/**
 * Lays out a struct.
 * @param name the C name behind `struct`
 * @param fields in order; names as in the header, reserved and padding fields included
 */
export function struct<const F extends Fields>(name: string, fields: F): Struct<F> {
	const offsets: Record<string, number> = {};
	let end = 0;
	let align = 1;
	for (const [field, type] of Object.entries(fields)) {
		const element = elementOf(type);
		offsets[field] = roundUp(end, alignOf(element));
		end = offsets[field] + bytesOf(element) * (isArray(type) ? type[1] : 1);
		align = Math.max(align, alignOf(element));
	}
	const entries = Object.entries(fields).map(([field, type]) => ({ field, type, at: offsets[field]! }));
	return {
		name,
		fields,
		bytes: roundUp(end, align),
		align,
		offsets: offsets as { [K in keyof F]: number },
		read: (view, at) =>
			Object.fromEntries(
				entries.map((entry) => [entry.field, readField(view, at + entry.at, entry.type)]),
			) as never,
		write: (view, at, value) => {
			for (const entry of entries) {
				writeField(view, at + entry.at, entry.type, (value as Record<string, unknown>)[entry.field]);
			}
		},
	};
}

/** Bytes with a view over them, for one struct. */
export interface Buffer {
	readonly bytes: Uint8Array;
	readonly view: DataView;
}

/** Zeroed bytes. */
export function buffer(bytes: number): Buffer {
	const array = new Uint8Array(bytes);
	return { bytes: array, view: new DataView(array.buffer) };
}

/** A struct's bytes. */
export function encode<F extends Fields>(
	layout: Struct<F>,
	value: { readonly [K in keyof F]?: FieldValue<F[K]> },
): Buffer {
	const made = buffer(layout.bytes);
	layout.write(made.view, 0, value);
	return made;
}
