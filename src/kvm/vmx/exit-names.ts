/** Names of VMX exit reasons, for VMX guests and TDs: VMX_EXIT_REASONS (arch/x86/include/uapi/asm/vmx.h, v6.18). */
import { ENTRY_FAILURE, EXIT_REASON } from "../../silicon/vmx/controls.ts";

// biome-ignore format: one row a reason
/** Null: the kernel has no name for it, and prints its number. */
const NAMES: Readonly<Record<keyof typeof EXIT_REASON, string | null>> = {
	exceptionOrNmi:          "EXCEPTION_NMI",
	externalInterrupt:       "EXTERNAL_INTERRUPT",
	tripleFault:             "TRIPLE_FAULT",
	interruptWindow:         "INTERRUPT_WINDOW",
	nmiWindow:               "NMI_WINDOW",
	cpuid:                   "CPUID",
	hlt:                     "HLT",
	invd:                    "INVD",
	invlpg:                  "INVLPG",
	rdpmc:                   "RDPMC",
	rdtsc:                   "RDTSC",
	rsm:                     null,
	vmcall:                  "VMCALL",
	vmclear:                 "VMCLEAR",
	crAccess:                "CR_ACCESS",
	movDr:                   "DR_ACCESS",
	ioInstruction:           "IO_INSTRUCTION",
	rdmsr:                   "MSR_READ",
	wrmsr:                   "MSR_WRITE",
	invalidGuestState:       "INVALID_STATE",
	msrLoading:              "MSR_LOAD_FAIL",
	mwait:                   "MWAIT_INSTRUCTION",
	monitor:                 "MONITOR_INSTRUCTION",
	pause:                   "PAUSE_INSTRUCTION",
	machineCheckDuringEntry: "MCE_DURING_VMENTRY",
	tprBelowThreshold:       "TPR_BELOW_THRESHOLD",
	eoiInduced:              "EOI_INDUCED",
	gdtrOrIdtr:              "GDTR_IDTR",
	ldtrOrTr:                "LDTR_TR",
	eptViolation:            "EPT_VIOLATION",
	eptMisconfiguration:     "EPT_MISCONFIG",
	rdtscp:                  "RDTSCP",
	preemptionTimer:         "PREEMPTION_TIMER",
	wbinvd:                  "WBINVD",
	xsetbv:                  "XSETBV",
	rdrand:                  "RDRAND",
	invpcid:                 "INVPCID",
	vmfunc:                  "VMFUNC",
	encls:                   "ENCLS",
	rdseed:                  "RDSEED",
	xsaves:                  "XSAVES",
	xrstors:                 "XRSTORS",
	loadIwkey:               null,
	seamcall:                "SEAMCALL",
	tdcall:                  "TDCALL",
};

const BY_REASON: ReadonlyMap<number, string | null> = new Map(
	Object.entries(NAMES).map(([name, text]) => [EXIT_REASON[name as keyof typeof EXIT_REASON], text]),
);

/** All of them. */
export const vmxExitNames: readonly string[] = [...BY_REASON.values()].filter((name) => name !== null);

/** Name of a basic exit reason, as trace events print it. @param reason with or without the failed-entry bit */
export function exitReasonName(reason: number): string {
	return BY_REASON.get(reason & 0xffff) ?? `0x${(reason & 0xffff).toString(16)}`;
}

/** VMX_EXIT_REASON_FLAGS: what trace events print behind the name. */
export function exitReasonFlags(reason: number): string {
	const flags = (reason & ~0xffff) >>> 0;
	if (flags === 0) return "";
	const rest = (flags & ~ENTRY_FAILURE) >>> 0;
	const texts = [
		(flags & ENTRY_FAILURE) === 0 ? "" : "FAILED_VMENTRY",
		rest === 0 ? "" : `0x${rest.toString(16)}`,
	];
	return ` ${texts.filter((text) => text !== "").join(" ")}`;
}
