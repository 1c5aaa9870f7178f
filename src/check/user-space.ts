/**
 * What user space does in a check besides serving exits (Vmm): ioctls between two KVM_RUNs, as the configuration says.
 *
 * - `handover=refused`: what it hands over before the first KVM_RUN is nothing that hardware enters, and it mends that as it learns of
 *   it by KVM_EXIT_FAIL_ENTRY. On VMX an exception whose error code is none comes first (KVM_SET_VCPU_EVENTS; VMfail), and then a
 *   task register that is not busy (KVM_SET_SREGS; entry fails by the guest's state); on SVM CS has both L and D.
 * - `msrs=own`: SYSCALL is off in the EFER that it hands over (KVM_SET_SREGS), and the guest sets it.
 * - `debugger=steps`: from its first MMIO exit on, or from a signal before that, it has some instructions executed one by one
 *   (KVM_SET_GUEST_DEBUG).
 */
import { getSregs, setSregs } from "../kvm/api/registers.ts";
import { kvmSetGuestDebug } from "../kvm/emulate/guest-debug.ts";
import type { Machine } from "../kvm/api/kvm.ts";
import { GUESTDBG, KVM_EXIT, KVM_REQ } from "../kvm/requests.ts";
import { type Vcpu, loadHere, makeRequest } from "../kvm/vcpu.ts";
import { VECTOR } from "../silicon/cpu/fault.ts";
import { getVcpuEvents, setVcpuEvents } from "../kvm/api/vcpu-events.ts";
import type { Configuration } from "./configuration.ts";

/** Steps of the debugger's: from the MMIO access to the HLT of the guest (guest/script.ts). */
const STEPS = 11;
/** EFER.SCE. */
const SCE = 1n;
/** Types of a 64-bit TSS: an available one, and a busy one, which VM entry wants (SDM Vol. 3C, 27.3.1.2). */
const TSS = { available: 9, busy: 11 } as const;

/** An ioctl of the vCPU's thread. */
function ioctl(v: Vcpu, work: (v: Vcpu) => void): void {
	loadHere(v);
	work(v);
	v.vm.tree.helpers.kvm_arch_vcpu_put(v);
}

/** KVM_SET_SREGS. @param isValid whether hardware enters with what it sets */
function setSegments(v: Vcpu, isValid: boolean): void {
	const sregs = getSregs(v);
	if (v.svm !== null) setSregs(v, { ...sregs, cs: { ...sregs.cs, db: isValid ? 0 : 1 } });
	else setSregs(v, { ...sregs, tr: { ...sregs.tr, type: isValid ? TSS.busy : TSS.available } });
}

/** KVM_SET_VCPU_EVENTS. @param isInjected #UD, with the error code that it does not have */
function setException(v: Vcpu, isInjected: boolean): void {
	const events = getVcpuEvents(v);
	const flag = isInjected ? 1 : 0;
	const exception = { injected: flag, pending: 0, nr: VECTOR.UD, has_error_code: flag, error_code: 0 };
	setVcpuEvents(v, { ...events, exception });
}

export class UserSpace {
	/** Refusals that it still expects. */
	private refusals = 0;
	/** The debugger waits for its time. */
	private debugs = false;
	/** Steps until it lets go; 0 while it is not there. */
	private steps = 0;

	/** Before the first KVM_RUN. */
	begin({ vcpu }: Machine, { handover, debugger: stepping, msrs }: Configuration): void {
		this.debugs = stepping === "steps";
		if (msrs === "own") ioctl(vcpu, (v) => setSregs(v, { ...getSregs(v), efer: v.efer & ~SCE }));
		if (handover === "valid") return;
		this.refusals = vcpu.svm === null ? 2 : 1;
		ioctl(vcpu, (v) => {
			setSegments(v, false);
			if (v.svm === null) setException(v, true);
		});
	}

	/** KVM_RUN has returned. @returns whether that was what it waited for, and it has done what follows */
	takes(machine: Machine): boolean {
		const { vcpu, kernel } = machine;
		const { exitReason } = vcpu.run;
		if (exitReason === KVM_EXIT.FAIL_ENTRY && this.refusals > 0) {
			this.mend(machine);
			return true;
		}
		if (exitReason === KVM_EXIT.DEBUG && this.steps > 0) {
			this.steps--;
			if (this.steps === 0) ioctl(vcpu, (v) => kvmSetGuestDebug(v, 0, []));
			kernel.vcpuTask.signalPending = false;
			return true;
		}
		if (this.debugs && (exitReason === KVM_EXIT.MMIO || exitReason === KVM_EXIT.INTR)) {
			this.debugs = false;
			this.steps = STEPS;
			ioctl(vcpu, (v) => kvmSetGuestDebug(v, GUESTDBG.ENABLE | GUESTDBG.SINGLESTEP, []));
		}
		return false;
	}

	private mend({ vcpu }: Machine): void {
		this.refusals--;
		if (this.refusals === 0) {
			ioctl(vcpu, (v) => setSegments(v, true));
			return;
		}
		// The field of the VMCS has the event still. An entry that is given up takes it back (cancel_injection).
		ioctl(vcpu, (v) => setException(v, false));
		makeRequest(vcpu, KVM_REQ.UNBLOCK);
	}
}
