/** v6.18: the tree that everything else is a patch on. With the fix of XFD that its stable series has (b45f72177594). */
import type { Flow, Tree } from "../flow/flow.ts";
import { svmFlows } from "../svm/flows.ts";
import { tdxFlows } from "../tdx/flows.ts";
import { vmxFlows } from "../vmx/flows.ts";
import { fastpathFlows } from "../x86/fastpath.ts";
import { kvmRequestAndKick } from "../x86/kick.ts";
import { kvmPmuInstructionRetired, kvmPmuTriggerEvent } from "../x86/pmu.ts";
import { vcpuEnterGuest } from "../x86/vcpu-enter-guest.ts";
import { fpuUpdateGuestXfd, kvmSetXcr } from "../x86/guest-registers.ts";
import { kvmArchVcpuLoad, kvmArchVcpuPut } from "../x86/vcpu-load.ts";
import { kvmArchVcpuIoctlRun, vcpuRun } from "../x86/vcpu-run.ts";
import { kvmLoadGuestXsaveState, kvmLoadHostXsaveState } from "../x86/xsave-state.ts";

const flows: readonly Flow[] = [
	kvmArchVcpuIoctlRun,
	kvmArchVcpuLoad,
	kvmArchVcpuPut,
	vcpuRun,
	vcpuEnterGuest,
	kvmLoadGuestXsaveState,
	kvmLoadHostXsaveState,
	kvmSetXcr,
	fpuUpdateGuestXfd,
	...fastpathFlows,
	kvmPmuInstructionRetired,
	kvmRequestAndKick,
	kvmPmuTriggerEvent,
	...vmxFlows,
	...tdxFlows,
	...svmFlows,
];

/** KVM as of Linux v6.18. */
export const v618: Tree = {
	name: "v6.18",
	title: "KVM as of Linux v6.18: XCR0, XSS and PKRU are swapped around every VM entry",
	flows: new Map(flows.map((flow) => [flow.name, flow])),
	ops: {
		kvm_intel: {
			vcpu_load: "vt_vcpu_load",
			vcpu_put: "vt_vcpu_put",
			vcpu_pre_run: "vt_vcpu_pre_run",
			prepare_switch_to_guest: "vt_prepare_switch_to_guest",
			vcpu_run: "vt_vcpu_run",
			handle_exit_irqoff: "vmx_handle_exit_irqoff",
		},
		kvm_amd: {
			vcpu_load: "svm_vcpu_load",
			vcpu_put: "svm_vcpu_put",
			vcpu_pre_run: "svm_vcpu_pre_run",
			prepare_switch_to_guest: "svm_prepare_switch_to_guest",
			vcpu_run: "svm_vcpu_run",
			handle_exit_irqoff: "svm_handle_exit_irqoff",
		},
	},
	customOps: [],
	vendorModules: [],
};
