/** What VM entry and VM exit switch of the performance counters, by controls of the VMCS (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { FN, runFunction } from "../../host/functions.ts";
import { OP } from "../../silicon/ops.ts";
import { ENTRY_CONTROL, EXIT_CONTROL } from "../../silicon/vmx/controls.ts";
import { F, O } from "../../silicon/vmx/fields.ts";
import { vmwrite32, vmwriteNumber } from "../../silicon/vmx/vmcs.ts";
import type { Vcpu } from "../vcpu.ts";

/**
 * atomic_switch_perf_msrs(): what counts on the host and excludes guests is off between VM entry and VM exit. With PEBS the MSR
 * areas of entry and exit switch the rest of it, and PEBS itself is off before.
 */
export function atomicSwitchPerfMsrs(v: Vcpu): void {
	const { cpu, kernel } = v;
	const { vmcs } = v.vmx!;
	const { globalCtrl } = kernel.perf;
	if (kernel.hostPebs) runFunction(cpu, FN.intel_guest_get_msrs);
	if (globalCtrl !== 0) {
		// Guests have no counters: nothing counts there.
		vmwrite32(cpu, vmcs, F.GUEST_IA32_PERF_GLOBAL_CTRL, 0);
		vmwriteNumber(cpu, vmcs, F.HOST_IA32_PERF_GLOBAL_CTRL, globalCtrl);
	}
	switchControl(v, "VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadPerfGlobalCtrl, globalCtrl !== 0);
	switchControl(v, "VM_EXIT_CONTROLS", EXIT_CONTROL.loadPerfGlobalCtrl, globalCtrl !== 0);
	if (kernel.hostPebs) cpu.op(OP.wrmsr);
}

/** vm_entry_controls_setbit() and the like: KVM knows what is in the field, and writes it only if it changes. */
function switchControl(
	v: Vcpu,
	field: "VM_ENTRY_CONTROLS" | "VM_EXIT_CONTROLS",
	bit: number,
	on: boolean,
): void {
	const { vmcs } = v.vmx!;
	const controls = vmcs.u32[O[field] >> 2]!;
	if (((controls & bit) !== 0) !== on) vmwrite32(v.cpu, vmcs, F[field], (controls ^ bit) >>> 0);
}
