/** Which local APICs an interrupt is for (arch/x86/kvm/lapic.c and irq.c: kvm_irq_delivery_to_apic(), v6.18). */
import type { Vm } from "../vm.ts";
import { APIC_DM, APIC_SHORTHAND, X2APIC_BROADCAST, XAPIC_BROADCAST } from "./apic-registers.ts";
import type { Lapic } from "./lapic.ts";

/** `struct kvm_lapic_irq`: an interrupt message. */
export interface ApicMessage {
	readonly vector: number;
	/** APIC_DM. */
	readonly deliveryMode: number;
	/** Of the destination: by LDR, or by APIC id. */
	readonly logical: boolean;
	readonly destination: number;
	/** APIC_SHORTHAND; none for those that come from devices. */
	readonly shorthand: number;
	readonly levelTriggered: boolean;
	/** Asserted; matters to INIT alone. */
	readonly asserted: boolean;
}

const DFR_FLAT = 0xffff_ffff;
const DFR_CLUSTER = 0x0fff_ffff;

/** kvm_apic_broadcast(). */
function isBroadcast(target: Lapic, destination: number): boolean {
	return destination === (target.isX2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST);
}

/** kvm_apic_match_logical_addr(). */
function matchesLogical(target: Lapic, destination: number): boolean {
	const { ldr } = target;
	if (target.isX2apic) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
	const logical = ldr >>> 24;
	if (target.dfr === DFR_FLAT) return (logical & destination) !== 0;
	if (target.dfr !== DFR_CLUSTER) return false;
	return logical >> 4 === destination >> 4 && (logical & destination & 0xf) !== 0;
}

/**
 * kvm_apic_match_dest().
 * @param source whose ICR was written; null for a device
 */
function matches(target: Lapic, source: Lapic | null, message: ApicMessage): boolean {
	if (!target.isEnabled) return false;
	switch (message.shorthand) {
		case APIC_SHORTHAND.self:
			return target === source;
		case APIC_SHORTHAND.all:
			return true;
		case APIC_SHORTHAND.allButSelf:
			return target !== source;
		default: {
			// A device's 8-bit broadcast reaches x2APICs too (KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK is not set).
			if (source === null && message.destination === XAPIC_BROADCAST) return true;
			if (isBroadcast(target, message.destination)) return true;
			return message.logical
				? matchesLogical(target, message.destination)
				: message.destination === target.id;
		}
	}
}

/** kvm_vector_to_index(): of several candidates for a lowest-priority interrupt its vector chooses one. */
function choose(targets: readonly Lapic[], vector: number): Lapic | undefined {
	return targets[vector % targets.length];
}

/**
 * kvm_irq_delivery_to_apic().
 * @returns whether a local APIC accepted it
 */
export function deliverToApics(vm: Vm, source: Lapic | null, message: ApicMessage): boolean {
	const targets: Lapic[] = [];
	for (const { apic } of vm.vcpus) if (apic !== null && matches(apic, source, message)) targets.push(apic);
	if (message.deliveryMode === APIC_DM.LOWEST) {
		const chosen = choose(
			targets.filter((target) => target.isSoftwareEnabled),
			message.vector,
		);
		return chosen?.acceptIrq(message) ?? false;
	}
	let accepted = false;
	for (const target of targets) accepted = target.acceptIrq(message) || accepted;
	return accepted;
}
