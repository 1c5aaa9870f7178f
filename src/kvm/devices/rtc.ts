/** The real-time clock with its CMOS memory (Motorola MC146818A data sheet), at ports 0x70 and 0x71. Its alarm wakes from S3; it raises no interrupt. */
import type { BusDevice } from "./bus.ts";

export const RTC_PORT = 0x70;

const REG = {
	seconds: 0,
	minutes: 2,
	hours: 4,
	weekday: 6,
	day: 7,
	month: 8,
	year: 9,
	a: 10,
	b: 11,
	c: 12,
	d: 13,
};
const CENTURY = 0x32;
const REG_A_UIP = 0x80;
const REG_B = { hours24: 0x02, binary: 0x04, alarmInterrupt: 0x20 } as const;
/** AF and IRQF, which reading clears. */
const REG_C_ALARM = 0xa0;
const ALARM = { seconds: 1, minutes: 3, hours: 5 } as const;
/** Alarm registers with both upper bits set match any time. */
const ANY = 0xc0;
/** Valid RAM and time. */
const REG_D_VALID = 0x80;
/** The update takes the last 244 µs of a second. */
const UPDATE_SECONDS = 244e-6;
const DAY_SECONDS = 86_400;
const CMOS_BYTES = 128;

export interface RtcOptions {
	/** Of guest memory. */
	readonly ramBytes: number;
	/** Time of day in seconds since 1970, with a fraction. */
	readonly timeOfDay: () => number;
}

/** A date of the Gregorian calendar from days since 1970 (civil_from_days). */
function dateOf(days: number): { year: number; month: number; day: number } {
	const shifted = days + 719_468;
	const era = Math.floor(shifted / 146_097);
	const dayOfEra = shifted - era * 146_097;
	const yearOfEra = Math.floor(
		(dayOfEra -
			Math.floor(dayOfEra / 1460) +
			Math.floor(dayOfEra / 36_524) -
			Math.floor(dayOfEra / 146_096)) /
			365,
	);
	const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
	const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
	const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
	return {
		year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
		month,
		day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
	};
}

export class Rtc implements BusDevice {
	private index = 0;
	private readonly ram = new Uint8Array(CMOS_BYTES);
	private readonly options: RtcOptions;

	constructor(options: RtcOptions) {
		this.options = options;
		const { ram } = this;
		ram[REG.a] = 0x26;
		ram[REG.b] = REG_B.hours24;
		const extendedKiB = Math.min(Math.max(options.ramBytes / 1024 - 1024, 0), 0xffff);
		ram[0x15] = 640 & 0xff;
		ram[0x16] = 640 >> 8;
		ram[0x17] = ram[0x30] = extendedKiB & 0xff;
		ram[0x18] = ram[0x31] = extendedKiB >> 8;
		const above16MiB = Math.max(0, Math.min((options.ramBytes - 2 ** 24) / 65_536, 0xffff));
		ram[0x34] = above16MiB & 0xff;
		ram[0x35] = above16MiB >> 8;
	}

	/** BCD, unless register B says binary. */
	private encode(value: number): number {
		if ((this.ram[REG.b]! & REG_B.binary) !== 0) return value;
		return (Math.floor(value / 10) << 4) | (value % 10);
	}

	private time(register: number): number {
		const now = Math.floor(this.options.timeOfDay());
		const days = Math.floor(now / DAY_SECONDS);
		const inDay = now - days * DAY_SECONDS;
		switch (register) {
			case REG.seconds:
				return inDay % 60;
			case REG.minutes:
				return Math.floor(inDay / 60) % 60;
			case REG.hours:
				return Math.floor(inDay / 3600);
			case REG.weekday:
				// 1970-01-01 was a Thursday; Sunday is 1.
				return ((days + 4) % 7) + 1;
			case REG.day:
				return dateOf(days).day;
			case REG.month:
				return dateOf(days).month;
			case REG.year:
				return dateOf(days).year % 100;
			default:
				return Math.floor(dateOf(days).year / 100);
		}
	}

	private isUpdating(): boolean {
		const now = this.options.timeOfDay();
		return now - Math.floor(now) >= 1 - UPDATE_SECONDS;
	}

	/**
	 * When the alarm is next due, in whole seconds since 1970; null while its interrupt is off, and when no time of day
	 * matches.
	 */
	get alarm(): number | null {
		if ((this.ram[REG.b]! & REG_B.alarmInterrupt) === 0) return null;
		const next = Math.floor(this.options.timeOfDay()) + 1;
		for (let at = next; at < next + DAY_SECONDS; at++) if (this.isAlarm(at)) return at;
		return null;
	}

	private isAlarm(at: number): boolean {
		const matches = (register: number, value: number) =>
			this.ram[register]! >= ANY || this.ram[register] === this.encode(value);
		return (
			matches(ALARM.seconds, at % 60) &&
			matches(ALARM.minutes, Math.floor(at / 60) % 60) &&
			matches(ALARM.hours, Math.floor(at / 3600) % 24)
		);
	}

	/** The alarm is due now. */
	ring(): void {
		this.ram[REG.c] = REG_C_ALARM;
	}

	read(offset: number): number {
		if (offset === 0) return 0xff;
		const { index, ram } = this;
		if (index <= REG.year && (index % 2 === 0 || index >= REG.day)) return this.encode(this.time(index));
		switch (index) {
			case CENTURY:
				return this.encode(this.time(index));
			case REG.a:
				return ram[REG.a]! | (this.isUpdating() ? REG_A_UIP : 0);
			case REG.c: {
				const flags = ram[REG.c]!;
				ram[REG.c] = 0;
				return flags;
			}
			case REG.d:
				return REG_D_VALID;
			default:
				return ram[index]!;
		}
	}

	/** The clock runs by itself: what is written to its time has no effect. */
	write(offset: number, _bytes: number, value: number): void {
		if (offset === 0) this.index = value & 0x7f;
		else if (this.index === REG.a || this.index === REG.b) this.ram[this.index] = value & 0x7f;
		else if (this.index !== REG.c && this.index !== REG.d) this.ram[this.index] = value & 0xff;
	}
}
