/** A VM of the software KVM: the ioctls of its file (virt/kvm/kvm_main.c, arch/x86/kvm/x86.c, v6.18). */
import type { Kernel } from "../host/kernel.ts";
import { kvmVcpuReset } from "../kvm/emulate/reset.ts";
import { createVcpu } from "../kvm/api/kvm.ts";
import type { Ioeventfd } from "../kvm/io-bus.ts";
import { APIC_SHORTHAND } from "../kvm/irqchip/apic-registers.ts";
import { deliverToApics } from "../kvm/irqchip/delivery.ts";
import { type KernelIrqchip, kernelIrqchip } from "../kvm/irqchip/irqchip.ts";
import { PINS } from "../kvm/irqchip/ioapic.ts";
import { kvmSetIrq, pulseIrq } from "../kvm/irqchip/routing.ts";
import { KVM_REQ, MP_STATE } from "../kvm/requests.ts";
import { type Vcpu, makeRequest } from "../kvm/vcpu.ts";
import type { MemorySlot, Vm } from "../kvm/vm.ts";
import { refreshPvclock } from "../kvm/x86/pvclock.ts";
import {
	type EventCounter,
	type GuestMemory,
	type IoeventfdOptions,
	KvmError,
	type KvmVm,
	type MemorySlotOptions,
} from "../uapi/api.ts";
import type { KvmCapName } from "../uapi/constants.ts";
import { encode } from "../uapi/layout.ts";
import { type KvmPitState2, kvmIoapicState, kvmPicState } from "../uapi/structs.ts";
import { MEMSLOTS_MAX, VCPUS_MAX, checkExtension } from "./capabilities.ts";
import { SoftMemory } from "./memory.ts";
import { SoftVcpu } from "./vcpu.ts";
import { xsaveAreaBytes } from "./xsave.ts";

const PAGE_BYTES = 4096;
const LARGE_PAGE_BYTES = 2 ** 21;
/** Bytes of kvm_irqchip.chip. */
const CHIP_BYTES = 512;
const IOAPIC_CHIP = 2;
const NS_PER_S = 1e9;
const IOEVENTFD_BYTES = new Set([0, 1, 2, 4, 8]);

/** A count that KVM raises, or whose raising KVM is told. */
class SoftCounter implements EventCounter {
	private count = 0n;
	private readonly onAdd: (() => void) | null;
	private readonly onClose: () => void;

	/** @param onAdd takes each addition, and the count with it */
	constructor(onAdd: (() => void) | null, onClose: () => void) {
		this.onAdd = onAdd;
		this.onClose = onClose;
	}
	take(): bigint {
		const taken = this.count;
		this.count = 0n;
		return taken;
	}
	add(count: bigint): void {
		if (this.onAdd !== null) this.onAdd();
		else this.count += count;
	}
	close(): void {
		this.onClose();
	}
}

/** The computer that VMs share: whose guest ran last on its CPU. */
export interface SharedCpu {
	readonly kernel: Kernel;
	lastVcpu: Vcpu | null;
}

export class SoftVm implements KvmVm {
	private readonly vm: Vm;
	private readonly shared: SharedCpu;
	private readonly onClose: () => void;
	private readonly memories = new Map<number, SoftMemory>();
	private readonly vcpus: SoftVcpu[] = [];
	private closed = false;

	constructor(vm: Vm, shared: SharedCpu, onClose: () => void) {
		this.vm = vm;
		this.shared = shared;
		this.onClose = onClose;
	}

	checkExtension(cap: KvmCapName): number {
		return checkExtension(cap, xsaveAreaBytes({ cpu: this.shared.kernel.cpu }));
	}

	// ---- memory --------------------------------------------------------------------------------------

	addMemory({ slot, gpa, bytes, readOnly, logDirtyPages }: MemorySlotOptions): SoftMemory {
		const call = "KVM_SET_USER_MEMORY_REGION";
		const { vm } = this;
		if (bytes <= 0 || bytes % PAGE_BYTES !== 0 || gpa % PAGE_BYTES !== 0 || gpa < 0) {
			throw new KvmError(call, "EINVAL", `slot ${slot}: address and size must be multiples of ${PAGE_BYTES}`);
		}
		if (slot < 0 || slot >= MEMSLOTS_MAX)
			throw new KvmError(call, "EINVAL", `there are slots 0 to ${MEMSLOTS_MAX - 1}`);
		if (this.memories.has(slot))
			throw new KvmError(call, "EINVAL", `slot ${slot} has other memory; remove it first`);
		const other = vm.slots.find((one) => gpa < one.gpa + one.bytes && one.gpa < gpa + bytes);
		if (other !== undefined)
			throw new KvmError(call, "EEXIST", `another slot begins at 0x${other.gpa.toString(16)}`);
		const region: MemorySlot = {
			gpa,
			bytes,
			hpa: this.reserve(bytes),
			readOnly: readOnly === true,
			...(logDirtyPages === true
				? { dirtyBitmap: new Uint8Array(Math.ceil(bytes / PAGE_BYTES / 64) * 8) }
				: {}),
		};
		vm.slots.push(region);
		// Translations of "no memory" are not cached, so there is nothing to drop.
		const memory = new SoftMemory(slot, region, vm.memory);
		this.memories.set(slot, memory);
		return memory;
	}

	/** Zeroed host memory, where large pages are possible if there is enough of it. */
	private reserve(bytes: number): number {
		try {
			return this.vm.reserve(bytes, bytes >= LARGE_PAGE_BYTES ? LARGE_PAGE_BYTES : PAGE_BYTES);
		} catch (error) {
			if (!(error instanceof RangeError)) throw error;
			throw new KvmError("mmap", "ENOMEM", error.message);
		}
	}

	removeMemory(memory: GuestMemory): void {
		const own = this.memories.get(memory.slot);
		if (own === undefined || own !== memory) {
			throw new KvmError("KVM_SET_USER_MEMORY_REGION", "EINVAL", "memory of another VM");
		}
		const { vm } = this;
		this.memories.delete(memory.slot);
		vm.slots.splice(vm.slots.indexOf(own.region), 1);
		own.release();
		vm.release(own.region.hpa);
		vm.mmu.zap();
	}

	dirtyLog(memory: GuestMemory): Uint8Array {
		const bitmap = this.memories.get(memory.slot)?.region.dirtyBitmap;
		if (bitmap === undefined) {
			throw new KvmError("KVM_GET_DIRTY_LOG", "ENOENT", `slot ${memory.slot} does not log dirty pages`);
		}
		const log = bitmap.slice();
		bitmap.fill(0);
		// What was written is to fault again when it is written next.
		this.vm.mmu.zap();
		return log;
	}

	// ---- interrupt controllers -----------------------------------------------------------------------

	createIrqchip(): void {
		const { vm } = this;
		if (vm.irqchip) throw new KvmError("KVM_CREATE_IRQCHIP", "EEXIST");
		if (this.vcpus.length > 0)
			throw new KvmError("KVM_CREATE_IRQCHIP", "EINVAL", "it comes before the first vCPU");
		vm.irqchip = true;
	}

	createPit2(): void {
		const { vm } = this;
		if (!vm.irqchip) throw new KvmError("KVM_CREATE_PIT2", "ENOENT", "KVM_CREATE_IRQCHIP comes first");
		if (vm.pit) throw new KvmError("KVM_CREATE_PIT2", "EEXIST");
		vm.pit = true;
	}

	private chip(call: string): KernelIrqchip {
		const chip = kernelIrqchip(this.vm);
		if (chip === null) throw new KvmError(call, "ENXIO", "KVM_CREATE_IRQCHIP comes first");
		return chip;
	}

	irqLine(irq: number, level: boolean): void {
		this.chip("KVM_IRQ_LINE");
		if (irq >= 0 && irq < PINS) kvmSetIrq(this.vm, irq, level);
	}

	signalMsi(address: number, data: number): number {
		if (!this.vm.irqchip) throw new KvmError("KVM_SIGNAL_MSI", "EINVAL", "KVM_CREATE_IRQCHIP comes first");
		const accepted = deliverToApics(this.vm, null, {
			vector: data & 0xff,
			deliveryMode: data & 0x700,
			logical: (address & 4) !== 0,
			destination: (address >>> 12) & 0xff,
			shorthand: APIC_SHORTHAND.none,
			levelTriggered: (data & 0x8000) !== 0,
			asserted: true,
		});
		return accepted ? 1 : 0;
	}

	getIrqchip(chip: number): Uint8Array {
		const { pic, ioapic } = this.chip("KVM_GET_IRQCHIP");
		const bytes = new Uint8Array(CHIP_BYTES);
		if (chip === IOAPIC_CHIP) bytes.set(encode(kvmIoapicState, ioapic.getState()).bytes);
		else if (chip === 0 || chip === 1) bytes.set(encode(kvmPicState, pic.getState(chip)).bytes);
		else throw new KvmError("KVM_GET_IRQCHIP", "EINVAL", `chip ${chip}`);
		return bytes;
	}

	setIrqchip(chip: number, state: Uint8Array): void {
		const { pic, ioapic } = this.chip("KVM_SET_IRQCHIP");
		const view = new DataView(state.buffer, state.byteOffset, state.length);
		if (chip === IOAPIC_CHIP) ioapic.setState(kvmIoapicState.read(view, 0));
		else if (chip === 0 || chip === 1) pic.setState(chip, kvmPicState.read(view, 0));
		else throw new KvmError("KVM_SET_IRQCHIP", "EINVAL", `chip ${chip}`);
	}

	private pit(call: string) {
		const { pit } = this.chip(call);
		if (pit === null) throw new KvmError(call, "ENXIO", "KVM_CREATE_PIT2 comes first");
		return pit;
	}

	getPit2(): KvmPitState2 {
		return this.pit("KVM_GET_PIT2").getState();
	}

	setPit2(state: KvmPitState2): void {
		this.pit("KVM_SET_PIT2").setState(state, this.shared.kernel.cpu.cycles);
	}

	// ---- time ----------------------------------------------------------------------------------------

	getClock(): bigint {
		const { cpu } = this.shared.kernel;
		return BigInt(Math.floor(((cpu.cycles - this.vm.clockBaseCycles) * NS_PER_S) / cpu.model.tscHz));
	}

	setClock(ns: bigint): void {
		const { cpu } = this.shared.kernel;
		this.vm.clockBaseCycles = cpu.cycles - (Number(ns) * cpu.model.tscHz) / NS_PER_S;
		for (const vcpu of this.vm.vcpus) refreshPvclock(vcpu);
	}

	// ---- eventfds and coalesced writes ---------------------------------------------------------------

	ioeventfd({ address, bytes, pio, datamatch }: IoeventfdOptions): EventCounter {
		const { ioBus } = this.vm;
		if (!IOEVENTFD_BYTES.has(bytes)) throw new KvmError("KVM_IOEVENTFD", "EINVAL", `${bytes} bytes`);
		const counter = new SoftCounter(null, () => ioBus.removeIoeventfd(made));
		const made: Ioeventfd = {
			pio,
			address,
			bytes,
			datamatch: datamatch ?? null,
			signal: () => counter.add(1n),
		};
		if (!ioBus.addIoeventfd(made))
			throw new KvmError("KVM_IOEVENTFD", "EEXIST", "another takes these writes");
		return counter;
	}

	irqfd(gsi: number): EventCounter {
		if (!this.vm.irqchip) throw new KvmError("KVM_IRQFD", "EINVAL", "KVM_CREATE_IRQCHIP comes first");
		let open = true;
		return new SoftCounter(
			() => {
				if (open && gsi >= 0 && gsi < PINS) pulseIrq(this.vm, gsi);
			},
			() => {
				open = false;
			},
		);
	}

	coalesceMmio(address: number, bytes: number): void {
		this.vm.ioBus.addZone(address, bytes);
	}

	// ---- vCPUs ---------------------------------------------------------------------------------------

	createVcpu(id: number): SoftVcpu {
		if (id < 0 || id >= VCPUS_MAX)
			throw new KvmError("KVM_CREATE_VCPU", "EINVAL", `there are ids 0 to ${VCPUS_MAX - 1}`);
		if (this.vm.vcpus.some((one) => one.id === id))
			throw new KvmError("KVM_CREATE_VCPU", "EEXIST", `vCPU ${id}`);
		const v = createVcpu(this.vm, this.shared.kernel, id);
		if (id === 0) kvmVcpuReset(v, false);
		// Without a local APIC in KVM user space starts it; with one, INIT and SIPI do.
		if (v.apic === null) v.mpState = MP_STATE.RUNNABLE;
		const vcpu = new SoftVcpu(v, {
			beforeRun: (running) => this.beforeRun(running),
			afterRun: () => this.afterRun(),
		});
		this.vcpus.push(vcpu);
		return vcpu;
	}

	private beforeRun(v: Vcpu): void {
		// The software TLB is not told apart by vCPU.
		if (this.shared.lastVcpu !== v) makeRequest(v, KVM_REQ.TLB_FLUSH);
		this.shared.lastVcpu = v;
		for (const memory of this.memories.values()) memory.beforeRun();
	}

	private afterRun(): void {
		for (const memory of this.memories.values()) memory.afterRun();
	}

	close(): void {
		if (this.closed) return;
		this.closed = true;
		for (const vcpu of this.vcpus) vcpu.close();
		for (const memory of this.memories.values()) memory.release();
		this.memories.clear();
		this.vm.slots.length = 0;
		for (const { apic } of this.vm.vcpus) apic?.timer.cancel();
		kernelIrqchip(this.vm)?.pit?.stop();
		this.vm.destroy();
		this.shared.lastVcpu = null;
		this.onClose();
	}
}
