/** The TDX part of a vCPU (`struct vcpu_tdx`). */
import type { TdVcpu } from "../../silicon/tdx/td.ts";

export class TdxVcpu {
	/** The module's vCPU (TDVPR). */
	readonly td: TdVcpu;
	/** SEAMCALL's completion status: TDX_SUCCESS is 0. */
	status = 0;
	guestStateLoaded = false;

	constructor(td: TdVcpu) {
		this.td = td;
	}
}
