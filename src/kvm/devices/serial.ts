/** A 16550 UART that transmits at once and receives nothing. */
import type { PortDevice } from "./port-bus.ts";

/** Its eight ports on a PC: COM1. */
export const COM1 = 0x3f8;

const REG = { data: 0, ier: 1, fcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scratch: 7 } as const;
const LCR_DLAB = 0x80;
/** Transmitter empty and holding register empty. */
const LSR_READY = 0x60;
/** No interrupt pending. */
const IIR_NONE = 0x01;
/** Carrier, data set ready, clear to send. */
const MSR_CONNECTED = 0xb0;

export class Serial16550 implements PortDevice {
	private ier = 0;
	private lcr = 0;
	private mcr = 0;
	private scratch = 0;
	private divisor = 12;
	private readonly transmit: (byte: number) => void;

	/** @param transmit takes each byte that the guest sends */
	constructor(transmit: (byte: number) => void) {
		this.transmit = transmit;
	}

	read(offset: number, _bytes: number): number {
		const latch = (this.lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case REG.data:
				return latch ? this.divisor & 0xff : 0;
			case REG.ier:
				return latch ? this.divisor >> 8 : this.ier;
			case REG.fcr:
				return IIR_NONE;
			case REG.lcr:
				return this.lcr;
			case REG.mcr:
				return this.mcr;
			case REG.lsr:
				return LSR_READY;
			case REG.msr:
				return MSR_CONNECTED;
			default:
				return this.scratch;
		}
	}

	write(offset: number, _bytes: number, value: number): void {
		const byte = value & 0xff;
		const latch = (this.lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case REG.data:
				if (latch) this.divisor = (this.divisor & 0xff00) | byte;
				else this.transmit(byte);
				return;
			case REG.ier:
				if (latch) this.divisor = (this.divisor & 0xff) | (byte << 8);
				else this.ier = byte & 0xf;
				return;
			case REG.lcr:
				this.lcr = byte;
				return;
			case REG.mcr:
				this.mcr = byte & 0x1f;
				return;
			case REG.scratch:
				this.scratch = byte;
				return;
			default:
				return;
		}
	}
}
