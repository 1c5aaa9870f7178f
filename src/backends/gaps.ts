/**
 * What a vendor module is known to do otherwise than the processor, or than KVM's own API says: data, so that whoever
 * meets a difference can tell a known one from a new one. A row is about the module, not about this project.
 */

import type { Difference } from "./compare/lockstep.ts";

/** What a row is about: conformance statements and generated guests name the subjects that they rest on. */
export type GapSubject =
	| "tsc-offset"
	| "translate-32-bit-paging"
	| "real-mode-idt-limit"
	| "interrupt-window"
	| "emulated-steps";

export interface KnownGap {
	/** The vendor module, as /sys/module names it. */
	readonly module: string;
	readonly subject: GapSubject;
	/** One line: what it does instead. */
	readonly reason: string;
}

// biome-ignore format: a table
export const KNOWN_GAPS: readonly KnownGap[] = [
	{ module: "kvm_pvm", subject: "tsc-offset",              reason: "kvm_pvm keeps no TSC offset: a written IA32_TSC reads as the host's" },
	{ module: "kvm_pvm", subject: "translate-32-bit-paging", reason: "kvm_pvm translates nothing for 32-bit paging: KVM_TRANSLATE gives the address itself" },
	{ module: "kvm_pvm", subject: "real-mode-idt-limit",     reason: "kvm_pvm emulates real mode, and KVM's emulator delivers interrupts there whatever the limit of the IDT" },
	{ module: "kvm_pvm", subject: "interrupt-window",        reason: "kvm_pvm emulates runs of kernel-mode instructions, and looks for windows of interrupts and NMIs between runs only" },
	{ module: "kvm_pvm", subject: "emulated-steps",          reason: "kvm_pvm emulates real mode, and KVM's emulator reports no step over OUT, and delivers INT3 by itself" },
];

/** Why a module cannot show a subject, or null. */
export function gapOf(module: string, subject: GapSubject): string | null {
	return KNOWN_GAPS.find((gap) => gap.module === module && gap.subject === subject)?.reason ?? null;
}

// ---- differences between two machines ------------------------------------------------------------------

/** A difference that is to be explained. */
export interface DifferenceKind {
	readonly difference: Difference;
	/** The pieces that the reduced guest consists of: `long: cpuid`. */
	readonly pieces: readonly string[];
	/** The modes that it goes through. */
	readonly modes: readonly string[];
	readonly modules: readonly [left: string, right: string];
}

/** A difference whose reason is known. */
export interface KnownDifference {
	/** The vendor module whose behaviour it is. */
	readonly module: string;
	readonly reason: string;
	/**
	 * @param own what this module did
	 * @returns the pieces that it blames, none for the way through the modes itself; null: it does not explain it
	 */
	readonly explains: (kind: DifferenceKind, own: string) => readonly string[] | null;
}

/** The pieces that are to blame for a difference: those of a kind, or none. */
const involved = (kind: DifferenceKind, ...pieces: readonly string[]) =>
	kind.pieces.filter((piece) => pieces.some((one) => piece.endsWith(one)));

// biome-ignore format: a table
const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
	{ module: "kvm_pvm", reason: "kvm_pvm emulates kernel-mode code, and KVM's emulator does not have the instruction",
	  explains: (kind, own) => own.startsWith("internal-error suberror 1") ? (kind.pieces.length === 1 ? kind.pieces : []) : null },
	{ module: "kvm_pvm", reason: "kvm_pvm has no 32-bit paging: a guest's first instruction is a shutdown",
	  explains: (kind, own) => own === "shutdown" && kind.modes.includes("paged32") && kind.pieces.length === 0 ? [] : null },
	{ module: "kvm_pvm", reason: "kvm_pvm runs level 3 on the processor itself, where CPUID is the host's",
	  explains: (kind) => nonEmpty(involved(kind, "user64: cpuid", "user64: cpuid 1")) },
	{ module: "kvm_pvm", reason: "kvm_pvm shows the host's feature words in CPUID, whatever KVM_SET_CPUID2 said",
	  explains: (kind) => nonEmpty(involved(kind, ": cpuid", ": cpuid 1")) },
	{ module: "kvm_pvm", reason: "kvm_pvm runs level 3 on the processor itself, where XGETBV gives the host's XCR0, CR4.OSXSAVE or not",
	  explains: (kind) => nonEmpty(involved(kind, "user64: xgetbv")) },
	{ module: "kvm_pvm", reason: "kvm_pvm runs level 3 on the processor itself, with data segments of its own",
	  explains: (kind) => nonEmpty(involved(kind, "user64: mov reg, segment", "user64: mov segment, reg")) },
	{ module: "kvm_pvm", reason: "at level 3 kvm_pvm lets no INT n through: it is #UD",
	  explains: (kind, own) => own === "out 0xe0 1 06" ? nonEmpty(involved(kind, "user64: int n")) : null },
	{ module: "kvm_pvm", reason: "kvm_pvm never comes back from VMCALL of kernel-mode code",
	  explains: (kind, own) => own.startsWith("no exit") ? nonEmpty(involved(kind, "image: vmcall")) : null },
	{ module: "kvm_pvm", reason: "kvm_pvm keeps IA32_PAT and the MSRs of SYSCALL without a look at reserved bits",
	  explains: (kind) => nonEmpty(involved(kind, ": wrmsr of reserved bits")) },
	{ module: "kvm_pvm", reason: "KVM's emulator clears the upper half of CMPXCHG's 32-bit destination when the comparison fails; processors do not",
	  explains: (kind) => nonEmpty(involved(kind, "long: cmpxchg")) },
];

function nonEmpty(pieces: readonly string[]): readonly string[] | null {
	return pieces.length === 0 ? null : pieces;
}

/** A row, and the pieces of the reduced guest that it blames; none: the way through the modes itself. */
export interface Explanation {
	readonly row: KnownDifference;
	readonly pieces: readonly string[];
}

/** The row that explains a difference, or null. */
export function knownDifference(kind: DifferenceKind): Explanation | null {
	const { difference, modules } = kind;
	for (const row of KNOWN_DIFFERENCES) {
		for (const [side, module] of modules.entries()) {
			if (row.module !== module) continue;
			const said = [difference.left, difference.right] as const;
			const pieces = row.explains(kind, said[side]!);
			if (pieces !== null) return { row, pieces };
		}
	}
	return null;
}
