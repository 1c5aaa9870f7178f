/** What VM entry and VM exit switch of the performance counters, by controls of the VMCS (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { FN, runFunction } from "../../host/functions.ts";
import { OP } from "../../silicon/ops.ts";
import { ENTRY_CONTROL, EXIT_CONTROL } from "../../silicon/vmx/controls.ts";
import { F, O } from "../../silicon/vmx/fields.ts";
import { vmwrite32, vmwriteNumber } from "../../silicon/vmx/vmcs.ts";
import type { Vcpu } from "../vcpu.ts";

/** Places of the controls in a VMCS: names would be looked up in a hash table at each entry. */
const ENTRY_CONTROLS = O.VM_ENTRY_CONTROLS >> 2;
const EXIT_CONTROLS = O.VM_EXIT_CONTROLS >> 2;

/**
 * atomic_switch_perf_msrs(): what counts on the host and excludes guests is off between VM entry and VM exit. With PEBS the MSR
 * areas of entry and exit switch the rest of it, and PEBS itself is off before.
 */
export function atomicSwitchPerfMsrs(v: Vcpu): void {
	const { cpu, kernel } = v;
	const { vmcs } = v.vmx!;
	const { globalCtrl } = kernel.perf;
	if (kernel.hostPebs) runFunction(cpu, FN.intel_guest_get_msrs);
	const on = globalCtrl !== 0;
	if (on) {
		// Guests have no counters: nothing counts there.
		vmwrite32(cpu, vmcs, F.GUEST_IA32_PERF_GLOBAL_CTRL, 0);
		vmwriteNumber(cpu, vmcs, F.HOST_IA32_PERF_GLOBAL_CTRL, globalCtrl);
	}
	// The two are set and cleared together. KVM knows what is in the fields, and writes them only if that changes.
	if (((vmcs.u32[ENTRY_CONTROLS]! & ENTRY_CONTROL.loadPerfGlobalCtrl) !== 0) !== on) toggleControls(v);
	if (kernel.hostPebs) cpu.op(OP.wrmsr);
}

/** vm_entry_controls_setbit() and vm_exit_controls_setbit(), and the same with clearbit. */
function toggleControls({ cpu, vmx }: Vcpu): void {
	const { vmcs } = vmx!;
	const entry = vmcs.u32[ENTRY_CONTROLS]! ^ ENTRY_CONTROL.loadPerfGlobalCtrl;
	const exit = vmcs.u32[EXIT_CONTROLS]! ^ EXIT_CONTROL.loadPerfGlobalCtrl;
	vmwrite32(cpu, vmcs, F.VM_ENTRY_CONTROLS, entry >>> 0);
	vmwrite32(cpu, vmcs, F.VM_EXIT_CONTROLS, exit >>> 0);
}
