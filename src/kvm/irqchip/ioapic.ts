/** The I/O APIC (arch/x86/kvm/ioapic.c): an index and a data register over 24 redirection entries. */
import type { Hrtimer } from "../../host/hrtimer.ts";
import type { StructValue } from "../../uapi/layout.ts";
import type { kvmIoapicState } from "../../uapi/structs.ts";
import type { Vm } from "../vm.ts";
import { APIC_DM_MASK, APIC_SHORTHAND } from "./apic-registers.ts";
import { deliverToApics } from "./delivery.ts";

/** What KVM_GET_IRQCHIP says of it. */
export type IoapicState = StructValue<typeof kvmIoapicState>;

export const IOAPIC_DEFAULT_PHYS_BASE = 0xfec0_0000;
const IOAPIC_MEM_LENGTH = 0x100;
/** IOAPIC_NUM_PINS. */
export const PINS = 24;
const REG_SELECT = 0x00;
const REG_WINDOW = 0x10;
/** Version 0x11 (no EOI register), maximum redirection entry 23. */
const VERSION = 0x11 | ((PINS - 1) << 16);
/** Bits of an entry's low word. */
const ENTRY = {
	vector: 0xff,
	logical: 1 << 11,
	deliveryStatus: 1 << 12,
	remoteIrr: 1 << 14,
	level: 1 << 15,
	masked: 1 << 16,
} as const;
const READ_ONLY = ENTRY.deliveryStatus | ENTRY.remoteIrr;
/** After so many interrupts in a row that nobody made go away, the next one waits: IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT. */
const SUCCESSIVE_MAX = 10_000;
/** HZ / 100. */
const INJECT_DELAY_NS = 10e6;

export class IoApic {
	private readonly vm: Vm;
	private select = 0;
	private id = 0;
	/** Lines that are up, or whose edge has not been delivered: a bit a pin. */
	private irr = 0;
	private readonly successive = new Uint32Array(PINS);
	/** Redirection entries: low and high words. */
	private readonly entries = new Uint32Array(PINS * 2);

	constructor(vm: Vm) {
		this.vm = vm;
		for (let pin = 0; pin < PINS; pin++) this.entries[pin * 2] = ENTRY.masked;
	}

	/** kvm_get_ioapic(). */
	getState(): IoapicState {
		const redirtbl = Array.from({ length: PINS }, (_, pin) => {
			const [low, high] = [this.entries[pin * 2]!, this.entries[pin * 2 + 1]!];
			return (BigInt(high) << 32n) | BigInt(low);
		});
		return {
			base_address: BigInt(IOAPIC_DEFAULT_PHYS_BASE),
			ioregsel: this.select,
			id: this.id,
			irr: this.irr >>> 0,
			pad: 0,
			redirtbl,
		};
	}

	/** kvm_set_ioapic(): lines that were up are raised again. */
	setState({ ioregsel, id, irr, redirtbl }: IoapicState): void {
		this.select = ioregsel & 0xff;
		this.id = id & 0xf;
		this.irr = 0;
		for (const [pin, entry] of redirtbl.entries()) {
			this.entries[pin * 2] = Number(entry & 0xffff_ffffn);
			this.entries[pin * 2 + 1] = Number(entry >> 32n);
		}
		for (let pin = 0; pin < PINS; pin++) if ((irr & (1 << pin)) !== 0) this.setIrq(pin, true);
	}

	/** Whether a guest physical address is one of its registers: ioapic_in_range(). */
	static covers(gpa: number): boolean {
		return gpa >= IOAPIC_DEFAULT_PHYS_BASE && gpa < IOAPIC_DEFAULT_PHYS_BASE + IOAPIC_MEM_LENGTH;
	}

	/** ioapic_mmio_read(). @param offset in the register page */
	read(offset: number): number {
		if (offset === REG_SELECT) return this.select;
		if (offset !== REG_WINDOW) return 0;
		// The arbitration id is the id that was written last.
		if (this.select === 0 || this.select === 2) return (this.id & 0xf) << 24;
		if (this.select === 1) return VERSION;
		const at = this.select - 0x10;
		return at >= 0 && at < PINS * 2 ? this.entries[at]! : 0;
	}

	/** ioapic_mmio_write(). */
	write(offset: number, value: number): void {
		if (offset === REG_SELECT) this.select = value & 0xff;
		else if (offset === REG_WINDOW) this.writeWindow(value);
	}

	/** ioapic_write_indirect(). */
	private writeWindow(value: number): void {
		if (this.select === 0) {
			this.id = (value >>> 24) & 0xf;
			return;
		}
		const at = this.select - 0x10;
		if (at < 0 || at >= PINS * 2) return;
		const pin = at >> 1;
		if ((at & 1) === 1) this.entries[at] = value;
		else {
			let low = (value & ~READ_ONLY) | (this.entries[at]! & READ_ONLY);
			// Linux clears a stuck remote IRR by making the entry edge triggered for a moment.
			if ((low & ENTRY.level) === 0) low &= ~ENTRY.remoteIrr;
			this.entries[at] = low;
		}
		if ((this.entries[pin * 2]! & ENTRY.level) !== 0 && (this.irr & (1 << pin)) !== 0) this.service(pin);
	}

	/** ioapic_set_irq(). @param level whether the pin is up */
	setIrq(pin: number, level: boolean): void {
		const bit = 1 << pin;
		if (!level) {
			this.irr &= ~bit;
			return;
		}
		const wasUp = (this.irr & bit) !== 0;
		this.irr |= bit;
		if (wasUp && (this.entries[pin * 2]! & ENTRY.level) === 0) return;
		this.service(pin);
	}

	/** ioapic_service(): sends a pin's interrupt, unless it is masked or waits for an EOI. */
	private service(pin: number): void {
		const low = this.entries[pin * 2]!;
		const levelTriggered = (low & ENTRY.level) !== 0;
		if ((low & ENTRY.masked) !== 0 || (levelTriggered && (low & ENTRY.remoteIrr) !== 0)) return;
		const accepted = deliverToApics(this.vm, null, {
			vector: low & ENTRY.vector,
			deliveryMode: low & APIC_DM_MASK,
			logical: (low & ENTRY.logical) !== 0,
			destination: this.entries[pin * 2 + 1]! >>> 24,
			shorthand: APIC_SHORTHAND.none,
			levelTriggered,
			asserted: true,
		});
		if (accepted && levelTriggered) this.entries[pin * 2] = low | ENTRY.remoteIrr;
	}

	/** kvm_ioapic_update_eoi(): a level-triggered vector is done; a line that is still up interrupts again. */
	eoi(vector: number): void {
		for (let pin = 0; pin < PINS; pin++) {
			const low = this.entries[pin * 2]!;
			if ((low & ENTRY.vector) !== vector || (low & ENTRY.level) === 0) continue;
			this.entries[pin * 2] = low & ~ENTRY.remoteIrr;
			if ((low & ENTRY.masked) === 0 && (this.irr & (1 << pin)) !== 0) this.again(pin);
			else this.successive[pin] = 0;
		}
	}

	/** A line that nobody takes down must not keep the guest from ever doing anything else. */
	private again(pin: number): void {
		this.successive[pin] = this.successive[pin]! + 1;
		if (this.successive[pin]! < SUCCESSIVE_MAX) {
			this.service(pin);
			return;
		}
		this.successive[pin] = 0;
		const { hrtimers, cpu } = this.vm.kernel;
		const delayed: Hrtimer = {
			expiresCycles: 0,
			callback: () => {
				if ((this.irr & (1 << pin)) !== 0) this.service(pin);
			},
		};
		hrtimers.start(delayed, cpu.cycles + (INJECT_DELAY_NS * cpu.model.tscHz) / 1e9);
	}
}
