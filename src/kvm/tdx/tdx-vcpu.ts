/** The TDX part of a vCPU (`struct vcpu_tdx`). */
import { HostInvariant } from "../../host/errors.ts";
import type { TdVcpu } from "../../silicon/tdx/td.ts";
import type { PostedInterruptDescriptor } from "../../silicon/vmx/posted-interrupts.ts";

export class TdxVcpu {
	/** The module's vCPU (TDVPR). */
	readonly td: TdVcpu;
	/** vt->pi_desc: what others have for the TD, whose local APIC KVM cannot see. */
	readonly posted: PostedInterruptDescriptor;
	/** Completion status of the last TDH.VP.ENTER, its upper half: a TDX_STATUS. */
	status = 0;
	/** TDG.VP.VMCALL<MapGPA>: what is still to be done, first address and end. */
	mapGpaNext = 0n;
	mapGpaEnd = 0n;
	/** The host's KERNEL_GS_BASE is away: vt->guest_state_loaded. */
	guestStateLoaded = false;
	hostKernelGsBase = 0n;

	constructor(td: TdVcpu, posted: PostedInterruptDescriptor) {
		this.td = td;
		this.posted = posted;
	}
}

/** to_tdx(). @throws HostInvariant for a vCPU that is no TD's */
export function toTdx({ tdx }: { readonly tdx: TdxVcpu | null }): TdxVcpu {
	if (tdx === null) throw new HostInvariant("to_tdx() of a vCPU that is no TD's");
	return tdx;
}
