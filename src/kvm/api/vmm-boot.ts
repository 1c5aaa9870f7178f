/**
 * The state in which a guest begins, by boot protocol: what a VMM sets up in guest memory and in the vCPU's
 * registers before the first KVM_RUN.
 *
 * `long-mode`, for ELF64 guests. Paging is on with the first GiB and the page of the local APIC
 * identity-mapped, writable and user-accessible (so that PKRU applies), 2 MiB pages; flat 64-bit segments:
 *
 *     RDI iterations   RSI flags   RDX XCR0   RCX PKRU   R8 IA32_XSS   RSP 0x90000
 *
 * `multiboot`, for multiboot 1 kernels: 32-bit protected mode without paging, EAX 2BADB002H, EBX the
 * information structure.
 *
 * `td`: the image is added to the TD page by page, with the parameters in the order of the registers above as five
 * 64-bit words at its lowest address; the vCPU starts where the TDX module has put it, at the reset vector.
 */
import { type Image, ImageError } from "../../guests/image.ts";
import { MULTIBOOT_BOOTLOADER_MAGIC, multibootInfo } from "../../guests/multiboot.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { writeGuestPhysical } from "../emulate/guest-memory.ts";
import { kvmVcpuReset } from "../emulate/reset.ts";
import { MP_STATE } from "../requests.ts";
import { tdxFinalizeVm, tdxInitMemRegion } from "../tdx/memory.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Segment } from "../vendor-ops.ts";

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
	let flags = 0;
	for (const [name, bit] of Object.entries(GUEST_FLAG)) {
		if (parameters[name as keyof typeof GUEST_FLAG] === true) flags |= bit;
	}
	return flags;
}

/** Guest physical addresses of the boot tables. Images begin at or above `end`. */
export const BOOT = {
	gdt: 0x1000,
	pml4: 0x2000,
	pdpt: 0x3000,
	pdLow: 0x4000,
	pdApic: 0x5000,
	multibootInfo: 0x9000,
	stackTop: 0x90000,
	end: 0xa0000,
} as const;

const PTE = { present: 1n, write: 2n, user: 4n, accessed: 0x20n, dirty: 0x40n, large: 0x80n } as const;
const TABLE_BITS = PTE.present | PTE.write | PTE.user | PTE.accessed;
const LEAF_BITS = TABLE_BITS | PTE.dirty | PTE.large;
const APIC_PAGE_GIB = 3;
/** 0xfee00000 in units of 2 MiB within its GiB. */
const APIC_PAGE_INDEX = 0x1f7;

/** Attributes in the VMCS format: present, code or data, flat. */
const ATTR = { code64: 0xa09b, code32: 0xc09b, data: 0xc093, tss: 0x8b, unusable: 0x1_0000 } as const;
const SELECTOR = { code: 0x08, data: 0x10, tss: 0x18 } as const;

const CR0 = { PE: 1n, ET: 0x10n, NE: 0x20n, WP: 1n << 16n, PG: 1n << 31n } as const;
const CR4_PAE = 1n << 5n;
const CR4_OSFXSR = 1n << 9n;
const EFER_SCE_LME_NXE = 0x901n;

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

/** Null, code, data, and a 64-bit TSS in two entries. */
function gdt(longMode: boolean): Uint8Array {
	const code = longMode ? 0x00af_9b00_0000_ffffn : 0x00cf_9b00_0000_ffffn;
	return words64([0n, code, 0x00cf_9300_0000_ffffn, 0x0000_8b00_0000_0067n, 0n]);
}

/** KVM_SET_SREGS's segments: flat code and data, an empty LDT, a TSS that only has to be valid. */
function setFlatSegments(v: Vcpu, code: number): void {
	const { ops } = v.vm;
	const set = (segment: number, value: Segment) => ops.setSegment(v, segment, value);
	set(L.CS, { base: 0n, limit: 0xffff_ffff, attributes: code, selector: SELECTOR.code });
	for (const segment of [L.ES, L.SS, L.DS, L.FS, L.GS]) {
		set(segment, { base: 0n, limit: 0xffff_ffff, attributes: ATTR.data, selector: SELECTOR.data });
	}
	set(L.LDTR, { base: 0n, limit: 0, attributes: ATTR.unusable, selector: 0 });
	set(L.TR, { base: 0n, limit: 0x67, attributes: ATTR.tss, selector: SELECTOR.tss });
	set(L.GDTR, { base: BigInt(BOOT.gdt), limit: 0x27, attributes: 0, selector: 0 });
	set(L.IDTR, { base: 0n, limit: 0, attributes: 0, selector: 0 });
}

/** Puts the vCPU into the state that a protocol asks for. */
function resetTo(v: Vcpu, entry: number): void {
	kvmVcpuReset(v, false);
	v.mpState = MP_STATE.RUNNABLE;
	v.regs.fill(0n);
	v.vm.ops.setRip(v, BigInt(entry));
}

/** The `long-mode` protocol. */
export function bootLongMode(v: Vcpu, image: Image, parameters: GuestParameters): void {
	const { ops } = v.vm;
	writeGuestPhysical(v.vm, BOOT.gdt, gdt(true));
	writeGuestPhysical(v.vm, BOOT.pml4, LONG_MODE_PAGE_TABLES);
	resetTo(v, image.entry);
	setFlatSegments(v, ATTR.code64);
	ops.setCr3(v, BigInt(BOOT.pml4));
	ops.setCr4(v, CR4_PAE | CR4_OSFXSR);
	ops.setEfer(v, EFER_SCE_LME_NXE);
	ops.setCr0(v, CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG);
	ops.setRsp(v, BigInt(BOOT.stackTop));
	const [iterations, flags, xcr0, pkru, xss] = parameterWords(parameters);
	v.regs[L.RDI] = iterations;
	v.regs[L.RSI] = flags;
	v.regs[L.RDX] = xcr0;
	v.regs[L.RCX] = pkru;
	v.regs[8] = xss;
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

/** The `td` protocol. @throws ImageError if the image does not lie right below 4 GiB */
export function bootTd(v: Vcpu, image: Image, parameters: GuestParameters): void {
	const first = image.segments[0]!.gpa;
	if (first % 4096 !== 0 || image.endGpa !== 2 ** 32) {
		throw new ImageError("a TD's image must begin at a page and end at 4 GiB");
	}
	const bytes = new Uint8Array(image.endGpa - first);
	for (const segment of image.segments) bytes.set(segment.bytes, segment.gpa - first);
	bytes.set(words64(parameterWords(parameters)), 0);
	tdxInitMemRegion(v, first, bytes);
	tdxFinalizeVm(v);
	v.mpState = MP_STATE.RUNNABLE;
}

/** The `multiboot` protocol. @param ramBytes of guest memory from address 0 */
export function bootMultiboot(v: Vcpu, image: Image, commandLine: string, ramBytes: number): void {
	const { ops } = v.vm;
	writeGuestPhysical(v.vm, BOOT.gdt, gdt(false));
	writeGuestPhysical(
		v.vm,
		BOOT.multibootInfo,
		multibootInfo({ ramBytes, commandLine, gpa: BOOT.multibootInfo }),
	);
	resetTo(v, image.entry);
	setFlatSegments(v, ATTR.code32);
	ops.setCr4(v, 0n);
	ops.setEfer(v, 0n);
	ops.setCr0(v, CR0.PE | CR0.ET);
	v.regs[L.RAX] = BigInt(MULTIBOOT_BOOTLOADER_MAGIC);
	v.regs[L.RBX] = BigInt(BOOT.multibootInfo);
}
