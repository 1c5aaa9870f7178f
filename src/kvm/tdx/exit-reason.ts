/** tdx_to_vmx_exit_reason() (arch/x86/kvm/vmx/tdx.c, v6.18): a TD exit in VMX's terms, for the code that both share. */
import { TDX_STATUS } from "../../silicon/tdx/module.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import type { Vcpu } from "../vcpu.ts";

const R10 = 10;
const R11 = 11;

/** There was no TD exit: TDH.VP.ENTER came back without having entered. */
export const NO_EXIT_REASON = 0xffff_ffff;

/** Completion statuses that come with an exit reason. */
const WITH_EXIT_REASON = new Set<number>([
	TDX_STATUS.success,
	TDX_STATUS.nonRecoverableVcpu,
	TDX_STATUS.nonRecoverableTdNonAccessible,
]);

/** Sub-functions of TDG.VP.VMCALL that stand for an instruction's exit, whose number they have. */
const INSTRUCTIONS = new Set<number>([
	EXIT_REASON.cpuid,
	EXIT_REASON.hlt,
	EXIT_REASON.ioInstruction,
	EXIT_REASON.rdmsr,
	EXIT_REASON.wrmsr,
]);

/**
 * @param status completion status of TDH.VP.ENTER, a TDX_STATUS
 * @param reason the TD exit's reason
 */
export function tdxToVmxExitReason(v: Vcpu, status: number, reason: number): number {
	if (!WITH_EXIT_REASON.has(status)) return NO_EXIT_REASON;
	if (reason !== EXIT_REASON.tdcall) return reason;
	if (v.regs[R10] !== 0n) return EXIT_REASON.vmcall;
	const leaf = v.regs32[2 * R11 + 1] === 0 ? v.regs32[2 * R11]! : 0;
	return INSTRUCTIONS.has(leaf) ? leaf : EXIT_REASON.tdcall;
}
