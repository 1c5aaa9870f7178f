/** What lies behind the addresses of the user-space machine: I/O ports, and memory that is not RAM. */

/** A device behind a run of addresses. Wider accesses reach it whole, as QEMU's unspecified devices allow. */
export interface BusDevice {
	/** @param offset from the first address it was given @param bytes 1, 2, 4 or 8 @returns unsigned, `bytes` wide */
	read(offset: number, bytes: number): number;
	write(offset: number, bytes: number, value: number): void;
}

/** All ones, `bytes` wide: what nobody answers. Of 8 bytes the low 4 are. */
export function allOnes(bytes: number): number {
	return bytes === 1 ? 0xff : bytes === 2 ? 0xffff : 0xffff_ffff;
}

/** A run of addresses and who answers them. */
interface Claim {
	readonly first: number;
	readonly end: number;
	readonly device: BusDevice;
}

export class Bus {
	/** The latest first. */
	private claims: Claim[] = [];

	/** Gives `count` addresses from `first` to a device. Later devices cover earlier ones. */
	add(first: number, count: number, device: BusDevice): void {
		this.claims.unshift({ first, end: first + count, device });
	}

	/** Takes a device off the bus. */
	remove(device: BusDevice): void {
		this.claims = this.claims.filter((claim) => claim.device !== device);
	}

	private claimOf(address: number): Claim | undefined {
		return this.claims.find(({ first, end }) => address >= first && address < end);
	}

	/** A read. What is unassigned reads all ones. */
	read(address: number, bytes: number): number {
		const claim = this.claimOf(address);
		return claim === undefined ? allOnes(bytes) : claim.device.read(address - claim.first, bytes);
	}

	/** A write. To what is unassigned it has no effect. */
	write(address: number, bytes: number, value: number): void {
		const claim = this.claimOf(address);
		claim?.device.write(address - claim.first, bytes, value);
	}
}
