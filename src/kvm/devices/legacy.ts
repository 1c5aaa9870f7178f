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

/** PM1 control (ACPI Specification 6.4, 4.8.3.2.1): SCI_EN, SLP_TYP in bits 12:10, SLP_EN. */
const PM1 = { sciEn: 1, slpTypShift: 10, slpEn: 1 << 13 } as const;
/** SLP_TYP of the sleep states that there are, as the DSDT's \_S3 and \_S5 say it: suspend to RAM and soft off. */
export const SLP_TYP = { s3: 1, s5: 5 } as const;

/** The PM1 control register: always in ACPI mode. */
export class Pm1Control implements BusDevice {
	private readonly onSuspend: () => void;
	private readonly onPowerOff: () => void;
	/** @param onSuspend S3 is entered @param onPowerOff S5 is entered */
	constructor(onSuspend: () => void, onPowerOff: () => void) {
		this.onSuspend = onSuspend;
		this.onPowerOff = onPowerOff;
	}
	read(): number {
		return PM1.sciEn;
	}
	write(offset: number, bytes: number, value: number): void {
		const control = bytes === 1 ? value << (8 * offset) : value;
		if ((control & PM1.slpEn) === 0) return;
		const type = (control >> PM1.slpTypShift) & 7;
		if (type === SLP_TYP.s3) this.onSuspend();
		else if (type === SLP_TYP.s5) this.onPowerOff();
	}
}

/** PM1 status and enable (ACPI Specification 6.4, 4.8.3.1): RTC_STS and RTC_EN, WAK_STS. */
const PM1_EVENT = { rtc: 1 << 10, wake: 1 << 15 } as const;

/** The PM1 event registers: status, which a 1 written clears, and enable. They raise no SCI. */
export class Pm1Event implements BusDevice {
	private status = 0;
	private enable = 0;

	/** The RTC's alarm wakes the machine from S3. */
	get wakesByAlarm(): boolean {
		return (this.enable & PM1_EVENT.rtc) !== 0;
	}

	/** The machine is awake again, by the RTC's alarm. */
	wokeByAlarm(): void {
		this.status |= PM1_EVENT.rtc | PM1_EVENT.wake;
	}

	read(offset: number, bytes: number): number {
		const both = ((this.enable << 16) | this.status) >>> (8 * offset);
		return bytes === 4 ? both : both & (2 ** (8 * bytes) - 1);
	}

	write(offset: number, bytes: number, value: number): void {
		const mask = ((2 ** (8 * bytes) - 1) << (8 * offset)) >>> 0;
		const both = ((value << (8 * offset)) & mask) >>> 0;
		this.status &= ~both;
		this.enable = (this.enable & ~(mask >>> 16)) | (both >>> 16);
	}
}

/** Pulses the reset line of an 8042 without its keyboard: there is no other command, and no status. */
const PULSE_RESET = 0xfe;
/** Reset control register of the PIIX3 at 0xcf9: RST_CPU. */
const RST_CPU = 4;

/** A port that resets the machine. */
export class ResetPort implements BusDevice {
	private readonly resets: (value: number) => boolean;
	private readonly onReset: () => void;
	private readonly idle: number;

	/** @param idle what it reads @param resets whether a value written resets */
	constructor(idle: number, resets: (value: number) => boolean, onReset: () => void) {
		this.idle = idle;
		this.resets = resets;
		this.onReset = onReset;
	}
	/** The 8042's command port. */
	static keyboard(onReset: () => void): ResetPort {
		return new ResetPort(0xff, (value) => (value & 0xff) === PULSE_RESET, onReset);
	}
	/** The chipset's reset control register. */
	static control(onReset: () => void): ResetPort {
		return new ResetPort(0, (value) => (value & RST_CPU) !== 0, onReset);
	}
	read(_offset: number, bytes: number): number {
		return this.idle === 0 ? 0 : allOnes(bytes);
	}
	write(_offset: number, _bytes: number, value: number): void {
		if (this.resets(value)) this.onReset();
	}
}
