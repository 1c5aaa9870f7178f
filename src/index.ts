/**
 * What patch files and programs may use: `import { … } from "reenter"`. Everything else is this project's own.
 *
 * A patch file needs `definePatch`, and for steps with code the functions of the host and of the vendors' instructions;
 * a program needs the trees, `checkTree` and `measureCost`.
 */
export { runCheck as checkTree } from "./check/check.ts";
export type { CheckOptions, CheckResult, EventKind, Injection, TraceLine, Violation } from "./check/types.ts";
export {
	moveFromDr,
	moveToDr,
	rdmsrDebugctl,
	rdmsrXfd,
	rdtsc,
	readPkru,
	wrmsrDebugctl,
	wrmsrXfdErr,
	wrmsrXss,
	writePkru,
	xsetbv,
} from "./host/access.ts";
export { doMachineCheck } from "./host/mce.ts";
export { type TreeDifference, diffTrees } from "./kvm/flow/diff.ts";
export { FlowError } from "./kvm/flow/errors.ts";
export {
	type Flow,
	type Node,
	type Tree,
	type VendorModule,
	type VendorOp,
	breakFrom,
	call,
	callOp,
	flow,
	leave,
	loop,
	nothing,
	step,
	when,
} from "./kvm/flow/flow.ts";
export {
	type Edit,
	type Patch,
	addFlow,
	addOp,
	addVendor,
	applyPatches,
	insert,
	move,
	remove,
	removeFlow,
	replace,
	setOp,
} from "./kvm/flow/patch.ts";
export { selectVendor } from "./kvm/flow/vendor-module.ts";
export {
	type EditDocument,
	type FlowDocument,
	type NodeDocument,
	type OpDocument,
	type PatchDocument,
	type VendorDocument,
	definePatch,
} from "./kvm/patch/document.ts";
export { FASTPATH, KVM_REQ, KVM_RUN } from "./kvm/requests.ts";
export { BUILT_IN_TREES, findTree } from "./kvm/trees/trees.ts";
export type { Vcpu } from "./kvm/vcpu.ts";
export { measureCost } from "./review/cost.ts";
export { defaultModel, reviewTree } from "./review/review.ts";
export type { CostResult, TreeReview } from "./review/types.ts";
export type { CpuModel, Vendor } from "./silicon/models/model.ts";
export { MODELS, findModel } from "./silicon/models/models.ts";
export { OP } from "./silicon/ops.ts";
