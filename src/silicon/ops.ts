/**
 * The ops: everything that host code can do to the machine. One row an op; the row's name is what
 * `reenter cost` prints and what a CPU model gives a cost for.
 *
 * Ops come in three kinds: `instruction` (an x86 instruction, or the processor's own part of one, such as
 * the work of a VM exit), `kernel` (a primitive of the kernel around KVM, costed as a whole) and
 * `code` (plain compiled C between ops, costed per instruction).
 */

export type OpKind = "instruction" | "kernel" | "code";

const rows = [
	// ---- extended state ----
	["xsetbv", "instruction"],
	["rdpkru", "instruction"],
	["wrpkru", "instruction"],
	["xsaves", "instruction"],
	["xrstors", "instruction"],
	// ---- MSRs: the cost differs by register ----
	["rdmsr", "instruction"],
	["wrmsr", "instruction"],
	["wrmsr(ia32_xss)", "instruction"],
	["rdmsr(ia32_xfd)", "instruction"],
	["wrmsr(ia32_xfd)", "instruction"],
	["rdmsr(ia32_xfd_err)", "instruction"],
	["wrmsr(ia32_xfd_err)", "instruction"],
	["rdmsr(ia32_debugctl)", "instruction"],
	["wrmsr(ia32_debugctl)", "instruction"],
	["rdmsr(ia32_spec_ctrl)", "instruction"],
	["wrmsr(ia32_spec_ctrl)", "instruction"],
	["wrmsr(ia32_pred_cmd)", "instruction"],
	// ---- control, debug, time ----
	["sti", "instruction"],
	["cli", "instruction"],
	["rdtsc", "instruction"],
	["mov_to_cr", "instruction"],
	["mov_from_cr", "instruction"],
	["mov_to_dr", "instruction"],
	["mov_from_dr", "instruction"],
	["swap_segment_base", "instruction"],
	["smi", "instruction"],
	["rsb_fill", "instruction"],
	// The first return instruction behind a VM exit: by it the assembly goes back to C.
	["ret", "instruction"],
	["gpr_swap", "instruction"],
	["pause", "instruction"],
	["lock_rmw", "instruction"],
	["cacheline_transfer", "instruction"],
	["user_transition", "instruction"],
	// ---- VMX ----
	["vmread", "instruction"],
	["vmwrite", "instruction"],
	["vmptrld", "instruction"],
	["vmclear", "instruction"],
	["vmlaunch", "instruction"],
	["vmresume", "instruction"],
	["vmexit", "instruction"],
	// ---- SVM ----
	["vmrun", "instruction"],
	["#vmexit", "instruction"],
	["vmload", "instruction"],
	["vmsave", "instruction"],
	["clgi", "instruction"],
	["stgi", "instruction"],
	// ---- TDX ----
	["seamcall", "instruction"],
	["seamret", "instruction"],
	// ---- the kernel around KVM ----
	["preempt_disable", "kernel"],
	["preempt_enable", "kernel"],
	["srcu_read_lock", "kernel"],
	["srcu_read_unlock", "kernel"],
	["srcu_dereference", "kernel"],
	["vcpu_mode", "kernel"],
	["guest_timing_enter", "kernel"],
	["guest_timing_exit", "kernel"],
	["context_tracking_enter", "kernel"],
	["context_tracking_exit", "kernel"],
	["switch_to", "kernel"],
	["task_work_add", "kernel"],
	["task_work_run", "kernel"],
	["hrtimer_start", "kernel"],
	["hrtimer_cancel", "kernel"],
	["send_ipi", "kernel"],
	["apic_eoi", "kernel"],
	["do_machine_check", "kernel"],
	["nmi_handler", "kernel"],
	["copy_from_user_nmi", "kernel"],
	// On machines with several CPUs: what a vCPU does to another one.
	["kvm_make_request", "kernel"],
	["kvm_vcpu_kick", "kernel"],
	["irq_handler", "kernel"],
	// ---- plain code ----
	["code", "code"],
] as const;

export type OpName = (typeof rows)[number][0];

/** Names of the ops, by id. */
export const OP_NAMES: readonly OpName[] = rows.map((row) => row[0]);

/** Kinds of the ops, by id. */
export const OP_KINDS: readonly OpKind[] = rows.map((row) => row[1]);

/** Number of ops. */
export const OP_COUNT = rows.length;

/** Op ids by name: `OP["xsetbv"]`. */
export const OP = Object.fromEntries(rows.map((row, id) => [row[0], id])) as Record<OpName, number>;

/** Ops that one process may know besides the rows above. */
const CUSTOM_OPS_MAX = 64;

/** Op ids that arrays by op id must have room for: the rows, and ops that out-of-tree code defines. */
export const OP_SLOTS = OP_COUNT + CUSTOM_OPS_MAX;

const customNames: string[] = [];

/** Out-of-tree code defines more ops than there is room for in one process. */
export class TooManyOpsError extends Error {
	override readonly name = "TooManyOpsError";

	/** @param op that there is no room for */
	constructor(op: string) {
		super(
			`op ${op} is one too many: patches may define ${CUSTOM_OPS_MAX} ops of their own, all that one process has read together; steps that cost alike can share one`,
		);
	}
}

/**
 * The id of an op that out-of-tree code defines; a name has one id, like a symbol.
 * @throws TooManyOpsError
 */
export function customOpId(name: string): number {
	let at = customNames.indexOf(name);
	if (at < 0) {
		if (customNames.length === CUSTOM_OPS_MAX) throw new TooManyOpsError(name);
		at = customNames.push(name) - 1;
	}
	return OP_COUNT + at;
}

/** The name of any op. */
export function opName(id: number): string {
	return OP_NAMES[id] ?? customNames[id - OP_COUNT] ?? `op ${id}`;
}
