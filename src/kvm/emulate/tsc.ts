/** The guest's time stamp counter: its offset, and IA32_TSC and IA32_TSC_ADJUST (arch/x86/kvm/x86.c, v6.18). */
import { MSR } from "../../silicon/cpu/msr.ts";
import type { Vcpu } from "../vcpu.ts";
import { refreshPvclock } from "../x86/pvclock.ts";

/** kvm_read_l1_tsc(): in cycles. */
export function guestTsc(v: Vcpu): number {
	return Math.floor(v.cpu.cycles) + v.tscOffset;
}

/** adjust_tsc_offset_guest(). @param cycles to add to what the guest reads */
function adjustOffset(v: Vcpu, cycles: number): void {
	v.tscOffset += cycles;
	v.vm.ops.writeTscOffset(v);
	refreshPvclock(v);
}

/** A guest's write to IA32_TSC: IA32_TSC_ADJUST changes by as much. */
export function writeTsc(v: Vcpu, value: bigint): void {
	const change = BigInt.asIntN(64, value - BigInt(guestTsc(v)));
	v.msrs.set(MSR.IA32_TSC_ADJUST, BigInt.asUintN(64, (v.msrs.get(MSR.IA32_TSC_ADJUST) ?? 0n) + change));
	adjustOffset(v, Number(change));
}

/** KVM_SET_MSRS of IA32_TSC: what the guest reads from now on; IA32_TSC_ADJUST stays. */
export function setTscForHost(v: Vcpu, value: bigint): void {
	adjustOffset(v, Number(BigInt.asIntN(64, value - BigInt(guestTsc(v)))));
}

/** A guest's write to IA32_TSC_ADJUST: the time stamp counter changes by as much. */
export function writeTscAdjust(v: Vcpu, value: bigint): void {
	const change = BigInt.asIntN(64, value - (v.msrs.get(MSR.IA32_TSC_ADJUST) ?? 0n));
	v.msrs.set(MSR.IA32_TSC_ADJUST, value);
	adjustOffset(v, Number(change));
}
