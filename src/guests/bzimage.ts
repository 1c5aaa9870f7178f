/**
 * Linux kernels as bzImage files (Documentation/arch/x86/boot.rst of Linux, boot protocol 2.06 and later).
 *
 *     file            what                                               guest physical address
 *     0               real-mode code, with the setup header at 1F1H      not loaded
 *     (setup_sects + 1) × 512   protected-mode code                      LINUX.kernel
 *                     boot_params: the header's copy, e820 map           LINUX.bootParams
 *                     command line                                       LINUX.commandLine
 *                     initial RAM disk                                   as high as it may lie
 */
import { type Image, ImageError } from "./image.ts";

/** Offsets in the file, and, of the header, in boot_params as well. */
const HEADER = {
	setupSects: 0x1f1,
	ramdiskImage: 0x218,
	ramdiskSize: 0x21c,
	bootFlag: 0x1fe,
	jump: 0x200,
	magic: 0x202,
	version: 0x206,
	typeOfLoader: 0x210,
	loadflags: 0x211,
	heapEndPtr: 0x224,
	cmdLinePtr: 0x228,
	initrdAddrMax: 0x22c,
	relocatableKernel: 0x234,
	xloadflags: 0x236,
	cmdlineSize: 0x238,
	initSize: 0x260,
} as const;
/** Fields of boot_params outside of the header (asm/bootparam.h). */
const BOOT_PARAMS = { acpiRsdpAddr: 0x70, e820Entries: 0x1e8, e820Table: 0x2d0, bytes: 0x1000 } as const;
const E820_ENTRY_BYTES = 20;
const E820 = { ram: 1, reserved: 2 } as const;

const BOOT_FLAG = 0xaa55;
/** "HdrS". */
const MAGIC = 0x5372_6448;
/** The first with cmdline_size. */
const VERSION_LEAST = 0x206;
/** The first with init_size, and with xloadflags. */
const VERSION_INIT_SIZE = 0x20a;
const VERSION_XLOADFLAGS = 0x20c;
const LOADED_HIGH = 1;
const CAN_USE_HEAP = 0x80;
/** A boot loader without a number of its own. */
const LOADER_UNDEFINED = 0xff;
const XLF_KERNEL_64 = 1;
/** Where the 64-bit entry lies behind the 32-bit one. */
const ENTRY_64_OFFSET = 0x200;
const SETUP_SECTS_DEFAULT = 4;
const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/** Guest physical addresses that a kernel is started with. */
export const LINUX = {
	/** Page tables of the 64-bit entry: PML4, PDPT, four page directories. */
	pageTables: 0x9000,
	bootParams: 0x1_0000,
	commandLine: 0x2_0000,
	lowEnd: 0x9_fc00,
	kernel: 0x10_0000,
} as const;

/** A kernel, ready to be put into guest memory. */
export interface LinuxImage extends Image {
	readonly protocol: "linux";
	/** What the header says, for boot_params: bytes from 1F1H on. */
	readonly header: Uint8Array;
	/** The kernel has a 64-bit entry; else the 32-bit one is used. */
	readonly bits: 32 | 64;
	/** The longest command line, without its NUL. */
	readonly commandLineBytesMax: number;
	/** The highest address that the initial RAM disk may occupy. */
	readonly initrdGpaMax: number;
	/** Memory from `LINUX.kernel` that the kernel needs until it has read the memory map. */
	readonly initBytes: number;
}

/** What is started along with a kernel. */
export interface LinuxOptions {
	readonly commandLine: string;
	/** Initial RAM disk; null for none. */
	readonly initrd: Uint8Array | null;
	/** Guest memory from address 0. */
	readonly ramBytes: number;
	/** Guest physical address of ACPI's root pointer. */
	readonly rsdpGpa: number;
}

/** Whether a file is a Linux kernel: its boot flag and "HdrS". */
export function isBzImage(bytes: Uint8Array): boolean {
	if (bytes.length < HEADER.initSize + 4) return false;
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	return view.getUint16(HEADER.bootFlag, true) === BOOT_FLAG && view.getUint32(HEADER.magic, true) === MAGIC;
}

/**
 * Reads a kernel.
 * @throws ImageError if it is too old, a zImage, or cut off
 */
export function readBzImage(bytes: Uint8Array): LinuxImage {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const version = view.getUint16(HEADER.version, true);
	if (version < VERSION_LEAST) {
		throw new ImageError(
			`a Linux kernel of boot protocol ${version >> 8}.${version & 0xff}; 2.06 (Linux 2.6.22) is the oldest that can be started`,
		);
	}
	if ((view.getUint8(HEADER.loadflags) & LOADED_HIGH) === 0) {
		throw new ImageError("a zImage, which is loaded below 1 MiB; build a bzImage");
	}
	const setupSects = view.getUint8(HEADER.setupSects);
	const start = ((setupSects === 0 ? SETUP_SECTS_DEFAULT : setupSects) + 1) * SECTOR_BYTES;
	if (start >= bytes.length) {
		throw new ImageError(
			`truncated bzImage: ${bytes.length} bytes, its protected-mode code begins at ${start}`,
		);
	}
	const headerEnd = HEADER.magic + view.getUint8(HEADER.jump + 1);
	const is64 =
		version >= VERSION_XLOADFLAGS && (view.getUint16(HEADER.xloadflags, true) & XLF_KERNEL_64) !== 0;
	const code = bytes.subarray(start);
	return {
		protocol: "linux",
		entry: LINUX.kernel + (is64 ? ENTRY_64_OFFSET : 0),
		segments: [{ gpa: LINUX.kernel, bytes: code }],
		endGpa: LINUX.kernel + code.length,
		header: bytes.slice(HEADER.setupSects, headerEnd),
		bits: is64 ? 64 : 32,
		commandLineBytesMax: view.getUint32(HEADER.cmdlineSize, true),
		initrdGpaMax: view.getUint32(HEADER.initrdAddrMax, true),
		initBytes: version >= VERSION_INIT_SIZE ? view.getUint32(HEADER.initSize, true) : code.length,
	};
}

/** Where the initial RAM disk goes: as high as memory and kernel allow, at a page. */
function placeInitrd(kernel: LinuxImage, initrd: Uint8Array, ramBytes: number): number {
	const end = Math.min(ramBytes, kernel.initrdGpaMax + 1);
	const gpa = Math.floor((end - initrd.length) / PAGE_BYTES) * PAGE_BYTES;
	if (gpa < LINUX.kernel + kernel.initBytes) {
		throw new ImageError(
			`the initial RAM disk of ${initrd.length} bytes does not fit into ${ramBytes / 2 ** 20} MiB beside the kernel; give the guest more with --memory`,
		);
	}
	return gpa;
}

/** The e820 map: memory below the EBDA's place, memory from 1 MiB on, and between them what firmware would have. */
function e820(ramBytes: number): readonly (readonly [gpa: number, bytes: number, type: number])[] {
	return [
		[0, LINUX.lowEnd, E820.ram],
		[LINUX.lowEnd, LINUX.kernel - LINUX.lowEnd, E820.reserved],
		[LINUX.kernel, ramBytes - LINUX.kernel, E820.ram],
	];
}

/**
 * What lies in guest memory when a kernel starts.
 * @throws ImageError if the command line is too long for it or the RAM disk does not fit
 */
export function linuxMemory(
	kernel: LinuxImage,
	options: LinuxOptions,
): { readonly gpa: number; readonly bytes: Uint8Array }[] {
	const { initrd, ramBytes } = options;
	if (LINUX.kernel + kernel.initBytes > ramBytes) {
		throw new ImageError(
			`the kernel needs ${Math.ceil((LINUX.kernel + kernel.initBytes) / 2 ** 20)} MiB to start; give the guest more with --memory`,
		);
	}
	const text = new TextEncoder().encode(options.commandLine);
	if (text.length > kernel.commandLineBytesMax) {
		throw new ImageError(
			`a command line of ${text.length} bytes; this kernel takes ${kernel.commandLineBytesMax}`,
		);
	}
	const params = new Uint8Array(BOOT_PARAMS.bytes);
	const view = new DataView(params.buffer);
	params.set(kernel.header, HEADER.setupSects);
	params[HEADER.typeOfLoader] = LOADER_UNDEFINED;
	params[HEADER.loadflags] = params[HEADER.loadflags]! & ~CAN_USE_HEAP;
	view.setUint32(HEADER.cmdLinePtr, LINUX.commandLine, true);
	view.setBigUint64(BOOT_PARAMS.acpiRsdpAddr, BigInt(options.rsdpGpa), true);
	const map = e820(ramBytes);
	params[BOOT_PARAMS.e820Entries] = map.length;
	for (const [index, [gpa, bytes, type]] of map.entries()) {
		const at = BOOT_PARAMS.e820Table + index * E820_ENTRY_BYTES;
		view.setBigUint64(at, BigInt(gpa), true);
		view.setBigUint64(at + 8, BigInt(bytes), true);
		view.setUint32(at + 16, type, true);
	}
	const memory = [
		...kernel.segments,
		{ gpa: LINUX.commandLine, bytes: Uint8Array.from([...text, 0]) },
		{ gpa: LINUX.bootParams, bytes: params },
	];
	if (initrd === null) return memory;
	const initrdGpa = placeInitrd(kernel, initrd, ramBytes);
	view.setUint32(HEADER.ramdiskImage, initrdGpa, true);
	view.setUint32(HEADER.ramdiskSize, initrd.length, true);
	return [...memory, { gpa: initrdGpa, bytes: initrd }];
}
