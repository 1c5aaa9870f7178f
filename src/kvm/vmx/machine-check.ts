/** Machine checks that VMX reports by exits (arch/x86/kvm/vmx/, v6.18). */
import { doMachineCheck } from "../../host/mce.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { type Node, step, when } from "../flow/flow.ts";
import type { Vcpu } from "../vcpu.ts";

const KVM_MACHINE_CHECK = symbol("kvm_machine_check");

/** kvm_machine_check(): the kernel's #MC handler, told that user space was hit. */
export function kvmMachineCheck(v: Vcpu): void {
	v.cpu.enter(KVM_MACHINE_CHECK);
	doMachineCheck(v.kernel, true);
	v.cpu.leave();
}

/** is_td_vcpu(). */
export const isTd = (v: Vcpu): boolean => v.tdx !== null;

/** The name under which patches find the handling of an #MC during VM entry. */
export const MC_ON_ENTRY = "MCE_DURING_VMENTRY";

const isMachineCheckOnEntry = (v: Vcpu) => (v.vt.exitReason & 0xffff) === EXIT_REASON.machineCheckDuringEntry;

/** `if (exit reason is MCE_DURING_VMENTRY) kvm_machine_check();` */
export function vmxMachineCheckOnEntry(): Node {
	return when(MC_ON_ENTRY, isMachineCheckOnEntry, [
		step("kvm_machine_check (during entry)", kvmMachineCheck),
	]);
}

/** The same as a case of vmx_handle_exit_irqoff(). */
export const VMX_MC_ON_ENTRY_CASE: Node = vmxMachineCheckOnEntry();
