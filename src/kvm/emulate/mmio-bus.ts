/** Accesses to guest physical addresses without memory: devices in the kernel, or KVM_EXIT_MMIO. */
import { IOAPIC_DEFAULT_PHYS_BASE, IoApic } from "../irqchip/ioapic.ts";
import { readApicRegister, writeApicRegister } from "../irqchip/lapic-access.ts";
import { kernelIrqchip } from "../irqchip/irqchip.ts";
import { KVM_EXIT } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

const PAGE_BYTES = 4096;

/** apic_mmio_in_range(): the xAPIC page, at the base that the guest chose, whether the local APIC is enabled or not. */
function inApicPage(v: Vcpu, gpa: number): boolean {
	const { apic } = v;
	return apic !== null && gpa >= apic.pageGpa && gpa < apic.pageGpa + PAGE_BYTES;
}

/** The page is a hole when the local APIC is disabled or in x2APIC mode (KVM_X86_QUIRK_LAPIC_MMIO_HOLE). */
function isHole(v: Vcpu): boolean {
	return !v.apic!.isEnabled || v.apic!.isX2apic;
}

/** vcpu_mmio_read(): the value, or -1 when user space must answer. @param bytes 1, 2, 4 or 8 */
export function kernelMmioRead(v: Vcpu, gpa: number, bytes: number): number {
	const value = deviceRead(v, gpa, bytes);
	if (value >= 0) v.tracer?.tracepoint?.(v, "kvm_mmio", { kind: "read", bytes, gpa, value: BigInt(value) });
	return value;
}

function deviceRead(v: Vcpu, gpa: number, bytes: number): number {
	if (inApicPage(v, gpa)) {
		const offset = gpa % PAGE_BYTES;
		if (isHole(v)) return 2 ** (8 * Math.min(bytes, 4)) - 1;
		// Registers are 32 bits wide, each at the start of 16 bytes; the rest reads as 0.
		if ((offset & 0xf) + bytes > 4) return 0;
		return part(readApicRegister(v.apic!, offset & ~0xf), offset & 3, bytes);
	}
	const chip = kernelIrqchip(v.vm);
	if (chip !== null && IoApic.covers(gpa)) {
		const offset = gpa - IOAPIC_DEFAULT_PHYS_BASE;
		return part(chip.ioapic.read(offset & ~0xf), offset & 3, bytes);
	}
	return -1;
}

function part(value: number, byteOffset: number, bytes: number): number {
	const shifted = (value >>> 0) / 2 ** (8 * byteOffset);
	return bytes >= 4 ? value >>> 0 : Math.floor(shifted) % 2 ** (8 * bytes);
}

/** vcpu_mmio_write(). @param value `bytes` wide @returns whether a device in the kernel, an eventfd or the ring took it */
export function kernelMmioWrite(v: Vcpu, gpa: number, bytes: number, value: bigint): boolean {
	v.tracer?.tracepoint?.(v, "kvm_mmio", {
		kind: "write",
		bytes,
		gpa,
		value: BigInt.asUintN(8 * bytes, value),
	});
	if (inApicPage(v, gpa)) {
		const offset = gpa % PAGE_BYTES;
		// Narrower and misaligned writes have no effect: apic_mmio_write().
		if (bytes === 4 && (offset & 0xf) === 0 && !isHole(v)) {
			writeApicRegister(v.apic!, offset, Number(BigInt.asIntN(32, value)));
		}
		return true;
	}
	const chip = kernelIrqchip(v.vm);
	if (chip !== null && IoApic.covers(gpa)) {
		chip.ioapic.write(gpa - IOAPIC_DEFAULT_PHYS_BASE, Number(BigInt.asUintN(32, value)));
		return true;
	}
	const { ioBus } = v.vm;
	return ioBus.inUse && ioBus.write(false, gpa, bytes, BigInt.asUintN(8 * bytes, value));
}

/**
 * Fills vcpu->run for KVM_EXIT_MMIO.
 * @param value what is written; null for a read
 */
export function exitToUserForMmio(v: Vcpu, gpa: number, bytes: number, value: bigint | null): void {
	const { run } = v;
	run.exitReason = KVM_EXIT.MMIO;
	run.mmio.write = value !== null;
	run.mmio.gpa = gpa;
	run.mmio.bytes = bytes;
	if (value === null) {
		v.tracer?.tracepoint?.(v, "kvm_mmio", { kind: "unsatisfied-read", bytes, gpa, value: 0n });
		return;
	}
	for (let i = 0; i < bytes; i++) run.mmio.data[i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** What user space answered to a read. */
export function mmioAnswer(v: Vcpu): bigint {
	const { data, bytes, gpa } = v.run.mmio;
	let value = 0n;
	for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[i]!);
	v.tracer?.tracepoint?.(v, "kvm_mmio", { kind: "read", bytes, gpa, value });
	return value;
}
