/**
 * What a report says of a symbol besides its name: where it lives, and what the compiler made of it.
 *
 * A function that the compiler inlined has no symbol, and its cycles appear in its caller's. Which ones those are follows
 * from what C says of a function (static, inline, noinline) and from how often the tree at hand calls it, so a patch that
 * moves a call can make a symbol vanish from `perf top` without saving anything.
 */
import { type Tree, walk } from "../kvm/flow/flow.ts";
import { FRAME } from "./frames.ts";

/** `perf top`'s second column. */
export type SharedObject =
	| "[kernel]"
	| "[guest.kernel.kallsyms]"
	| "qemu-system-x86_64"
	| "[hardware]"
	| "[idle]";

const OBJECT_OF: ReadonlyMap<string, SharedObject> = new Map<string, SharedObject>([
	[FRAME.guest, "[guest.kernel.kallsyms]"],
	[FRAME.vmEntry, "[hardware]"],
	[FRAME.vmExit, "[hardware]"],
	[FRAME.idle, "[idle]"],
	["kvm_cpu_exec", "qemu-system-x86_64"],
]);

/** The object that a symbol is in. KVM is built in, as in the seed's tables: all of it is [kernel]. */
export function sharedObject(name: string): SharedObject {
	return OBJECT_OF.get(name) ?? "[kernel]";
}

/** perf's letter for the mode: k for the host's kernel, . for its user space, g for a guest's kernel, H for the processor itself. */
export function modeLetter(name: string): string {
	switch (sharedObject(name)) {
		case "qemu-system-x86_64":
			return ".";
		case "[guest.kernel.kallsyms]":
			return "g";
		case "[hardware]":
			return "H";
		default:
			return "k";
	}
}

/** What is inlined: nothing, what a kernel build inlines, or all that a compiler may. */
export type Inlining = "none" | "kernel" | "all";

export const INLININGS: readonly Inlining[] = ["all", "none", "kernel"];

/** One function that the compiler may inline. */
interface Inlinable {
	/** Below arch/x86/kvm/, or from the kernel's root. */
	readonly file: string;
	/** Call sites in its file; null: as many as the tree has. */
	readonly callers: number | null;
}

/**
 * Functions that C declares static. gcc -O2 inlines one that has a single caller (-finline-functions-called-once);
 * others may be. Functions that are global, noinstr or whose address is taken are not listed: they keep their symbol.
 * Read off the sources of v6.18 and of the series.
 */
// biome-ignore format: a table
const INLINABLE: ReadonlyMap<string, Inlinable> = new Map(([
	["vcpu_enter_guest",                 "x86.c",               null],
	["kvm_load_guest_xfeatures",         "x86.c",               null],
	["kvm_load_host_xfeatures",          "x86.c",               null],
	["kvm_load_xfeatures(guest)",        "x86.c",               2],
	["kvm_load_xfeatures(host)",         "x86.c",               2],
	["kvm_load_guest_pkru",              "x86.c",               null],
	["kvm_load_host_pkru",               "x86.c",               null],
	["kvm_check_and_inject_events",      "x86.c",               1],
	["vmx_exit_handlers_fastpath",       "vmx/vmx.c",           null],
	["handle_fastpath_preemption_timer", "vmx/vmx.c",           null],
	["vmx_prepare_switch_to_host",       "vmx/vmx.c",           2],
	["svm_exit_handlers_fastpath",       "svm/svm.c",           null],
	["tdx_load_host_xsave_state",        "vmx/tdx.c",           null],
	["kvm_vcpu_check_block",             "virt/kvm/kvm_main.c", 2],
] as const).map(([name, file, callers]) => [name, { file, callers }]));

/** Calls of each flow in a tree. */
function callersIn(tree: Tree): ReadonlyMap<string, number> {
	const counts = new Map<string, number>();
	for (const flow of tree.flows.values()) {
		for (const node of walk(flow.body)) {
			if (node.kind !== "call" || typeof node.flow !== "string") continue;
			counts.set(node.flow, (counts.get(node.flow) ?? 0) + 1);
		}
	}
	return counts;
}

/**
 * Functions that have no symbol in a build of a tree.
 * @param tree the tree, whose calls decide
 */
export function inlinedSymbols(tree: Tree, inlining: Inlining): ReadonlySet<string> {
	if (inlining === "none") return new Set();
	const counts = callersIn(tree);
	const names = new Set<string>();
	for (const [name, { callers }] of INLINABLE) {
		const calls = callers ?? counts.get(name) ?? 0;
		if (inlining === "all" || calls === 1) names.add(name);
	}
	return names;
}

/** The file in which a function is static, or null if the compiler cannot inline it. */
export function inlinableIn(name: string): string | null {
	return INLINABLE.get(name)?.file ?? null;
}
