/** Which tests of kvm-unit-tests run, on what machine, and what their ends mean. */
import { HOST_BOOT_EPOCH_SECONDS } from "../../host/kernel.ts";
import type { UnitTest } from "./config.ts";

/** What was asked for. */
export interface KutSelection {
	/** Names of tests; empty for all. */
	readonly names: readonly string[];
	readonly group: string | null;
	/** Those of the group nodefault as well. */
	readonly all: boolean;
}

/** The machine of one test. */
export interface KutMachine {
	readonly vcpus: number;
	/** QEMU's -cpu; null for all that the host has. */
	readonly guestCpu: string | null;
	readonly pit: boolean;
	/** Guest memory in bytes; null for the default. */
	readonly ramBytes: number | null;
	readonly append: string;
}

/** How a test ended. */
export type KutStatus = "PASS" | "FAIL" | "SKIP";

export interface KutResult {
	readonly name: string;
	readonly status: KutStatus;
	/** In brackets behind the name: the test's own summary, or why there is none. */
	readonly detail: string;
	readonly seconds: number;
	/** All that the guest printed. */
	readonly log: string;
}

/** Statuses that the runner sees: QEMU's for isa-debug-exit, which is twice the value and one, and timeout(1)'s. */
export const KUT_STATUS = { pass: 1, skip: 77, timeout: 124 } as const;

/** QEMU's exit status for a value that the guest writes to isa-debug-exit. */
export function qemuStatus(value: number): number {
	return ((value << 1) | 1) & 0xff;
}

const MIB = 2 ** 20;

/** Tests that are wanted, in the order of the list. */
export function selectTests(
	tests: readonly UnitTest[],
	{ names, group }: Pick<KutSelection, "names" | "group">,
): UnitTest[] {
	return tests.filter(
		(test) =>
			(names.length === 0 || names.includes(test.name)) && (group === null || test.groups.includes(group)),
	);
}

/** Groups and devices that this machine does not have, and what to say. */
const LACKS: readonly (readonly [word: RegExp, reason: string])[] = [
	[/\+vmx\b/, "nested VMX is not offered"],
	[/\+svm\b/, "nested SVM is not offered"],
	[/intel-iommu/, "no IOMMU"],
	[/hyperv-testdev|hv_passthrough/, "no Hyper-V enlightenments"],
	[/vmport=on/, "no VMware backdoor"],
];

/**
 * Why a test does not run here, or null.
 * @param selection what was asked for: a test of the group nodefault runs with all, or by its group or name
 * @param arch ARCH of the build
 */
export function skipReason(test: UnitTest, selection: KutSelection, arch: string): string | null {
	const asked = selection.all || selection.group !== null || selection.names.includes(test.name);
	if (test.groups.includes("nodefault") && !asked) return "test marked as manual run only";
	if (test.arch !== "" && test.arch !== arch) return `${test.arch} only`;
	if (test.groups.includes("tasks")) return "no hardware task switches";
	for (const [word, reason] of LACKS) if (word.test(test.params)) return reason;
	// enable_pmu and the like: modules' parameters that this KVM does not have.
	const [check] = test.check;
	if (check !== undefined) return `${check.replace(/=.*/, "")} not equal to ${check.replace(/.*=/, "")}`;
	return null;
}

/** The value of an option of QEMU's, as in `-m 2048`. */
function option(params: string, name: string): string | null {
	return new RegExp(`(?:^|\\s)${name}\\s+(\\S+)`).exec(params)?.[1] ?? null;
}

function memoryBytes(text: string | null): number | null {
	const match = /^(\d+)([mMgG]?)$/.exec(text ?? "");
	if (match === null) return null;
	return Number(match[1]) * (/g/i.test(match[2]!) ? 1024 * MIB : MIB);
}

/** What QEMU's options ask for, as far as it means something here. */
export function machineOf(test: UnitTest): KutMachine {
	const machine = option(test.params, "-machine") ?? option(test.params, "-M") ?? "";
	return {
		vcpus: test.smp,
		guestCpu: option(test.params, "-cpu"),
		pit: !/\bpit=off\b/.test(machine),
		ramBytes: memoryBytes(option(test.params, "-m")),
		// The shell's clock is the machine's.
		append: test.args.replaceAll("`date +%s`", String(HOST_BOOT_EPOCH_SECONDS)),
	};
}

/** The runner's own timeout, as it is written. */
export const RUNNERS_TIMEOUT = "90s";

/** How kvm-unit-tests' own runner starts a test, which `run_tests.sh -v` prints. @param timeout as it is written */
export function runnerCommand({ name, file, smp, args, params }: UnitTest, timeout: string): string {
	// A shell is to carry `date +%s` out, and leave all else.
	const quote = args.includes("`") ? '"' : "'";
	const append = args === "" ? "" : ` -append ${quote}${args}${quote}`;
	const more = params.replace(/\s+/g, " ").trim();
	const command = `./x86/run x86/${file} -smp ${smp}${append}${more === "" ? "" : ` ${more}`}`;
	return `TESTNAME=${name} TIMEOUT=${timeout} MACHINE= ACCEL= ${command}`;
}

/** The last "SUMMARY:" of a test's output, without the word. */
function summaryOf(log: string): string {
	const lines = log.trimEnd().split(/\r?\n/).slice(-5);
	const line = lines.findLast((candidate) => candidate.startsWith("SUMMARY: "));
	return line === undefined ? "" : line.slice("SUMMARY: ".length);
}

/**
 * What a test's end means, as kvm-unit-tests' own runner judges it.
 * @param code QEMU's exit status, or KUT_STATUS.timeout; null when the guest did not exit
 * @param reason why, when it did not exit
 * @param timeout that it had, as it is written
 */
export function judge(
	test: UnitTest,
	code: number | null,
	reason: string,
	log: string,
	seconds: number,
	timeout: string,
): KutResult {
	const rest = { name: test.name, seconds, log };
	const summary = summaryOf(log);
	if (code === KUT_STATUS.pass) return { ...rest, status: "PASS", detail: summary };
	if (code === KUT_STATUS.skip) return { ...rest, status: "SKIP", detail: summary };
	if (code === KUT_STATUS.timeout) return { ...rest, status: "FAIL", detail: `timeout; duration=${timeout}` };
	if (code === null) return { ...rest, status: "FAIL", detail: reason };
	return { ...rest, status: "FAIL", detail: summary === "" ? `exit status ${code}` : summary };
}
