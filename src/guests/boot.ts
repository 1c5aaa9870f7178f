/**
 * The state in which a guest begins, by boot protocol, as KVM's user API says it: what lies in guest memory, and what
 * KVM_SET_SREGS and KVM_SET_REGS are given before the first KVM_RUN. Both machines take it.
 *
 * `long-mode`, for ELF64 guests. Paging is on with the first GiB and the page of the local APIC
 * identity-mapped, writable and user-accessible (so that PKRU applies), 2 MiB pages; flat 64-bit segments:
 *
 *     RDI iterations   RSI flags   RDX XCR0   RCX PKRU   R8 IA32_XSS   RSP 0x90000
 *
 * `multiboot`, for multiboot 1 kernels: 32-bit protected mode without paging, EAX 2BADB002H, EBX the
 * information structure.
 *
 * `linux`, for bzImage files (bzimage.ts): 64-bit mode with the first 4 GiB identity-mapped, or 32-bit protected mode
 * without paging for kernels without that entry; RSI points to boot_params, CS is 10H and the others 18H.
 *
 * `td`: the image lies right below 4 GiB, with the parameters in the order of the registers above as five 64-bit words
 * at its lowest address; the TDX module starts the vCPU at the reset vector.
 */
import { LINUX, type LinuxImage, linuxMemory, type LinuxOptions } from "./bzimage.ts";
import { type KvmDtable, type KvmRegs, type KvmSegment, type KvmSregs, kvmRegs } from "../uapi/structs.ts";
import { type Image, ImageError, type Segment } from "./image.ts";
import { MULTIBOOT_BOOTLOADER_MAGIC, multibootInfo } from "./multiboot.ts";

/** What a guest of this project is told (guests/guest.h). */
export interface GuestParameters {
	readonly iterations: number;
	/** Set CR4.OSXSAVE, then XCR0 if `xcr0` is not 0. */
	readonly osxsave?: boolean;
	/** Set CR4.PKE, then PKRU. */
	readonly pke?: boolean;
	/** XCR0 for XSETBV; 0 leaves it at 1. */
	readonly xcr0?: number;
	readonly pkru?: number;
	/** IA32_XSS for WRMSR; 0 leaves it. */
	readonly xss?: number;
	/** Print nothing when all went well. */
	readonly quiet?: boolean;
	/** Use DR0, DR1, DR6 and DR7. */
	readonly debugRegisters?: boolean;
	/** Set SPEC_CTRL, DEBUGCTL, SYSCALL's registers, KERNEL_GS_BASE and TSC_AUX. */
	readonly msrs?: boolean;
	/** Use AMX state with IA32_XFD set and cleared; `xcr0` must have its components. */
	readonly xfd?: boolean;
	/** Set PKRU by XRSTOR; `xcr0` must have it. */
	readonly xrstorPkru?: boolean;
	/** Processors that a guest of several starts. Default 1. */
	readonly cpus?: number;
	/**
	 * Turns of the piece of work that `pkeys` does between two switches, by default 500; `halt-poll` before it wakes
	 * another and `mmu-stress` between two pages, by default none.
	 */
	readonly workTurns?: number;
}

/** Bits of RSI. */
export const GUEST_FLAG = {
	osxsave: 1,
	pke: 2,
	quiet: 4,
	debugRegisters: 8,
	msrs: 16,
	xfd: 32,
	xrstorPkru: 64,
} as const;

/** The flags word for parameters. */
export function guestFlags(parameters: GuestParameters): number {
	let flags = (parameters.cpus ?? 0) * 0x1_0000;
	for (const [name, bit] of Object.entries(GUEST_FLAG)) {
		if (parameters[name as keyof typeof GUEST_FLAG] === true) flags |= bit;
	}
	return flags + (parameters.workTurns ?? 0) * 2 ** 32;
}

/** Guest physical addresses of the boot tables. Images begin at or above `end`. */
export const BOOT = {
	gdt: 0x1000,
	pml4: 0x2000,
	pdpt: 0x3000,
	pdLow: 0x4000,
	pdApic: 0x5000,
	multibootInfo: 0x6000,
	/** Multiboot images begin at or above. */
	multibootEnd: 0x8000,
	stackTop: 0x90000,
	end: 0xa0000,
} as const;

const PTE = { present: 1n, write: 2n, user: 4n, accessed: 0x20n, dirty: 0x40n, large: 0x80n } as const;
const TABLE_BITS = PTE.present | PTE.write | PTE.user | PTE.accessed;
const LEAF_BITS = TABLE_BITS | PTE.dirty | PTE.large;
const APIC_PAGE_GIB = 3;
/** 0xfee00000 in units of 2 MiB within its GiB. */
const APIC_PAGE_INDEX = 0x1f7;

/** Selectors of a boot GDT, each a multiple of 8. */
interface Selectors {
	readonly code: number;
	readonly data: number;
	readonly tss: number;
}
const SELECTOR: Selectors = { code: 0x08, data: 0x10, tss: 0x18 };
/** __BOOT_CS and __BOOT_DS. */
const LINUX_SELECTOR: Selectors = { code: 0x10, data: 0x18, tss: 0x20 };

const CR0 = { PE: 1n, ET: 0x10n, NE: 0x20n, WP: 1n << 16n, PG: 1n << 31n } as const;
const CR4_PAE = 1n << 5n;
const CR4_OSFXSR = 1n << 9n;
const EFER_SCE_LME_LMA_NXE = 0xd01n;
const EFER_LME_LMA = 0x500n;

function words64(entries: readonly bigint[]): Uint8Array {
	return new Uint8Array(BigUint64Array.from(entries).buffer);
}

/** PML4, PDPT and page directories of the long-mode protocol, one after the other from BOOT.pml4. */
export function longModePageTables(): Uint8Array {
	const tables = new BigUint64Array(4 * 512);
	const table = (gpa: number) => (gpa - BOOT.pml4) / 8;
	tables[table(BOOT.pml4)] = BigInt(BOOT.pdpt) | TABLE_BITS;
	tables[table(BOOT.pdpt)] = BigInt(BOOT.pdLow) | TABLE_BITS;
	tables[table(BOOT.pdpt) + APIC_PAGE_GIB] = BigInt(BOOT.pdApic) | TABLE_BITS;
	for (let i = 0; i < 512; i++) tables[table(BOOT.pdLow) + i] = (BigInt(i) << 21n) | LEAF_BITS;
	tables[table(BOOT.pdApic) + APIC_PAGE_INDEX] = 0xfee0_0000n | LEAF_BITS;
	return new Uint8Array(tables.buffer);
}

const LONG_MODE_PAGE_TABLES = longModePageTables();

/** Code, data, and a 64-bit TSS in two entries, behind null descriptors. */
function gdt(longMode: boolean, selectors: Selectors): Uint8Array {
	const entries = new BigUint64Array(selectors.tss / 8 + 2);
	entries[selectors.code / 8] = longMode ? 0x00af_9b00_0000_ffffn : 0x00cf_9b00_0000_ffffn;
	entries[selectors.data / 8] = 0x00cf_9300_0000_ffffn;
	entries[selectors.tss / 8] = 0x0000_8b00_0000_0067n;
	return new Uint8Array(entries.buffer);
}

/** Guest memory and registers at a guest's start. */
export interface BootState {
	readonly memory: readonly Segment[];
	readonly regs: KvmRegs;
	/** All but what a reset leaves: the caller fills in what its vCPU has (APIC base, CR8). */
	readonly sregs: Omit<KvmSregs, "apic_base" | "interrupt_bitmap" | "cr2" | "cr8">;
}

function segment(selector: number, limit: number, type: number, rest: Partial<KvmSegment>): KvmSegment {
	const none = { base: 0n, present: 1, dpl: 0, db: 0, s: 1, l: 0, g: 0, avl: 0, unusable: 0, padding: 0 };
	return { ...none, selector, limit, type, ...rest };
}

const FLAT = 0xffff_ffff;
/** Execute and read, read and write (both accessed), busy TSS, LDT (SDM Vol. 3A, 3.4.5.1 and 3.5). */
const TYPE = { code: 0xb, data: 3, tss: 0xb, ldt: 2 } as const;

const table = (base: number, limit: number): KvmDtable => ({ base: BigInt(base), limit, padding: [0, 0, 0] });

/** Flat code and data, an empty LDT, a TSS that only has to be valid. */
function flatSegments(longMode: boolean, selectors: Selectors) {
	const data = segment(selectors.data, FLAT, TYPE.data, { db: 1, g: 1 });
	return {
		cs: segment(selectors.code, FLAT, TYPE.code, longMode ? { l: 1, g: 1 } : { db: 1, g: 1 }),
		ds: data,
		es: data,
		fs: data,
		gs: data,
		ss: data,
		tr: segment(selectors.tss, 0x67, TYPE.tss, { s: 0 }),
		ldt: segment(0, 0, TYPE.ldt, { s: 0, present: 0, unusable: 1 }),
		gdt: table(BOOT.gdt, selectors.tss + 15),
		idt: table(0, 0),
	};
}

const NO_REGS: KvmRegs = Object.fromEntries(
	Object.keys(kvmRegs.fields).map((name) => [name, name === "rflags" ? 2n : 0n]),
) as KvmRegs;

/** The `long-mode` protocol. */
export function longModeState(image: Image, parameters: GuestParameters): BootState {
	const [iterations, flags, xcr0, pkru, xss] = parameterWords(parameters);
	return {
		memory: [
			...image.segments,
			{ gpa: BOOT.gdt, bytes: gdt(true, SELECTOR) },
			{ gpa: BOOT.pml4, bytes: LONG_MODE_PAGE_TABLES },
		],
		regs: {
			...NO_REGS,
			rip: BigInt(image.entry),
			rsp: BigInt(BOOT.stackTop),
			rdi: iterations,
			rsi: flags,
			rdx: xcr0,
			rcx: pkru,
			r8: xss,
		},
		sregs: {
			...flatSegments(true, SELECTOR),
			cr0: CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG,
			cr3: BigInt(BOOT.pml4),
			cr4: CR4_PAE | CR4_OSFXSR,
			efer: EFER_SCE_LME_LMA_NXE,
		},
	};
}

/** The `multiboot` protocol. @param ramBytes of guest memory from address 0 */
export function multibootState(image: Image, commandLine: string, ramBytes: number): BootState {
	const info = multibootInfo({ ramBytes, commandLine, gpa: BOOT.multibootInfo });
	return {
		memory: [
			...image.segments,
			{ gpa: BOOT.gdt, bytes: gdt(false, SELECTOR) },
			{ gpa: BOOT.multibootInfo, bytes: info },
		],
		regs: {
			...NO_REGS,
			rip: BigInt(image.entry),
			rax: BigInt(MULTIBOOT_BOOTLOADER_MAGIC),
			rbx: BigInt(BOOT.multibootInfo),
		},
		sregs: { ...flatSegments(false, SELECTOR), cr0: CR0.PE | CR0.ET, cr3: 0n, cr4: 0n, efer: 0n },
	};
}

/** PML4, PDPT and four page directories that map the first 4 GiB to themselves, from LINUX.pageTables. */
function linuxPageTables(): Uint8Array {
	const gib = 4;
	const tables = new BigUint64Array((2 + gib) * 512);
	const at = (page: number) => BigInt(LINUX.pageTables + page * 4096) | TABLE_BITS;
	tables[0] = at(1);
	for (let i = 0; i < gib; i++) tables[512 + i] = at(2 + i);
	for (let i = 0; i < gib * 512; i++) tables[1024 + i] = (BigInt(i) << 21n) | LEAF_BITS;
	return new Uint8Array(tables.buffer);
}

/**
 * The `linux` protocol.
 * @throws ImageError if command line, RAM disk or memory do not suit the kernel
 */
export function linuxState(kernel: LinuxImage, options: LinuxOptions): BootState {
	const longMode = kernel.bits === 64;
	return {
		memory: [
			...linuxMemory(kernel, options),
			{ gpa: BOOT.gdt, bytes: gdt(longMode, LINUX_SELECTOR) },
			{ gpa: LINUX.pageTables, bytes: linuxPageTables() },
		],
		regs: { ...NO_REGS, rip: BigInt(kernel.entry), rsi: BigInt(LINUX.bootParams) },
		sregs: {
			...flatSegments(longMode, LINUX_SELECTOR),
			...(longMode
				? {
						cr0: CR0.PE | CR0.ET | CR0.NE | CR0.PG,
						cr3: BigInt(LINUX.pageTables),
						cr4: CR4_PAE,
						efer: EFER_LME_LMA,
					}
				: { cr0: CR0.PE | CR0.ET, cr3: 0n, cr4: 0n, efer: 0n }),
		},
	};
}

/** struct params of guests/guest.h. */
function parameterWords(parameters: GuestParameters): [bigint, bigint, bigint, bigint, bigint] {
	const { iterations, xcr0, pkru, xss } = parameters;
	return [
		BigInt(iterations),
		BigInt(guestFlags(parameters)),
		BigInt(xcr0 ?? 0),
		BigInt(pkru ?? 0),
		BigInt(xss ?? 0),
	];
}

/**
 * The `td` protocol: the image with its parameters.
 * @throws ImageError if the image does not lie right below 4 GiB
 */
export function tdMemory(image: Image, parameters: GuestParameters): Segment {
	const first = image.segments[0]!.gpa;
	if (first % 4096 !== 0 || image.endGpa !== 2 ** 32) {
		throw new ImageError("a TD's image must begin at a page and end at 4 GiB");
	}
	const bytes = new Uint8Array(image.endGpa - first);
	for (const part of image.segments) bytes.set(part.bytes, part.gpa - first);
	bytes.set(words64(parameterWords(parameters)), 0);
	return { gpa: first, bytes };
}
