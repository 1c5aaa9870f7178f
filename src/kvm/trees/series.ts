/**
 * "KVM: x86: Optimize fastpath XCR0, XSS and PKRU loads", as posted 2025-10-30 (v1) and 2025-11-18 (v2), and
 * the helper that was merged behind it. Each patch is one value; a tree takes any run of them.
 */
import { call, flow, leave, when } from "../flow/flow.ts";
import { type Patch, addFlow, insert, move, remove, removeFlow, replace, setOp } from "../flow/patch.ts";
import { MC_ON_ENTRY, VMX_MC_ON_ENTRY_CASE, isTd, vmxMachineCheckOnEntry } from "../vmx/machine-check.ts";
import {
	kvmLoadGuestPkru,
	kvmLoadGuestXfeatures,
	kvmLoadHostPkru,
	kvmLoadHostXfeatures,
	kvmLoadXfeatures,
} from "../x86/xsave-state.ts";

/** 1/4: the #MC case leaves svm_vcpu_run() for svm_handle_exit_irqoff(). */
const svmMachineCheck: Patch = {
	title: "KVM: SVM: Handle #MCs in guest outside of fastpath",
	source: "v1 6e640bb5caab, v2 ebd1a3365500",
	edits: [move("#MC in guest", "svm_vcpu_run", "svm_handle_exit_irqoff", { at: "start" })],
};

/** 2/4 as in v1: a wrapper for both kinds of vCPU, which returns early for TDs. */
const vmxMachineCheckV1: Patch = {
	title: "KVM: VMX: Handle #MCs on VM-Enter/TD-Enter outside of the fastpath",
	source: "v1 8934c592bcbf",
	edits: [
		remove(MC_ON_ENTRY, "vmx_vcpu_run"),
		remove(MC_ON_ENTRY, "tdx_vcpu_run"),
		addFlow(
			flow("vt_handle_exit_irqoff", "vmx/main.c", [
				vmxMachineCheckOnEntry(),
				when("is_td_vcpu", isTd, [leave("without vmx_handle_exit_irqoff")]),
				call("vmx_handle_exit_irqoff"),
			]),
		),
		setOp("kvm_intel", "handle_exit_irqoff", "vt_handle_exit_irqoff"),
	],
};

/** 2/4 as in v2: a case of the function that VMX and TDX share. */
const vmxMachineCheckV2: Patch = {
	title: "KVM: VMX: Handle #MCs on VM-Enter/TD-Enter outside of the fastpath",
	source: "v2 63669bd1d50f",
	edits: [
		remove(MC_ON_ENTRY, "vmx_vcpu_run"),
		remove(MC_ON_ENTRY, "tdx_vcpu_run"),
		insert(VMX_MC_ON_ENTRY_CASE, "vmx_handle_exit_irqoff", { at: "end" }),
	],
};

/** 3/4: XCR0 and XSS leave the vendors' run functions for vcpu_enter_guest(). */
const xfeatures: Patch = {
	title: "KVM: x86: Load guest/host XCR0 and XSS outside of the fastpath run loop",
	source: "v1 3377a9233d30, v2 75c69c82f211",
	edits: [
		addFlow(kvmLoadGuestXfeatures),
		addFlow(kvmLoadHostXfeatures),
		remove("CR4.OSXSAVE", "kvm_load_guest_xsave_state"),
		remove("CR4.OSXSAVE", "kvm_load_host_xsave_state"),
		insert("kvm_load_guest_xfeatures", "vcpu_enter_guest", { before: "switch_db_regs" }),
		insert("kvm_load_host_xfeatures", "vcpu_enter_guest", { before: "xfd_no_write_intercept" }),
	],
};

/** 4/4: PKRU follows, closer to the loop. */
const pkru: Patch = {
	title: "KVM: x86: Load guest/host PKRU outside of the fastpath run loop",
	source: "v1 7df3021b622f, v2 7649412af3ea",
	edits: [
		addFlow(kvmLoadGuestPkru),
		addFlow(kvmLoadHostPkru),
		remove("kvm_load_guest_xsave_state", "vmx_vcpu_run"),
		remove("kvm_load_host_xsave_state", "vmx_vcpu_run"),
		remove("kvm_load_guest_xsave_state", "svm_vcpu_run"),
		remove("kvm_load_host_xsave_state", "svm_vcpu_run"),
		removeFlow("kvm_load_guest_xsave_state"),
		removeFlow("kvm_load_host_xsave_state"),
		insert("kvm_load_guest_pkru", "vcpu_enter_guest", { before: "fastpath" }),
		insert("kvm_load_host_pkru", "vcpu_enter_guest", { after: "fastpath" }),
	],
};

/** The follow-up: two near-identical helpers become one. It must change nothing. */
const dedup: Patch = {
	title: "KVM: x86: Add a helper to dedup loading guest/host XCR0 and XSS",
	source: "0b28f21ad462",
	edits: [
		addFlow(kvmLoadXfeatures(true)),
		addFlow(kvmLoadXfeatures(false)),
		replace("kvm_load_guest_xfeatures", "vcpu_enter_guest", call("kvm_load_xfeatures(guest)")),
		replace("kvm_load_host_xfeatures", "vcpu_enter_guest", call("kvm_load_xfeatures(host)")),
		removeFlow("kvm_load_guest_xfeatures"),
		removeFlow("kvm_load_host_xfeatures"),
	],
};

/** Built-in series by name: title and patches. */
export const SERIES: Readonly<
	Record<string, { readonly title: string; readonly patches: readonly Patch[] }>
> = {
	"series-v1": {
		title: "the series as posted 2025-10-30, applied and dropped again",
		patches: [svmMachineCheck, vmxMachineCheckV1, xfeatures, pkru],
	},
	"series-v2": {
		title: "the series as posted 2025-11-18 and merged",
		patches: [svmMachineCheck, vmxMachineCheckV2, xfeatures, pkru],
	},
	dedup: {
		title: "series-v2 and the helper merged behind it",
		patches: [svmMachineCheck, vmxMachineCheckV2, xfeatures, pkru, dedup],
	},
};
