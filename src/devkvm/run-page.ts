/** `struct kvm_run` in a vCPU's mapping: its exit as a typed value, and the ring of coalesced writes behind it. */
import { KVM_EXIT, KVM_PIO_PAGE_OFFSET, KVM_COALESCED_MMIO_PAGE_OFFSET } from "../uapi/constants.ts";
import type { CoalescedWrite } from "../uapi/api.ts";
import type { VcpuExit } from "../uapi/exit.ts";
import type { StructValue } from "../uapi/layout.ts";
import {
	KVM_RUN_MEMBERS,
	KVM_RUN_UNION,
	kvmCoalescedMmio,
	kvmCoalescedMmioRing,
	kvmRunHead,
} from "../uapi/structs.ts";

type Members = typeof KVM_RUN_MEMBERS;

const PAGE_BYTES = 4096;
const RING_ENTRIES = Math.floor((PAGE_BYTES - kvmCoalescedMmioRing.bytes) / kvmCoalescedMmio.bytes);

/** One vCPU's `struct kvm_run`. */
export class RunPage {
	private readonly bytes: Uint8Array;
	private readonly view: DataView;

	/** @param bytes the mapping of the vCPU's file, KVM_GET_VCPU_MMAP_SIZE long */
	constructor(bytes: Uint8Array) {
		this.bytes = bytes;
		this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	}

	set immediateExit(on: boolean) {
		this.bytes[kvmRunHead.offsets.immediate_exit] = on ? 1 : 0;
	}
	set requestInterruptWindow(on: boolean) {
		this.bytes[kvmRunHead.offsets.request_interrupt_window] = on ? 1 : 0;
	}

	private member<M extends keyof Members>(name: M): StructValue<Members[M]> {
		return KVM_RUN_MEMBERS[name].read(this.view, KVM_RUN_UNION) as StructValue<Members[M]>;
	}

	/** What the last KVM_RUN left. Views in it are of the page: they hold until the next one. */
	exit(): VcpuExit {
		const number = this.view.getUint32(kvmRunHead.offsets.exit_reason, true);
		switch (number) {
			case KVM_EXIT.UNKNOWN:
				return { reason: "unknown", hardwareReason: this.member("hw").hardware_exit_reason };
			case KVM_EXIT.EXCEPTION: {
				const { exception, error_code } = this.member("ex");
				return { reason: "exception", exception, errorCode: error_code };
			}
			case KVM_EXIT.IO:
				return this.io();
			case KVM_EXIT.HYPERCALL: {
				const { nr, args, longmode } = this.member("hypercall");
				return { reason: "hypercall", nr, args, longmode: longmode !== 0 };
			}
			case KVM_EXIT.DEBUG: {
				const { exception, pc, dr6, dr7 } = this.member("debug");
				return { reason: "debug", exception, pc, dr6, dr7 };
			}
			case KVM_EXIT.HLT:
				return { reason: "hlt" };
			case KVM_EXIT.MMIO:
				return this.mmio();
			case KVM_EXIT.IRQ_WINDOW_OPEN:
				return { reason: "irq-window-open" };
			case KVM_EXIT.SHUTDOWN:
				return { reason: "shutdown" };
			case KVM_EXIT.FAIL_ENTRY: {
				const { hardware_entry_failure_reason, cpu } = this.member("fail_entry");
				return { reason: "fail-entry", hardwareReason: hardware_entry_failure_reason, cpu };
			}
			case KVM_EXIT.INTR:
				return { reason: "intr" };
			case KVM_EXIT.SET_TPR:
				return { reason: "set-tpr" };
			case KVM_EXIT.TPR_ACCESS: {
				const { rip, is_write } = this.member("tpr_access");
				return { reason: "tpr-access", rip, write: is_write !== 0 };
			}
			case KVM_EXIT.NMI:
				return { reason: "nmi" };
			case KVM_EXIT.INTERNAL_ERROR: {
				const { suberror, ndata, data } = this.member("internal");
				return {
					reason: "internal-error",
					suberror,
					data: data.slice(0, Math.min(ndata, data.length)),
					message: "",
				};
			}
			case KVM_EXIT.SYSTEM_EVENT: {
				const { type, ndata, data } = this.member("system_event");
				return { reason: "system-event", type, data: data.slice(0, Math.min(ndata, data.length)) };
			}
			case KVM_EXIT.IOAPIC_EOI:
				return { reason: "ioapic-eoi", vector: this.member("eoi").vector };
			case KVM_EXIT.X86_RDMSR:
			case KVM_EXIT.X86_WRMSR: {
				const { reason, index, data } = this.member("msr");
				return { reason: number === KVM_EXIT.X86_RDMSR ? "rdmsr" : "wrmsr", index, data, why: reason };
			}
			case KVM_EXIT.DIRTY_RING_FULL:
				return { reason: "dirty-ring-full" };
			case KVM_EXIT.X86_BUS_LOCK:
				return { reason: "bus-lock" };
			case KVM_EXIT.NOTIFY:
				return { reason: "notify", flags: this.member("notify").flags };
			default:
				return { reason: "other", number };
		}
	}

	private io(): VcpuExit {
		const { direction, size, port, count, data_offset } = this.member("io");
		const at = Number(data_offset);
		if (at < KVM_PIO_PAGE_OFFSET * PAGE_BYTES || at + size * count > this.bytes.length) {
			throw new RangeError(`struct kvm_run: port data at ${at}, outside of the mapping`);
		}
		const data = this.bytes.subarray(at, at + size * count);
		return { reason: "io", write: direction === 1, port, size, count, data };
	}

	private mmio(): VcpuExit {
		const { phys_addr, len, is_write } = this.member("mmio");
		const at = KVM_RUN_UNION + KVM_RUN_MEMBERS.mmio.offsets.data;
		return {
			reason: "mmio",
			write: is_write !== 0,
			gpa: phys_addr,
			data: this.bytes.subarray(at, at + len),
		};
	}

	/** Takes what the ring of coalesced writes holds, the oldest first. */
	takeCoalesced(): CoalescedWrite[] {
		const at = KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE_BYTES;
		if (at + PAGE_BYTES > this.bytes.length) return [];
		const writes: CoalescedWrite[] = [];
		const { last } = kvmCoalescedMmioRing.read(this.view, at);
		let { first } = kvmCoalescedMmioRing.read(this.view, at);
		while (first !== last) {
			const entry = at + kvmCoalescedMmioRing.bytes + first * kvmCoalescedMmio.bytes;
			const { phys_addr, len, pio, data } = kvmCoalescedMmio.read(this.view, entry);
			writes.push({ address: Number(phys_addr), pio: pio !== 0, data: data.subarray(0, len) });
			first = (first + 1) % RING_ENTRIES;
		}
		this.view.setUint32(at + kvmCoalescedMmioRing.offsets.first, first, true);
		return writes;
	}
}
