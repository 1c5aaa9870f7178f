/**
 * Writes that user space wants no exits for: eventfds count them (virt/kvm/eventfd.c), or a ring that all vCPUs of the
 * VM share keeps them until somebody looks (virt/kvm/coalesced_mmio.c).
 */

/** Entries of the ring: its page has room for so many struct kvm_coalesced_mmio, one of which stays free. */
const RING_ENTRIES = 169;

/** struct _ioeventfd. */
export interface Ioeventfd {
	readonly pio: boolean;
	readonly address: number;
	/** 0: any. */
	readonly bytes: number;
	/** null: any value. */
	readonly datamatch: bigint | null;
	/** eventfd_signal(). */
	readonly signal: () => void;
}

/** struct kvm_coalesced_mmio. */
export interface CoalescedEntry {
	readonly address: number;
	readonly pio: boolean;
	readonly data: Uint8Array;
}

export class IoBus {
	/** Whether there is anything to look for. */
	inUse = false;
	private ioeventfds: readonly Ioeventfd[] = [];
	private readonly zones: { readonly address: number; readonly bytes: number }[] = [];
	private ring: CoalescedEntry[] = [];

	/** kvm_assign_ioeventfd(). @returns false if it collides with one that is there */
	addIoeventfd(made: Ioeventfd): boolean {
		const collides = this.ioeventfds.some(
			(one) =>
				one.pio === made.pio &&
				one.address === made.address &&
				(one.bytes === 0 || made.bytes === 0 || one.bytes === made.bytes) &&
				(one.datamatch === null || made.datamatch === null || one.datamatch === made.datamatch),
		);
		if (collides) return false;
		this.ioeventfds = [...this.ioeventfds, made];
		this.inUse = true;
		return true;
	}

	/** The eventfd was closed: ioeventfd_release(). */
	removeIoeventfd(gone: Ioeventfd): void {
		this.ioeventfds = this.ioeventfds.filter((one) => one !== gone);
	}

	/** kvm_vm_ioctl_register_coalesced_mmio(). */
	addZone(address: number, bytes: number): void {
		this.zones.push({ address, bytes });
		this.inUse = true;
	}

	/**
	 * kvm_io_bus_write() as far as it ends here.
	 * @param value `bytes` wide, unsigned
	 * @returns false: user space must have it
	 */
	write(pio: boolean, address: number, bytes: number, value: bigint): boolean {
		for (const one of this.ioeventfds) {
			if (one.pio !== pio || one.address !== address) continue;
			if (one.bytes !== 0 && one.bytes !== bytes) continue;
			if (one.datamatch !== null && one.bytes !== 0 && one.datamatch !== value) continue;
			one.signal();
			return true;
		}
		return !pio && this.coalesce(address, bytes, value);
	}

	/** coalesced_mmio_write(). A ring that is full lets the write through. */
	private coalesce(address: number, bytes: number, value: bigint): boolean {
		const inZone = this.zones.some(
			(zone) => address >= zone.address && address + bytes <= zone.address + zone.bytes,
		);
		if (!inZone || this.ring.length >= RING_ENTRIES - 1) return false;
		const data = new Uint8Array(8);
		new DataView(data.buffer).setBigUint64(0, value, true);
		this.ring.push({ address, pio: false, data: data.subarray(0, bytes) });
		return true;
	}

	/** Takes what the ring holds, the oldest first. */
	takeCoalesced(): CoalescedEntry[] {
		const taken = this.ring;
		this.ring = [];
		return taken;
	}
}
