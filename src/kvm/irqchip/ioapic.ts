/** The I/O APIC (arch/x86/kvm/ioapic.c): an index and a data register over 24 redirection entries. */
import type { Vm } from "../vm.ts";

export const IOAPIC_DEFAULT_PHYS_BASE = 0xfec0_0000;
const IOAPIC_MEM_LENGTH = 0x100;
const PINS = 24;
const REG_SELECT = 0x00;
const REG_WINDOW = 0x10;
const REG_EOI = 0x40;
/** Version 0x11 (no EOI register), maximum redirection entry 23. */
const VERSION = 0x11 | ((PINS - 1) << 16);
const ENTRY_MASKED = 1 << 16;
const ENTRY_LEVEL = 1 << 15;
const ENTRY_REMOTE_IRR = 1 << 14;
const ENTRY_READ_ONLY = (1 << 12) | ENTRY_REMOTE_IRR;

export class IoApic {
	private readonly vm: Vm;
	private select = 0;
	private id = 0;
	/** Redirection entries: low and high words. */
	private readonly entries = new Uint32Array(PINS * 2);

	constructor(vm: Vm) {
		this.vm = vm;
		for (let pin = 0; pin < PINS; pin++) this.entries[pin * 2] = ENTRY_MASKED;
	}

	/** Whether a guest physical address is one of its registers: ioapic_in_range(). */
	static covers(gpa: number): boolean {
		return gpa >= IOAPIC_DEFAULT_PHYS_BASE && gpa < IOAPIC_DEFAULT_PHYS_BASE + IOAPIC_MEM_LENGTH;
	}

	/** ioapic_mmio_read(). @param offset in the register page */
	read(offset: number): number {
		if (offset === REG_SELECT) return this.select;
		if (offset !== REG_WINDOW) return 0;
		if (this.select === 0 || this.select === 2) return (this.id & 0xf) << 24;
		if (this.select === 1) return VERSION;
		const at = this.select - 0x10;
		return at >= 0 && at < PINS * 2 ? this.entries[at]! : 0;
	}

	/** ioapic_mmio_write(). */
	write(offset: number, value: number): void {
		if (offset === REG_SELECT) this.select = value & 0xff;
		else if (offset === REG_WINDOW) this.writeWindow(value);
		else if (offset === REG_EOI) this.eoi(value & 0xff);
	}

	private writeWindow(value: number): void {
		if (this.select === 0) {
			this.id = (value >>> 24) & 0xf;
			return;
		}
		const at = this.select - 0x10;
		if (at < 0 || at >= PINS * 2) return;
		const readOnly = (at & 1) === 0 ? ENTRY_READ_ONLY : 0;
		this.entries[at] = (value & ~readOnly) | (this.entries[at]! & readOnly);
	}

	/** kvm_ioapic_update_eoi_one(): a level-triggered interrupt is done. */
	eoi(vector: number): void {
		for (let pin = 0; pin < PINS; pin++) {
			const low = this.entries[pin * 2]!;
			if ((low & 0xff) === vector && (low & ENTRY_LEVEL) !== 0)
				this.entries[pin * 2] = low & ~ENTRY_REMOTE_IRR;
		}
	}

	/** ioapic_set_irq(): a pin rises. Fixed delivery to a physical destination, or to every CPU for 0xff. */
	setIrq(pin: number): void {
		const low = this.entries[pin * 2]!;
		if ((low & ENTRY_MASKED) !== 0) return;
		const destination = this.entries[pin * 2 + 1]! >>> 24;
		const level = (low & ENTRY_LEVEL) !== 0;
		if (level) this.entries[pin * 2] = low | ENTRY_REMOTE_IRR;
		for (const vcpu of this.vm.vcpus) {
			if (destination === 0xff || vcpu.apic?.id === destination) vcpu.apic?.apicSetIrq(low & 0xff, level);
		}
	}
}
