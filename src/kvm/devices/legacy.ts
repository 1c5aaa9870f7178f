/** Small PC devices, as far as start-up code reads them. */
import { allOnes, type BusDevice } from "./bus.ts";

/** isa-debug-exit at port 0xf4: a write ends the run. */
export class DebugExit implements BusDevice {
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
export class DebugConsole implements BusDevice {
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

/** Frequency of the ACPI power management timer. */
const PM_TIMER_HZ = 3_579_545;

/** The ACPI power management timer: 24 bits. */
export class PmTimer implements BusDevice {
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

/** A register without side effects, one value for each offset: DMA pages, the POST port. */
export class Latch implements BusDevice {
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
