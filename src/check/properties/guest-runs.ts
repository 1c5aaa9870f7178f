/**
 * A guest runs only if its vCPU is to run: not between INIT and SIPI, not while it is halted, not behind a HLT that nothing has
 * ended, not behind a triple fault, and not once KVM has given the VM up.
 *
 * What another CPU or a device has for a vCPU wakes it from each of these, by a request; the run loop then decides what
 * becomes of it. A processor that goes on without having been started does what the last operating system left to it.
 *
 * Not covered: INIT and SIPI of a TD, which KVM blocks.
 */
import type { Vcpu } from "../../kvm/vcpu.ts";
import { piDesc } from "../../kvm/vmx/posted-intr.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { KVM_EXIT, KVM_REQ, MP_STATE } from "../../kvm/requests.ts";
import { leavesAtOnce } from "./guest-entry.ts";
import type { Property } from "./property.ts";

const STATES = new Map<number, string>(Object.entries(MP_STATE).map(([name, value]) => [value, name]));

/** What ends a HLT, of that which waits and is not injected yet; looked at as it is, without KVM's functions. */
function hasEvents(vcpu: Vcpu): boolean {
	const { apic, cpu, requests } = vcpu;
	if (vcpu.pvUnhalted || vcpu.exception.pending || vcpu.nmiPending > 0 || (requests & KVM_REQ.NMI) !== 0)
		return true;
	if (apic === null || apic.hasPendingInitOrSipi) return true;
	const isOpen = (cpu.read32(L.RFLAGS) & FLAG.IF) !== 0;
	return isOpen && (apic.hasDeliverable || piDesc(vcpu)?.isOn === true);
}

/** The last exit was a HLT, and neither an event that is injected nor one that waits has ended it. */
function isAsleep(vcpu: Vcpu): boolean {
	const { vmx, svm, vt, interrupt, exception, nmiInjected } = vcpu;
	const isHlt =
		svm === null ? vmx !== null && vt.exitReason === EXIT_REASON.hlt : svm.vmcb.exitCode === EXIT_CODE.hlt;
	return isHlt && !interrupt.injected && !exception.injected && !nmiInjected && !hasEvents(vcpu);
}

export const guestRuns: Property = {
	name: "guest-runs",
	title: "a guest runs only if its vCPU is to run",
	degree: "violation",
	onGuestEntry(context) {
		const { vcpu, vm } = context.machine;
		if (vm.dead && (vcpu.requests & KVM_REQ.VM_DEAD) === 0)
			return "the guest of a VM that KVM has given up runs on";
		const isUnserved = (vcpu.requests & KVM_REQ.EVENT) === 0 && !leavesAtOnce(context);
		if (!vcpu.guestStateProtected && vcpu.apic?.hasPendingInitOrSipi === true && isUnserved)
			return "the guest runs on, and INIT has come";
		if (vcpu.run.exitReason === KVM_EXIT.SHUTDOWN) return "the guest runs on behind a triple fault";
		if (vcpu.mpState === MP_STATE.RUNNABLE)
			return isAsleep(vcpu) && !leavesAtOnce(context)
				? "the guest runs on behind a HLT that nothing has ended"
				: null;
		return `the guest runs while its vCPU is KVM_MP_STATE_${STATES.get(vcpu.mpState)}`;
	},
};
