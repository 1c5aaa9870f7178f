/** Small PC devices, as far as start-up code reads them. */
import { allOnes, type PortDevice } from "./port-bus.ts";

/** isa-debug-exit at port 0xf4: a write ends the run. */
export class DebugExit implements PortDevice {
	private readonly onExit: (value: number) => void;

	/** @param onExit gets the value written; QEMU's process status would be (value << 1) | 1 */
	constructor(onExit: (value: number) => void) {
		this.onExit = onExit;
	}
	read(_offset: number, bytes: number): number {
		return allOnes(bytes);
	}
	write(_offset: number, _bytes: number, value: number): void {
		this.onExit(value);
	}
}

/** isa-debugcon at port 0xe9: reads 0xe9, each byte written is console text. */
export class DebugConsole implements PortDevice {
	private readonly transmit: (byte: number) => void;
	constructor(transmit: (byte: number) => void) {
		this.transmit = transmit;
	}
	read(): number {
		return 0xe9;
	}
	write(_offset: number, _bytes: number, value: number): void {
		this.transmit(value & 0xff);
	}
}

/** CMOS RAM and clock at ports 0x70, 0x71: a fixed date and the memory size. */
export class Cmos implements PortDevice {
	private index = 0;
	private readonly ram = new Uint8Array(128);

	/** @param ramBytes of guest memory */
	constructor(ramBytes: number) {
		// 2026-01-01 00:00:00, a Thursday, in BCD; 24-hour mode.
		this.ram.set([0x00, 0, 0x00, 0, 0x00, 0, 0x05, 0x01, 0x01, 0x26], 0);
		this.ram[0x0a] = 0x26;
		this.ram[0x0b] = 0x02;
		this.ram[0x0d] = 0x80;
		this.ram[0x32] = 0x20;
		const extendedKiB = Math.min(Math.max(ramBytes / 1024 - 1024, 0), 0xffff);
		this.ram[0x15] = 640 & 0xff;
		this.ram[0x16] = 640 >> 8;
		this.ram[0x17] = this.ram[0x30] = extendedKiB & 0xff;
		this.ram[0x18] = this.ram[0x31] = extendedKiB >> 8;
		const above16MiB = Math.max(0, Math.min((ramBytes - 2 ** 24) / 65536, 0xffff));
		this.ram[0x34] = above16MiB & 0xff;
		this.ram[0x35] = above16MiB >> 8;
	}
	read(offset: number): number {
		return offset === 0 ? 0xff : this.ram[this.index]!;
	}
	write(offset: number, _bytes: number, value: number): void {
		if (offset === 0) this.index = value & 0x7f;
		else if (this.index >= 0x0e) this.ram[this.index] = value;
	}
}

/** Frequency of the ACPI power management timer. */
const PM_TIMER_HZ = 3_579_545;

/** The ACPI power management timer: 24 bits. */
export class PmTimer implements PortDevice {
	private readonly seconds: () => number;
	/** @param seconds virtual time */
	constructor(seconds: () => number) {
		this.seconds = seconds;
	}
	read(_offset: number, bytes: number): number {
		const count = Math.floor(this.seconds() * PM_TIMER_HZ) % 2 ** 24;
		return bytes === 4 ? count : count % 2 ** (8 * bytes);
	}
	write(): void {}
}

/** A register without side effects, one value for each offset: DMA pages, keyboard, the pc-testdev ports. */
export class Latch implements PortDevice {
	private readonly values: Uint32Array;
	private readonly initial: number;
	constructor(ports: number, initial = 0) {
		this.values = new Uint32Array(ports).fill(initial);
		this.initial = initial;
	}
	read(offset: number, bytes: number): number {
		const value = this.values[offset] ?? this.initial;
		return bytes === 4 ? value : value % 2 ** (8 * bytes);
	}
	write(offset: number, _bytes: number, value: number): void {
		this.values[offset] = value;
	}
}

/** PCI configuration mechanism 1 on a bus without devices: every register reads all ones. */
export class EmptyPciBus implements PortDevice {
	private address = 0;
	read(offset: number, bytes: number): number {
		return offset < 4 && bytes === 4 ? this.address : allOnes(bytes);
	}
	write(offset: number, bytes: number, value: number): void {
		if (offset === 0 && bytes === 4) this.address = value >>> 0;
	}
}
