/**
 * QEMU's pc-testdev: ports and memory with which kvm-unit-tests exercise I/O, interrupt lines and the flushing of a page
 * from KVM's page tables.
 */
import type { Bus, BusDevice } from "./bus.ts";

const PORT = { latch: 0xe0, flush: 0xe4, byteLatch: 0xe8, irq: 0x2000 } as const;
const IRQ_LINES = 24;
const MEMORY_GPA = 0xff00_0000;
const MEMORY_BYTES = 0x1_0000;

/** Bytes that keep what is written. */
class Latch implements BusDevice {
	private readonly bytes: Uint8Array;
	constructor(size: number) {
		this.bytes = new Uint8Array(size);
	}
	read(offset: number, bytes: number): number {
		let value = 0;
		for (let at = bytes - 1; at >= 0; at--) value = value * 256 + (this.bytes[offset + at] ?? 0);
		return value;
	}
	write(offset: number, bytes: number, value: number): void {
		for (let at = 0, rest = value; at < bytes && offset + at < this.bytes.length; at++) {
			this.bytes[offset + at] = rest % 256;
			rest = Math.floor(rest / 256);
		}
	}
}

export interface TestdevLines {
	/** Sets an interrupt line. */
	readonly setIrq: (gsi: number, level: boolean) => void;
	/** User space protects and unprotects the page of a guest physical address: KVM drops its mapping. */
	readonly flushPage: (gpa: number) => void;
}

/** Puts a pc-testdev on the buses. */
export function addTestdev(ports: Bus, memory: Bus, { setIrq, flushPage }: TestdevLines): void {
	ports.add(PORT.latch, 4, new Latch(4));
	ports.add(PORT.byteLatch, 4, new Latch(4));
	ports.add(PORT.flush, 4, { read: () => 0, write: (_offset, _bytes, value) => flushPage(value) });
	ports.add(PORT.irq, IRQ_LINES, {
		read: () => 0,
		write: (line, _bytes, value) => setIrq(line, value !== 0),
	});
	memory.add(MEMORY_GPA, MEMORY_BYTES, new Latch(MEMORY_BYTES));
}
