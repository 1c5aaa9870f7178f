import { describe, expect, test } from "vitest";
import { type Image, ImageError } from "../../src/guests/image.ts";
import { checkFits, loadImage } from "../../src/guests/load.ts";
import { multibootInfo } from "../../src/guests/multiboot.ts";
import { findProgram, PROGRAMS, programBytes } from "../../src/guests/programs.ts";

/** An ELF file with one segment. */
interface ElfOptions {
	readonly bits?: 32 | 64;
	readonly machine?: number;
	readonly type?: number;
	readonly segmentType?: number;
	readonly gpa?: number;
	readonly entry?: number;
	readonly data?: readonly number[];
}

function elf(options: ElfOptions = {}): Uint8Array {
	const { bits = 64, machine = 62, type = 2, segmentType = 1, gpa = 0x10_0000, data = [0xf4] } = options;
	const entry = options.entry ?? gpa;
	const wide = bits === 64;
	const headerBytes = wide ? 64 : 52;
	const programBytes = wide ? 56 : 32;
	const bytes = new Uint8Array(headerBytes + programBytes + data.length);
	const view = new DataView(bytes.buffer);
	const word = (at: number, value: number) =>
		wide ? view.setBigUint64(at, BigInt(value), true) : view.setUint32(at, value, true);
	bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
	view.setUint16(16, type, true);
	view.setUint16(18, machine, true);
	word(24, entry);
	word(wide ? 32 : 28, headerBytes);
	view.setUint16(wide ? 54 : 42, programBytes, true);
	view.setUint16(wide ? 56 : 44, 1, true);
	const at = headerBytes;
	view.setUint32(at, segmentType, true);
	word(at + (wide ? 8 : 4), headerBytes + programBytes);
	word(at + (wide ? 24 : 12), gpa);
	word(at + (wide ? 32 : 16), data.length);
	word(at + (wide ? 40 : 20), data.length + 16);
	bytes.set(data, headerBytes + programBytes);
	return bytes;
}

const MULTIBOOT = [0x02, 0xb0, 0xad, 0x1b, 0, 0, 0, 0, 0xfe, 0x4f, 0x52, 0xe4];

describe("loadImage", () => {
	test("an ELF64 executable begins in long mode, its segments zero-filled to their size in memory", () => {
		expect(loadImage(elf())).toEqual({
			protocol: "long-mode",
			entry: 0x10_0000,
			segments: [{ gpa: 0x10_0000, bytes: Uint8Array.from([0xf4, ...new Array(16).fill(0)]) }],
			endGpa: 0x10_0011,
		});
	});
	test("a 32-bit ELF file with a multiboot header is a multiboot kernel", () => {
		expect(loadImage(elf({ bits: 32, machine: 3, data: MULTIBOOT }))).toMatchObject({
			protocol: "multiboot",
		});
	});
	test("an ELF64 file that begins at the reset vector is a TD's", () => {
		expect(loadImage(elf({ gpa: 0xffff_fff0, data: new Array(16).fill(0x90) })).protocol).toBe("td");
	});

	// biome-ignore format: a table
	test.each([
		["empty",                        new Uint8Array(),                                "the file is empty"],
		["text",                         new TextEncoder().encode("#!/bin/sh\n"),         "not an ELF file"],
		["cut in its header",            elf().subarray(0, 40),                           "truncated ELF file"],
		["cut in its segment",           elf().subarray(0, 120),                          "truncated ELF file: segment 0 ends at byte 121 of 120"],
		["32-bit without multiboot",     elf({ bits: 32, machine: 3 }),                   "a 32-bit ELF file without a multiboot header"],
		["for ARM",                      elf({ machine: 183 }),                           "another machine (AArch64)"],
		["position-independent",         elf({ type: 3 }),                                "link it with -static -no-pie"],
		["an object file",               elf({ type: 1 }),                                "not an executable"],
		["dynamically linked",           elf({ segmentType: 3 }),                         "dynamically linked"],
		["with an entry point elsewhere", elf({ entry: 0x20_0000 }),                      "lies in no segment"],
	] as const)("%s gives one clear line", (_name, bytes, message) => {
		expect(() => loadImage(bytes)).toThrow(ImageError);
		expect(() => loadImage(bytes)).toThrow(message);
	});

	test("no prefix of an executable crashes or loads", () => {
		const whole = elf();
		for (let length = 0; length < whole.length; length++) {
			expect(() => loadImage(whole.subarray(0, length))).toThrow(ImageError);
		}
	});
});

test("a segment outside guest memory is named", () => {
	const image: Image = loadImage(elf({ gpa: 0x40_0000 }));
	expect(() => checkFits(image, 0x20_0000, 0xa0000)).toThrow(
		"segment 0x400000-0x400011 lies outside the guest's memory of 2 MiB",
	);
	expect(() => checkFits(image, 0x80_0000, 0xa0000)).not.toThrow();
	expect(() => checkFits(loadImage(elf({ gpa: 0x1000 })), 0x20_0000, 0xa0000)).toThrow("boot tables");
});

test("the multiboot information names command line, memory and map", () => {
	const gpa = 0x9000;
	const bytes = multibootInfo({ ramBytes: 64 << 20, commandLine: "vmexit invd", gpa });
	const view = new DataView(bytes.buffer);
	const word = (at: number) => view.getUint32(at, true);
	expect(word(0) & 0x45).toBe(0x45);
	expect([word(4), word(8)]).toEqual([640, 63 * 1024]);
	expect(new TextDecoder().decode(bytes.subarray(word(16) - gpa, bytes.length - 1))).toBe("vmexit invd");
	const map = word(48) - gpa;
	expect([word(44), word(map), word(map + 24 + 4), word(map + 24 + 12)]).toEqual([48, 20, 1 << 20, 63 << 20]);
});

describe("the embedded programs", () => {
	test.each(PROGRAMS.map((program) => [program.name, program] as const))("%s loads", (_name, program) => {
		const image = loadImage(programBytes(program));
		expect(image.protocol).toBe(program.vendors.includes("tdx") ? "td" : "long-mode");
		expect(programBytes(program).length).toBeLessThan(16384);
	});
	test("are found by name", () => {
		expect(findProgram("invd")?.name).toBe("invd");
		expect(findProgram("nope")).toBeUndefined();
	});
});
