/** v6.18: the tree that everything else is a patch on. */
import type { Flow, Tree } from "../flow/flow.ts";
import { svmFlows } from "../svm/flows.ts";
import { tdxFlows } from "../tdx/flows.ts";
import { vmxFlows } from "../vmx/flows.ts";
import { vcpuEnterGuest } from "../x86/vcpu-enter-guest.ts";
import { kvmArchVcpuIoctlRun, vcpuRun } from "../x86/vcpu-run.ts";
import { kvmLoadGuestXsaveState, kvmLoadHostXsaveState } from "../x86/xsave-state.ts";

const flows: readonly Flow[] = [
	kvmArchVcpuIoctlRun,
	vcpuRun,
	vcpuEnterGuest,
	kvmLoadGuestXsaveState,
	kvmLoadHostXsaveState,
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
			vcpu_pre_run: "vt_vcpu_pre_run",
			prepare_switch_to_guest: "vt_prepare_switch_to_guest",
			vcpu_run: "vt_vcpu_run",
			handle_exit_irqoff: "vmx_handle_exit_irqoff",
		},
		kvm_amd: {
			vcpu_pre_run: "svm_vcpu_pre_run",
			prepare_switch_to_guest: "svm_prepare_switch_to_guest",
			vcpu_run: "svm_vcpu_run",
			handle_exit_irqoff: "svm_handle_exit_irqoff",
		},
	},
};
