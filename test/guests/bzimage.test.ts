import { expect, test } from "vitest";
import { linuxState } from "../../src/guests/boot.ts";
import { type LinuxImage, LINUX, readBzImage } from "../../src/guests/bzimage.ts";
import { ImageError } from "../../src/guests/image.ts";
import { loadImage } from "../../src/guests/load.ts";
import { createMachine } from "../../src/kvm/api/kvm.ts";
import { guestRamBytesFor, hostRamBytesFor, Vmm } from "../../src/kvm/api/vmm.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { MODELS } from "../../src/silicon/models/models.ts";

interface Fields {
	readonly version?: number;
	readonly loadflags?: number;
	readonly xloadflags?: number;
	readonly initrdAddrMax?: number;
	readonly initSize?: number;
	readonly code?: readonly number[];
}

/** A bzImage with one sector of real-mode code, and code at its 32-bit entry. */
function bzImage(fields: Fields = {}): Uint8Array {
	const bytes = new Uint8Array(2 * 512 + 0x1000);
	const view = new DataView(bytes.buffer);
	bytes[0x1f1] = 1;
	view.setUint16(0x1fe, 0xaa55, true);
	bytes.set([0xeb, 0x6a], 0x200);
	bytes.set(new TextEncoder().encode("HdrS"), 0x202);
	view.setUint16(0x206, fields.version ?? 0x20f, true);
	bytes[0x211] = fields.loadflags ?? 1;
	view.setUint32(0x22c, fields.initrdAddrMax ?? 0x7fff_ffff, true);
	view.setUint16(0x236, fields.xloadflags ?? 1, true);
	view.setUint32(0x238, 2047, true);
	view.setUint32(0x260, fields.initSize ?? 0x20_0000, true);
	bytes.set(fields.code ?? [], 2 * 512);
	return bytes;
}

const RAM = 64 << 20;
const options = { commandLine: "console=ttyS0", initrd: null, ramBytes: RAM, rsdpGpa: 0xe_0000 };

test("a bzImage is known by its boot flag and HdrS, and its protected-mode code is loaded at 1 MiB", () => {
	const image = loadImage(bzImage({ code: [1, 2, 3] })) as LinuxImage;
	expect(image.protocol).toBe("linux");
	expect(image.bits).toBe(64);
	expect(image.entry).toBe(0x10_0200);
	expect(image.segments[0]!.gpa).toBe(0x10_0000);
	expect([...image.segments[0]!.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
});

test("a kernel without a 64-bit entry starts at its 32-bit one, without paging", () => {
	const image = readBzImage(bzImage({ xloadflags: 0 }));
	expect(image.entry).toBe(0x10_0000);
	const { sregs } = linuxState(image, options);
	expect(sregs.cr0).toBe(0x11n);
	expect(sregs.cs).toMatchObject({ selector: 0x10, db: 1, l: 0 });
	expect(sregs.ds.selector).toBe(0x18);
});

test("boot_params has the header, the e820 map, the command line, ACPI's root pointer and the RAM disk", () => {
	const initrd = new Uint8Array(5000).fill(7);
	const { memory, regs } = linuxState(readBzImage(bzImage()), { ...options, initrd });
	expect(regs.rsi).toBe(BigInt(LINUX.bootParams));
	const params = memory.find(({ gpa }) => gpa === LINUX.bootParams)!.bytes;
	const view = new DataView(params.buffer);
	expect(view.getUint32(0x202, true)).toBe(0x5372_6448);
	expect(view.getBigUint64(0x70, true)).toBe(0xe_0000n);
	expect(params[0x1e8]).toBe(3);
	const entries = [0, 1, 2].map((at) => [
		Number(view.getBigUint64(0x2d0 + 20 * at, true)),
		Number(view.getBigUint64(0x2d8 + 20 * at, true)),
		view.getUint32(0x2e0 + 20 * at, true),
	]);
	expect(entries).toEqual([
		[0, 0x9_fc00, 1],
		[0x9_fc00, 0x6_0400, 2],
		[0x10_0000, RAM - 0x10_0000, 1],
	]);
	const line = memory.find(({ gpa }) => gpa === view.getUint32(0x228, true))!.bytes;
	expect(new TextDecoder().decode(line)).toBe("console=ttyS0\0");
	const disk = view.getUint32(0x218, true);
	expect(disk % 4096).toBe(0);
	expect(view.getUint32(0x21c, true)).toBe(5000);
	expect(disk + 5000).toBeLessThanOrEqual(RAM);
	expect(memory.find(({ gpa }) => gpa === disk)!.bytes).toBe(initrd);
});

test("a RAM disk lies below what the kernel's header allows", () => {
	const image = readBzImage(bzImage({ initrdAddrMax: 0x37f_ffff }));
	const { memory } = linuxState(image, { ...options, initrd: new Uint8Array(4096) });
	expect(memory.some(({ gpa }) => gpa === 0x37f_f000)).toBe(true);
});

test("what cannot be started is refused in one line that names the reason", () => {
	const refused = (make: () => unknown) => {
		try {
			make();
		} catch (error) {
			expect(error).toBeInstanceOf(ImageError);
			return (error as ImageError).message;
		}
		throw new Error("it was taken");
	};
	expect(refused(() => readBzImage(bzImage({ version: 0x204 })))).toMatch(/protocol 2\.4/);
	expect(refused(() => readBzImage(bzImage({ loadflags: 0 })))).toMatch(/zImage/);
	expect(refused(() => readBzImage(bzImage().subarray(0, 1024)))).toMatch(/truncated/);
	const image = readBzImage(bzImage());
	expect(refused(() => linuxState(image, { ...options, commandLine: "x".repeat(2048) }))).toMatch(/2047/);
	expect(refused(() => linuxState(image, { ...options, ramBytes: 2 << 20 }))).toMatch(/--memory/);
	const initrd = new Uint8Array(RAM - (2 << 20));
	expect(refused(() => linuxState(image, { ...options, initrd }))).toMatch(/RAM disk/);
});

// Both print what boot_params says of the boot loader, and turn the machine off by PM1 control.
const PRINT = [0x8a, 0x86, 0x10, 0x02, 0x00, 0x00, 0x66, 0xba, 0xf8, 0x03, 0xee];
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef];

test.each([
	["64-bit", 1, "turin", "svm"],
	["32-bit", 0, "emerald-rapids", "vmx"],
] as const)("a kernel starts at its %s entry with RSI at boot_params", (_mode, xloadflags, model, vendor) => {
	const code = new Uint8Array(0x300);
	code.set([...PRINT, ...POWER_OFF], xloadflags === 1 ? 0x200 : 0);
	const image = loadImage(bzImage({ xloadflags, code: [...code] }));
	const guestRamBytes = guestRamBytesFor(image) / 8;
	const machine = createMachine({
		model: MODELS[model]!,
		vendor,
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(guestRamBytes),
	});
	const vmm = new Vmm(machine, { guestRamBytes });
	vmm.load(image, { commandLine: "" });
	expect(vmm.run(10_000)).toEqual({ kind: "power-off" });
	expect(vmm.consoleText).toBe("\xff");
});
