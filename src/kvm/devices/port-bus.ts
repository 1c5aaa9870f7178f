/** The I/O ports of the user-space machine: which device answers which port. */

/** A device behind ports. Wider accesses reach it whole, as QEMU's unspecified devices allow. */
export interface PortDevice {
	/** @param offset from the first port it was given @param bytes 1, 2 or 4 @returns unsigned, `bytes` wide */
	read(offset: number, bytes: number): number;
	write(offset: number, bytes: number, value: number): void;
}

/** All ones, `bytes` wide: what nobody answers. */
export function allOnes(bytes: number): number {
	return bytes === 1 ? 0xff : bytes === 2 ? 0xffff : 0xffff_ffff;
}

/** A run of ports and who answers them. */
interface Claim {
	readonly first: number;
	readonly end: number;
	readonly device: PortDevice;
}

export class PortBus {
	/** The latest first. */
	private readonly claims: Claim[] = [];

	/** Gives `count` ports from `first` to a device. Later devices cover earlier ones. */
	add(first: number, count: number, device: PortDevice): void {
		this.claims.unshift({ first, end: first + count, device });
	}

	private claimOf(port: number): Claim | undefined {
		return this.claims.find(({ first, end }) => port >= first && port < end);
	}

	/** IN. An unassigned port reads all ones. */
	read(port: number, bytes: number): number {
		const claim = this.claimOf(port);
		return claim === undefined ? allOnes(bytes) : claim.device.read(port - claim.first, bytes);
	}

	/** OUT. To an unassigned port it has no effect. */
	write(port: number, bytes: number, value: number): void {
		const claim = this.claimOf(port);
		claim?.device.write(port - claim.first, bytes, value);
	}
}
