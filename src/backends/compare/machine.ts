/**
 * The memory map of generated guests, and what all of them find there: descriptor tables, page tables, and handlers that
 * tell the vector and go on at the address that the guest has left in RESUME.
 *
 *     0x00000  vectors of real mode           0x08000  handlers, 16 bytes a vector; RESUME at 0x8f00
 *     0x01000  GDT                            0x09000  handlers of long mode
 *     0x01800  IDT of protected mode          0x0f000  stack, downward; level 3's at 0xe000
 *     0x02000  IDT of long mode               0x10000  code, a section of 16 KiB for each mode on the way
 *     0x03000  page tables, TSS at 0x7000     0x20000  data, random; memory ends at 0x40000
 */
import { encode } from "../../uapi/layout.ts";
import type { KvmSegment, KvmSregs } from "../../uapi/structs.ts";
import { kvmRegs } from "../../uapi/structs.ts";
import type { Segment } from "../../guests/image.ts";

export const RAM_BYTES = 0x40000;
/** No memory there, but mapped: MMIO. */
export const MMIO_GPA = 0x50000;
export const DATA_GPA = 0x20000;
export const DATA_BYTES = 0x10000;
export const RESUME_GPA = 0x8f00;
/** Handlers write their vector here. */
export const VECTOR_PORT = 0xe0;
/** A vector with a gate that level 3 may use. */
const SYSTEM_CALL_VECTOR = 0x80;
/** #UD: with RESUME 0 it is the end of a guest at level 3, which may not HLT. */
export const END_VECTOR = 6;
const SECTION_BYTES = 0x4000;
const CODE_GPA = 0x10000;
const STACK_TOP = 0xf000;
const USER_STACK_TOP = 0xe000;
const AT = {
	gdt: 0x1000,
	idt32: 0x1800,
	idt64: 0x2000,
	pml4: 0x3000,
	pdpt: 0x4000,
	pd: 0x5000,
	pd32: 0x6000,
	tss: 0x7000,
	handlers32: 0x8000,
	handlers64: 0x9000,
	common32: 0x8e00,
	common64: 0x9e00,
	handler16: 0x8f80,
} as const;

export type ModeName = "real" | "protected16" | "protected32" | "paged32" | "long" | "user64";

/** A mode in which code is generated. */
export interface GuestMode {
	readonly name: ModeName;
	readonly bits: 16 | 32 | 64;
	readonly cpl: 0 | 3;
	/** Which section of the code it has. */
	readonly section: number;
	/** What CS's base is. */
	readonly codeBase: number;
	/** Added to an offset within the data by what the guest writes as an address. */
	readonly dataOffset: number;
}

// biome-ignore format: a table
export const MODES: Readonly<Record<ModeName, GuestMode>> = {
	real:        { name: "real",        bits: 16, cpl: 0, section: 0, codeBase: CODE_GPA,                     dataOffset: 0 },
	protected16: { name: "protected16", bits: 16, cpl: 0, section: 1, codeBase: CODE_GPA + SECTION_BYTES,     dataOffset: 0 },
	protected32: { name: "protected32", bits: 32, cpl: 0, section: 2, codeBase: 0,                            dataOffset: DATA_GPA },
	paged32:     { name: "paged32",     bits: 32, cpl: 0, section: 2, codeBase: 0,                            dataOffset: DATA_GPA },
	long:        { name: "long",        bits: 64, cpl: 0, section: 3, codeBase: 0,                            dataOffset: DATA_GPA },
	user64:      { name: "user64",      bits: 64, cpl: 3, section: 3, codeBase: 0,                            dataOffset: DATA_GPA },
};

/** Linear address of a mode's code. */
export const codeAt = (mode: GuestMode): number => CODE_GPA + mode.section * SECTION_BYTES;

// ---- descriptors --------------------------------------------------------------------------------------

export const SELECTOR = {
	code32: 0x08,
	data: 0x10,
	code64: 0x18,
	code16: 0x20,
	data16: 0x28,
	tss: 0x30,
	userData: 0x43,
	userCode: 0x4b,
	stack: 0x50,
} as const;

const descriptor = (base: number, limit: number, access: number, flags: number): bigint => {
	const low = BigInt(limit & 0xffff) | (BigInt(base & 0xff_ffff) << 16n) | (BigInt(access) << 40n);
	return low | (BigInt((limit >>> 16) & 15) << 48n) | (BigInt(flags) << 52n) | (BigInt(base >>> 24) << 56n);
};

const GDT: readonly bigint[] = [
	0n,
	descriptor(0, 0xfffff, 0x9b, 0xc),
	descriptor(0, 0xfffff, 0x93, 0xc),
	descriptor(0, 0xfffff, 0x9b, 0xa),
	descriptor(MODES.protected16.codeBase, 0xffff, 0x9b, 0),
	descriptor(DATA_GPA, 0xffff, 0x93, 0),
	descriptor(AT.tss, 0x67, 0x8b, 0),
	0n,
	descriptor(0, 0xfffff, 0xf3, 0xc),
	descriptor(0, 0xfffff, 0xfb, 0xa),
	descriptor(0, 0xfffff, 0x93, 0xc),
];

const words = (values: readonly bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer);
const little = (value: number, bytes: number) =>
	Array.from({ length: bytes }, (_, at) => Math.floor(value / 2 ** (8 * at)) & 0xff);

/** Vectors that push an error code (SDM Vol. 3A, table 7-1). */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Handlers of a vector: the vector and an error code on the stack, and to what all have in common. */
function stub(vector: number, at: number, common: number): number[] {
	const pushes = WITH_ERROR_CODE.has(vector) ? [] : [0x6a, 0];
	// PUSH imm8 extends the sign; what is compared is a byte of it.
	const code = [...pushes, 0x6a, vector & 0xff, 0xe9];
	return [...code, ...little((common - (at + code.length + 4)) >>> 0, 4)];
}

/** PUSH EAX; MOV AL, [ESP+4]; OUT; MOV EAX, SS:[RESUME]; MOV [ESP+12], EAX; POP EAX; ADD ESP, 8; IRETD. */
const COMMON_32 = [
	0x50,
	0x8a,
	0x44,
	0x24,
	4,
	0xe6,
	VECTOR_PORT,
	0x36,
	0xa1,
	...little(RESUME_GPA, 4),
	0x89,
	0x44,
	0x24,
	12,
	0x58,
	0x83,
	0xc4,
	8,
	0xcf,
];
/** The same with registers of 64 bits. */
const COMMON_64 = [
	0x50,
	0x8a,
	0x44,
	0x24,
	8,
	0xe6,
	VECTOR_PORT,
	0x48,
	0x8b,
	0x04,
	0x25,
	...little(RESUME_GPA, 4),
	0x48,
	0x89,
	0x44,
	0x24,
	24,
	0x58,
	0x48,
	0x83,
	0xc4,
	16,
	0x48,
	0xcf,
];
/** Real mode: PUSH BP; MOV BP, SP; PUSH AX; OUT; MOV AX, CS:[RESUME]; MOV [BP+2], AX; POP AX; POP BP; IRET. */
const HANDLER_16 = [
	0x55,
	0x89,
	0xe5,
	0x50,
	0xe6,
	VECTOR_PORT,
	0x2e,
	0xa1,
	...little(RESUME_GPA, 2),
	0x89,
	0x46,
	2,
	0x58,
	0x5d,
	0xcf,
];

const SLOT_BYTES = 12;
/** Vectors that have handlers. */
const VECTORS = [...Array.from({ length: 32 }, (_, vector) => vector), SYSTEM_CALL_VECTOR];

function handlers(first: number, common: number): Segment[] {
	return VECTORS.map((vector, n) => {
		const gpa = first + n * SLOT_BYTES;
		return { gpa, bytes: Uint8Array.from(stub(vector, gpa, common)) };
	});
}

/** Interrupt gates; those of INT3, INTO and the two of our own may be used by level 3. */
function idt(first: number, selector: number, bytesEach: 8 | 16): Uint8Array {
	const table = new DataView(new ArrayBuffer(256 * bytesEach));
	for (const [n, vector] of VECTORS.entries()) {
		const at = vector * bytesEach;
		const dpl = vector === 3 || vector === 4 || vector >= 0x80 ? 3 : 0;
		table.setUint16(at, first + n * SLOT_BYTES, true);
		table.setUint16(at + 2, selector, true);
		table.setUint16(at + 4, 0x8e00 | (dpl << 13), true);
	}
	return new Uint8Array(table.buffer);
}

/** 2 MiB pages for the first of them alone: an address beyond is not mapped. */
const LEAF = 0x87n | 0x60n;

/** What every guest has in memory beside its code and data. */
export const COMMON_MEMORY: readonly Segment[] = [
	{
		gpa: 0,
		bytes: Uint8Array.from(Array.from({ length: 256 }, () => [...little(AT.handler16, 2), 0, 0]).flat()),
	},
	{ gpa: AT.gdt, bytes: words(GDT) },
	{ gpa: AT.idt32, bytes: idt(AT.handlers32, SELECTOR.code32, 8) },
	{ gpa: AT.idt64, bytes: idt(AT.handlers64, SELECTOR.code64, 16) },
	{ gpa: AT.pml4, bytes: words([BigInt(AT.pdpt) | 0x27n]) },
	{ gpa: AT.pdpt, bytes: words([BigInt(AT.pd) | 0x27n]) },
	{ gpa: AT.pd, bytes: words([LEAF]) },
	{ gpa: AT.pd32, bytes: Uint8Array.from(little(0xe7, 4)) },
	// RSP0 of the 64-bit TSS.
	{ gpa: AT.tss + 4, bytes: words([BigInt(STACK_TOP)]) },
	...handlers(AT.handlers32, AT.common32),
	...handlers(AT.handlers64, AT.common64),
	{ gpa: AT.common32, bytes: Uint8Array.from(COMMON_32) },
	{ gpa: AT.common64, bytes: Uint8Array.from(COMMON_64) },
	{ gpa: AT.handler16, bytes: Uint8Array.from(HANDLER_16) },
];

// ---- registers at the start ----------------------------------------------------------------------------

const CR0 = { PE: 1n, ET: 0x10n, NE: 0x20n, PG: 1n << 31n } as const;
const CR4 = { PSE: 0x10n, PAE: 0x20n, OSFXSR: 0x200n, OSXMMEXCPT: 0x400n, OSXSAVE: 1n << 18n } as const;
const EFER_LONG = 0x501n;

function segment(
	selector: number,
	base: number,
	limit: number,
	type: number,
	rest: Partial<KvmSegment>,
): KvmSegment {
	return {
		base: BigInt(base),
		limit,
		selector,
		type,
		present: 1,
		dpl: 0,
		db: 0,
		s: 1,
		l: 0,
		g: 0,
		avl: 0,
		unusable: 0,
		padding: 0,
		...rest,
	};
}

const FLAT = 0xffff_ffff;

function segmentsOf(mode: GuestMode): Pick<KvmSregs, "cs" | "ds" | "es" | "fs" | "gs" | "ss"> {
	if (mode.name === "real") {
		const data = segment(DATA_GPA >> 4, DATA_GPA, 0xffff, 3, {});
		const flat = segment(0, 0, 0xffff, 3, {});
		return {
			cs: segment(mode.codeBase >> 4, mode.codeBase, 0xffff, 11, {}),
			ds: data,
			es: data,
			fs: flat,
			gs: flat,
			ss: flat,
		};
	}
	const stack = segment(SELECTOR.stack, 0, FLAT, 3, { db: 1, g: 1 });
	if (mode.name === "protected16") {
		const data = segment(SELECTOR.data16, DATA_GPA, 0xffff, 3, {});
		return {
			cs: segment(SELECTOR.code16, mode.codeBase, 0xffff, 11, {}),
			ds: data,
			es: data,
			fs: data,
			gs: data,
			ss: stack,
		};
	}
	const user = mode.cpl === 3;
	const data = segment(user ? SELECTOR.userData : SELECTOR.data, 0, FLAT, 3, { db: 1, g: 1, dpl: mode.cpl });
	const code = mode.bits === 64 ? { l: 1, g: 1, dpl: mode.cpl } : { db: 1, g: 1 };
	const selector = mode.bits === 64 ? (user ? SELECTOR.userCode : SELECTOR.code64) : SELECTOR.code32;
	return {
		cs: segment(selector, 0, FLAT, 11, code),
		ds: data,
		es: data,
		fs: data,
		gs: data,
		ss: user ? data : stack,
	};
}

/** Whether a vCPU of this CPUID may set CR4.OSXSAVE. */
export interface GuestFeatures {
	readonly xsave: boolean;
}

/** The special registers with which a guest begins in a mode. @param reset those of a vCPU that has just been made */
export function initialSregs(mode: GuestMode, reset: KvmSregs, { xsave }: GuestFeatures): KvmSregs {
	const paging = mode.bits === 64 || mode.name === "paged32";
	const table = (base: number, limit: number) => ({ base: BigInt(base), limit, padding: [0, 0, 0] });
	const idtr =
		mode.name === "real"
			? table(0, 0x3ff)
			: mode.bits === 64
				? table(AT.idt64, 0xfff)
				: table(AT.idt32, 0x7ff);
	return {
		...reset,
		...segmentsOf(mode),
		tr: segment(SELECTOR.tss, AT.tss, 0x67, 11, { s: 0 }),
		ldt: segment(0, 0, 0, 2, { s: 0, present: 0, unusable: 1 }),
		gdt: table(AT.gdt, GDT.length * 8 - 1),
		idt: idtr,
		cr0: CR0.ET | CR0.NE | (mode.name === "real" ? 0n : CR0.PE) | (paging ? CR0.PG : 0n),
		cr3: !paging ? 0n : BigInt(mode.bits === 64 ? AT.pml4 : AT.pd32),
		cr4: CR4.OSFXSR | CR4.OSXMMEXCPT | (mode.bits === 64 ? CR4.PAE : CR4.PSE) | (xsave ? CR4.OSXSAVE : 0n),
		efer: mode.bits === 64 ? EFER_LONG : 0n,
	};
}

/** Where a guest's stack pointer begins. */
export const stackTop = (mode: GuestMode): bigint => BigInt(mode.cpl === 3 ? USER_STACK_TOP : STACK_TOP);

/** Names of the general registers in the order of struct kvm_regs. */
export const GPR_NAMES = Object.keys(kvmRegs.fields).filter(
	(name) => name !== "rip" && name !== "rflags" && name !== "rsp",
);

/** A way from one mode to another: code at the end of a section that goes on at the start of the next one's. */
export const SWITCHES: Readonly<Record<string, (to: GuestMode) => number[]>> = {
	// LIDT and LGDT through SS, whose base is 0; CR0.PE; a far jump with 32 bits; DS, ES, SS.
	"real>protected32": (to) => [
		...[0x66, 0x36, 0x0f, 0x01, 0x1e, ...little(0x7100, 2)],
		...[0x66, 0x36, 0x0f, 0x01, 0x16, ...little(0x7110, 2)],
		...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0],
		...[0x66, 0xea, ...little(codeAt(to), 4), ...little(SELECTOR.code32, 2)],
	],
	"real>protected16": () => [
		...[0x66, 0x36, 0x0f, 0x01, 0x1e, ...little(0x7100, 2)],
		...[0x66, 0x36, 0x0f, 0x01, 0x16, ...little(0x7110, 2)],
		...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0],
		...[0xea, 0, 0, ...little(SELECTOR.code16, 2)],
	],
	// CR4.PAE, CR3, EFER.LME, LIDT, CR0.PG, a far jump.
	"protected32>long": (to) => [
		...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0],
		...[0xb8, ...little(AT.pml4, 4), 0x0f, 0x22, 0xd8],
		...[0xb9, ...little(0xc000_0080, 4), 0x0f, 0x32, 0x0d, ...little(0x100, 4), 0x0f, 0x30],
		...[0x0f, 0x01, 0x1d, ...little(0x7120, 4)],
		...[0x0f, 0x20, 0xc0, 0x0d, ...little(0x8000_0000, 4), 0x0f, 0x22, 0xc0],
		...[0xea, ...little(codeAt(to), 4), ...little(SELECTOR.code64, 2)],
	],
};

/** Loads DS, ES and SS by way of AX. @param mov the bytes of MOV AX, imm16 in the mode, without the immediate */
const loadDataSegments = (mov: readonly number[], data: number): readonly number[] => [
	...[...mov, ...little(data, 2), 0x8e, 0xd8, 0x8e, 0xc0],
	...[...mov, ...little(SELECTOR.stack, 2), 0x8e, 0xd0],
];

/** What a section begins with when it is reached by a switch: data segments. */
export const ARRIVALS: Readonly<Record<string, readonly number[]>> = {
	protected32: loadDataSegments([0x66, 0xb8], SELECTOR.data),
	protected16: loadDataSegments([0xb8], SELECTOR.data16),
	long: loadDataSegments([0x66, 0xb8], SELECTOR.data),
};

/** Pseudo-descriptors that the switches load: limit and base. */
export const PSEUDO_DESCRIPTORS: readonly Segment[] = (
	[
		[0x7100, 0x7ff, AT.idt32],
		[0x7110, GDT.length * 8 - 1, AT.gdt],
		[0x7120, 0xfff, AT.idt64],
	] as const
).map(([gpa, limit, base]) => ({ gpa, bytes: Uint8Array.from([...little(limit, 2), ...little(base, 4)]) }));

/** struct kvm_regs with all registers 0. */
export const NO_REGS = kvmRegs.read(encode(kvmRegs, { rflags: 2n }).view, 0);
