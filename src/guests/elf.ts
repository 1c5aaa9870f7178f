/** ELF executables, 32 and 64 bits (System V ABI, Object Files). */
import { ImageError, type Segment } from "./image.ts";

const CLASS = { elf32: 1, elf64: 2 } as const;
const DATA_LITTLE_ENDIAN = 1;
const TYPE = { executable: 2, shared: 3 } as const;
const MACHINE = { i386: 3, x86_64: 62 } as const;
const SEGMENT = { load: 1, dynamic: 2, interpreter: 3 } as const;
const MACHINE_NAMES: Readonly<Record<number, string>> = {
	8: "MIPS",
	20: "PowerPC",
	40: "ARM",
	183: "AArch64",
	243: "RISC-V",
};

export interface ElfFile {
	readonly bits: 32 | 64;
	readonly machine: "i386" | "x86-64";
	readonly entry: number;
	readonly segments: readonly Segment[];
}

/** Whether the bytes begin as an ELF file does. */
export function isElf(bytes: Uint8Array): boolean {
	return (
		bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46
	);
}

/** Places of the fields that differ between the two classes. */
interface Layout {
	readonly headerBytes: number;
	readonly wide: boolean;
	readonly entry: number;
	readonly tableOffset: number;
	readonly entryBytes: number;
	readonly count: number;
	/** In a program header. */
	readonly program: {
		readonly bytes: number;
		readonly offset: number;
		readonly physical: number;
		readonly fileBytes: number;
		readonly memoryBytes: number;
	};
}

// biome-ignore format: a table
const LAYOUT_32: Layout = {
	headerBytes: 52, wide: false, entry: 24, tableOffset: 28, entryBytes: 42, count: 44,
	program: { bytes: 32, offset: 4, physical: 12, fileBytes: 16, memoryBytes: 20 },
};
// biome-ignore format: a table
const LAYOUT_64: Layout = {
	headerBytes: 64, wide: true, entry: 24, tableOffset: 32, entryBytes: 54, count: 56,
	program: { bytes: 56, offset: 8, physical: 24, fileBytes: 32, memoryBytes: 40 },
};

/**
 * Reads an executable's segments.
 * @throws ImageError for what is not a static x86 executable, or is cut short
 */
export function readElf(bytes: Uint8Array): ElfFile {
	if (!isElf(bytes)) throw new ImageError("not an ELF file: it does not begin with 7F 45 4C 46");
	if (bytes.length < 20)
		throw new ImageError(`truncated ELF file: ${bytes.length} bytes do not hold its header`);
	const elfClass = bytes[4]!;
	if (elfClass !== CLASS.elf32 && elfClass !== CLASS.elf64) {
		throw new ImageError(`ELF class ${elfClass} is neither 32 nor 64 bits`);
	}
	if (bytes[5] !== DATA_LITTLE_ENDIAN) throw new ImageError("a big-endian ELF file: x86 is little-endian");
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const machine = view.getUint16(18, true);
	if (machine !== MACHINE.i386 && machine !== MACHINE.x86_64) {
		const name = MACHINE_NAMES[machine] ?? `number ${machine}`;
		throw new ImageError(
			`an ELF file for another machine (${name}): want x86-64, or i386 with a multiboot header`,
		);
	}
	const layout = elfClass === CLASS.elf64 ? LAYOUT_64 : LAYOUT_32;
	if (bytes.length < layout.headerBytes) {
		throw new ImageError(
			`truncated ELF file: ${bytes.length} bytes do not hold its header of ${layout.headerBytes}`,
		);
	}
	const type = view.getUint16(16, true);
	if (type === TYPE.shared)
		throw new ImageError("a position-independent or shared ELF file: link it with -static -no-pie");
	if (type !== TYPE.executable) throw new ImageError(`ELF type ${type} is not an executable: link it first`);
	return {
		bits: elfClass === CLASS.elf64 ? 64 : 32,
		machine: machine === MACHINE.x86_64 ? "x86-64" : "i386",
		entry: address(view, layout.entry, layout.wide, "entry point"),
		segments: readSegments(bytes, view, layout),
	};
}

/** An address or size; guest physical addresses here lie below 2^48. */
function address(view: DataView, offset: number, wide: boolean, what: string): number {
	if (!wide) return view.getUint32(offset, true);
	const value = view.getBigUint64(offset, true);
	if (value >= 1n << 48n)
		throw new ImageError(`the ELF file's ${what} 0x${value.toString(16)} is beyond 2^48`);
	return Number(value);
}

function readSegments(bytes: Uint8Array, view: DataView, layout: Layout): Segment[] {
	const { wide, program } = layout;
	const table = address(view, layout.tableOffset, wide, "program header table");
	const stride = view.getUint16(layout.entryBytes, true);
	const count = view.getUint16(layout.count, true);
	if (count === 0) throw new ImageError("an ELF file without program headers: nothing to load");
	if (stride < program.bytes || table + stride * count > bytes.length) {
		throw new ImageError(
			`truncated ELF file: its program headers end at byte ${table + stride * count} of ${bytes.length}`,
		);
	}
	const segments: Segment[] = [];
	for (let index = 0; index < count; index++) {
		const at = table + index * stride;
		const type = view.getUint32(at, true);
		if (type === SEGMENT.interpreter || type === SEGMENT.dynamic) {
			throw new ImageError("a dynamically linked ELF file: link it with -static -no-pie");
		}
		if (type !== SEGMENT.load) continue;
		const offset = address(view, at + program.offset, wide, "segment offset");
		const gpa = address(view, at + program.physical, wide, "segment address");
		const fileBytes = address(view, at + program.fileBytes, wide, "segment size");
		const memoryBytes = address(view, at + program.memoryBytes, wide, "segment size");
		if (offset + fileBytes > bytes.length) {
			throw new ImageError(
				`truncated ELF file: segment ${index} ends at byte ${offset + fileBytes} of ${bytes.length}`,
			);
		}
		if (memoryBytes < fileBytes)
			throw new ImageError(`ELF segment ${index} has more bytes in the file than in memory`);
		if (memoryBytes > 2 ** 31)
			throw new ImageError(`ELF segment ${index} wants ${memoryBytes} bytes of memory`);
		if (memoryBytes === 0) continue;
		const data = new Uint8Array(memoryBytes);
		data.set(bytes.subarray(offset, offset + fileBytes));
		segments.push({ gpa, bytes: data });
	}
	if (segments.length === 0) throw new ImageError("an ELF file without loadable segments");
	return segments;
}
