/** Module parameters of kvm_intel and kvm_amd. */
export interface KvmParameters {
	/** kvm_amd.nrips: use the next RIP that the processor saves. */
	readonly nrips: boolean;
	/** kvm_intel.enable_apicv. Default here: false, unlike v6.18's. */
	readonly enableApicv: boolean;
	/** kvm.halt_poll_ns: how long a vCPU polls at most before its thread sleeps. Here 0 by default; Linux' default is 200,000. */
	readonly haltPollNs: number;
	/** kvm.tdp_mmu: page faults take mmu_lock for reading. Without, for writing, as those of a nested guest do. */
	readonly tdpMmu: boolean;
}
