/** SVM exits that are handled without leaving the fastpath loop (svm_exit_handlers_fastpath, svm.c v6.18). */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { FASTPATH } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { handleFastpathHlt, handleFastpathInvd, handleFastpathWrmsr } from "../x86/fastpath.ts";

/** svm_exit_handlers_fastpath(): only with next_rip, since nothing may be decoded here (commit 5c30e8101e8d). */
export function svmExitHandlersFastpath(v: Vcpu): number {
	const { vmcb } = v.svm!;
	v.cpu.code(8);
	if (!v.cpu.model.features.nrips || !vmcb.hasNextRip) return FASTPATH.NONE;
	switch (vmcb.exitCode) {
		case EXIT_CODE.msr:
			return vmcb.exitInfo1Low !== 0 ? handleFastpathWrmsr(v) : FASTPATH.NONE;
		case EXIT_CODE.hlt:
			return handleFastpathHlt(v);
		case EXIT_CODE.invd:
			return handleFastpathInvd(v);
		default:
			return FASTPATH.NONE;
	}
}
