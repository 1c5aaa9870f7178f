/** The two 8259A interrupt controllers and their edge/level registers (arch/x86/kvm/i8259.c; Intel 8259A data sheet). */
import type { StructValue } from "../../uapi/layout.ts";
import type { kvmPicState } from "../../uapi/structs.ts";

const LINES = 8;
/** Line of the master that the slave is behind. */
const CASCADE = 2;
/** What a controller answers whose request has gone: line 7. */
const SPURIOUS = 7;

/** What KVM_GET_IRQCHIP says of one controller: struct kvm_pic_state without its paddings. */
export type PicState = StructValue<typeof kvmPicState>;

/** ICW that is awaited, as struct kvm_pic_state has it: 0 none, 1 ICW2, 2 ICW3, 3 ICW4. */
const STEP_TO_STATE = [0, 0, 1, 2, 3] as const;
const STATE_TO_STEP = [0, 2, 3, 4] as const;

/** One controller. */
class Pic {
	imr = 0;
	irr = 0;
	isr = 0;
	elcr = 0;
	private lastIrr = 0;
	/** ICW2: vector of line 0. */
	private vectorBase = 0;
	/** Which ICW is next: 0 none. */
	private initStep = 0;
	private needsIcw4 = false;
	private single = false;
	private readIsr = false;
	private poll = false;
	private autoEoi = false;
	private rotateOnAutoEoi = false;
	private specialMask = false;
	private specialFullyNested = false;
	/** The line of highest priority. */
	private priorityAdd = 0;
	/** Lines that can be level triggered. */
	private readonly elcrMask: number;
	private readonly isMaster: boolean;

	constructor(isMaster: boolean) {
		this.isMaster = isMaster;
		this.elcrMask = isMaster ? 0xf8 : 0xde;
	}

	/** pic_set_irq1(). */
	setLine(line: number, level: boolean): void {
		const bit = 1 << line;
		if ((this.elcr & bit) !== 0) {
			this.irr = level ? this.irr | bit : this.irr & ~bit;
			this.lastIrr = level ? this.lastIrr | bit : this.lastIrr & ~bit;
		} else if (level) {
			if ((this.lastIrr & bit) === 0) this.irr |= bit;
			this.lastIrr |= bit;
		} else this.lastIrr &= ~bit;
	}

	/** get_priority(): 0 is the highest, 8 none. */
	private priority(lines: number): number {
		for (let rank = 0; rank < LINES; rank++) {
			if ((lines & (1 << ((rank + this.priorityAdd) & 7))) !== 0) return rank;
		}
		return LINES;
	}

	/** pic_get_irq(): the line that it requests an interrupt for, or -1. */
	pending(): number {
		const rank = this.priority(this.irr & ~this.imr);
		if (rank === LINES) return -1;
		let inService = this.specialMask ? this.isr & ~this.imr : this.isr;
		// A master in special fully nested mode lets the slave interrupt the slave.
		if (this.specialFullyNested && this.isMaster) inService &= ~(1 << CASCADE);
		return rank < this.priority(inService) ? (rank + this.priorityAdd) & 7 : -1;
	}

	/** pic_intack(). */
	acknowledge(line: number): void {
		const bit = 1 << line;
		if ((this.elcr & bit) === 0) this.irr &= ~bit;
		if (!this.autoEoi) this.isr |= bit;
		else if (this.rotateOnAutoEoi) this.priorityAdd = (line + 1) & 7;
	}

	vectorOf(line: number): number {
		return this.vectorBase + line;
	}

	/** @param offset 0 command, 1 data */
	read(offset: number): number {
		if (this.poll) {
			this.poll = false;
			const line = this.pending();
			if (line < 0) return 0;
			this.acknowledge(line);
			return 0x80 | line;
		}
		if (offset === 1) return this.imr;
		return this.readIsr ? this.isr : this.irr;
	}

	write(offset: number, value: number): void {
		if (offset === 1) this.writeData(value);
		else if ((value & 0x10) !== 0) this.initialize(value);
		else if ((value & 0x08) !== 0) this.writeOcw3(value);
		else this.writeOcw2(value);
	}

	/** ICW1. */
	private initialize(value: number): void {
		this.initStep = 2;
		this.needsIcw4 = (value & 1) !== 0;
		this.single = (value & 2) !== 0;
		this.lastIrr = 0;
		this.irr &= this.elcr;
		this.imr = 0;
		this.isr = 0;
		this.priorityAdd = 0;
		this.readIsr = false;
		this.poll = false;
		this.autoEoi = false;
		this.rotateOnAutoEoi = false;
		this.specialMask = false;
		this.specialFullyNested = false;
	}

	private writeOcw3(value: number): void {
		this.poll = (value & 4) !== 0;
		if ((value & 2) !== 0) this.readIsr = (value & 1) !== 0;
		if ((value & 0x40) !== 0) this.specialMask = (value & 0x20) !== 0;
	}

	private writeOcw2(value: number): void {
		const line = value & 7;
		switch (value >> 5) {
			case 0:
			case 4:
				this.rotateOnAutoEoi = value >> 5 === 4;
				return;
			case 1:
			case 5: {
				const rank = this.priority(this.isr);
				if (rank === LINES) return;
				const highest = (rank + this.priorityAdd) & 7;
				this.isr &= ~(1 << highest);
				if (value >> 5 === 5) this.priorityAdd = (highest + 1) & 7;
				return;
			}
			case 3:
				this.isr &= ~(1 << line);
				return;
			case 6:
				this.priorityAdd = (line + 1) & 7;
				return;
			case 7:
				this.isr &= ~(1 << line);
				this.priorityAdd = (line + 1) & 7;
				return;
			default:
				return;
		}
	}

	private writeData(value: number): void {
		switch (this.initStep) {
			case 0:
				this.imr = value;
				return;
			case 2:
				this.vectorBase = value & 0xf8;
				this.initStep = this.single ? (this.needsIcw4 ? 4 : 0) : 3;
				return;
			case 3:
				this.initStep = this.needsIcw4 ? 4 : 0;
				return;
			default:
				this.specialFullyNested = (value & 0x10) !== 0;
				this.autoEoi = (value & 2) !== 0;
				this.initStep = 0;
		}
	}

	/** kvm_vm_ioctl_get_irqchip(). */
	getState(): PicState {
		return {
			last_irr: this.lastIrr,
			irr: this.irr,
			imr: this.imr,
			isr: this.isr,
			priority_add: this.priorityAdd,
			irq_base: this.vectorBase,
			read_reg_select: this.readIsr ? 1 : 0,
			poll: this.poll ? 1 : 0,
			special_mask: this.specialMask ? 1 : 0,
			init_state: STEP_TO_STATE[this.initStep]!,
			auto_eoi: this.autoEoi ? 1 : 0,
			rotate_on_auto_eoi: this.rotateOnAutoEoi ? 1 : 0,
			special_fully_nested_mode: this.specialFullyNested ? 1 : 0,
			init4: this.needsIcw4 ? 1 : 0,
			elcr: this.elcr,
			elcr_mask: this.elcrMask,
		};
	}

	/** kvm_vm_ioctl_set_irqchip(). */
	setState(state: PicState): void {
		this.lastIrr = state.last_irr;
		this.irr = state.irr;
		this.imr = state.imr;
		this.isr = state.isr;
		this.priorityAdd = state.priority_add & 7;
		this.vectorBase = state.irq_base;
		this.readIsr = state.read_reg_select !== 0;
		this.poll = state.poll !== 0;
		this.specialMask = state.special_mask !== 0;
		this.initStep = STATE_TO_STEP[state.init_state & 3]!;
		this.autoEoi = state.auto_eoi !== 0;
		this.rotateOnAutoEoi = state.rotate_on_auto_eoi !== 0;
		this.specialFullyNested = state.special_fully_nested_mode !== 0;
		this.needsIcw4 = state.init4 !== 0;
		this.elcr = state.elcr;
	}

	writeElcr(value: number): void {
		this.elcr = value & this.elcrMask;
	}
}

/** Master at 0x20, slave at 0xa0, ELCR at 0x4d0. */
export class PicPair {
	private readonly master = new Pic(true);
	private readonly slave = new Pic(false);
	private readonly onOutput: () => void;

	/** @param onOutput called when an interrupt has become pending */
	constructor(onOutput: () => void) {
		this.onOutput = onOutput;
	}

	/** The state of one of the two. @param chip 0 the master, 1 the slave */
	getState(chip: number): PicState {
		return (chip === 0 ? this.master : this.slave).getState();
	}

	/** Sets it, and looks whether an interrupt is pending now. */
	setState(chip: number, state: PicState): void {
		(chip === 0 ? this.master : this.slave).setState(state);
		this.update();
	}

	/** Whether INTR is up: the output that goes to LINT0 of the first local APIC. */
	get output(): boolean {
		return this.master.pending() >= 0;
	}

	/** kvm_pic_set_irq(). @param line 0-15 */
	setIrq(line: number, level: boolean): void {
		(line < LINES ? this.master : this.slave).setLine(line & 7, level);
		this.update();
	}

	/** pic_update_irq(): the slave's request is the master's line 2. */
	private update(): void {
		if (this.slave.pending() >= 0) {
			this.master.setLine(CASCADE, true);
			this.master.setLine(CASCADE, false);
		}
		if (this.output) this.onOutput();
	}

	/** kvm_pic_read_irq(): the interrupt acknowledge cycle. @returns the vector */
	acknowledge(): number {
		const line = this.master.pending();
		if (line < 0) return this.master.vectorOf(SPURIOUS);
		this.master.acknowledge(line);
		if (line !== CASCADE) {
			this.update();
			return this.master.vectorOf(line);
		}
		const slaveLine = this.slave.pending();
		if (slaveLine >= 0) this.slave.acknowledge(slaveLine);
		this.update();
		return this.slave.vectorOf(slaveLine < 0 ? SPURIOUS : slaveLine);
	}

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
				break;
			case 0xa0:
			case 0xa1:
				this.slave.write(port & 1, value);
				break;
			case 0x4d0:
				this.master.writeElcr(value);
				break;
			case 0x4d1:
				this.slave.writeElcr(value);
				break;
			default:
				return false;
		}
		this.update();
		return true;
	}
}
