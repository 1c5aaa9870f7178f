/** `reenter kut`: kvm-unit-tests, built by whoever runs them. */
import { join } from "node:path";
import { KutConfigError, parseArch, parseUnittests, type UnitTest } from "../../review/kut/config.ts";
import {
	judge,
	type KutResult,
	machineOf,
	RUNNERS_TIMEOUT,
	runnerCommand,
	selectTests,
	skipReason,
} from "../../review/kut/plan.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { checkWritable, emit, makeUserFolder, writeUserFile } from "../output.ts";
import type { Registry } from "../registry.ts";
import { isPatchFile, readUserFile } from "../patch-source.ts";
import { resolveTarget, resolveTree, type Target } from "../resolve.ts";
import { kutCounts, kutJunit, kutLine, kutTap } from "../text/kut.ts";
import { hint } from "../../kvm/flow/patch.ts";

interface KutArguments extends CommonOptions {
	readonly tree: string;
	readonly cpu?: string;
	readonly vendor?: string;
	readonly group?: string;
	readonly all?: boolean;
	readonly parallel?: string;
	/** As `parallel`. */
	readonly jobs?: string;
	readonly list?: boolean;
	readonly verbose?: boolean;
	readonly tap13?: boolean;
	/** As `tap13`. */
	readonly tap?: boolean;
	readonly junit?: string;
	readonly logs?: string;
	readonly timeout?: string;
	readonly seed: string;
}

/** Seconds of RUNNERS_TIMEOUT. */
const TIMEOUT_SECONDS = 90;

/** What the options say of how tests are run. */
interface Settings {
	readonly tree: string;
	readonly target: Target;
	readonly seed: number;
	/** Seconds; null: each test's own. */
	readonly timeoutSeconds: number | null;
}

/** A file of the build, and what it says. @throws UsageError */
function readBuild<T>(
	{ io }: Context,
	directory: string,
	file: string,
	parse: (text: string, path: string) => T,
): T {
	const path = join(directory, file);
	const text = new TextDecoder().decode(readUserFile(io, path));
	try {
		return parse(text, path);
	} catch (error) {
		if (error instanceof KutConfigError) throw new UsageError(error.message);
		throw error;
	}
}

/** One test: run, or skipped. */
async function runTest(
	{ io, services }: Context,
	directory: string,
	test: UnitTest,
	{ tree, target, seed, timeoutSeconds }: Settings,
	skip: string | null,
): Promise<KutResult> {
	const none = { name: test.name, seconds: 0, log: "" };
	if (skip !== null) return { ...none, status: "SKIP", detail: skip };
	const path = join(directory, "x86", test.file);
	try {
		io.readFile(path);
	} catch {
		return { ...none, status: "SKIP", detail: `Test file '${path}' not found` };
	}
	const end = await services.runKutTask({
		path,
		tree,
		model: target.model.name,
		vendor: target.vendor,
		seed,
		machine: machineOf(test),
		timeoutSeconds: timeoutSeconds ?? test.timeoutSeconds ?? TIMEOUT_SECONDS,
	});
	const log = end.reason === "" ? end.log : `${end.log}reenter: ${end.reason}\n`;
	return judge(test, end.code, end.reason.split("\n")[0]!, log, end.seconds, timeoutOf(test, timeoutSeconds));
}

/** A test's timeout as it is written. @param seconds for every test, or null */
function timeoutOf(test: UnitTest, seconds: number | null): string {
	if (seconds !== null) return `${seconds}s`;
	return test.timeout === "" ? RUNNERS_TIMEOUT : test.timeout;
}

async function kutCommand(
	context: Context,
	directory: string,
	names: string[],
	options: KutArguments,
): Promise<number> {
	const { io, style } = context;
	const { tree } = options;
	const tap = options.tap === true || options.tap13 === true;
	if (isPatchFile(tree))
		throw new UsageError(`--tree "${tree}": kut takes built-in trees; reenter trees lists them`);
	const target = resolveTarget(await resolveTree(io, tree), options.vendor, options.cpu);
	if (target.vendor === "tdx") throw new UsageError("kvm-unit-tests are no TDs; --vendor takes vmx or svm");
	const all = readBuild(context, directory, "x86/unittests.cfg", parseUnittests);
	for (const name of names) {
		const known = all.map((test) => test.name);
		if (!known.includes(name)) throw new UsageError(`no test "${name}"${hint(name, known)}; -l lists them`);
	}
	const selection = { names, group: options.group ?? null, all: options.all === true };
	const settings = {
		tree,
		target,
		seed: wholeNumber("--seed", options.seed, 0),
		timeoutSeconds: options.timeout === undefined ? null : wholeNumber("--timeout", options.timeout, 1),
	};
	const jobs = wholeNumber("-j", options.parallel ?? options.jobs ?? "1", 1);
	const tests = selectTests(all, selection);
	if (tests.length === 0) throw new UsageError(`no test is in the group "${options.group}"`);
	if (options.list === true) {
		emit(
			io,
			options,
			() => tests.map(({ name }) => `${name}\n`).join(""),
			() => ({ tests: tests.map(({ name }) => name) }),
		);
		return EXIT.holds;
	}
	const arch = readBuild(context, directory, "config.mak", parseArch);
	checkWritable(io, options.junit);
	if (options.logs !== undefined) makeUserFolder(io, options.logs);
	const results: KutResult[] = new Array(tests.length);
	const live = options.json !== true && !tap && options.output === undefined;
	const line = (at: number) => {
		const command =
			options.verbose === true && results[at]!.seconds > 0
				? `${runnerCommand(tests[at]!, timeoutOf(tests[at]!, settings.timeoutSeconds))}\n`
				: "";
		return command + kutLine(results[at]!, style);
	};
	let next = 0;
	let printed = 0;
	const work = async () => {
		while (next < tests.length) {
			const at = next++;
			const test = tests[at]!;
			const skip = skipReason(test, selection, arch);
			const result = await runTest(context, directory, test, settings, skip);
			results[at] = result;
			if (options.logs !== undefined && result.log !== "") {
				writeUserFile(io, join(options.logs, `${test.name}.log`), result.log);
			}
			// In the order of the list, whichever ends first.
			for (; live && printed < tests.length && results[printed] !== undefined; printed++) {
				io.out(line(printed));
			}
		}
	};
	await Promise.all(Array.from({ length: Math.min(jobs, tests.length) }, work));
	if (live) io.err(kutCounts(results));
	else {
		emit(
			io,
			options,
			() => (tap ? kutTap(results) : results.map((_, at) => line(at)).join("")),
			() => ({ vendor: target.vendor, cpu: target.model.name, tests: results }),
		);
	}
	if (options.junit !== undefined) writeUserFile(io, options.junit, kutJunit(results));
	return results.some(({ status }) => status === "FAIL") ? EXIT.violated : EXIT.holds;
}

/** Adds `reenter kut`. */
export function registerKut({ context, command, action }: Registry): void {
	command("kut <dir> [test...]", "run built kvm-unit-tests, x86/unittests.cfg of <dir>")
		.option("--tree <tree>", "a built-in tree", "v6.18")
		.option("--cpu <model>", "CPU model")
		.option("--vendor <vendor>", "vmx or svm")
		.option("-g, --group <group>", "only tests of this group")
		.option("-a, --all", "also tests marked nodefault")
		.option("-j, --parallel <n>", "tests at a time; default 1")
		.option("--jobs <n>", "as --parallel")
		.option("-l, --list", "list the tests")
		.option("-v, --verbose", "print how run_tests.sh starts each test")
		.option("-t, --tap13", "print TAP")
		.option("--tap", "as --tap13")
		.option("--junit <file>", "write JUnit's XML")
		.option("--logs <dir>", "write what each test printed, a file a test; made if it is not there")
		.option("--timeout <seconds>", "for every test, in place of its own")
		.option("--seed <n>", "chooses how several CPUs take turns, and what RDRAND returns", "1")
		.action(
			action((directory: string, names: string[], options: KutArguments) =>
				kutCommand(context, directory, names, options),
			),
		);
}
