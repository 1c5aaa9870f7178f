/** The multiboot 1 header (Multiboot Specification 0.6.96, 3.1). */

export const MULTIBOOT_HEADER_MAGIC = 0x1bad_b002;
/** EAX at entry. */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2bad_b002;
/** The header lies within this many bytes from the start of the file. */
const SEARCH_BYTES = 8192;
/** Bit 16: the header has load addresses (the a.out kludge). */
const FLAG_ADDRESSES = 1 << 16;
/** Bits 0-15 are requirements; of those, page-aligned modules and memory information can be met. */
const REQUIREMENTS_MET = 0x0003;

export interface MultibootHeader {
	readonly offset: number;
	readonly flags: number;
	/** Set when the file is loaded by the header's addresses instead of its ELF segments. */
	readonly addresses: {
		readonly header: number;
		readonly load: number;
		readonly loadEnd: number;
		readonly bssEnd: number;
		readonly entry: number;
	} | null;
	/** Requirements that no boot loader here meets; 0 is what one wants. */
	readonly unmet: number;
}

/** Finds the header, or null. Its three words sum to 0 and it is aligned to 4 bytes. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | null {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const end = Math.min(bytes.length, SEARCH_BYTES) - 12;
	for (let offset = 0; offset <= end; offset += 4) {
		if (view.getUint32(offset, true) !== MULTIBOOT_HEADER_MAGIC) continue;
		const flags = view.getUint32(offset + 4, true);
		const sum = MULTIBOOT_HEADER_MAGIC + flags + view.getUint32(offset + 8, true);
		if (sum % 2 ** 32 !== 0) continue;
		const word = (index: number) => view.getUint32(offset + 12 + 4 * index, true);
		const hasAddresses = (flags & FLAG_ADDRESSES) !== 0 && offset + 32 <= bytes.length;
		return {
			offset,
			flags,
			addresses: hasAddresses
				? { header: word(0), load: word(1), loadEnd: word(2), bssEnd: word(3), entry: word(4) }
				: null,
			unmet: flags & 0xffff & ~REQUIREMENTS_MET,
		};
	}
	return null;
}

export interface MultibootInfo {
	/** Bytes of RAM from guest physical address 0. */
	readonly ramBytes: number;
	readonly commandLine: string;
	/** Guest physical address at which the structure will lie. */
	readonly gpa: number;
}

/** Offsets within the block that `multibootInfo` makes. */
const MMAP = 0x80;
const LOADER_NAME = 0x100;
const COMMAND_LINE = 0x140;
const MMAP_ENTRY_BYTES = 24;
const LOW_RAM_BYTES = 640 * 1024;
const HIGH_RAM = 0x10_0000;
/** Info flags: memory sizes, command line, modules (none), memory map, boot loader name. */
const INFO_FLAGS = 0x1 | 0x4 | 0x8 | 0x40 | 0x200;

/**
 * The information structure that EBX points to (3.3), with command line, loader name and memory map behind it.
 * @returns bytes for guest physical address `info.gpa`
 */
export function multibootInfo({ ramBytes, commandLine, gpa }: MultibootInfo): Uint8Array {
	const text = new TextEncoder().encode(commandLine);
	const bytes = new Uint8Array(COMMAND_LINE + text.length + 1);
	const view = new DataView(bytes.buffer);
	const put = (offset: number, value: number) => view.setUint32(offset, value, true);
	put(0, INFO_FLAGS);
	put(4, LOW_RAM_BYTES / 1024);
	put(8, Math.floor((ramBytes - HIGH_RAM) / 1024));
	put(16, gpa + COMMAND_LINE);
	put(20, 0);
	put(44, 2 * MMAP_ENTRY_BYTES);
	put(48, gpa + MMAP);
	put(64, gpa + LOADER_NAME);
	const map = [
		[0, LOW_RAM_BYTES],
		[HIGH_RAM, ramBytes - HIGH_RAM],
	] as const;
	for (const [index, [base, length]] of map.entries()) {
		const at = MMAP + index * MMAP_ENTRY_BYTES;
		put(at, MMAP_ENTRY_BYTES - 4);
		put(at + 4, base);
		put(at + 12, length % 2 ** 32);
		put(at + 16, Math.floor(length / 2 ** 32));
		put(at + 20, 1);
	}
	bytes.set(new TextEncoder().encode("reenter"), LOADER_NAME);
	bytes.set(text, COMMAND_LINE);
	return bytes;
}
