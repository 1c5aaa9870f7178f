/** How a checked run may end besides the guest's own way. */
import type { Machine } from "../kvm/api/kvm.ts";
import { KVM_EXIT } from "../kvm/requests.ts";
import { ENTRY_FAILURE, EXIT_REASON } from "../silicon/vmx/controls.ts";

/**
 * Whether a machine check has ended the guest: KVM gives up a vCPU whose VM entry failed by one, and the TDX module
 * disables a TD that one hit. The host goes on, and is what the properties look at.
 */
function endedByMachineCheck({ vcpu }: Machine): boolean {
	if (vcpu.tdx !== null) return vcpu.tdx.td.td.fatal;
	return (
		vcpu.vmx !== null && vcpu.vt.exitReason === (ENTRY_FAILURE | EXIT_REASON.machineCheckDuringEntry) >>> 0
	);
}

/** KVM has found a triple fault: not the processor's own, which is an exit. */
function shutDown({ vcpu }: Machine): boolean {
	return vcpu.run.exitReason === KVM_EXIT.SHUTDOWN && vcpu.tripleFaultSet;
}

/** Whether the guest was ended by something that comes from outside: it need not have come to its own end. */
export function endedFromOutside(machine: Machine): boolean {
	return machine.vm.dead || endedByMachineCheck(machine) || shutDown(machine);
}
