import { expect, test } from "vitest";
import { makePc } from "../../../src/kvm/devices/pc.ts";

function pc(ramBytes = 64 << 20) {
	const printed: number[] = [];
	const exits: number[] = [];
	let seconds = 0;
	const bus = makePc({
		ramBytes,
		cpus: 1,
		transmit: (byte) => printed.push(byte),
		onExit: (value) => exits.push(value),
		seconds: () => seconds,
	});
	return {
		bus,
		exits,
		text: () => String.fromCharCode(...printed),
		at: (time: number) => {
			seconds = time;
		},
	};
}

test("the serial port prints what is sent with DLAB clear, and is always ready", () => {
	const { bus, text } = pc();
	bus.write(0x3fb, 1, 0x80);
	bus.write(0x3f8, 1, 1);
	bus.write(0x3fb, 1, 0x03);
	for (const char of "ok\n") {
		expect(bus.read(0x3fd, 1) & 0x20).toBe(0x20);
		bus.write(0x3f8, 1, char.charCodeAt(0));
	}
	expect(text()).toBe("ok\n");
	bus.write(0x3fb, 1, 0x83);
	expect(bus.read(0x3f8, 1)).toBe(1);
});

test("fw_cfg gives its signature, the number of CPUs and the memory size, byte by byte", () => {
	const { bus } = pc(96 << 20);
	const item = (index: number, bytes: number) => {
		bus.write(0x510, 2, index);
		return Array.from({ length: bytes }, () => bus.read(0x511, 1));
	};
	expect(String.fromCharCode(...item(0, 4))).toBe("QEMU");
	expect(item(5, 2)).toEqual([1, 0]);
	expect(item(3, 8)).toEqual([0, 0, 0, 6, 0, 0, 0, 0]);
	expect(item(0x4242, 2)).toEqual([0, 0]);
});

test("a write to port 0xf4 ends the run with its value", () => {
	const { bus, exits } = pc();
	bus.write(0xf4, 4, 3);
	expect(exits).toEqual([3]);
});

test("what nobody claims reads all ones, and so does PCI configuration space", () => {
	const { bus } = pc();
	expect([bus.read(0x1234, 1), bus.read(0x1234, 2), bus.read(0x1234, 4)]).toEqual([
		0xff, 0xffff, 0xffff_ffff,
	]);
	bus.write(0xcf8, 4, 0x8000_0000);
	expect(bus.read(0xcfc, 4)).toBe(0xffff_ffff);
});

test("the ACPI timer counts at 3.579545 MHz, in 24 bits", () => {
	const { bus, at } = pc();
	at(1);
	expect(bus.read(0xb008, 4)).toBe(3_579_545);
	at(10);
	expect(bus.read(0xb008, 4)).toBe(35_795_450 % 2 ** 24);
});
