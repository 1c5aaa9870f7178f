/**
 * Interrupts for a TD (arch/x86/kvm/vmx/tdx.c, v6.18). Its local APIC is the processor's and the TDX module's: KVM posts
 * vectors into the descriptor, sends itself the notification before it enters, and for a halted TD asks the module whether
 * one waits. The timer, ICR and LVT registers are KVM's, by TDG.VP.VMCALL.
 */
import { HOST_VECTOR } from "../../host/idt.ts";
import { OP } from "../../silicon/ops.ts";
import { tdhVpRdVmxip, tdhVpWrPostedInterrupts } from "../../silicon/tdx/tdh-vp-fields.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import { APIC_BASE, APIC_DEFAULT_PHYS_BASE } from "../irqchip/apic-registers.ts";
import type { Vcpu } from "../vcpu.ts";
import { toTdx } from "./tdx-vcpu.ts";

const R12 = 12;

/** KVM_TDX_INIT_VCPU, of the local APIC: always in x2APIC mode, and its interrupts are posted. */
export function tdxInitVcpuApic(v: Vcpu): void {
	const { td, posted } = toTdx(v);
	const bsp = v.id === 0 ? APIC_BASE.BSP : 0;
	v.apic?.setBaseForHost(APIC_DEFAULT_PHYS_BASE + APIC_BASE.ENABLE + APIC_BASE.EXTD + bsp);
	tdhVpWrPostedInterrupts(td, posted.hpa, HOST_VECTOR.postedInterrupt);
}

/** The TD waits in TDG.VP.VMCALL<Instruction.HLT>; R12 says whether it blocks interrupts. */
const isInHalt = (v: Vcpu) => v.vt.exitReason === EXIT_REASON.hlt;
const blocksInterrupts = (v: Vcpu) => v.regs[R12] !== 0n;

/** tdx_interrupt_allowed(): what blocks a TD's interrupts KVM knows from its HLT alone. */
export function tdxInterruptAllowed(v: Vcpu): boolean {
	return !isInHalt(v) || !blocksInterrupts(v);
}

/**
 * tdx_protected_apic_has_interrupt(): one is posted; or, of a TD that halted with interrupts open, one waits in its virtual
 * APIC. What waited there at any other exit is blocked, or the TD would have taken it.
 */
export function tdxProtectedApicHasInterrupt(v: Vcpu): boolean {
	const { td, posted } = toTdx(v);
	if (posted.isOn) return true;
	return isInHalt(v) && !blocksInterrupts(v) && tdhVpRdVmxip(td);
}

/** pi_test_on() before TDH.VP.ENTER: the notification, to this CPU, so that the entry processes what was posted. */
export function tdxNotifySelf(v: Vcpu): void {
	if (!toTdx(v).posted.isOn) return;
	v.cpu.op(OP.send_ipi);
	v.kernel.apic.raise(HOST_VECTOR.postedInterrupt);
}
