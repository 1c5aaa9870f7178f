/**
 * What a vendor module is known to do otherwise than the processor, or than KVM's own API says: data, so that whoever
 * meets a difference can tell a known one from a new one. A row is about the module, not about this project.
 */

/** What a row is about: conformance statements and generated guests name the subjects that they rest on. */
export type GapSubject =
	| "tsc-offset"
	| "translate-32-bit-paging"
	| "real-mode-idt-limit"
	| "interrupt-window";

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
	{ module: "kvm_pvm", subject: "interrupt-window",        reason: "kvm_pvm emulates runs of kernel-mode instructions, and looks for an interrupt window between runs only" },
];

/** Why a module cannot show a subject, or null. */
export function gapOf(module: string, subject: GapSubject): string | null {
	return KNOWN_GAPS.find((gap) => gap.module === module && gap.subject === subject)?.reason ?? null;
}
