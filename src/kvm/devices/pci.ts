/**
 * PCI configuration mechanism 1 (PCI Local Bus Specification, 3.2.2.3.2), a host bridge, and QEMU's pci-testdev
 * (docs/specs/pci-testdev.rst of QEMU).
 */
import { allOnes, type Bus, type BusDevice } from "./bus.ts";

const CONFIG_ADDRESS = 0xcf8;
const ENABLED = 0x8000_0000;
const CONFIG_BYTES = 256;
const COMMAND = 4;
const COMMAND_IO = 1;
const COMMAND_MEMORY = 2;
const BAR0 = 0x10;
const BARS = 6;

/** A base address register: where a device's registers are on one of the buses. */
interface Bar {
	readonly io: boolean;
	readonly bytes: number;
	readonly device: BusDevice;
}

export interface PciIdentity {
	readonly vendor: number;
	readonly device: number;
	/** Class code, 24 bits. */
	readonly classCode: number;
}

/** A function's configuration space. */
export class PciFunction {
	private readonly config = new DataView(new ArrayBuffer(CONFIG_BYTES));
	private readonly bars: readonly (Bar | null)[];
	private readonly ports: Bus;
	private readonly memory: Bus;

	/** @param bars by number; null where there is none */
	constructor(identity: PciIdentity, ports: Bus, memory: Bus, bars: readonly (Bar | null)[] = []) {
		this.ports = ports;
		this.memory = memory;
		this.bars = bars;
		this.config.setUint16(0, identity.vendor, true);
		this.config.setUint16(2, identity.device, true);
		this.config.setUint32(8, identity.classCode * 256, true);
		for (const [at, bar] of bars.entries()) {
			if (bar?.io === true) this.config.setUint32(BAR0 + 4 * at, 1, true);
		}
	}

	read(register: number, bytes: number): number {
		if (bytes === 1) return this.config.getUint8(register);
		return bytes === 2 ? this.config.getUint16(register, true) : this.config.getUint32(register, true);
	}

	write(register: number, bytes: number, value: number): void {
		const bar = (register - BAR0) >> 2;
		if (register >= BAR0 && bar < BARS) {
			if (bytes === 4) this.writeBar(bar, value);
			return;
		}
		if (register === COMMAND) this.config.setUint16(COMMAND, value & 7, true);
		else if (register !== 0x3c) return;
		else this.config.setUint8(register, value & 0xff);
		this.place();
	}

	/** A BAR keeps the bits above its size: all ones written to it read back as the size. */
	private writeBar(at: number, value: number): void {
		const bar = this.bars[at];
		if (bar === undefined || bar === null) return;
		const base = (value & -bar.bytes) >>> 0;
		this.config.setUint32(BAR0 + 4 * at, bar.io ? (base | 1) >>> 0 : base, true);
		this.place();
	}

	/** Puts the registers where BARs and the command register say. */
	private place(): void {
		const command = this.config.getUint16(COMMAND, true);
		for (const [at, bar] of this.bars.entries()) {
			if (bar === null) continue;
			const bus = bar.io ? this.ports : this.memory;
			bus.remove(bar.device);
			const base = this.config.getUint32(BAR0 + 4 * at, true) & ~0xf;
			const on = (command & (bar.io ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
			if (on && base !== 0) bus.add(base >>> 0, bar.bytes, bar.device);
		}
	}
}

/** Configuration ports 0xcf8 to 0xcff, over the functions of bus 0. */
export class PciHost implements BusDevice {
	private address = 0;
	/** By device number. */
	private readonly functions = new Map<number, PciFunction>();

	/** Puts itself on the ports. */
	constructor(ports: Bus) {
		ports.add(CONFIG_ADDRESS, 8, this);
	}

	/** @param slot device number on bus 0 */
	add(slot: number, pciFunction: PciFunction): void {
		this.functions.set(slot, pciFunction);
	}

	private get selected(): PciFunction | undefined {
		// Bus 23:16, device 15:11, function 10:8.
		if ((this.address & ENABLED) === 0 || (this.address & 0x00ff_0700) !== 0) return undefined;
		return this.functions.get((this.address >> 11) & 31);
	}

	read(offset: number, bytes: number): number {
		if (offset < 4) return offset === 0 && bytes === 4 ? this.address >>> 0 : allOnes(bytes);
		return this.selected?.read((this.address & 0xfc) + offset - 4, bytes) ?? allOnes(bytes);
	}

	write(offset: number, bytes: number, value: number): void {
		if (offset === 0 && bytes === 4) this.address = value;
		else if (offset >= 4) this.selected?.write((this.address & 0xfc) + offset - 4, bytes, value);
	}
}

/** Widths that the device offers for its accesses: the test number counts through them. */
const WIDTHS = [1, 2, 4] as const;
/** Offsets in the header that a driver reads (struct pci_test_dev_hdr). */
const HEADER = { test: 0, width: 1, offset: 4, data: 8, count: 12, name: 16 } as const;
const DATA_OFFSET = 0x40;
const TESTDEV_BYTES = 256;
/** What a driver has to write for it to count. */
const TESTDEV_DATA = 0xfa;

/** One BAR of a pci-testdev: a header that describes a test, and a register whose right writes are counted. */
class TestdevBar implements BusDevice {
	private readonly kind: string;
	private test = 0;
	private count = 0;

	constructor(kind: string) {
		this.kind = kind;
	}

	private header(): Uint8Array {
		const bytes = new Uint8Array(DATA_OFFSET);
		const view = new DataView(bytes.buffer);
		const width = WIDTHS[this.test];
		bytes[HEADER.test] = this.test;
		bytes[HEADER.width] = width ?? 0;
		view.setUint32(HEADER.offset, DATA_OFFSET, true);
		view.setUint32(HEADER.data, TESTDEV_DATA, true);
		view.setUint32(HEADER.count, this.count, true);
		bytes.set(new TextEncoder().encode(`${this.kind}-no-eventfd`), HEADER.name);
		return bytes;
	}

	read(offset: number, bytes: number): number {
		const header = this.header();
		let value = 0;
		for (let at = bytes - 1; at >= 0; at--) value = value * 256 + (header[offset + at] ?? 0);
		return value;
	}

	write(offset: number, bytes: number, value: number): void {
		if (offset === HEADER.test) {
			this.test = value & 0xff;
			this.count = 0;
		} else if (offset === DATA_OFFSET && bytes === WIDTHS[this.test] && value === TESTDEV_DATA) this.count++;
	}
}

/** A host bridge in slot 0 and a pci-testdev in the given slot. */
export function addPci(ports: Bus, memory: Bus, testdevSlot: number): PciHost {
	const host = new PciHost(ports);
	host.add(0, new PciFunction({ vendor: 0x8086, device: 0x1237, classCode: 0x060000 }, ports, memory));
	host.add(
		testdevSlot,
		new PciFunction({ vendor: 0x1b36, device: 0x0005, classCode: 0x00ff00 }, ports, memory, [
			{ io: false, bytes: 4096, device: new TestdevBar("mmio") },
			{ io: true, bytes: TESTDEV_BYTES, device: new TestdevBar("portio") },
		]),
	);
	return host;
}
