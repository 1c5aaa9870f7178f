/** Names of SVM exit codes: SVM_EXIT_REASONS (arch/x86/include/uapi/asm/svm.h, v6.18). */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";

/** Control registers that have a name, by number; debug registers have one up to DR7. */
const CONTROL_REGISTERS: readonly number[] = [0, 2, 3, 4, 8];

/** Exceptions that have a name, by vector. */
const EXCEPTIONS: ReadonlyMap<number, string> = new Map(
	[
		"DE",
		"DB",
		"",
		"BP",
		"OF",
		"BR",
		"UD",
		"NM",
		"DF",
		"",
		"TS",
		"NP",
		"SS",
		"GP",
		"PF",
		"",
		"MF",
		"AC",
		"MC",
		"XF",
	]
		.map((name, vector) => [vector, name] as const)
		.filter(([, name]) => name !== ""),
);

// biome-ignore format: one row a code
/** Null: the kernel has no name for it, and prints its number. */
const NAMES: Readonly<Record<Exclude<keyof typeof EXIT_CODE, `${string}Base`>, string | null>> = {
	intr:              "interrupt",
	nmi:               "nmi",
	smi:               "smi",
	init:              "init",
	vintr:             "vintr",
	cr0SelectiveWrite: "cr0_sel_write",
	idtrRead:          "read_idtr",
	gdtrRead:          "read_gdtr",
	ldtrRead:          "read_ldtr",
	trRead:            "read_rt",
	idtrWrite:         "write_idtr",
	gdtrWrite:         "write_gdtr",
	ldtrWrite:         "write_ldtr",
	trWrite:           "write_rt",
	rdtsc:             "rdtsc",
	rdpmc:             "rdpmc",
	pushf:             "pushf",
	popf:              "popf",
	cpuid:             "cpuid",
	rsm:               "rsm",
	iret:              "iret",
	swint:             "swint",
	invd:              "invd",
	pause:             "pause",
	hlt:               "hlt",
	invlpg:            "invlpg",
	invlpga:           "invlpga",
	ioio:              "io",
	msr:               "msr",
	taskSwitch:        "task_switch",
	ferrFreeze:        "ferr_freeze",
	shutdown:          "shutdown",
	vmrun:             "vmrun",
	vmmcall:           "hypercall",
	vmload:            "vmload",
	vmsave:            "vmsave",
	stgi:              "stgi",
	clgi:              "clgi",
	skinit:            "skinit",
	rdtscp:            "rdtscp",
	icebp:             "icebp",
	wbinvd:            "wbinvd",
	monitor:           "monitor",
	mwait:             "mwait",
	mwaitArmed:        null,
	xsetbv:            "xsetbv",
	rdpru:             null,
	invpcid:           "invpcid",
	npf:               "npf",
	invalid:           "invalid_guest_state",
};

const BY_CODE: ReadonlyMap<number, string | null> = new Map([
	...CONTROL_REGISTERS.flatMap((n) => [
		[EXIT_CODE.crReadBase + n, `read_cr${n}`] as const,
		[EXIT_CODE.crWriteBase + n, `write_cr${n}`] as const,
	]),
	...Array.from({ length: 8 }, (_, n) => [
		[EXIT_CODE.drReadBase + n, `read_dr${n}`] as const,
		[EXIT_CODE.drWriteBase + n, `write_dr${n}`] as const,
	]).flat(),
	...[...EXCEPTIONS].map(([vector, name]) => [EXIT_CODE.exceptionBase + vector, `${name} excp`] as const),
	...Object.entries(NAMES).map(([name, text]) => [EXIT_CODE[name as keyof typeof NAMES], text] as const),
]);

/** All of them. */
export const svmExitNames: readonly string[] = [...BY_CODE.values()].filter((name) => name !== null);

/** Name of an exit code, as trace events print it. */
export function exitReasonName(code: number): string {
	return BY_CODE.get(code) ?? `0x${(code >>> 0).toString(16)}`;
}
