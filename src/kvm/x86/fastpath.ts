/**
 * Fastpath handling that both vendors share (arch/x86/kvm/x86.c, v6.18). Interrupts are off here and kvm->srcu is not
 * held: nothing may touch guest memory, and nothing may sleep.
 */
import { handleFastpathSetTscdeadline, handleFastpathSetX2apicIcrIrqoff } from "../emulate/fastpath.ts";
import { kvmSkipEmulatedInstruction } from "../emulate/inject.ts";
import { kvmEmulateHalt, kvmEmulateInvd } from "../emulate/simple.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { type Flow, type Node, flow, leave, step, when } from "../flow/flow.ts";
import { FASTPATH, MP_STATE } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";

const MSR_X2APIC_ICR = 0x830;
const MSR_IA32_TSC_DEADLINE = 0x6e0;

/** x2APIC ICR and the TSC deadline only. @returns whether the write was carried out */
function writeFastpathMsr(v: Vcpu): boolean {
	const index = v.regs32[2 * L.RCX]!;
	v.cpu.code(12);
	if (index !== MSR_X2APIC_ICR && index !== MSR_IA32_TSC_DEADLINE) return false;
	const data = v.regs32[2 * L.RDX]! * 2 ** 32 + v.regs32[2 * L.RAX]!;
	const handled =
		index === MSR_X2APIC_ICR
			? handleFastpathSetX2apicIcrIrqoff(v, data)
			: handleFastpathSetTscdeadline(v, data);
	if (handled) v.tracer?.tracepoint?.(v, "kvm_msr", { write: true, index, value: BigInt(data), gp: false });
	return handled;
}

/** The emulated instruction's result is 0 when user space must see what follows it: a single step under a debugger. */
const wantsUserSpace = (v: Vcpu): boolean => v.emulated === 0;
const toUserspace = (): Node =>
	when(
		"user space wants the step",
		wantsUserSpace,
		[leave("EXIT_FASTPATH_EXIT_USERSPACE", () => FASTPATH.EXIT_USERSPACE)],
		[],
		0,
	);

const emulate = (name: string, run: (v: Vcpu) => number): Node =>
	step(
		name,
		(v) => {
			v.emulated = run(v);
		},
		0,
	);

/** handle_fastpath_wrmsr(). What it does of instructions, its functions charge. */
const handleFastpathWrmsr = flow("handle_fastpath_wrmsr", "x86.c", [
	when(
		"not a fastpath MSR",
		(v) => !writeFastpathMsr(v),
		[leave("EXIT_FASTPATH_NONE", () => FASTPATH.NONE)],
		[],
		0,
	),
	emulate("kvm_skip_emulated_instruction", kvmSkipEmulatedInstruction),
	toUserspace(),
	leave("EXIT_FASTPATH_REENTER_GUEST", () => FASTPATH.REENTER_GUEST),
]);

/** handle_fastpath_hlt(): back into the guest when an event is waiting already. */
const handleFastpathHlt = flow("handle_fastpath_hlt", "x86.c", [
	emulate("kvm_emulate_halt", kvmEmulateHalt),
	toUserspace(),
	when(
		"kvm_vcpu_running",
		(v) => v.mpState === MP_STATE.RUNNABLE,
		[leave("EXIT_FASTPATH_REENTER_GUEST", () => FASTPATH.REENTER_GUEST)],
		[],
		0,
	),
	leave("EXIT_FASTPATH_EXIT_HANDLED", () => FASTPATH.EXIT_HANDLED),
]);

/** handle_fastpath_invd(): a no-op but for RIP. */
const handleFastpathInvd = flow("handle_fastpath_invd", "x86.c", [
	emulate("kvm_emulate_invd", kvmEmulateInvd),
	toUserspace(),
	leave("EXIT_FASTPATH_REENTER_GUEST", () => FASTPATH.REENTER_GUEST),
]);

export const fastpathFlows: readonly Flow[] = [handleFastpathWrmsr, handleFastpathHlt, handleFastpathInvd];
