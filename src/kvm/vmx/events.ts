/** Event injection by the VMCS, and what an exit interrupted (arch/x86/kvm/vmx/vmx.c, v6.18). */
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { CPU_BASED, INTR_INFO, INTR_TYPE } from "../../silicon/vmx/controls.ts";
import { F } from "../../silicon/vmx/fields.ts";
import { vmread32, vmwrite32 } from "../../silicon/vmx/vmcs.ts";
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";

/** "Blocking by NMI" in the interruptibility state. */
const GUEST_INTR_STATE_NMI = 8;

/** vmx_get_nmi_mask(). */
export function isNmiMasked(v: Vcpu): boolean {
	const vmx = v.vmx!;
	if (vmx.nmiKnownUnmasked) return false;
	const masked = (vmread32(v.cpu, vmx.vmcs, F.GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_NMI) !== 0;
	vmx.nmiKnownUnmasked = !masked;
	return masked;
}

/** vmx_set_nmi_mask(). */
export function setNmiMask(v: Vcpu, masked: boolean): void {
	const vmx = v.vmx!;
	vmx.nmiKnownUnmasked = !masked;
	const info = vmread32(v.cpu, vmx.vmcs, F.GUEST_INTERRUPTIBILITY_INFO);
	const wanted = masked ? info | GUEST_INTR_STATE_NMI : info & ~GUEST_INTR_STATE_NMI;
	vmwrite32(v.cpu, vmx.vmcs, F.GUEST_INTERRUPTIBILITY_INFO, wanted);
}

/** vmcs_set_bits(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI): the guest's IRET will run again, out of an NMI handler. */
export function blockNmisAgain(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	const info = vmread32(v.cpu, vmcs, F.GUEST_INTERRUPTIBILITY_INFO);
	vmwrite32(v.cpu, vmcs, F.GUEST_INTERRUPTIBILITY_INFO, info | GUEST_INTR_STATE_NMI);
}

/** vmx_recover_nmi_blocking(): an IRET that faulted has unblocked NMIs (SDM Vol. 3C, 28.2.3). */
export function recoverNmiBlocking(v: Vcpu): void {
	const vmx = v.vmx!;
	if (vmx.nmiKnownUnmasked) return;
	const info = v.vt.exitIntrInfo;
	const unblocked = (info & INTR_INFO.valid) !== 0 && (info & INTR_INFO.nmiUnblocked) !== 0;
	const isDefined = (info & 0xff) !== VECTOR.DF && (vmx.idtVectoringInfo & INTR_INFO.valid) === 0;
	if (unblocked && isDefined) blockNmisAgain(v);
	else isNmiMasked(v);
}

/** vmx_complete_interrupts(): what was being delivered when the exit came is queued again. */
export function completeInterrupts(v: Vcpu): void {
	const vmx = v.vmx!;
	v.nmiInjected = false;
	v.exception.injected = false;
	v.interrupt.injected = false;
	const info = vmx.idtVectoringInfo;
	if ((info & INTR_INFO.valid) === 0) return;
	makeRequest(v, KVM_REQ.EVENT);
	const vector = info & 0xff;
	switch ((info >>> 8) & 7) {
		case INTR_TYPE.nmi:
			v.nmiInjected = true;
			// VM entry takes no NMI under blocking (SDM Vol. 3C, 27.3.1.5).
			setNmiMask(v, false);
			break;
		case INTR_TYPE.external:
			v.interrupt.injected = true;
			v.interrupt.soft = false;
			v.interrupt.vector = vector;
			break;
		case INTR_TYPE.softwareInterrupt:
			v.interrupt.injected = true;
			v.interrupt.soft = true;
			v.interrupt.vector = vector;
			break;
		default:
			v.exception.injected = true;
			v.exception.vector = vector;
			v.exception.hasErrorCode = (info & INTR_INFO.errorCode) !== 0;
			if (v.exception.hasErrorCode) {
				v.exception.errorCode = vmread32(v.cpu, vmx.vmcs, F.IDT_VECTORING_ERROR_CODE);
			}
	}
}

function writeEntryInfo(v: Vcpu, info: number): void {
	vmwrite32(v.cpu, v.vmx!.vmcs, F.VM_ENTRY_INTR_INFO_FIELD, (info | INTR_INFO.valid) >>> 0);
}

/** vmx_inject_exception(). */
export function injectException(v: Vcpu): void {
	const { vector, hasErrorCode, errorCode } = v.exception;
	let info = vector;
	// INT3 and INTO are software exceptions (SDM table 25-16).
	if (vector === 3 || vector === 4) {
		info |= INTR_TYPE.softwareException << 8;
		vmwrite32(v.cpu, v.vmx!.vmcs, F.VM_ENTRY_INSTRUCTION_LEN, 1);
	} else info |= INTR_TYPE.hardwareException << 8;
	if (hasErrorCode) {
		vmwrite32(v.cpu, v.vmx!.vmcs, F.VM_ENTRY_EXCEPTION_ERROR_CODE, errorCode);
		info |= INTR_INFO.errorCode;
	}
	writeEntryInfo(v, info);
}

/** vmx_inject_irq(). */
export function injectIrq(v: Vcpu): void {
	const type = v.interrupt.soft ? INTR_TYPE.softwareInterrupt : INTR_TYPE.external;
	if (v.interrupt.soft) vmwrite32(v.cpu, v.vmx!.vmcs, F.VM_ENTRY_INSTRUCTION_LEN, 2);
	writeEntryInfo(v, v.interrupt.vector | (type << 8));
}

/** vmx_inject_nmi(). */
export function injectNmi(v: Vcpu): void {
	v.vmx!.nmiKnownUnmasked = false;
	writeEntryInfo(v, 2 | (INTR_TYPE.nmi << 8));
}

/** vmx_cancel_injection(): entry did not happen, so the field is taken back. */
export function cancelInjection(v: Vcpu): void {
	const { vmcs } = v.vmx!;
	const info = vmread32(v.cpu, vmcs, F.VM_ENTRY_INTR_INFO_FIELD);
	v.vmx!.idtVectoringInfo = 0;
	if ((info & INTR_INFO.valid) !== 0) vmwrite32(v.cpu, vmcs, F.VM_ENTRY_INTR_INFO_FIELD, 0);
}

/** Sets or clears interrupt-window or NMI-window exiting. */
export function setWindow(v: Vcpu, kind: "interrupt" | "nmi", open: boolean): void {
	const { vmcs } = v.vmx!;
	const bit = kind === "nmi" ? CPU_BASED.nmiWindowExiting : CPU_BASED.interruptWindowExiting;
	const controls = vmread32(v.cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL);
	vmwrite32(v.cpu, vmcs, F.CPU_BASED_VM_EXEC_CONTROL, (open ? controls | bit : controls & ~bit) >>> 0);
}
