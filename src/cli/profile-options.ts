/** Options that the commands of the profile share, and the recording that they lead to. */
import { type Command, Option } from "commander";
import type { Machine } from "../kvm/api/kvm.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { RecordedData } from "../profile/data.ts";
import { type RecordOptions, record } from "../profile/record.ts";
import { INLININGS, type Inlining, inlinedSymbols } from "../profile/symbols.ts";
import { TraceRecorder } from "../profile/tracepoints.ts";
import { LINUX_BOOT, linuxWorkload } from "../profile/workloads/linux.ts";
import type { Workload } from "../profile/workloads/workload.ts";
import { findWorkload } from "../profile/workloads/workloads.ts";
import type { CommonOptions } from "./context.ts";
import { type Io, UsageError } from "./io.ts";
import { wholeNumber } from "./numbers.ts";
import { installedKernel, makeInitramfs } from "./linux-files.ts";
import { cpuOrFile } from "./model-file.ts";
import { readUserFile } from "./patch-source.ts";
import { patchOption } from "./registry.ts";
import { resolveTarget, resolveTree } from "./resolve.ts";

/** What runs a workload. */
export interface WorkloadArguments extends CommonOptions {
	readonly tree?: string;
	readonly patch?: readonly string[];
	readonly cpu?: string;
	readonly vendor?: string;
	readonly vcpus?: number;
	readonly iterations?: number;
	readonly seed?: number;
	readonly period?: number;
	readonly inline?: Inlining;
	readonly kernel?: string;
	readonly initrd?: string;
	readonly append?: string;
}

/** An option's argument as a number of at least 1. */
export function count(flag: string): (text: string) => number {
	return (text) => wholeNumber(`--${flag}`, text, 1);
}

/** Adds the options of `WorkloadArguments`. */
export function addWorkloadOptions(command: Command): Command {
	return command
		.option("--tree <tree>", "the tree; default v6.18")
		.addOption(patchOption())
		.option("--cpu <model>", "CPU model, or a file that measure --fit wrote")
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree")
		.addOption(new Option("--vcpus <n>", "virtual CPUs, each on a CPU of its own").argParser(count("vcpus")))
		.addOption(new Option("--iterations <n>", "the guest's iterations").argParser(count("iterations")))
		.addOption(new Option("--seed <n>", "how several CPUs take turns").argParser(count("seed")))
		.addOption(
			new Option("--period <cycles>", "cycles from one sample to the next").argParser(count("period")),
		)
		.addOption(inlineOption())
		.option("--kernel <bzImage>", "of linux-boot; default: Debian's in /boot")
		.option("--initrd <file>", "of linux-boot; default: a busybox that powers off")
		.option("--append <words>", "command line of linux-boot's kernel");
}

const OF_LINUX = ["kernel", "initrd", "append"] as const;

/** The workload that is named; for linux-boot with the files that it takes. @throws SkippedError if there are none */
function workloadOf(io: Io, name: string, args: WorkloadArguments): Workload {
	if (name !== LINUX_BOOT) {
		const given = OF_LINUX.find((option) => args[option] !== undefined);
		if (given !== undefined) throw new UsageError(`--${given} is for the workload ${LINUX_BOOT}`);
		return findWorkload(name);
	}
	const kernel = readUserFile(io, args.kernel ?? installedKernel());
	const initrd = args.initrd === undefined ? makeInitramfs() : readUserFile(io, args.initrd);
	return linuxWorkload({ kernel, initrd, ...(args.append === undefined ? {} : { append: args.append }) });
}

/** `--inline`. @param initial null: no default, so that it shows whether it was given */
export function inlineOption(initial: Inlining | null = "kernel"): Option {
	const option = new Option(
		"--inline <what>",
		"functions that have no symbol: as the kernel's build, all that may, none",
	).choices(INLININGS);
	return initial === null ? option : option.default(initial);
}

/** What a command line asks to run. */
export interface Requested {
	readonly tree: Tree;
	readonly options: RecordOptions;
}

/** Finds workload, tree, vendor and model. */
export async function requested(io: Io, workload: string, args: WorkloadArguments): Promise<Requested> {
	const patched = await resolveTree(io, args.tree, args.patch);
	const target = resolveTarget(patched, args.vendor, cpuOrFile(io, args.cpu));
	return {
		tree: target.tree,
		options: {
			workload: workloadOf(io, workload, args),
			...target,
			...(args.vcpus === undefined ? {} : { vcpus: args.vcpus }),
			...(args.iterations === undefined ? {} : { iterations: args.iterations }),
			...(args.seed === undefined ? {} : { seed: args.seed }),
			...(args.period === undefined ? {} : { periodCycles: args.period }),
		},
	};
}

/**
 * Runs it, and gives what a file of it holds.
 * @param eventsMax tracepoints that are kept one by one
 * @param wanted names of those that are kept; null: all
 */
export function recordData(
	{ tree, options }: Requested,
	eventsMax: number,
	wanted: ReadonlySet<string> | null = null,
): RecordedData {
	const tracer = new TraceRecorder(eventsMax, wanted);
	const recording = record({
		...options,
		onMachine: (machine: Machine) => tracer.attach(machine),
	});
	return {
		...recording,
		stats: [...tracer.stats.values()],
		events: tracer.events,
		inlined: [...inlinedSymbols(tree, "kernel")],
		inlinable: [...inlinedSymbols(tree, "all")],
	};
}

/** What --inline leaves without a symbol, of a recording. */
export function inlinedOf(
	data: Pick<RecordedData, "inlined" | "inlinable">,
	inlining: Inlining,
): ReadonlySet<string> {
	return new Set(inlining === "none" ? [] : inlining === "all" ? data.inlinable : data.inlined);
}
