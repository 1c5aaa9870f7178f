/** Machine checks of an SVM guest (arch/x86/kvm/svm/svm.c, v6.18). */
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { type Node, step, when } from "../flow/flow.ts";
import { kvmMachineCheck } from "../vmx/machine-check.ts";

/** `if (exit code is an #MC) svm_handle_mce();` */
export const svmMachineCheckInGuest: Node = when(
	"#MC in guest",
	(v) => v.svm!.vmcb.exitCode === EXIT_CODE.exceptionBase + VECTOR.MC,
	[step("svm_handle_mce", kvmMachineCheck)],
);
