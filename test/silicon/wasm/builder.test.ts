/** The WebAssembly encoder writes what the specification says: numbers at the edges of LEB128, valid modules. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import wabt from "wabt";
import {
	Code,
	encodeModule,
	type ModuleParts,
	OPCODE as O,
	TYPE,
} from "../../../src/silicon/wasm/builder.ts";
import { coreModule, REGION_IMPORTS } from "../../../src/silicon/translate/core.ts";

const SEED = 20_240_607;

function bytesOf(code: Code): number[] {
	return [...code.bytes.subarray(0, code.length)];
}

/** LEB128 by its definition, on BigInt. */
function leb(value: bigint, signed: boolean): number[] {
	const out: number[] = [];
	let rest = value;
	for (;;) {
		const low = Number(rest & 0x7fn);
		rest >>= 7n;
		const done = signed
			? (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)
			: rest === 0n;
		out.push(done ? low : low | 0x80);
		if (done) return out;
	}
}

function module(
	body: Code,
	results: readonly (0x7f | 0x7e | 0x7c)[],
	more: Partial<ModuleParts> = {},
): Uint8Array<ArrayBuffer> {
	return encodeModule({
		types: [{ parameters: [], results }],
		imports: [],
		globals: [],
		functions: [{ type: 0, locals: [], parts: [body], exportName: "f" }],
		...more,
	});
}

function evaluate(bytes: Uint8Array<ArrayBuffer>): unknown {
	const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
	return (f as () => unknown)();
}

const EDGES = [0n, 6n, 7n, 13n, 14n, 20n, 21n, 27n, 28n, 31n, 32n, 34n, 35n, 62n, 63n].flatMap((at) =>
	[-1n, 0n, 1n].flatMap((by) => [(1n << at) + by, -(1n << at) + by]),
);

describe("LEB128", () => {
	test("i64 constants of any value come out as they went in", () => {
		const check = (value: bigint) => {
			const code = new Code();
			code.i64(value);
			expect(bytesOf(code)).toEqual([O.i64Const, ...leb(BigInt.asIntN(64, value), true)]);
			expect(evaluate(module(code, [TYPE.i64]))).toBe(BigInt.asIntN(64, value));
		};
		for (const value of EDGES) check(value);
		fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), check), { seed: SEED });
	});
	test("i64 constants given as numbers mean the same as BigInts, also beyond 32 bits", () => {
		for (const value of EDGES.filter((edge) => edge > -(2n ** 53n) && edge < 2n ** 53n)) {
			const code = new Code();
			code.i64(Number(value));
			expect(bytesOf(code)).toEqual([O.i64Const, ...leb(value, true)]);
		}
	});
	test("i32 constants are taken modulo 2^32", () => {
		for (const value of EDGES.filter((edge) => edge >= -(2n ** 31n) && edge < 2n ** 32n)) {
			const code = new Code();
			code.i32(Number(value));
			expect(bytesOf(code)).toEqual([O.i32Const, ...leb(BigInt.asIntN(32, value), true)]);
			expect(evaluate(module(code, [TYPE.i32]))).toBe(Number(BigInt.asIntN(32, value)));
		}
	});
	test("unsigned numbers up to 2^32 - 1", () => {
		for (const value of EDGES.filter((edge) => edge >= 0n && edge < 2n ** 32n)) {
			const code = new Code();
			code.unsigned(Number(value));
			expect(bytesOf(code)).toEqual(leb(value, false));
		}
	});
});

test("f64 constants keep every bit", () => {
	for (const value of [0, -0, 1.5, 2 ** 53, -1e308, Number.POSITIVE_INFINITY, 5e-324]) {
		const code = new Code();
		code.f64(value);
		expect(Object.is(evaluate(module(code, [TYPE.f64])), value)).toBe(true);
	}
});

test("a body longer than the first buffer, made of parts, is whole", () => {
	const first = new Code();
	const second = new Code();
	first.i32(0);
	for (let at = 0; at < 3000; at++) {
		const part = at < 1500 ? first : second;
		part.i32(at);
		part.op(O.i32Add);
	}
	const bytes = encodeModule({
		types: [{ parameters: [], results: [TYPE.i32] }],
		imports: [],
		globals: [],
		functions: [{ type: 0, locals: [], parts: [first, second], exportName: "f" }],
	});
	expect(evaluate(bytes)).toBe((2999 * 3000) / 2);
});

test("BR reaches the block of its label from any depth", () => {
	const code = new Code();
	const outer = code.block(TYPE.i32);
	code.i32(7);
	code.block();
	code.loop();
	code.i32(1);
	code.if();
	code.i32(42);
	code.br(outer);
	code.end();
	code.end();
	code.end();
	code.end();
	expect(code.depth).toBe(0);
	expect(evaluate(module(code, [TYPE.i32]))).toBe(42);
});

test("locals in any order of types get the indices that they were declared with", () => {
	const code = new Code();
	code.i64(5);
	code.set(1);
	code.i32(9);
	code.set(2);
	code.get(1);
	const bytes = encodeModule({
		types: [{ parameters: [], results: [TYPE.i64] }],
		imports: [],
		globals: [],
		functions: [
			{ type: 0, locals: [TYPE.i32, TYPE.i64, TYPE.i32, TYPE.i32, TYPE.f64], parts: [code], exportName: "f" },
		],
	});
	expect(evaluate(bytes)).toBe(5n);
});

test("a module with imports, a global and an export is valid, and wabt reads it", async () => {
	const code = new Code();
	code.op(O.globalGet);
	code.unsigned(0);
	code.i32(-1);
	code.op(O.i32Add);
	code.tee(0);
	code.op(O.globalSet);
	code.unsigned(0);
	code.get(0);
	const bytes = encodeModule({
		types: [{ parameters: [TYPE.i32], results: [TYPE.i32] }],
		imports: [
			{ kind: "function", name: "helper", type: 0 },
			{ kind: "memory", name: "memory" },
			{ kind: "table", name: "table" },
		],
		globals: [256],
		functions: [{ type: 0, locals: [TYPE.i64], parts: [code], exportName: "f" }],
	});
	expect(WebAssembly.validate(bytes)).toBe(true);
	const { readWasm } = await wabt();
	const text = readWasm(bytes, { readDebugNames: false });
	text.validate();
	const wat = text.toText({ foldExprs: false, inlineExport: false });
	text.destroy();
	for (const line of ["i32.const 256", 'import "m" "helper"', 'export "f" (func 1)', "local i64"]) {
		expect(wat).toContain(line);
	}
});

test("the core module is valid", () => {
	expect(WebAssembly.validate(coreModule())).toBe(true);
});

test("a region's module imports one function and no table: both cost V8 more than the region itself", () => {
	const kinds = REGION_IMPORTS.map(({ kind }) => kind).sort();
	expect(kinds).toEqual(["function", "memory"]);
});
