/** The I/O ports of the user-space machine: which device answers which port. */

/** A device behind ports. Wider accesses reach it whole, as QEMU's unspecified devices allow. */
export interface PortDevice {
	/** @param offset from the first port it was given @param bytes 1, 2 or 4 @returns unsigned, `bytes` wide */
	read(offset: number, bytes: number): number;
	write(offset: number, bytes: number, value: number): void;
}

const PORTS = 0x10000;

/** All ones, `bytes` wide: what nobody answers. */
export function allOnes(bytes: number): number {
	return bytes === 1 ? 0xff : bytes === 2 ? 0xffff : 0xffff_ffff;
}

export class PortBus {
	/** Index into `devices` plus 1, by port; 0: unassigned. */
	private readonly owner = new Uint8Array(PORTS);
	private readonly first = new Uint16Array(PORTS);
	private readonly devices: PortDevice[] = [];

	/** Gives `count` ports from `first` to a device. Later devices cover earlier ones. */
	add(first: number, count: number, device: PortDevice): void {
		this.devices.push(device);
		this.owner.fill(this.devices.length, first, first + count);
		this.first.fill(first, first, first + count);
	}

	/** IN. An unassigned port reads all ones. */
	read(port: number, bytes: number): number {
		const owner = this.owner[port]!;
		if (owner === 0) return allOnes(bytes);
		return this.devices[owner - 1]!.read(port - this.first[port]!, bytes);
	}

	/** OUT. To an unassigned port it has no effect. */
	write(port: number, bytes: number, value: number): void {
		const owner = this.owner[port]!;
		if (owner !== 0) this.devices[owner - 1]!.write(port - this.first[port]!, bytes, value);
	}
}
