/** The first three patches of the series, as one file: reenter review examples/series.ts */
import { definePatch } from "reenter";

export default definePatch({
	name: "my-series",
	base: "v6.18",
	title: "KVM: x86: Optimize fastpath XCR0 and XSS loads",
	patches: [
		{
			title: "KVM: SVM: Handle #MCs in guest outside of fastpath",
			edits: [{ move: "#MC in guest", from: "svm_vcpu_run", to: "svm_handle_exit_irqoff", at: "start" }],
		},
		{
			title: "KVM: VMX: Handle #MCs on VM-Enter/TD-Enter outside of the fastpath",
			edits: [
				{ move: "MCE_DURING_VMENTRY", from: "vmx_vcpu_run", to: "vmx_handle_exit_irqoff", at: "end" },
				{ remove: "MCE_DURING_VMENTRY", from: "tdx_vcpu_run" },
			],
		},
		{
			title: "KVM: x86: Load guest/host XCR0 and XSS outside of the fastpath run loop",
			flows: [
				{ name: "kvm_load_guest_xfeatures", file: "x86.c", body: xfeatures("guest") },
				{ name: "kvm_load_host_xfeatures", file: "x86.c", body: xfeatures("host") },
			],
			edits: [
				{ remove: "CR4.OSXSAVE", from: "kvm_load_guest_xsave_state" },
				{ remove: "CR4.OSXSAVE", from: "kvm_load_host_xsave_state" },
				{ insert: "kvm_load_guest_xfeatures", into: "vcpu_enter_guest", before: "switch_db_regs" },
				{ insert: "kvm_load_host_xfeatures", into: "vcpu_enter_guest", before: "xfd_no_write_intercept" },
			],
		},
	],
});

/** Both ways are the same but for whose values they load. */
function xfeatures(value: "guest" | "host") {
	return [
		{ if: "guest_state_protected", then: [{ return: "" }] },
		{
			if: "CR4.OSXSAVE",
			then: [
				{ if: "guest XCR0 differs", then: [{ op: "xsetbv", value, instructions: 3 }] },
				{ if: "guest XSS differs", then: [{ op: "wrmsr(ia32_xss)", value, instructions: 3 }] },
			],
		},
	];
}
