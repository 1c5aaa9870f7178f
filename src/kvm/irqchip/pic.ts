/** The two 8259A interrupt controllers and their edge/level registers (arch/x86/kvm/i8259.c), as far as guests set them up. */

class Pic {
	imr = 0xff;
	irr = 0;
	isr = 0;
	elcr = 0;
	/** ICW2: vector of line 0. */
	vectorBase = 0;
	private initStep = 0;
	private needsIcw4 = false;
	private readIsr = false;

	/** @param offset 0 command, 1 data */
	read(offset: number): number {
		if (offset === 1) return this.imr;
		return this.readIsr ? this.isr : this.irr;
	}

	write(offset: number, value: number): void {
		if (offset === 0) {
			if ((value & 0x10) !== 0) {
				this.initStep = 1;
				this.needsIcw4 = (value & 1) !== 0;
				this.imr = 0;
				this.isr = 0;
				this.irr = 0;
				this.readIsr = false;
			} else if ((value & 0x08) !== 0) {
				if ((value & 2) !== 0) this.readIsr = (value & 1) !== 0;
			} else if ((value & 0x20) !== 0) this.isr &= this.isr - 1;
			return;
		}
		if (this.initStep === 0) this.imr = value;
		else if (this.initStep === 1) {
			this.vectorBase = value & 0xf8;
			this.initStep = 2;
		} else if (this.initStep === 2) this.initStep = this.needsIcw4 ? 3 : 0;
		else this.initStep = 0;
	}
}

/** Master at 0x20, slave at 0xa0, ELCR at 0x4d0. */
export class PicPair {
	private readonly master = new Pic();
	private readonly slave = new Pic();

	/** @returns the byte, or -1 for a port that is not the pair's */
	read(port: number): number {
		switch (port) {
			case 0x20:
			case 0x21:
				return this.master.read(port & 1);
			case 0xa0:
			case 0xa1:
				return this.slave.read(port & 1);
			case 0x4d0:
				return this.master.elcr;
			case 0x4d1:
				return this.slave.elcr;
			default:
				return -1;
		}
	}

	/** @returns whether the port is the pair's */
	write(port: number, value: number): boolean {
		switch (port) {
			case 0x20:
			case 0x21:
				this.master.write(port & 1, value);
				return true;
			case 0xa0:
			case 0xa1:
				this.slave.write(port & 1, value);
				return true;
			// Lines 0, 1, 2, 8 and 13 are edge triggered on every PC.
			case 0x4d0:
				this.master.elcr = value & 0xf8;
				return true;
			case 0x4d1:
				this.slave.elcr = value & 0xde;
				return true;
			default:
				return false;
		}
	}
}
