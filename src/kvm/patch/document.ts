/**
 * A patch as a file holds it: JSON, or the default export of a TypeScript or JavaScript module.
 *
 *     {
 *       "name": "my-idea",
 *       "base": "v6.18",
 *       "edits": [
 *         { "move": "kvm_load_guest_xsave_state", "from": "vmx_vcpu_run", "to": "vcpu_enter_guest", "before": "fastpath" }
 *       ]
 *     }
 *
 * Names are those that `reenter show` prints. What a file can say is the same in JSON and in a module, but that a
 * module can also give functions.
 */
import type { Origin, Vendor } from "../../silicon/models/model.ts";
import type { KvmModule, Node, VendorOp } from "../flow/flow.ts";
import type { Edit, GuardAs } from "../flow/patch.ts";
import type { Vcpu } from "../vcpu.ts";

/** Where a node goes: before or behind another of the same flow, or at one of its ends. Exactly one is given. */
export interface AnchorDocument {
	readonly before?: string;
	readonly after?: string;
	readonly at?: "start" | "end";
}

/** Whose value an op loads: what KVM keeps for the guest, or the host's. */
export type OpValue = "guest" | "host";

/** What a step does: an op by its name, an op with a value, or in a module a function. */
export type Deed = string | { readonly op: string; readonly value?: OpValue } | ((v: Vcpu) => void);

/** A step. With neither `run` nor `does` only its plain instructions count. */
export interface StepDocument {
	readonly step: string;
	/** Modules only. */
	readonly run?: (v: Vcpu) => void;
	/** In this order. */
	readonly does?: readonly Deed[];
	/** Plain instructions besides its ops. Default 4. */
	readonly instructions?: number;
}

/** A step that does one op. */
export interface OpStepDocument {
	readonly op: string;
	readonly value?: OpValue;
	/** The step's name. Default: the op's. */
	readonly name?: string;
	/** Plain instructions besides the op. Default 4. */
	readonly instructions?: number;
}

/**
 * A condition: that of a guard of a known tree (`flow/name` where several have the name), or of numbers that KVM has at hand: a
 * field of the patch's own, or one of those that docs/patches.md lists.
 */
export type ConditionDocument =
	| string
	| { readonly not: ConditionDocument }
	| { readonly all: readonly ConditionDocument[] }
	| { readonly any: readonly ConditionDocument[] }
	/** Not 0; with `is`, equal to that. */
	| { readonly value: string; readonly is?: number | string }
	/** The last exit, as trace events name it. */
	| { readonly exit: string }
	/** It is pending: KVM_REQ_… */
	| { readonly request: string };

/** A step that keeps a value in a field of the patch's own. */
export interface AssignDocument {
	readonly assign: string;
	/** A number, a field, or a value as conditions name it. */
	readonly to: number | string;
	/** The step's name. Default: what is assigned. */
	readonly name?: string;
	/** Plain instructions. Default 1. */
	readonly instructions?: number;
}

/** A guard. Without `test` and `when` its condition is that of the guard of the same name in a known tree. */
export interface GuardDocument {
	readonly if: string;
	readonly when?: ConditionDocument;
	/** Modules only. */
	readonly test?: (v: Vcpu) => boolean;
	readonly then: readonly NodeDocument[];
	readonly else?: readonly NodeDocument[];
	/** Plain instructions of the test. Default 3, or as the known guard's. */
	readonly instructions?: number;
}

/** An endless loop. */
export interface LoopDocument {
	readonly loop: string;
	readonly body: readonly NodeDocument[];
}

/** Leaves a loop. */
export interface BreakDocument {
	readonly break: string;
}

/** Calls a flow. `keep` says where its result goes: `exit_fastpath`, or in a module a function. */
export interface CallDocument {
	readonly call: string;
	readonly keep?: "exit_fastpath" | ((v: Vcpu, result: number) => void);
}

/** Calls what kvm_x86_ops has for this vendor. */
export interface CallOpDocument {
	readonly callOp: VendorOp;
	readonly keep?: "exit_fastpath" | ((v: Vcpu, result: number) => void);
}

/** Returns from the flow. `return` is what `reenter show` prints behind "return". */
export interface ReturnDocument {
	readonly return: string;
	readonly value?: number | "exit_fastpath" | ((v: Vcpu) => number);
}

/**
 * A node: a name, of a step, guard or loop of a known tree (`flow/name` where one name stands for several), or of a flow to
 * call; or a node of its own.
 */
export type NodeDocument =
	| string
	| StepDocument
	| OpStepDocument
	| AssignDocument
	| GuardDocument
	| LoopDocument
	| BreakDocument
	| CallDocument
	| CallOpDocument
	| ReturnDocument
	| Node;

/** One edit. */
export type EditDocument =
	| ({ readonly move: string; readonly from: string; readonly to: string } & AnchorDocument)
	| ({ readonly insert: NodeDocument; readonly into: string } & AnchorDocument)
	| { readonly remove: string; readonly from: string }
	| { readonly replace: string; readonly in: string; readonly by: NodeDocument }
	| { readonly dropGuard: string; readonly in: string; readonly as: GuardAs }
	| { readonly removeFlow: string }
	| { readonly set: VendorOp; readonly of: KvmModule; readonly to: string }
	| Edit;

/** A kernel function of the patch's own. */
export interface FlowDocument {
	readonly name: string;
	/** Its file below arch/x86/kvm/. Default: the patch's name. */
	readonly file?: string;
	readonly body: readonly NodeDocument[];
}

/** An op of the patch's own: something that it does to the machine, and what that costs. */
export interface OpDocument {
	readonly name: string;
	/** The function that is on the call stack while it is done. Default: its name. */
	readonly symbol?: string;
	/** Cycles: one figure, or one for each CPU model and `default`. */
	readonly cycles: number | Readonly<Record<string, number>>;
	/** Default: assumed. */
	readonly origin?: Origin;
	/** Where the figure is from. */
	readonly source?: string;
}

/** A vendor module of the patch's own. */
export interface VendorDocument {
	readonly name: string;
	readonly title?: string;
	/** Its hardware, and the members of kvm_x86_ops that `ops` leaves out. */
	readonly basedOn: Vendor;
	readonly ops: Readonly<Partial<Record<VendorOp, string>>>;
}

/** What one patch changes. */
export interface PatchBody {
	/** Kernel functions that it adds, before its edits. */
	readonly flows?: readonly FlowDocument[];
	readonly edits?: readonly EditDocument[];
}

/** One patch of a series. */
export interface SeriesPatch extends PatchBody {
	readonly title: string;
}

/** A patch file. */
export interface PatchDocument extends PatchBody {
	/** For editors: where the JSON Schema is. */
	readonly $schema?: string;
	/** The name of the tree that comes out. */
	readonly name: string;
	/** The tree that it is made for. Default v6.18; with --patch, what stands before it. */
	readonly base?: string;
	readonly title?: string;
	readonly ops?: readonly OpDocument[];
	/** Fields of its own on the vCPU: numbers, 0 at first. */
	readonly fields?: readonly string[];
	readonly vendors?: readonly VendorDocument[];
	/** A series, applied in this order behind `flows` and `edits`. */
	readonly patches?: readonly SeriesPatch[];
}

/** Checks a patch's types and gives it back: `export default definePatch({ … })`. */
export function definePatch(document: PatchDocument): PatchDocument {
	return document;
}
