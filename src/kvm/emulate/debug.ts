/** MOV to and from debug registers (arch/x86/kvm/x86.c: kvm_set_dr(), kvm_get_dr()). */
import { CR4 } from "../../silicon/cpu/control.ts";
import { DR6_RESERVED, DR7_ENABLES } from "../../host/hw-breakpoint.ts";
import { DR6, DR7 } from "../../silicon/cpu/debug.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { DEBUGREG, GUESTDBG } from "../requests.ts";
import { type Vcpu, guestWrote } from "../vcpu.ts";
import { kvmExitDebug } from "./guest-debug.ts";
import { kvmCompleteInsnGp, kvmQueueException, kvmSkipEmulatedInstruction } from "./inject.ts";
import { readGpr, writeGpr } from "./registers.ts";

/** Bits of DR6 and DR7 that always read as 1, and those that software may set. */
const DR6_FIXED_1 = 0xfffe_0ff0;
const DR6_VOLATILE = 0x0001_e80f;
const DR7_FIXED_1 = 0x400;
const DR7_VOLATILE = 0xffff_2bff;
const REGISTERS = ["DR0", "DR1", "DR2", "DR3", "DR6", "DR7", "DR6", "DR7"] as const;

/** kvm_get_dr(). */
export function kvmGetDr(v: Vcpu, dr: number): bigint {
	if (dr < 4) return v.db[dr]!;
	return BigInt(dr === 4 || dr === 6 ? v.dr6 >>> 0 : v.dr7 >>> 0);
}

/** kvm_set_dr(). @returns false for #GP(0): an upper half that is not 0 */
export function kvmSetDr(v: Vcpu, dr: number, value: bigint): boolean {
	if (dr < 4) {
		v.db[dr] = value;
		if ((v.guestDebug & GUESTDBG.USE_HW_BP) === 0) v.effDb[dr] = value;
		return true;
	}
	if (value >> 32n !== 0n) return false;
	const low = Number(value);
	if (dr === 4 || dr === 6) v.dr6 = ((low & DR6_VOLATILE) | DR6_FIXED_1) >>> 0;
	else {
		v.dr7 = ((low & DR7_VOLATILE) | DR7_FIXED_1) >>> 0;
		kvmUpdateDr7(v);
	}
	return true;
}

/** kvm_update_dr0123(). */
export function kvmUpdateDr0123(v: Vcpu): void {
	if ((v.guestDebug & GUESTDBG.USE_HW_BP) !== 0) return;
	for (let n = 0; n < 4; n++) v.effDb[n] = v.db[n]!;
}

/** kvm_update_dr7(): whether the guest, or its debugger, has breakpoints that hardware must watch for. */
export function kvmUpdateDr7(v: Vcpu): void {
	const dr7 = (v.guestDebug & GUESTDBG.USE_HW_BP) !== 0 ? v.guestDebugDr7 : v.dr7;
	v.vm.ops.setDr7(v, dr7);
	v.switchDbRegs &= ~DEBUGREG.BP_ENABLED;
	if ((dr7 & DR7_ENABLES) !== 0) v.switchDbRegs |= DEBUGREG.BP_ENABLED;
}

/** kvm_queue_exception_p() of #DB, and kvm_deliver_exception_payload(): DR6 takes what happened. @param payload bits of DR6 */
export function kvmQueueDebug(v: Vcpu, payload: number): void {
	v.dr6 = ((v.dr6 & ~DR6.breakpoints) | DR6_RESERVED | payload) >>> 0;
	guestWrote(v, "DR6", v.dr6);
	if ((v.dr7 & DR7.GD) !== 0) {
		v.dr7 &= ~DR7.GD;
		kvmUpdateDr7(v);
		guestWrote(v, "DR7", v.dr7);
	}
	kvmQueueException(v, VECTOR.DB, null);
}

/**
 * What handle_dr() and dr_interception() come to while no debugger in user space owns the registers: the intercepts
 * go, and the guest executes the instruction again by itself. At the next exit that ends the loop KVM reads back what
 * it left.
 */
export function kvmPassDebugRegisters(v: Vcpu): number {
	v.switchDbRegs |= DEBUGREG.WONT_EXIT;
	return 1;
}

/**
 * handle_dr(): emulates a MOV to or from a debug register.
 * @param qualification DR in 2:0, direction in bit 4 (1 = from DR), general register in 11:8
 * @param pass takes the intercepts away; used unless a debugger owns the registers
 */
export function kvmEmulateDrAccess(v: Vcpu, qualification: number, pass: (v: Vcpu) => void): number {
	const dr = qualification & 7;
	const gpr = (qualification >> 8) & 15;
	v.cpu.code(40);
	// DR4 and DR5 are aliases unless CR4.DE is set, which a guest on VMX changes without an exit.
	if (dr === 4 || dr === 5) {
		v.vm.ops.cacheControlRegisters(v);
		if ((v.cr4Bits & CR4.DE) !== 0) {
			kvmQueueException(v, VECTOR.UD, null);
			return 1;
		}
	}
	if (v.vm.ops.getCpl(v) > 0) return kvmCompleteInsnGp(v, true);
	if ((v.dr7 & DR7.GD) !== 0) {
		if ((v.guestDebug & GUESTDBG.USE_HW_BP) !== 0)
			return kvmExitDebug(v, VECTOR.DB, DR6.BD | DR6_RESERVED, v.dr7);
		kvmQueueDebug(v, DR6.BD);
		return 1;
	}
	if (v.guestDebug === 0) {
		pass(v);
		return kvmPassDebugRegisters(v);
	}
	if ((qualification & 16) === 0) {
		const value = readGpr(v, gpr);
		const failed = !kvmSetDr(v, dr, value);
		if (!failed) guestWrote(v, REGISTERS[dr]!, value);
		return kvmCompleteInsnGp(v, failed);
	}
	writeGpr(v, gpr, 8, kvmGetDr(v, dr));
	return kvmSkipEmulatedInstruction(v);
}
