/**
 * The pieces that generated guests are made of. A piece stands for itself: it sets up what it needs, leaves no flags
 * undefined, and goes on behind itself even if it faults. So any pieces of a guest, in their order, are a guest too, and a
 * difference can be reduced by leaving pieces out.
 */
import {
	type Size,
	address,
	dataOffset,
	defineFlags,
	immediate,
	le,
	loadImmediate,
	prefixes,
	regMemory,
	regReg,
	setResume,
	wide,
} from "./assembler.ts";
import { type GuestMode, MMIO_GPA, VECTOR_PORT } from "./machine.ts";

/** One piece, with its random choices made. */
export interface Atom {
	readonly name: string;
	/** @param at linear address at which it will stand @returns as many bytes for any address */
	emit(at: number): number[];
}

/** Random choices. */
export interface Choices {
	readonly random: () => number;
	/** 0 to n - 1. */
	below(n: number): number;
	of<T>(list: readonly T[]): T;
	/** By weights, of which at least one is above 0. */
	byWeight<T>(list: readonly T[], weightOf: (one: T) => number): T;
}

interface Maker {
	readonly name: string;
	/** How often, against the others. */
	readonly weight: number;
	/** Where it can stand. Default: everywhere. */
	readonly when?: (mode: GuestMode) => boolean;
	make(mode: GuestMode, choose: Choices): (at: number) => number[];
}

const isKernel = (mode: GuestMode) => mode.cpl === 0;
const isProtected = (mode: GuestMode) => mode.name !== "real";
const isPaged = (mode: GuestMode) => mode.bits === 64 || mode.name === "paged32";
const sizes = (mode: GuestMode): readonly Size[] => (mode.bits === 64 ? [8, 16, 32, 64] : [8, 16, 32]);
const wideSizes = (mode: GuestMode): readonly (16 | 32 | 64)[] =>
	mode.bits === 64 ? [16, 32, 64] : [16, 32];
/** A register of this size: not the stack pointer, which 4 is but for bytes. */
function register(mode: GuestMode, choose: Choices, size: Size): number {
	if (size === 8) return choose.below(8);
	const index = choose.below(mode.bits === 64 ? 15 : 7);
	return index >= 4 ? index + 1 : index;
}
const interesting = [
	0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];
const value = (choose: Choices) =>
	choose.below(3) === 0 ? choose.of(interesting) : Math.floor(choose.random() * 2 ** 32);
const fixed = (bytes: readonly number[]) => () => [...bytes];

/** What may fault, with RESUME set behind it. */
function guarded(
	mode: GuestMode,
	bytes: readonly number[],
	after: readonly number[] = [],
): (at: number) => number[] {
	return (at) => [...setResume(mode, at, bytes.length), ...bytes, ...after];
}

/** Sets CX and the string registers to harmless values: RSI, RDI into the data, RCX a count. */
function stringSetup(mode: GuestMode, choose: Choices): number[] {
	const pointer = () => mode.dataOffset + 0x100 + choose.below(0xf000);
	return [
		...load32(mode, 6, pointer()),
		...load32(mode, 7, pointer()),
		...load32(mode, 1, choose.below(12)),
		choose.below(4) === 0 ? 0xfd : 0xfc,
	];
}
/** MOV of 32 bits to a register; in 64-bit mode its upper half is 0. */
function load32(mode: GuestMode, reg: number, number: number): number[] {
	return [...prefixes(mode, 32, 0, reg), 0xb8 | (reg & 7), ...le(number, 4)];
}

/** OUT of AL, by a port number of 8 bits. */
const PORTS = [0x80, 0x99, 0x42] as const;
/** MSRs that are there on both vendors and keep what is written. */
const MSRS = [0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0x277, 0xc000_0102] as const;
const READ_MSRS = [...MSRS, 0xc000_0080, 0x1b, 0xfe, 0x2ff] as const;
const CPUID_LEAVES = [0, 2, 7, 0xd, 0x4000_0000, 0x4000_0001, 0x8000_0000, 0x8000_0001, 0x8000_0008] as const;
/** Values without reserved bits; IA32_SYSENTER_CS has no upper half, and what becomes of it is the vendor's. */
const MSR_VALUES: readonly ((low: number) => readonly [index: number, low: number, high: number])[] = [
	(low) => [0x174, low & 0xffff, 0],
	(low) => [0x175, low, 0],
	(low) => [0x176, (low | 0x8000_0000) >>> 0, 0xffff_ffff],
	(low) => [0xc000_0081, low, low],
	(low) => [0xc000_0082, low, 0],
	(low) => [0xc000_0084, low, 0],
	(low) => [0xc000_0102, low, 0xffff_8000],
	() => [0x277, 0x0106_0407, 0x0500_0106],
];

// biome-ignore format: one row a kind
const MAKERS: readonly Maker[] = [
	{ name: "alu reg, reg", weight: 10, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const opcode = wide(choose.below(8) * 8 + choose.of([0, 2]), size);
		return fixed(regReg(mode, size, [opcode], register(mode, choose, size), register(mode, choose, size)));
	} },
	{ name: "alu reg, imm", weight: 8, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const reg = register(mode, choose, size);
		return fixed([...regReg(mode, size, [wide(0x80, size)], choose.below(8), reg), ...immediate(value(choose), size)]);
	} },
	{ name: "alu memory", weight: 8, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const opcode = wide(choose.below(8) * 8 + choose.of([0, 2]), size);
		return fixed(regMemory(mode, size, [opcode], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "test", weight: 3, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed(regReg(mode, size, [wide(0x84, size)], register(mode, choose, size), register(mode, choose, size)));
	} },
	{ name: "inc, dec, not, neg", weight: 6, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const [opcode, digit] = choose.of([[0xfe, 0], [0xfe, 1], [0xf6, 2], [0xf6, 3]] as const);
		return fixed(choose.below(2) === 0
			? regReg(mode, size, [wide(opcode, size)], digit, register(mode, choose, size))
			: regMemory(mode, size, [wide(opcode, size)], digit, dataOffset(choose.random)));
	} },
	{ name: "shift", weight: 7, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const digit = choose.of([0, 1, 2, 3, 4, 5, 7]);
		const reg = register(mode, choose, size);
		const form = choose.below(3);
		const opcode = [0xc0, 0xd0, 0xd2][form]!;
		const count = form === 0 ? [choose.below(40)] : [];
		return fixed([...regReg(mode, size, [wide(opcode, size)], digit, reg), ...count, ...defineFlags(mode)]);
	} },
	{ name: "shld, shrd", weight: 2, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const opcode = choose.of([0xa4, 0xac]);
		// A count beyond the size leaves the result undefined.
		return fixed([...regReg(mode, size, [0x0f, opcode], register(mode, choose, size), register(mode, choose, size)), choose.below(size === 16 ? 16 : 32), ...defineFlags(mode)]);
	} },
	{ name: "mul, imul", weight: 5, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed([...regReg(mode, size, [wide(0xf6, size)], choose.of([4, 5]), register(mode, choose, size)), ...defineFlags(mode)]);
	} },
	{ name: "imul reg, reg", weight: 4, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const [a, b] = [register(mode, choose, size), register(mode, choose, size)];
		return fixed(choose.below(2) === 0
			? [...regReg(mode, size, [0x0f, 0xaf], a, b), ...defineFlags(mode)]
			: [...regReg(mode, size, [0x69], a, b), ...immediate(value(choose), size), ...defineFlags(mode)]);
	} },
	{ name: "div, idiv", weight: 5, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const clear = regReg(mode, size, [0x31], 2, 2);
		const divide = regReg(mode, size, [0xf7], choose.of([6, 7]), register(mode, choose, size));
		return guarded(mode, [...(choose.below(3) === 0 ? [] : clear), ...divide], defineFlags(mode));
	} },
	{ name: "mov reg, imm", weight: 5, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		return fixed(loadImmediate(mode, size, register(mode, choose, size), value(choose)));
	} },
	{ name: "mov, xchg reg, reg", weight: 4, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed(regReg(mode, size, [wide(choose.of([0x86, 0x88, 0x8a]), size)], register(mode, choose, size), register(mode, choose, size)));
	} },
	{ name: "mov memory", weight: 7, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed(regMemory(mode, size, [wide(choose.of([0x88, 0x8a]), size)], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "mov memory, imm", weight: 2, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed([...regMemory(mode, size, [wide(0xc6, size)], 0, dataOffset(choose.random)), ...immediate(value(choose), size)]);
	} },
	{ name: "movzx, movsx", weight: 4, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const opcode = choose.of([0xb6, 0xb7, 0xbe, 0xbf]);
		return fixed(choose.below(2) === 0
			? regReg(mode, size, [0x0f, opcode], register(mode, choose, size), choose.below(4))
			: regMemory(mode, size, [0x0f, opcode], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "bswap", weight: 2, make: (mode, choose) => {
		const size = mode.bits === 64 ? choose.of([32, 64] as const) : 32;
		const reg = register(mode, choose, size);
		return fixed([...prefixes(mode, size, 0, reg), 0x0f, 0xc8 | (reg & 7)]);
	} },
	{ name: "lea", weight: 2, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		return fixed(regMemory(mode, size, [0x8d], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "cbw, cwd", weight: 2, make: (mode, choose) => fixed([...prefixes(mode, choose.of(wideSizes(mode))), choose.of([0x98, 0x99])]) },
	{ name: "push, pop", weight: 5, make: (_mode, choose) => {
		const [a, b] = [choose.of([0, 1, 2, 3, 6, 7]), choose.of([0, 1, 2, 3, 6, 7])];
		return fixed([0x50 | a, 0x50 | b, 0x58 | a, 0x58 | b]);
	} },
	{ name: "pushf, pop", weight: 3, make: (_mode, choose) => fixed([0x9c, 0x58 | choose.of([0, 1, 2, 3])]) },
	{ name: "push, popf", weight: 2, make: (mode, choose) => {
		// The arithmetic flags and DF; not TF, IF and above.
		const flags = choose.below(0x1000) & 0x8d5 | 2 | (choose.below(2) << 10);
		return fixed([...(mode.bits === 16 ? [0x68, ...le(flags, 2)] : [0x68, ...le(flags, 4)]), 0x9d, 0xfc]);
	} },
	{ name: "enter, leave", weight: 1, when: (mode) => mode.name !== "protected16", make: (_mode, choose) => fixed([0xc8, choose.below(64) & ~7, 0, 0, 0xc9]) },
	{ name: "string", weight: 8, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const opcode = wide(choose.of([0xa4, 0xaa, 0xac]), size);
		const repeat = choose.below(3) === 0 ? [] : [0xf3];
		return fixed([...stringSetup(mode, choose), ...repeat, ...prefixes(mode, size), opcode, 0xfc]);
	} },
	{ name: "string compare", weight: 5, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const opcode = wide(choose.of([0xa6, 0xae]), size);
		const repeat = choose.of([[], [0xf2], [0xf3]] as const);
		// With a count of 0 the flags stay as they are.
		return fixed([...defineFlags(mode), ...stringSetup(mode, choose), ...repeat, ...prefixes(mode, size), opcode, 0xfc]);
	} },
	{ name: "jcc", weight: 6, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const skipped = loadImmediate(mode, size, register(mode, choose, size), value(choose));
		return fixed([0x70 | choose.below(16), skipped.length, ...skipped]);
	} },
	{ name: "jmp, call, ret", weight: 3, make: (mode, choose) => {
		const width = mode.bits === 16 ? 2 : 4;
		// CALL over a JMP to a RET behind it: CALL f; JMP out; f: INC; RET; out.
		const body = [...regReg(mode, 32, [0xff], choose.below(2), 0), 0xc3];
		return fixed([0xe8, ...le(2, width), 0xeb, body.length, ...body]);
	} },
	{ name: "loop", weight: 3, make: (mode, choose) => {
		const body = regReg(mode, 32, [wide(choose.below(7) * 8, 32)], 2, 0);
		return fixed([...load32(mode, 1, 1 + choose.below(5)), ...body, choose.of([0xe0, 0xe1, 0xe2]), 256 - body.length - 2]);
	} },
	{ name: "setcc", weight: 4, make: (mode, choose) => fixed(regReg(mode, 8, [0x0f, 0x90 | choose.below(16)], 0, choose.below(8))) },
	{ name: "cmovcc", weight: 4, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		return fixed(regReg(mode, size, [0x0f, 0x40 | choose.below(16)], register(mode, choose, size), register(mode, choose, size)));
	} },
	{ name: "bt, bts, btr, btc", weight: 4, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const digit = 4 + choose.below(4);
		return fixed([...(choose.below(2) === 0
			? regReg(mode, size, [0x0f, 0xba], digit, register(mode, choose, size))
			: regMemory(mode, size, [0x0f, 0xba], digit, dataOffset(choose.random))), choose.below(64), ...defineFlags(mode)]);
	} },
	{ name: "bsf, bsr", weight: 3, make: (mode, choose) => {
		const size = choose.of(wideSizes(mode));
		const source = register(mode, choose, size);
		// OR reg, 1: without a set bit the destination is undefined.
		return fixed([...regReg(mode, size, [0x83], 1, source), 1, ...regReg(mode, size, [0x0f, choose.of([0xbc, 0xbd])], register(mode, choose, size), source), ...defineFlags(mode)]);
	} },
	{ name: "xadd", weight: 2, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed(choose.below(2) === 0
			? regReg(mode, size, [0x0f, wide(0xc0, size)], register(mode, choose, size), register(mode, choose, size))
			: regMemory(mode, size, [0x0f, wide(0xc0, size)], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "cmpxchg", weight: 3, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed(choose.below(2) === 0
			? regReg(mode, size, [0x0f, wide(0xb0, size)], register(mode, choose, size), register(mode, choose, size))
			: regMemory(mode, size, [0x0f, wide(0xb0, size)], register(mode, choose, size), dataOffset(choose.random)));
	} },
	{ name: "cmpxchg8b", weight: 2, make: (mode, choose) => fixed(regMemory(mode, mode.bits === 16 ? 16 : 32, [0x0f, 0xc7], 1, dataOffset(choose.random) & ~7)) },
	{ name: "stc, clc, cmc, lahf, sahf", weight: 4, make: (_mode, choose) => fixed([choose.of([0xf9, 0xf8, 0xf5, 0x9f, 0x9e])]) },
	{ name: "daa, das, aaa, aas", weight: 2, when: (mode) => mode.bits !== 64, make: (mode, choose) => fixed([choose.of([0x27, 0x2f, 0x37, 0x3f]), ...defineFlags(mode)]) },
	{ name: "aam, aad", weight: 1, when: (mode) => mode.bits !== 64, make: (mode, choose) => guarded(mode, choose.of([[0xd4, choose.below(12)], [0xd5, 10]]), defineFlags(mode)) },
	{ name: "xlat", weight: 1, make: (mode, choose) => fixed([...load32(mode, 3, mode.dataOffset + choose.below(0xf000)), 0xd7]) },
	{ name: "out", weight: 6, when: isKernel, make: (mode, choose) => {
		const size = choose.of([8, 16, 32] as const);
		return fixed(choose.below(2) === 0
			? [...prefixes(mode, size), wide(0xe6, size), choose.of(PORTS)]
			: [...load32(mode, 2, 0x1230 + choose.below(16)), ...prefixes(mode, size), wide(0xee, size)]);
	} },
	{ name: "in", weight: 6, when: isKernel, make: (mode, choose) => {
		const size = choose.of([8, 16, 32] as const);
		return fixed(choose.below(2) === 0
			? [...prefixes(mode, size), wide(0xe4, size), choose.of(PORTS)]
			: [...load32(mode, 2, 0x1230 + choose.below(16)), ...prefixes(mode, size), wide(0xec, size)]);
	} },
	{ name: "outs", weight: 3, when: isKernel, make: (mode, choose) => {
		const size = choose.of([8, 16, 32] as const);
		return fixed([...stringSetup(mode, choose), ...load32(mode, 2, 0x1240), ...(choose.below(3) === 0 ? [] : [0xf3]), ...prefixes(mode, size), wide(0x6e, size), 0xfc]);
	} },
	{ name: "ins", weight: 3, when: isKernel, make: (mode, choose) => {
		const size = choose.of([8, 16, 32] as const);
		return fixed([...stringSetup(mode, choose), ...load32(mode, 2, 0x1250), ...(choose.below(3) === 0 ? [] : [0xf3]), ...prefixes(mode, size), wide(0x6c, size), 0xfc]);
	} },
	{ name: "mmio mov", weight: 6, when: (mode) => mode.bits !== 16, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const reg = register(mode, choose, size);
		return fixed([...prefixes(mode, size, reg), wide(choose.of([0x88, 0x8a]), size), ...address(mode, reg, MMIO_GPA + choose.below(0x100) * 8)]);
	} },
	{ name: "mmio alu", weight: 3, when: (mode) => mode.bits !== 16, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		const reg = register(mode, choose, size);
		return fixed([...prefixes(mode, size, reg), wide(choose.below(8) * 8 + choose.of([0, 2]), size), ...address(mode, reg, MMIO_GPA + choose.below(0x100) * 8)]);
	} },
	{ name: "mmio string", weight: 2, when: (mode) => mode.bits !== 16, make: (mode, choose) => {
		const size = choose.of(sizes(mode));
		return fixed([...stringSetup(mode, choose), 0xfc, ...load32(mode, choose.of([6, 7]), MMIO_GPA), 0xf3, ...prefixes(mode, size), wide(0xa4, size)]);
	} },
	{ name: "rdmsr", weight: 4, when: isKernel, make: (mode, choose) => guarded(mode, [...load32(mode, 1, choose.of(READ_MSRS)), 0x0f, 0x32]) },
	{ name: "wrmsr", weight: 4, when: isKernel, make: (mode, choose) => {
		const [index, low, high] = choose.of(MSR_VALUES)(value(choose));
		return guarded(mode, [...load32(mode, 1, index), ...load32(mode, 0, low), ...load32(mode, 2, high), 0x0f, 0x30]);
	} },
	{ name: "wrmsr of reserved bits", weight: 1, when: isKernel, make: (mode, choose) => {
		const [index, low, high] = choose.of([[0x277, 2, 0], [0x277, 0, 0x0800_0000], [0xc000_0084, 1, 1], [0xc000_0082, 0, 0x8000_0000], [0xc000_0102, 0, 0x1234_5678]] as const);
		return guarded(mode, [...load32(mode, 1, index), ...load32(mode, 0, low), ...load32(mode, 2, high), 0x0f, 0x30]);
	} },
	{ name: "rdmsr of none", weight: 1, when: isKernel, make: (mode) => guarded(mode, [...load32(mode, 1, 0xdead), 0x0f, 0x32]) },
	{ name: "cpuid", weight: 4, make: (mode, choose) => fixed([...load32(mode, 0, choose.of(CPUID_LEAVES)), ...load32(mode, 1, choose.below(3)), 0x0f, 0xa2]) },
	{ name: "cpuid 1", weight: 1, make: (mode) => fixed([...load32(mode, 0, 1), 0x0f, 0xa2]) },
	{ name: "#UD", weight: 2, make: (mode) => guarded(mode, [0x0f, 0x0b]) },
	{ name: "#DE", weight: 1, make: (mode) => guarded(mode, [...regReg(mode, 32, [0x31], 1, 1), ...regReg(mode, 32, [0xf7], 6, 1)], defineFlags(mode)) },
	{ name: "int3", weight: 1, make: (mode) => guarded(mode, [0xcc]) },
	{ name: "int n", weight: 2, make: (mode, choose) => guarded(mode, mode.name === "real" ? [0xcd, 0x60 + choose.below(32)] : [0xcd, choose.of([0x80, 0x20, 5])]) },
	{ name: "into", weight: 1, when: (mode) => mode.bits !== 64, make: (mode) => guarded(mode, [0xce]) },
	{ name: "bound", weight: 1, when: (mode) => mode.bits !== 64, make: (mode, choose) => guarded(mode, regMemory(mode, choose.of([16, 32] as const), [0x62], choose.of([0, 1, 2, 3]), dataOffset(choose.random))) },
	{ name: "#GP by a selector", weight: 2, when: isProtected, make: (mode) => guarded(mode, [...load32(mode, 0, 0x7ff8), 0x8e, 0xe0]) },
	{ name: "#PF", weight: 3, when: isPaged, make: (mode, choose) => guarded(mode, [...prefixes(mode, 32), choose.of([0x89, 0x8b]), ...address(mode, 0, 0x4000_0000 + choose.below(0x1000_0000))]) },
	{ name: "#GP by an address", weight: 1, when: (mode) => mode.bits === 64, make: (mode) => guarded(mode, [0x48, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8b, 0x03]) },
	{ name: "in at level 3", weight: 1, when: (mode) => mode.cpl === 3, make: (mode, choose) => guarded(mode, [choose.of([0xe4, 0xe6]), VECTOR_PORT]) },
	{ name: "privileged at level 3", weight: 1, when: (mode) => mode.cpl === 3, make: (mode, choose) => guarded(mode, choose.of([[0xf4], [0xfa], [0x0f, 0x32], [0x0f, 0x20, 0xc0], [0x0f, 0x09]])) },
	{ name: "mov reg, segment", weight: 2, make: (_mode, choose) => fixed([0x8c, 0xc0 | (choose.of([0, 2, 3, 4, 5]) << 3) | choose.of([0, 1, 2])]) },
	{ name: "mov segment, reg", weight: 2, make: (mode, choose) => guarded(mode, [...load32(mode, 0, mode.name === "real" ? choose.below(0x3000) : mode.cpl === 3 ? choose.of([0, 0x43]) : choose.of([0, 0x10, 0x28, 0x50])), 0x8e, 0xc0 | (choose.of([4, 5]) << 3)]) },
	{ name: "sgdt, sidt", weight: 1, when: isKernel, make: (mode, choose) => fixed([0x0f, 0x01, ...address(mode, choose.below(2), mode.dataOffset + choose.below(0xff00))]) },
	{ name: "smsw, sldt, str", weight: 2, when: isKernel, make: (_mode, choose) => fixed(choose.of([[0x0f, 0x01, 0xe0 | choose.below(4)]])) },
	{ name: "mov reg, cr", weight: 3, when: isKernel, make: (_mode, choose) => fixed([0x0f, 0x20, 0xc0 | (choose.of([0, 2, 3, 4]) << 3) | choose.below(4)]) },
	{ name: "mov cr0", weight: 2, when: isKernel, make: (mode) => fixed([0x0f, 0x20, 0xc0, ...prefixes(mode, 32), 0x35, ...le(0x1_0000, 4), 0x0f, 0x22, 0xc0]) },
	{ name: "clts, lmsw", weight: 2, when: isKernel, make: (_mode, choose) => fixed(choose.of([[0x0f, 0x06], [0x0f, 0x01, 0xe0, 0x0c, 0x08, 0x0f, 0x01, 0xf0, 0x0f, 0x06]])) },
	{ name: "mov cr4", weight: 2, when: isKernel, make: (mode) => fixed([0x0f, 0x20, 0xe0, ...prefixes(mode, 32), 0x35, ...le(0x4, 4), 0x0f, 0x22, 0xe0]) },
	{ name: "mov cr3", weight: 1, when: (mode) => isKernel(mode) && isPaged(mode), make: () => fixed([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]) },
	{ name: "invlpg, wbinvd", weight: 1, when: isKernel, make: (mode) => fixed([0x0f, 0x09, 0x0f, 0x01, ...address(mode, 7, mode.dataOffset)]) },
	{ name: "mov dr", weight: 2, when: isKernel, make: (mode, choose) => {
		const dr = choose.below(4);
		return fixed([...load32(mode, 0, value(choose) & 0x7fff_ffff), 0x0f, 0x23, 0xc0 | (dr << 3), 0x0f, 0x21, 0xc0 | (choose.of([dr, 6, 7]) << 3) | 1]);
	} },
	{ name: "hlt", weight: 1, when: isKernel, make: () => fixed([0xf4]) },
	{ name: "sse2", weight: 4, make: (mode, choose) => guarded(mode, sse2(mode, choose)) },
	{ name: "sse arithmetic", weight: 3, make: (mode, choose) => guarded(mode, [choose.of([0xf2, 0xf3]), 0x0f, choose.of([0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f]), 0xc0 | choose.below(64)]) },
	{ name: "x87", weight: 3, make: (mode, choose) => guarded(mode, choose.of([[0xd9, 0xe8], [0xd9, 0xeb], [0xd9, 0xee], [0xd8, 0xc1], [0xd8, 0xc9], [0xd9, 0xe0], [0xd9, 0xc9], [0xdd, 0xd8], [0xdb, 0xe3]])) },
	{ name: "xgetbv", weight: 1, make: (mode) => guarded(mode, [...load32(mode, 1, 0), 0x0f, 0x01, 0xd0]) },
	{ name: "xsetbv", weight: 1, when: isKernel, make: (mode, choose) => guarded(mode, [...load32(mode, 0, choose.of([1, 3, 7, 2, 5])), ...load32(mode, 2, 0), ...load32(mode, 1, 0), 0x0f, 0x01, 0xd1]) },
];

/** Moves and packed integers, between XMM registers and with memory. */
function sse2(mode: GuestMode, choose: Choices): number[] {
	const [prefix, opcode] = choose.of([
		[0x66, 0xfe],
		[0x66, 0xd4],
		[0x66, 0xef],
		[0x66, 0xeb],
		[0x66, 0xf4],
		[0x66, 0x61],
		[0x66, 0x6f],
		[0xf3, 0x6f],
		[0x66, 0x75],
	] as const);
	const reg = choose.below(8);
	if (choose.below(2) === 0) return [prefix, 0x0f, opcode, 0xc0 | (reg << 3) | choose.below(8)];
	// 16-byte operands are aligned, but for MOVDQU.
	const offset = dataOffset(choose.random) & (prefix === 0xf3 ? ~0 : ~15);
	return [prefix, 0x0f, opcode, ...address(mode, reg, offset + mode.dataOffset)];
}

const byMode = new Map<string, readonly Maker[]>();
function makersOf(mode: GuestMode): readonly Maker[] {
	let found = byMode.get(mode.name);
	if (found === undefined) {
		found = MAKERS.filter((maker) => maker.when?.(mode) ?? true);
		byMode.set(mode.name, found);
	}
	return found;
}

/** A piece for a mode, chosen by weight. */
export function makeAtom(mode: GuestMode, choose: Choices): Atom {
	const maker = choose.byWeight(makersOf(mode), ({ weight }) => weight);
	return { name: maker.name, emit: maker.make(mode, choose) };
}

/** Names of all kinds of pieces that a mode has. */
export function atomNames(mode: GuestMode): string[] {
	return makersOf(mode).map(({ name }) => name);
}
