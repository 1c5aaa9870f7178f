/** The high precision event timer (IA-PC HPET Specification 1.0a) as far as its main counter goes: it raises nothing. */
import type { BusDevice } from "./bus.ts";

export const HPET_GPA = 0xfed0_0000;
export const HPET_BYTES = 0x400;
const TICK_NS = 10;
const FEMTOSECONDS_OF_TICK = TICK_NS * 1e6;
const REG = { capabilities: 0x00, configuration: 0x10, counter: 0xf0 } as const;
/** Revision 1, three comparators, 64-bit counter, legacy replacement, Intel. */
const CAPABILITIES_LOW = 0x8086_a201;
const ENABLED = 1;
const TWO_32 = 2 ** 32;

export class Hpet implements BusDevice {
	private configuration = 0;
	/** Counter when it was stopped, or less the ticks of the time when it was started. */
	private base = 0;
	private readonly seconds: () => number;

	/** @param seconds virtual time */
	constructor(seconds: () => number) {
		this.seconds = seconds;
	}

	private get ticks(): number {
		return Math.floor((this.seconds() * 1e9) / TICK_NS);
	}
	private get isEnabled(): boolean {
		return (this.configuration & ENABLED) !== 0;
	}
	private get counter(): number {
		return this.isEnabled ? this.base + this.ticks : this.base;
	}

	/** The 64-bit register that an offset lies in, as low and high words. */
	private register(offset: number): readonly [number, number] {
		switch (offset & ~7) {
			case REG.capabilities:
				return [CAPABILITIES_LOW, FEMTOSECONDS_OF_TICK];
			case REG.configuration:
				return [this.configuration, 0];
			case REG.counter: {
				const { counter } = this;
				return [counter % TWO_32, Math.floor(counter / TWO_32)];
			}
			default:
				return [0, 0];
		}
	}

	read(offset: number, bytes: number): number {
		const [low, high] = this.register(offset);
		if (bytes === 8) return low + high * TWO_32;
		return (offset & 4) !== 0 ? high : low;
	}

	write(offset: number, _bytes: number, value: number): void {
		if (offset === REG.configuration) {
			const { counter } = this;
			this.configuration = value & 3;
			this.base = this.isEnabled ? counter - this.ticks : counter;
		} else if (offset === REG.counter && !this.isEnabled) this.base = value;
	}
}
