/** A VM of the real KVM: its memory, interrupt controllers and vCPUs. */
import {
	type EventCounter,
	type GuestMemory,
	type IoeventfdOptions,
	KvmError,
	type KvmVm,
	type MemorySlotOptions,
} from "../uapi/api.ts";
import { KVM_CAP, type KvmCapName, KVM_IOEVENTFD_FLAG, KVM_MEM } from "../uapi/constants.ts";
import { encode } from "../uapi/layout.ts";
import {
	type KvmPitState2,
	kvmClockData,
	kvmCoalescedMmioZone,
	kvmDirtyLog,
	kvmIoeventfd,
	kvmIrqLevel,
	kvmIrqchip,
	kvmIrqfd,
	kvmMsi,
	kvmPitConfig,
	kvmPitState2,
	kvmUserspaceMemoryRegion,
} from "../uapi/structs.ts";
import { Fd } from "./fd.ts";
import type { Libc, Mapping } from "./libc.ts";
import { DevVcpu } from "./vcpu.ts";

const PAGE_BYTES = 4096;
/** Three pages that the Intel module needs for its TSS, and one for an identity map, below the BIOS (api.rst 4.35). */
const TSS_GPA = 0xfffbd000;

/** Memory of this process that a slot maps. */
export class DevMemory implements GuestMemory {
	readonly slot: number;
	readonly gpa: number;
	private mapping: Mapping | null;

	constructor(slot: number, gpa: number, mapping: Mapping) {
		this.slot = slot;
		this.gpa = gpa;
		this.mapping = mapping;
	}

	/** The memory. Do not keep it beyond removeMemory(). @throws KvmError once it was removed */
	get bytes(): Uint8Array {
		return this.mapped.bytes;
	}

	read(offset: number, bytes: number): Uint8Array {
		return this.bytes.slice(offset, offset + bytes);
	}
	write(offset: number, data: Uint8Array): void {
		this.bytes.set(data, offset);
	}

	/** Where it lies in this process. @throws KvmError once it was removed */
	get mapped(): Mapping {
		if (this.mapping === null) throw new KvmError("GuestMemory", "EFAULT", `slot ${this.slot} was removed`);
		return this.mapping;
	}

	/** Unmaps it, once. */
	release(libc: Libc): void {
		if (this.mapping === null) return;
		const { mapping } = this;
		this.mapping = null;
		libc.unmap(mapping);
	}
}

/** An eventfd. */
class DevCounter implements EventCounter {
	readonly fd: Fd;
	constructor(fd: Fd) {
		this.fd = fd;
	}
	take(): bigint {
		return this.fd.libc.readCounter(this.fd.number) ?? 0n;
	}
	add(count: bigint): void {
		this.fd.libc.writeCounter(this.fd.number, count);
	}
	close(): void {
		this.fd.close();
	}
}

export class DevVm implements KvmVm {
	private readonly fd: Fd;
	private readonly vcpuBytes: number;
	private readonly onClose: () => void;
	private readonly memories = new Set<DevMemory>();
	private readonly vcpus = new Set<DevVcpu>();
	private readonly counters = new Set<DevCounter>();

	/** @param vcpuBytes KVM_GET_VCPU_MMAP_SIZE */
	constructor(fd: Fd, vcpuBytes: number, onClose: () => void) {
		this.fd = fd;
		this.vcpuBytes = vcpuBytes;
		this.onClose = onClose;
		fd.ioctl("KVM_SET_TSS_ADDR", TSS_GPA);
	}

	checkExtension(cap: KvmCapName): number {
		return this.fd.ioctl("KVM_CHECK_EXTENSION", KVM_CAP[cap]);
	}

	addMemory({ slot, gpa, bytes, readOnly, logDirtyPages }: MemorySlotOptions): DevMemory {
		if (bytes <= 0 || bytes % PAGE_BYTES !== 0 || gpa % PAGE_BYTES !== 0) {
			throw new KvmError(
				"KVM_SET_USER_MEMORY_REGION",
				"EINVAL",
				`slot ${slot}: address and size must be multiples of ${PAGE_BYTES}`,
			);
		}
		const memory = new DevMemory(slot, gpa, this.fd.libc.map(bytes));
		try {
			this.setRegion(
				memory,
				bytes,
				(readOnly === true ? KVM_MEM.READONLY : 0) | (logDirtyPages === true ? KVM_MEM.LOG_DIRTY_PAGES : 0),
			);
		} catch (error) {
			memory.release(this.fd.libc);
			throw error;
		}
		this.memories.add(memory);
		return memory;
	}

	private setRegion(memory: DevMemory, bytes: number, flags: number): void {
		this.fd.set("KVM_SET_USER_MEMORY_REGION", kvmUserspaceMemoryRegion, {
			slot: memory.slot,
			flags,
			guest_phys_addr: BigInt(memory.gpa),
			memory_size: BigInt(bytes),
			userspace_addr: memory.mapped.address,
		});
	}

	removeMemory(memory: GuestMemory): void {
		const own = [...this.memories].find((candidate) => candidate === memory);
		if (own === undefined) throw new KvmError("KVM_SET_USER_MEMORY_REGION", "EINVAL", "memory of another VM");
		this.setRegion(own, 0, 0);
		this.memories.delete(own);
		own.release(this.fd.libc);
	}

	/**
	 * Gives the pages of a slot from an offset on back to the host: the guest's next access to each faults, and finds
	 * zeroes.
	 * @param from offset in bytes, a multiple of 4096
	 */
	discardFrom(memory: DevMemory, from: number): void {
		const { address, bytes } = memory.mapped;
		this.fd.libc.discard({ address: address + BigInt(from), bytes: bytes.subarray(from) });
	}

	dirtyLog(memory: GuestMemory): Uint8Array {
		const words = Math.ceil(memory.bytes.length / PAGE_BYTES / 64);
		const bitmap = this.fd.libc.map(Math.ceil((words * 8) / PAGE_BYTES) * PAGE_BYTES);
		try {
			this.fd.set("KVM_GET_DIRTY_LOG", kvmDirtyLog, { slot: memory.slot, dirty_bitmap: bitmap.address });
			return bitmap.bytes.slice(0, words * 8);
		} finally {
			this.fd.libc.unmap(bitmap);
		}
	}

	createIrqchip(): void {
		this.fd.ioctl("KVM_CREATE_IRQCHIP");
	}
	createPit2(): void {
		this.fd.set("KVM_CREATE_PIT2", kvmPitConfig, {});
	}
	irqLine(irq: number, level: boolean): void {
		this.fd.set("KVM_IRQ_LINE", kvmIrqLevel, { irq, level: level ? 1 : 0 });
	}
	signalMsi(address: number, data: number): number {
		return this.fd.set("KVM_SIGNAL_MSI", kvmMsi, { address_lo: address, data });
	}

	getIrqchip(chip: number): Uint8Array {
		const { bytes } = encode(kvmIrqchip, { chip_id: chip });
		this.fd.ioctl("KVM_GET_IRQCHIP", bytes);
		return bytes.slice(kvmIrqchip.offsets.chip);
	}
	setIrqchip(chip: number, state: Uint8Array): void {
		const { bytes } = encode(kvmIrqchip, { chip_id: chip });
		bytes.set(state, kvmIrqchip.offsets.chip);
		this.fd.ioctl("KVM_SET_IRQCHIP", bytes);
	}
	getPit2(): KvmPitState2 {
		return this.fd.get("KVM_GET_PIT2", kvmPitState2);
	}
	setPit2(state: KvmPitState2): void {
		this.fd.set("KVM_SET_PIT2", kvmPitState2, state);
	}
	getClock(): bigint {
		return this.fd.get("KVM_GET_CLOCK", kvmClockData).clock;
	}
	setClock(ns: bigint): void {
		this.fd.set("KVM_SET_CLOCK", kvmClockData, { clock: ns });
	}

	private makeCounter(attach: (counter: DevCounter) => void): DevCounter {
		const { libc } = this.fd;
		const counter = new DevCounter(new Fd(libc, libc.eventfd()));
		try {
			attach(counter);
		} catch (error) {
			counter.close();
			throw error;
		}
		this.counters.add(counter);
		return counter;
	}

	ioeventfd({ address, bytes, pio, datamatch }: IoeventfdOptions): EventCounter {
		return this.makeCounter((counter) => {
			this.fd.set("KVM_IOEVENTFD", kvmIoeventfd, {
				datamatch: datamatch ?? 0n,
				addr: BigInt(address),
				len: bytes,
				fd: counter.fd.number,
				flags:
					(pio ? KVM_IOEVENTFD_FLAG.PIO : 0) | (datamatch === undefined ? 0 : KVM_IOEVENTFD_FLAG.DATAMATCH),
			});
		});
	}

	irqfd(gsi: number): EventCounter {
		return this.makeCounter((counter) => {
			this.fd.set("KVM_IRQFD", kvmIrqfd, { fd: counter.fd.number, gsi });
		});
	}

	coalesceMmio(address: number, bytes: number): void {
		this.fd.set("KVM_REGISTER_COALESCED_MMIO", kvmCoalescedMmioZone, { addr: BigInt(address), size: bytes });
	}

	createVcpu(id: number): DevVcpu {
		const fd = new Fd(this.fd.libc, this.fd.ioctl("KVM_CREATE_VCPU", id));
		const xsaveBytes = Math.max(this.checkExtension("XSAVE2"), 0);
		const vcpu = new DevVcpu(fd, id, this.vcpuBytes, xsaveBytes, () => this.vcpus.delete(vcpu));
		this.vcpus.add(vcpu);
		return vcpu;
	}

	close(): void {
		for (const vcpu of [...this.vcpus]) vcpu.close();
		for (const counter of this.counters) counter.close();
		this.fd.close();
		for (const memory of this.memories) memory.release(this.fd.libc);
		this.memories.clear();
		this.onClose();
	}
}
