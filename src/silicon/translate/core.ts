/** What all regions share: the module with the flag computation and the way in from TypeScript. */
import * as L from "../cpu/layout.ts";
import { Code, encodeModule, type Import, OPCODE as O, type Signature, TYPE } from "../wasm/builder.ts";
import { CPU } from "./block-emitter.ts";
import { EXIT } from "./exits.ts";
import { FLAGS_LOCALS, flagsBody } from "./flags-function.ts";
import { pushTlbEntry } from "./tlb-entry.ts";

const { i32, i64 } = TYPE;

/** Types of every module here, in order. */
// biome-ignore format: one row a type
export const TYPES: readonly Signature[] = [
	/* 0 region        */ { parameters: [i32], results: [i32] },
	/* 1 load          */ { parameters: [i64, i32], results: [i64] },
	/* 2 store         */ { parameters: [i64, i32, i64], results: [i32] },
	/* 3 probe         */ { parameters: [i64, i32], results: [] },
	/* 4 flags         */ { parameters: [i32, i32, i64, i64, i64], results: [i32] },
	/* 5 divide        */ { parameters: [i32, i64, i64, i64], results: [i32] },
	/* 6 enter         */ { parameters: [i32, i32], results: [i32] },
	/* 7 helper        */ { parameters: [i32, i32, i32, i64, i64, i64], results: [i64] },
	/* 8 vector memory */ { parameters: [i32, i32, i64], results: [i32] },
	/* 9 vector        */ { parameters: [i32, i32], results: [i32] },
	/* 10 enter chain  */ { parameters: [i32, i32, i32], results: [i32] },
	/* 11 check        */ { parameters: [i32, i64], results: [] },
	/* 12 unchanged    */ { parameters: [i32, i32, i64, i64], results: [i32] },
];

/**
 * Imports of a module of regions. There is one function among them: V8 compiles a wrapper for each signature that a
 * module imports, which takes longer than a region does; and a table that many instances import is slow to make them.
 */
// biome-ignore format: one row an import
export const REGION_IMPORTS: readonly Import[] = [
	{ kind: "function", name: "helper", type: 7 },
	{ kind: "memory", name: "memory" },
];

/**
 * What regions ask of their helper, function 0: `helper(what, detail, cpuBase, a, b, c)`.
 *
 *     what     detail    a         b      c        result
 *     flags    CC_OP     CC_DST    CC_SRC CC_SRC2  the six flags
 *     load     access    linear                    the value
 *     store    access    linear    value           0 done, 1 a fault is noted, 2 done and code was dropped
 *     probe    access    linear
 *     divide   signed?   high      low    divisor  1 for #DE
 *     check    CHECK     offset                    a fault is noted or not
 *
 * Vectors go through the state block (layout.ts, VECTOR_A and what follows it):
 *
 *     what         detail              a         result
 *     vectorLoad   bytes | aligned     linear    1 if a fault is noted; loaded to VECTOR_RESULT
 *     vectorStore  bytes | aligned     linear    as store; stored from VECTOR_A
 *     maskedLoad   bytes | lane bytes << 16   linear    as vectorLoad; lanes by the signs in VECTOR_B
 *     maskedStore  bytes | lane bytes << 16   linear    as vectorStore
 *     gather       see GATHER          offset    1 if a fault is noted; on VECTOR_A by VECTOR_B, mask VECTOR_C
 *     vector       a vector operation  its immediate  1 if a fault is noted
 *
 * `bytes` is 16 or 32, `aligned` ALIGNED if the address has to be a multiple of it.
 */
export const HELPER = {
	flags: 0,
	load: 1,
	store: 2,
	probe: 3,
	divide: 4,
	vectorLoad: 5,
	vectorStore: 6,
	vector: 7,
	maskedLoad: 8,
	maskedStore: 9,
	gather: 10,
	check: 11,
} as const;
/** Fields of the detail of `gather`, as shifts: lanes, their bytes, those of an index, its scale, those of the address. */
export const GATHER = { lanes: 0, laneBytes: 4, indexBytes: 8, scale: 12, addressBytes: 16 } as const;
/** In the detail of vectorLoad and vectorStore. */
export const ALIGNED = 0x100;

/** An access, as HELPER takes it: the bytes, whether it is through SS, and whether it is made at level 3. */
export const ACCESS = { bytes: 0xff, stack: 0x200, user: 0x400 } as const;

/**
 * What is checked: an access to a segment, by its bytes, the segment shifted and whether it is a write; or with `branch`
 * the target of a near branch.
 */
export const CHECK = { bytes: 0xff, segmentShift: 8, write: 0x1000, branch: 0x2000 } as const;

/** Function indices in the core module: its imports, then its own. */
const IMPORTED = { load: 0, store: 1, probe: 2, divide: 3, vectorMemory: 4, vector: 5, check: 6 } as const;
const FLAGS_FUNCTION = 7;
const UNCHANGED_FUNCTION = 11;

/**
 * Calls the region in a slot, then goes on from region to region as long as the jump cache has the one at RIP and
 * nothing asks to return.
 */
function enterBody(): Code {
	const [slot, bank, entry, exit, rip] = [1, 2, 3, 4, 5];
	const code = new Code();
	const again = code.loop();
	code.get(CPU);
	code.get(slot);
	code.op(O.callIndirect);
	code.unsigned(0);
	code.unsigned(0);
	code.tee(exit);
	code.if();
	code.get(exit);
	code.op(O.return);
	code.end();
	code.get(CPU);
	code.access(O.i64Load, L.RIP);
	code.tee(rip);
	code.op(O.i32WrapI64);
	code.tee(entry);
	code.get(entry);
	code.i32(12);
	code.op(O.i32ShrU);
	code.op(O.i32Xor);
	code.i32(L.JUMP_CACHE_ENTRIES - 1);
	code.op(O.i32And);
	code.i32(Math.log2(L.JUMP_CACHE_ENTRY_BYTES));
	code.op(O.i32Shl);
	code.get(bank);
	code.op(O.i32Add);
	code.tee(entry);
	code.access(O.i32Load, L.JUMP_CACHE + 8);
	code.set(slot);
	code.get(entry);
	code.access(O.i64Load, L.JUMP_CACHE);
	code.get(rip);
	code.op(O.i64Eq);
	code.brIf(again);
	code.end();
	code.i32(EXIT.next);
	return code;
}

/** Calls the region in a slot, and no other. */
function enterOnceBody(): Code {
	const code = new Code();
	code.get(CPU);
	code.get(1);
	code.op(O.callIndirect);
	code.unsigned(0);
	code.unsigned(0);
	return code;
}

/** Loads of a value of a size, zero-extended to i64. */
const LOADS = [
	[1, O.i64Load8U],
	[2, O.i64Load16U],
	[4, O.i64Load32U],
	[8, O.i64Load],
] as const;

/**
 * Whether an aligned store goes to a page of translated code, which the TLB has, and writes what is there already: then
 * there is nothing to be done. Guests that keep data beside code write the same over and over.
 */
function unchangedBody(): Code {
	const [access, linear, value, entry] = [1, 2, 3, 4];
	const code = new Code();
	code.get(linear);
	code.get(access);
	code.i32(ACCESS.bytes);
	code.op(O.i32And);
	code.i32(1);
	code.op(O.i32Sub);
	code.op(O.i64ExtendI32U);
	code.op(O.i64And);
	code.op(O.i64Eqz);
	code.op(O.i32Eqz);
	code.if();
	code.i32(0);
	code.op(O.return);
	code.end();
	pushTlbEntry(code, linear, entry);
	code.i32(L.USER_BANK);
	code.i32(0);
	code.get(access);
	code.i32(ACCESS.user);
	code.op(O.i32And);
	code.op(O.select);
	code.op(O.i32Add);
	code.tee(entry);
	code.access(O.i64Load, L.TLB_WRITE);
	code.get(linear);
	code.i64(-4096);
	code.op(O.i64And);
	code.i64(L.TLB_CODE_PAGE);
	code.op(O.i64Or);
	code.op(O.i64Ne);
	code.if();
	code.i32(0);
	code.op(O.return);
	code.end();
	// From here on `entry` is where the value lies.
	code.get(linear);
	code.op(O.i32WrapI64);
	code.get(entry);
	code.access(O.i32Load, L.TLB_WRITE + 8);
	code.op(O.i32Add);
	code.set(entry);
	for (const [bytes, opcode] of LOADS) {
		code.get(access);
		code.i32(ACCESS.bytes);
		code.op(O.i32And);
		code.i32(bytes);
		code.op(O.i32Eq);
		code.if();
		code.get(entry);
		code.access(opcode, 0);
		code.get(value);
		code.op(O.i64Eq);
		code.op(O.return);
		code.end();
	}
	code.i32(0);
	return code;
}

/** Dispatches on HELPER. */
function helperBody(): Code {
	const [what, detail, cpu, a, b, c] = [0, 1, 2, 3, 4, 5];
	const code = new Code();
	const when = (kind: number, body: () => void): void => {
		code.get(what);
		code.i32(kind);
		code.op(O.i32Eq);
		code.if();
		body();
		code.op(O.return);
		code.end();
	};
	const call = (index: number, ...locals: readonly number[]): void => {
		for (const local of locals) code.get(local);
		code.call(index);
	};
	when(HELPER.flags, () => {
		call(FLAGS_FUNCTION, cpu, detail, a, b, c);
		code.op(O.i64ExtendI32U);
	});
	when(HELPER.load, () => call(IMPORTED.load, a, detail));
	when(HELPER.store, () => {
		call(UNCHANGED_FUNCTION, cpu, detail, a, b);
		code.if();
		code.i64(0);
		code.op(O.return);
		code.end();
		call(IMPORTED.store, a, detail, b);
		code.op(O.i64ExtendI32U);
	});
	when(HELPER.divide, () => {
		call(IMPORTED.divide, detail, a, b, c);
		code.op(O.i64ExtendI32U);
	});
	when(HELPER.vector, () => {
		code.get(detail);
		code.get(a);
		code.op(O.i32WrapI64);
		code.call(IMPORTED.vector);
		code.op(O.i64ExtendI32U);
	});
	when(HELPER.check, () => {
		call(IMPORTED.check, detail, a);
		code.i64(0);
	});
	when(HELPER.probe, () => {
		call(IMPORTED.probe, a, detail);
		code.i64(0);
	});
	call(IMPORTED.vectorMemory, what, detail, a);
	code.op(O.i64ExtendI32U);
	return code;
}

/** What is behind the helper: the slow paths, in TypeScript. */
export interface SlowPaths {
	/** Loads 1 to 8 bytes; on a fault notes it. */
	load(linear: bigint, access: number): bigint;
	/** @returns 0 done, 1 a fault is noted, 2 done and translated code was dropped */
	store(linear: bigint, access: number, value: bigint): number;
	/** Notes the fault that a store would have. */
	probe(linear: bigint, access: number): void;
	/** Notes the fault that an access to a segment or a branch would have. @param what see CHECK */
	check(what: number, offset: bigint): void;
	/** 128 by 64 bits; results go to SCRATCH. @returns 0, or 1 for #DE */
	divide(signed: number, high: bigint, low: bigint, by: bigint): number;
	/** HELPER.vectorLoad and vectorStore. */
	vectorMemory(what: number, detail: number, linear: bigint): number;
	/** HELPER.vector. */
	vector(operation: number, immediate: number): number;
}

/** What the core module exports. */
export interface Core {
	/**
	 * Calls the region in a slot of the table, and those that it leads to.
	 * @param bankBase cpuBase, plus USER_BANK at level 3
	 * @returns the last one's exit code
	 */
	readonly enter: (cpuBase: number, slot: number, bankBase: number) => number;
	/** Calls the region in a slot alone. @returns its exit code */
	readonly enterOnce: (cpuBase: number, slot: number) => number;
	/** What regions import. */
	readonly helper: WebAssembly.ExportValue;
}

/** The bytes of the core module. */
export function coreModule(): Uint8Array<ArrayBuffer> {
	return encodeModule({
		types: TYPES,
		imports: [
			{ kind: "function", name: "load", type: 1 },
			{ kind: "function", name: "store", type: 2 },
			{ kind: "function", name: "probe", type: 3 },
			{ kind: "function", name: "divide", type: 5 },
			{ kind: "function", name: "vectorMemory", type: 8 },
			{ kind: "function", name: "vector", type: 9 },
			{ kind: "function", name: "check", type: 11 },
			{ kind: "memory", name: "memory" },
			{ kind: "table", name: "table" },
		],
		globals: [],
		functions: [
			{ type: 4, locals: FLAGS_LOCALS, parts: [flagsBody()] },
			{ type: 10, locals: [i32, i32, i64], parts: [enterBody()], exportName: "enter" },
			{ type: 6, locals: [], parts: [enterOnceBody()], exportName: "enterOnce" },
			{ type: 7, locals: [], parts: [helperBody()], exportName: "helper" },
			{ type: 12, locals: [i32], parts: [unchangedBody()] },
		],
	});
}

/** Instantiates the core module. @param table of regions */
export function makeCore(memory: WebAssembly.Memory, table: WebAssembly.Table, slow: SlowPaths): Core {
	const { load, store, probe, divide, vectorMemory, vector, check } = slow;
	const module = new WebAssembly.Module(coreModule());
	const functions = { load, store, probe, divide, vectorMemory, vector, check };
	const { exports } = new WebAssembly.Instance(module, { m: { memory, table, ...functions } });
	const { enter, enterOnce, helper } = exports;
	return { enter: enter as Core["enter"], enterOnce: enterOnce as Core["enterOnce"], helper: helper! };
}
