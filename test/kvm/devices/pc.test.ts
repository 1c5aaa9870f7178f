import { expect, test } from "vitest";
import { makePc } from "../../../src/kvm/devices/pc.ts";

function pc(ramBytes = 64 << 20) {
	const printed: number[] = [];
	const exits: number[] = [];
	let seconds = 0;
	const lines: string[] = [];
	const {
		ports: bus,
		memory,
		serial,
	} = makePc({
		ramBytes,
		cpus: 1,
		transmit: (byte) => printed.push(byte),
		onExit: (value) => exits.push(value),
		onPowerOff: () => lines.push("off"),
		onSuspend: () => lines.push("suspend"),
		onReset: () => lines.push("reset"),
		seconds: () => seconds,
		setIrq: (gsi, level) => lines.push(`${gsi} ${level ? "up" : "down"}`),
		flushPage: (gpa) => lines.push(`flush ${gpa}`),
	});
	return {
		bus,
		memory,
		serial,
		lines,
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

test("what nobody claims reads all ones, and so does a PCI slot without a device", () => {
	const { bus } = pc();
	expect([bus.read(0x1234, 1), bus.read(0x1234, 2), bus.read(0x1234, 4)]).toEqual([
		0xff, 0xffff, 0xffff_ffff,
	]);
	bus.write(0xcf8, 4, 0x8000_f800);
	expect(bus.read(0xcfc, 4)).toBe(0xffff_ffff);
});

test("the ACPI timer counts at 3.579545 MHz, in 24 bits", () => {
	const { bus, at } = pc();
	at(1);
	expect(bus.read(0xb008, 4)).toBe(3_579_545);
	at(10);
	expect(bus.read(0xb008, 4)).toBe(35_795_450 % 2 ** 24);
});

test("the pci-testdev answers where its base address registers say, and counts the right writes", () => {
	const { bus, memory } = pc();
	const config = (register: number) => bus.write(0xcf8, 4, 0x8000_1000 | register);
	config(0);
	expect(bus.read(0xcfc, 4)).toBe(0x0005_1b36);
	config(0x10);
	bus.write(0xcfc, 4, 0xffff_ffff);
	expect(bus.read(0xcfc, 4)).toBe(0xffff_f000);
	bus.write(0xcfc, 4, 0xfeb0_0000);
	expect(memory.read(0xfeb0_0001, 1)).toBe(0xff);
	config(4);
	bus.write(0xcfc, 2, 2);
	// Test 1 wants 16-bit writes of what `data` says, at `offset`.
	memory.write(0xfeb0_0000, 1, 1);
	expect(memory.read(0xfeb0_0001, 1)).toBe(2);
	const [offset, data] = [memory.read(0xfeb0_0004, 4), memory.read(0xfeb0_0008, 4)];
	memory.write(0xfeb0_0000 + offset, 2, data);
	memory.write(0xfeb0_0000 + offset, 4, data);
	expect(memory.read(0xfeb0_000c, 4)).toBe(1);
});

test("the serial port interrupts for an empty transmitter and for a byte received, while OUT2 is set", () => {
	const { bus, serial, lines } = pc();
	bus.write(0x3f9, 1, 3);
	bus.write(0x3f8, 1, 0x41);
	expect(lines).toEqual([]);
	bus.write(0x3fc, 1, 8);
	expect(lines).toEqual(["4 up"]);
	expect(bus.read(0x3fa, 1)).toBe(2);
	serial.receive(0x42);
	expect(bus.read(0x3fa, 1)).toBe(4);
	expect([bus.read(0x3fd, 1) & 1, bus.read(0x3f8, 1), bus.read(0x3fd, 1) & 1]).toEqual([1, 0x42, 0]);
	expect(lines).toEqual(["4 up", "4 down", "4 up", "4 down"]);
});

test("the clock counts on from 2026-01-01 00:00:00, a Thursday", () => {
	const { bus, at } = pc();
	const register = (index: number) => {
		bus.write(0x70, 1, index);
		return bus.read(0x71, 1);
	};
	at(31 * 86_400 + 3661);
	expect([0x32, 9, 8, 7, 6, 4, 2, 0].map(register)).toEqual([0x20, 0x26, 2, 1, 1, 1, 1, 1]);
	at(59.9999);
	expect(register(10) & 0x80).toBe(0x80);
});

test("the HPET's counter stands still while it is off", () => {
	const { memory, at } = pc();
	memory.write(0xfed0_0010, 4, 1);
	at(1);
	expect(memory.read(0xfed0_00f0, 8)).toBe(100_000_000);
	memory.write(0xfed0_0010, 4, 0);
	at(2);
	expect(memory.read(0xfed0_00f0, 4)).toBe(100_000_000);
});

test("pc-testdev drives interrupt lines and asks for pages to be flushed", () => {
	const { bus, lines } = pc();
	bus.write(0x200e, 1, 1);
	bus.write(0x200e, 1, 0);
	bus.write(0xe4, 4, 0x5000);
	expect(lines).toEqual(["14 up", "14 down", "flush 20480"]);
});

test("soft off by PM1 control ends the run; other sleep types do nothing, and SCI_EN stays set", () => {
	const { bus, lines } = pc();
	bus.write(0x604, 2, 0x2000 | (3 << 10));
	expect(lines).toEqual([]);
	expect(bus.read(0x604, 2)).toBe(1);
	bus.write(0x604, 2, 0x2000 | (5 << 10));
	expect(lines).toEqual(["off"]);
});

test("the keyboard controller's pulse and the chipset's reset control reset the machine", () => {
	const { bus, lines } = pc();
	bus.write(0x64, 1, 0xd1);
	bus.write(0xcf9, 1, 0x02);
	expect(lines).toEqual([]);
	bus.write(0x64, 1, 0xfe);
	bus.write(0xcf9, 1, 0x06);
	expect(lines).toEqual(["reset", "reset"]);
	// The reset control lies among the ports of PCI configuration, which keep their own.
	bus.write(0xcf8, 4, 0x8000_0000);
	expect(bus.read(0xcfc, 4)).toBe(0x1237_8086);
});
