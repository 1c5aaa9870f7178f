/** SVM exits that are handled without leaving the fastpath loop (svm_exit_handlers_fastpath, svm.c v6.18). */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { type Node, call, flow, leave, nothing, step, when } from "../flow/flow.ts";
import { FASTPATH } from "../requests.ts";
import { type Vcpu, keepFastpath } from "../vcpu.ts";

/** nrips && next_rip: skipping the instruction needs no look at guest memory (commit 5c30e8101e8d). */
const lacksNextRip = (v: Vcpu) => !v.kernel.kvm.nrips || !v.svm!.vmcb.hasNextRip;

const exitIs = (code: number) => (v: Vcpu) => v.svm!.vmcb.exitCode === code;
const isWrmsr = ({ svm }: Vcpu) => svm!.vmcb.exitCode === EXIT_CODE.msr && svm!.vmcb.exitInfo1Low !== 0;

/** A case of the switch over the exit code, which is one jump: the step before the cases charges it. */
const onExit = (name: string, test: (v: Vcpu) => boolean, flowName: string): Node =>
	when(name, test, [call(flowName, keepFastpath), leave("its result", (v) => v.exitFastpath)], [], 0);

export const svmExitHandlersFastpath = flow("svm_exit_handlers_fastpath", "svm/svm.c", [
	step("switch (exit code)", nothing, 8),
	when("no next_rip", lacksNextRip, [leave("EXIT_FASTPATH_NONE (no next_rip)", () => FASTPATH.NONE)], [], 0),
	onExit("SVM_EXIT_MSR, a write", isWrmsr, "handle_fastpath_wrmsr"),
	onExit("SVM_EXIT_HLT", exitIs(EXIT_CODE.hlt), "handle_fastpath_hlt"),
	onExit("SVM_EXIT_INVD", exitIs(EXIT_CODE.invd), "handle_fastpath_invd"),
	leave("EXIT_FASTPATH_NONE", () => FASTPATH.NONE),
]);
