/**
 * A guest image from a file's bytes.
 *
 *     ELF64 for x86-64                    "long-mode", or "td" when it begins at the reset vector
 *     with boot flag and "HdrS"           "linux"
 *     with a multiboot 1 header           "multiboot" (kvm-unit-tests' *.flat are 32-bit ELF files with one)
 */
import { isBzImage, readBzImage } from "./bzimage.ts";
import { readElf } from "./elf.ts";
import { type BootProtocol, type Image, ImageError, type Segment } from "./image.ts";
import { findMultibootHeader, type MultibootHeader } from "./multiboot.ts";

/** Where a TD's first virtual CPU begins. */
export const TD_RESET_VECTOR = 0xffff_fff0;

/**
 * Reads an image.
 * @throws ImageError with one line that says what is wrong
 */
export function loadImage(bytes: Uint8Array): Image {
	if (bytes.length === 0) throw new ImageError("the file is empty");
	if (isBzImage(bytes)) return readBzImage(bytes);
	const header = findMultibootHeader(bytes);
	if (header !== null) {
		if (header.unmet !== 0) {
			throw new ImageError(
				`the multiboot header asks for features 0x${header.unmet.toString(16)} that are not provided`,
			);
		}
		if (header.addresses !== null) return loadByAddresses(bytes, header, header.addresses);
		const elf = readElf(bytes);
		return image("multiboot", elf.entry, elf.segments);
	}
	const elf = readElf(bytes);
	if (elf.bits === 32) {
		throw new ImageError(
			"a 32-bit ELF file without a multiboot header: build it for x86-64, or add the header",
		);
	}
	if (elf.machine !== "x86-64") throw new ImageError("a 64-bit ELF file for i386");
	return image(elf.entry === TD_RESET_VECTOR ? "td" : "long-mode", elf.entry, elf.segments);
}

/** Loads by the header's own addresses: the a.out kludge. */
function loadByAddresses(
	bytes: Uint8Array,
	header: MultibootHeader,
	addresses: NonNullable<MultibootHeader["addresses"]>,
): Image {
	const fileStart = header.offset - (addresses.header - addresses.load);
	const loadBytes = addresses.loadEnd === 0 ? bytes.length - fileStart : addresses.loadEnd - addresses.load;
	if (fileStart < 0 || loadBytes < 0 || fileStart + loadBytes > bytes.length) {
		throw new ImageError(`truncated multiboot image: its ${loadBytes} bytes to load are not in the file`);
	}
	const memoryBytes =
		addresses.bssEnd === 0 ? loadBytes : Math.max(loadBytes, addresses.bssEnd - addresses.load);
	const data = new Uint8Array(memoryBytes);
	data.set(bytes.subarray(fileStart, fileStart + loadBytes));
	return image("multiboot", addresses.entry, [{ gpa: addresses.load, bytes: data }]);
}

function image(protocol: BootProtocol, entry: number, segments: readonly Segment[]): Image {
	const holdsEntry = segments.some(({ gpa, bytes }) => entry >= gpa && entry < gpa + bytes.length);
	if (!holdsEntry) throw new ImageError(`the entry point 0x${entry.toString(16)} lies in no segment`);
	const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
	for (let i = 1; i < sorted.length; i++) {
		const before = sorted[i - 1]!;
		const after = sorted[i]!;
		if (before.gpa + before.bytes.length > after.gpa) {
			throw new ImageError(
				`segments at 0x${before.gpa.toString(16)} and 0x${after.gpa.toString(16)} overlap`,
			);
		}
	}
	const last = sorted.at(-1)!;
	return { protocol, entry, segments: sorted, endGpa: last.gpa + last.bytes.length };
}

/**
 * Checks that an image fits into guest memory that begins at address 0.
 * @param ramBytes of guest memory
 * @param reservedBytes below this address the boot protocol has its own tables
 * @throws ImageError naming the segment
 */
export function checkFits(loaded: Image, ramBytes: number, reservedBytes: number): void {
	for (const { gpa, bytes } of loaded.segments) {
		const end = gpa + bytes.length;
		const where = `segment 0x${gpa.toString(16)}-0x${end.toString(16)}`;
		if (end > ramBytes) {
			throw new ImageError(`${where} lies outside the guest's memory of ${ramBytes / 2 ** 20} MiB`);
		}
		if (gpa < reservedBytes) {
			throw new ImageError(`${where} lies below 0x${reservedBytes.toString(16)}, where the boot tables are`);
		}
	}
}
