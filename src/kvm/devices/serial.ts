/** A 16550 UART that transmits at once, and receives what it is given (National Semiconductor PC16550D data sheet). */
import type { BusDevice } from "./bus.ts";

/** Its eight ports on a PC, and its interrupt: COM1. */
export const COM1 = 0x3f8;
export const COM1_IRQ = 4;

const REG = { data: 0, ier: 1, fcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scratch: 7 } as const;
const IER = { received: 1, transmitterEmpty: 2 } as const;
const IIR = { none: 0x01, transmitterEmpty: 0x02, received: 0x04, fifos: 0xc0 } as const;
const LCR_DLAB = 0x80;
const LSR = { dataReady: 0x01, transmitterReady: 0x60 } as const;
const MCR = { out2: 0x08, loop: 0x10 } as const;
/** Carrier, data set ready, clear to send. */
const MSR_CONNECTED = 0xb0;

export interface SerialLines {
	/** Takes each byte that the guest sends. */
	readonly transmit: (byte: number) => void;
	/** Sets its interrupt line. */
	readonly setIrq: (level: boolean) => void;
}

export class Serial16550 implements BusDevice {
	private ier = 0;
	private lcr = 0;
	private mcr = 0;
	private scratch = 0;
	private divisor = 12;
	private fifos = false;
	private readonly received: number[] = [];
	/** The holding register has become empty and nobody has looked yet. */
	private transmitterEmptied = false;
	private irq = false;
	private readonly lines: SerialLines;

	constructor(lines: SerialLines) {
		this.lines = lines;
	}

	/** A byte comes in on the line. */
	receive(byte: number): void {
		this.received.push(byte & 0xff);
		this.update();
	}

	/** What the interrupt identification register says, without the FIFO bits. */
	private get cause(): number {
		if ((this.ier & IER.received) !== 0 && this.received.length > 0) return IIR.received;
		if ((this.ier & IER.transmitterEmpty) !== 0 && this.transmitterEmptied) return IIR.transmitterEmpty;
		return IIR.none;
	}

	/** The line follows the cause; OUT2 connects it to the interrupt controller on a PC. */
	private update(): void {
		const level = this.cause !== IIR.none && (this.mcr & MCR.out2) !== 0;
		if (level !== this.irq) this.lines.setIrq(level);
		this.irq = level;
	}

	read(offset: number, _bytes: number): number {
		const latch = (this.lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case REG.data:
				return latch ? this.divisor & 0xff : this.takeReceived();
			case REG.ier:
				return latch ? this.divisor >> 8 : this.ier;
			case REG.fcr:
				return this.identify();
			case REG.lcr:
				return this.lcr;
			case REG.mcr:
				return this.mcr;
			case REG.lsr:
				return LSR.transmitterReady | (this.received.length > 0 ? LSR.dataReady : 0);
			case REG.msr:
				// In loop mode the outputs come back: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD.
				if ((this.mcr & MCR.loop) === 0) return MSR_CONNECTED;
				return ((this.mcr & 1) << 5) | ((this.mcr & 2) << 3) | ((this.mcr & 4) << 4) | ((this.mcr & 8) << 4);
			default:
				return this.scratch;
		}
	}

	private takeReceived(): number {
		const byte = this.received.shift() ?? 0;
		this.update();
		return byte;
	}

	/** Reading the identification clears "transmitter empty". */
	private identify(): number {
		const { cause } = this;
		if (cause === IIR.transmitterEmpty) this.transmitterEmptied = false;
		this.update();
		return cause | (this.fifos ? IIR.fifos : 0);
	}

	write(offset: number, _bytes: number, value: number): void {
		const byte = value & 0xff;
		const latch = (this.lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case REG.data:
				if (latch) this.divisor = (this.divisor & 0xff00) | byte;
				else this.send(byte);
				break;
			case REG.ier:
				if (latch) this.divisor = (this.divisor & 0xff) | (byte << 8);
				else {
					if ((byte & ~this.ier & IER.transmitterEmpty) !== 0) this.transmitterEmptied = true;
					this.ier = byte & 0xf;
				}
				break;
			case REG.fcr:
				this.fifos = (byte & 1) !== 0;
				if ((byte & 2) !== 0) this.received.length = 0;
				break;
			case REG.lcr:
				this.lcr = byte;
				break;
			case REG.mcr:
				this.mcr = byte & 0x1f;
				break;
			case REG.scratch:
				this.scratch = byte;
				break;
			default:
				return;
		}
		this.update();
	}

	private send(byte: number): void {
		if ((this.mcr & MCR.loop) !== 0) this.received.push(byte);
		else this.lines.transmit(byte);
		this.transmitterEmptied = true;
	}
}
