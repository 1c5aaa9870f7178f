/** QEMU's firmware configuration device: a selector at port 0x510, data bytes at 0x511. */
import type { BusDevice } from "./bus.ts";

export const FW_CFG_PORT = 0x510;

/** Items of docs/specs/fw_cfg.rst that guests here ask for. */
const ITEM = {
	signature: 0x00,
	id: 0x01,
	ramSize: 0x03,
	noGraphic: 0x04,
	cpus: 0x05,
	bootMenu: 0x0e,
	maxCpus: 0x0f,
} as const;

/** The item without the bit that asks for write access. */
const ENTRY_MASK = 0xbfff;

function number(value: number, bytes: number): Uint8Array {
	const data = new Uint8Array(bytes);
	let rest = value;
	for (let i = 0; i < bytes; i++, rest = Math.floor(rest / 256)) data[i] = rest % 256;
	return data;
}

export class FwCfg implements BusDevice {
	private readonly items: ReadonlyMap<number, Uint8Array>;
	private selected: Uint8Array | undefined;
	private at = 0;

	/** @param ramBytes of guest memory @param cpus number of virtual CPUs */
	constructor(ramBytes: number, cpus: number) {
		this.items = new Map([
			[ITEM.signature, new TextEncoder().encode("QEMU")],
			// Bit 0: the traditional interface. No DMA.
			[ITEM.id, number(1, 4)],
			[ITEM.ramSize, number(ramBytes, 8)],
			[ITEM.noGraphic, number(1, 2)],
			[ITEM.cpus, number(cpus, 2)],
			[ITEM.bootMenu, number(0, 2)],
			[ITEM.maxCpus, number(cpus, 2)],
		]);
	}

	/** A missing item, and what lies behind an item's end, reads as 0. */
	read(offset: number, _bytes: number): number {
		if (offset !== 1) return 0;
		return this.selected?.[this.at++] ?? 0;
	}

	write(offset: number, _bytes: number, value: number): void {
		if (offset !== 0) return;
		this.selected = this.items.get(value & ENTRY_MASK);
		this.at = 0;
	}
}
