/** Exceptions for the guest, and the end of an emulated instruction (arch/x86/kvm/x86.c). */
import { symbol } from "../../silicon/cpu/symbols.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { KVM_REQ } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { guestWrote, makeRequest } from "../vcpu.ts";
import { kvmVcpuDoSinglestep } from "./guest-debug.ts";
import type { GuestFault } from "./guest-fault.ts";

const SKIP_EMULATED_INSTRUCTION = symbol("kvm_skip_emulated_instruction");

/** Vectors whose second occurrence while the first is delivered makes a double fault (SDM table 7-5). */
const CONTRIBUTORY: ReadonlySet<number> = new Set([VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP]);

/**
 * kvm_queue_exception(), kvm_queue_exception_e(): kvm_multiple_exception().
 * @param errorCode null for a vector that pushes none
 * @param cr2 linear address of a page fault
 */
export function kvmQueueException(v: Vcpu, vector: number, errorCode: number | null, cr2 = 0n): void {
	const { exception } = v;
	makeRequest(v, KVM_REQ.EVENT);
	if (!exception.pending && !exception.injected) {
		set(v, vector, errorCode, cr2);
		return;
	}
	const previous = exception.vector;
	if (previous === VECTOR.DF) {
		exception.pending = false;
		exception.injected = false;
		makeRequest(v, KVM_REQ.TRIPLE_FAULT);
		return;
	}
	const doubleFault =
		(CONTRIBUTORY.has(previous) && CONTRIBUTORY.has(vector)) ||
		(previous === VECTOR.PF && (vector === VECTOR.PF || CONTRIBUTORY.has(vector)));
	// Otherwise the new exception replaces the old one, which recurs when its instruction runs again.
	if (doubleFault) set(v, VECTOR.DF, 0, 0n);
	else set(v, vector, errorCode, cr2);
}

function set(v: Vcpu, vector: number, errorCode: number | null, cr2: bigint): void {
	const { exception } = v;
	exception.pending = true;
	exception.injected = false;
	exception.vector = vector;
	exception.hasErrorCode = errorCode !== null;
	exception.errorCode = errorCode ?? 0;
	exception.cr2 = cr2;
	if (vector !== VECTOR.PF) return;
	v.cr2 = cr2;
	guestWrote(v, "CR2", cr2);
}

/** kvm_inject_gp(). */
export function kvmInjectGp(v: Vcpu, errorCode: number): void {
	kvmQueueException(v, VECTOR.GP, errorCode);
}

/** Queues what an emulated instruction threw. */
export function queueGuestFault(v: Vcpu, fault: GuestFault): void {
	kvmQueueException(v, fault.vector, fault.errorCode, fault.linear);
}

/**
 * kvm_skip_emulated_instruction(): RIP moves past the instruction that exited, and a single step behind it
 * traps.
 * @returns 1, or 0 when the debugger in user space wants to see the step
 */
export function kvmSkipEmulatedInstruction(v: Vcpu): number {
	const { ops } = v.vm;
	v.cpu.enter(SKIP_EMULATED_INSTRUCTION);
	v.cpu.code(22);
	const singleStep = (ops.getRflags(v) & FLAG.TF) !== 0;
	ops.skipEmulatedInstruction(v);
	v.cpu.leave();
	if (v.pmu.countsInstructions) v.vm.tree.helpers.kvm_pmu_instruction_retired(v);
	return singleStep ? kvmVcpuDoSinglestep(v) : 1;
}

/** kvm_complete_insn_gp(): #GP(0) on an error, else skips. @param failed the instruction faults */
export function kvmCompleteInsnGp(v: Vcpu, failed: boolean): number {
	if (failed) {
		kvmInjectGp(v, 0);
		return 1;
	}
	return kvmSkipEmulatedInstruction(v);
}
