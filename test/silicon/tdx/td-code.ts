/**
 * Machine code for a TD: what brings it from the reset vector into 64-bit mode, a program, and an IDT whose handlers
 * tell the VMM which exception came.
 *
 *     FFFEF000H parameters   FFFF0000H program   FFFF1000H handlers   FFFF3000H GDT
 *     FFFF4000H page tables  FFFF7000H IDT       FFFFA000H stack, downwards   FFFFF000H start in 32-bit mode
 */

export const TD_AT = {
	first: 0xfffef000,
	program: 0xffff0000,
	handlers: 0xffff1000,
	/** Where the handlers end up. */
	report: 0xffff2000,
	gdt: 0xffff3000,
	pml4: 0xffff4000,
	pdpt: 0xffff5000,
	directory: 0xffff6000,
	idt: 0xffff7000,
	stackTop: 0xffffa000,
	/** Within the mapped 2 MiB, and no memory of the TD's. */
	absent: 0xfffe0000,
	start32: 0xfffff000,
	start64: 0xfffff080,
	reset: 0xfffffff0,
} as const;

type Bytes = readonly number[];
const u32 = (value: number): Bytes => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
const u64 = (value: bigint): Bytes => [
	...u32(Number(value & 0xffff_ffffn)),
	...u32(Number((value >> 32n) & 0xffff_ffffn)),
];

export const R = {
	rax: 0,
	rcx: 1,
	rdx: 2,
	rbx: 3,
	rsp: 4,
	rbp: 5,
	rsi: 6,
	rdi: 7,
	r8: 8,
	r9: 9,
	r10: 10,
} as const;

/** MOV r64, imm64. */
export const mov = (register: number, value: bigint | number): Bytes => [
	register > 7 ? 0x49 : 0x48,
	0xb8 + (register & 7),
	...u64(BigInt.asUintN(64, BigInt(value))),
];
export const TDCALL: Bytes = [0x66, 0x0f, 0x01, 0xcc];
/** A TDG leaf: RAX, TDCALL. */
export const tdg = (leaf: number): Bytes => [...mov(R.rax, leaf), ...TDCALL];
/** TDG.VP.VMCALL that exposes registers. */
export const vmcall = (mask: number): Bytes => [...mov(R.rcx, mask), ...tdg(0)];
/** MOV r64, r64. */
export const copy = (to: number, from: number): Bytes => [
	0x48 | (from > 7 ? 4 : 0) | (to > 7 ? 1 : 0),
	0x89,
	0xc0 | ((from & 7) << 3) | (to & 7),
];
/** EDX:EAX and ECX, for WRMSR and XSETBV. */
export const edxEaxEcx = (value: bigint, ecx: number): Bytes => [
	...mov(R.rax, value & 0xffff_ffffn),
	...mov(R.rdx, value >> 32n),
	...mov(R.rcx, ecx),
];
export const WRMSR: Bytes = [0x0f, 0x30];
export const RDMSR: Bytes = [0x0f, 0x32];
export const CPUID: Bytes = [0x0f, 0xa2];
export const XSETBV: Bytes = [0x0f, 0x01, 0xd1];
export const XGETBV: Bytes = [0x0f, 0x01, 0xd0];
export const STI: Bytes = [0xfb];
export const IRETQ: Bytes = [0x48, 0xcf];
export const JMP_SELF: Bytes = [0xeb, 0xfe];

/** R12 of the call by which a handler reports. */
export const EXCEPTION = 0xe0n;
/** All registers that a TDG.VP.VMCALL may expose. */
export const ALL_GPRS = 0xffcc;

export interface TdCode {
	/** 64-bit code at CPL 0, interrupts off. */
	readonly program: Bytes;
	/** Handlers by vector; the others report. */
	readonly handlers?: Readonly<Record<number, Bytes>>;
	/** Stay in 32-bit mode: code at the start instead of the way to 64-bit mode. */
	readonly start32?: Bytes;
	/** CR4 bits besides PAE. Default: OSFXSR, OSXSAVE, PKE. */
	readonly cr4?: number;
}

/**
 * The handler of a vector reports by TDG.VP.VMCALL: R12 EXCEPTION, R13 and R14 the two topmost words of the stack
 * (error code and RIP, or RIP and CS), R15 the vector; then it does so again.
 */
const report: Bytes = [
	...[0x4c, 0x8b, 0x2c, 0x24], // mov r13, [rsp]
	...[0x4c, 0x8b, 0x74, 0x24, 0x08], // mov r14, [rsp+8]
	...mov(12, EXCEPTION),
	...vmcall(0xf000),
	...JMP_SELF,
];

const start32 = (cr4: number): Bytes => [
	...[0xb8, ...u32(TD_AT.pml4), 0x0f, 0x22, 0xd8],
	...[0x0f, 0x20, 0xe0, 0x0d, ...u32(0x20 | cr4), 0x0f, 0x22, 0xe0],
	...[0x0f, 0x20, 0xc0, 0x0d, ...u32(0x8001_0000), 0x0f, 0x22, 0xc0],
	...[0x0f, 0x01, 0x15, ...u32(TD_AT.gdt + 0x40), 0x0f, 0x01, 0x1d, ...u32(TD_AT.gdt + 0x50)],
	...[0xea, ...u32(TD_AT.start64), 8, 0],
];

const start64: Bytes = [
	...[0xb8, ...u32(0x10), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, ...u32(TD_AT.stackTop)],
	...[0xe9, ...u32(TD_AT.program - (TD_AT.start64 + 21))],
];

const CR4_DEFAULT = (1 << 9) | (1 << 18) | (1 << 22);

/** The TD's memory from TD_AT.first to 4 GiB. */
export function tdMemory({ program, handlers = {}, ...options }: TdCode): Uint8Array {
	const bytes = new Uint8Array(2 ** 32 - TD_AT.first);
	const put = (gpa: number, content: Bytes) => bytes.set(content, gpa - TD_AT.first);
	put(TD_AT.program, program);
	for (let vector = 0; vector < 256; vector++) {
		const at = TD_AT.handlers + vector * 16;
		if (vector < 255) {
			const back = TD_AT.report - (at + 11);
			put(at, [0x41, 0xbf, ...u32(vector), 0xe9, ...u32(back)]);
		}
		const low = BigInt(at & 0xffff) | (8n << 16n) | (0x8e00n << 32n) | (BigInt(at >>> 16) << 48n);
		put(TD_AT.idt + vector * 16, u64(low));
	}
	put(TD_AT.report, report);
	for (const [vector, code] of Object.entries(handlers)) {
		const own = TD_AT.report + 0x100 + Number(vector) * 0x40;
		put(own, code);
		const at = TD_AT.handlers + Number(vector) * 16;
		put(at, [0xe9, ...u32(own - (at + 5))]);
	}
	put(TD_AT.gdt, [...u64(0n), ...u64(0x00af9b000000ffffn), ...u64(0x00cf93000000ffffn)]);
	put(TD_AT.gdt + 0x40, [23, 0, ...u32(TD_AT.gdt)]);
	put(TD_AT.gdt + 0x50, [0xff, 0x0f, ...u32(TD_AT.idt)]);
	put(TD_AT.pml4, u64(BigInt(TD_AT.pdpt) | 7n));
	put(TD_AT.pdpt + 3 * 8, u64(BigInt(TD_AT.directory) | 7n));
	// Identity, 2 MiB: FFE00000H. The one below translates to shared memory.
	put(TD_AT.directory + 511 * 8, u64(0xffe0_00e7n));
	put(TD_AT.directory + 510 * 8, u64((1n << 47n) | 0xe7n));
	put(TD_AT.start32, options.start32 ?? start32(options.cr4 ?? CR4_DEFAULT));
	put(TD_AT.start64, start64);
	put(TD_AT.reset, [0xe9, ...u32(TD_AT.start32 - (TD_AT.reset + 5))]);
	return bytes;
}

/** Linear address that this TD maps to shared guest physical address 2^47. */
export const SHARED_WINDOW = 0xffc0_0000;
