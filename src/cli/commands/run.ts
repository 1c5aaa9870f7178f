/** `reenter run`. */
import { EXIT, type Io, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { ImageError } from "../../guests/image.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { RAM_BYTES_MAX, type RunEnd } from "../../review/run.ts";
import { KvmError } from "../../uapi/api.ts";
import { openSide } from "../backend.ts";
import { compileForGuests } from "../compiler.ts";
import type { CommonOptions, Context } from "../context.ts";
import { SnapshotError, snapshotHeader } from "../../kvm/snapshot/snapshot.ts";
import { checkWritable, emit, writeUserFile } from "../output.ts";
import type { Registry } from "../registry.ts";
import { readUserFile } from "../patch-source.ts";
import { resolveTarget, resolveTree } from "../resolve.ts";
import { runStatText, savedText, statText } from "../text/cost.ts";

const BASE_TREE = "v6.18";
const SERIES_TREE = "series-v2";

interface RunArguments extends CommonOptions {
	readonly tree: string;
	readonly cpu?: string;
	readonly vendor?: string;
	readonly kernel?: string;
	readonly initrd?: string;
	readonly snapshotIn?: string;
	readonly snapshotOut?: string;
	readonly append?: string;
	readonly memory?: string;
	readonly budget?: string;
	readonly smp?: string;
	readonly seed?: string;
	readonly backend: string;
}

/** The budget as a number of guest instructions. */
function readBudget(text: string | undefined): number {
	if (text === undefined) return Number.POSITIVE_INFINITY;
	const budget = Number(text);
	if (!Number.isFinite(budget) || budget <= 0)
		throw new UsageError(`--budget "${text}" is no number of instructions; write for example 1e9`);
	return budget;
}

const MIB = 2 ** 20;
const UNITS: Readonly<Record<string, number>> = { "": MIB, k: 1024, m: MIB, g: 2 ** 30 };

/** Guest memory in bytes, as QEMU's -m takes it: MiB without a suffix, or with K, M or G. */
function readMemory(text: string | undefined): number | undefined {
	if (text === undefined) return undefined;
	const [, digits, unit] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
	const bytes = Number(digits) * (UNITS[unit?.toLowerCase() ?? ""] ?? Number.NaN);
	if (!(bytes >= MIB && bytes <= RAM_BYTES_MAX)) {
		throw new UsageError(
			`--memory "${text}": write MiB, or a number with K, M or G; 1M to ${RAM_BYTES_MAX / MIB}M`,
		);
	}
	return bytes;
}

/** What a run's exits are priced under: the tree it ran and v6.18, or, under v6.18, the merged series. */
async function comparedTrees(io: Io, name: string, tree: Tree): Promise<{ from: Tree; to: Tree }> {
	const base = await resolveTree(io, BASE_TREE);
	return name === BASE_TREE
		? { from: base, to: await resolveTree(io, SERIES_TREE) }
		: { from: base, to: tree };
}

/** The image's file: named as such, or by --kernel. */
function imageFile(file: string | undefined, kernel: string | undefined): string {
	if (file !== undefined && kernel !== undefined)
		throw new UsageError(`an image ${file} and --kernel ${kernel}: give one of them`);
	const named = file ?? kernel;
	if (named === undefined) throw new UsageError("run needs an image: reenter run <file>, or --kernel <file>");
	return named;
}

/** The guest's console: stdout, or kept for JSON and a file. */
interface Console {
	/** It goes to stdout as it comes. */
	readonly direct: boolean;
	onConsole(byte: number): void;
	text(): string;
}

function makeConsole(io: Io, options: RunArguments): Console {
	const direct = options.json !== true && options.output === undefined;
	const bytes: number[] = [];
	return {
		direct,
		onConsole: (byte) => {
			if (direct) io.outByte(byte);
			else bytes.push(byte);
		},
		text: () => new TextDecoder().decode(Uint8Array.from(bytes)),
	};
}

/** Prints what is left to print. @returns the exit code: the guest's own, if it has one */
function finish(
	io: Io,
	options: RunArguments,
	console: Console,
	outcome: RunEnd,
	statistics: () => string,
): number {
	const said = console.text();
	if (!console.direct)
		emit(
			io,
			options,
			() => said,
			() => ({ ...outcome, console: said }),
		);
	if (options.json !== true) io.err(statistics());
	if (outcome.kind === "exit" || outcome.kind === "power-off") return outcome.code;
	io.err(`reenter: ${outcome.message}\n`);
	return EXIT.guest;
}

const SOFT_ONLY = ["cpu", "vendor", "budget", "snapshotIn", "snapshotOut"] as const;

/** Runs an image on /dev/kvm. */
async function runOnDev(context: Context, file: string, options: RunArguments): Promise<number> {
	const { io, services } = context;
	const given = SOFT_ONLY.find((option) => options[option] !== undefined);
	if (given !== undefined)
		throw new UsageError(
			`--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is the software machine's; --backend dev has the computer's own`,
		);
	if ((options.smp ?? "1") !== "1") throw new UsageError("--backend dev runs one vCPU");
	const ramBytes = readMemory(options.memory);
	const bytes = readUserFile(io, file);
	const initrd = options.initrd === undefined ? undefined : readUserFile(io, options.initrd);
	const side = openSide(context, "--backend", "dev");
	if (side === null) return EXIT.skipped;
	const console = makeConsole(io, options);
	const start = services.clock.now();
	try {
		const outcome = await services.runImageOn(side.kvm, {
			bytes,
			fileName: file.split("/").at(-1) ?? file,
			...(initrd === undefined ? {} : { initrd }),
			...(options.append === undefined ? {} : { append: options.append }),
			...(ramBytes === undefined ? {} : { ramBytes }),
			seconds: () => (services.clock.now() - start) / 1e9,
			onConsole: console.onConsole,
		});
		return finish(io, options, console, outcome, () => runStatText(outcome));
	} catch (error) {
		if (error instanceof ImageError) throw new UsageError(`${file}: ${error.message}`);
		if (!(error instanceof KvmError)) throw error;
		io.err(`reenter: this KVM refuses the guest: ${error.message}\n`);
		return EXIT.skipped;
	} finally {
		side.kvm.close();
	}
}

/** The snapshot to go on from; null without one. @throws UsageError for options that make a machine, beside one */
function readSnapshot(io: Io, image: string | undefined, options: RunArguments): Uint8Array | null {
	if (options.snapshotIn === undefined) return null;
	const { kernel, initrd, append, memory, smp, seed } = options;
	const beside = Object.entries({
		"<file>": image,
		"--kernel": kernel,
		"--initrd": initrd,
		"--append": append,
		"--memory": memory,
		"--smp": smp,
		"--seed": seed,
	});
	const given = beside.find(([, value]) => value !== undefined);
	if (given !== undefined)
		throw new UsageError(`--snapshot-in has the machine as it was: ${given[0]} cannot go with it`);
	const bytes = readUserFile(io, options.snapshotIn);
	try {
		snapshotHeader(bytes);
	} catch (error) {
		if (error instanceof SnapshotError) throw new UsageError(`${options.snapshotIn}: ${error.message}`);
		throw error;
	}
	return bytes;
}

/** Runs an image, or goes on from a snapshot. Its serial output is stdout; its exit code, when it has one, is ours. */
async function runCommand(
	context: Context,
	image: string | undefined,
	options: RunArguments,
): Promise<number> {
	const { io, services } = context;
	const { snapshotOut } = options;
	checkWritable(io, snapshotOut);
	const snapshot = readSnapshot(io, image, options);
	const file = options.snapshotIn ?? imageFile(image, options.kernel);
	if (options.backend === "dev") return runOnDev(context, file, options);
	if (options.backend !== "soft")
		throw new UsageError(`--backend "${options.backend}": there are dev, the real /dev/kvm, and soft`);
	const made = snapshot === null ? null : snapshotHeader(snapshot);
	const treeName = made !== null && options.tree === BASE_TREE ? made.tree : options.tree;
	const named = await resolveTree(io, treeName);
	const { tree, vendor, model } = resolveTarget(
		named,
		options.vendor ?? made?.vendor,
		options.cpu ?? made?.model,
	);
	if (vendor === "tdx") throw new UsageError("a TD needs a measured image; run takes vmx or svm");
	const budgetInstructions = readBudget(options.budget);
	const ramBytes = readMemory(options.memory);
	const bytes = snapshot ?? readUserFile(io, file);
	const console = makeConsole(io, options);
	compileForGuests();
	let outcome: ReturnType<typeof services.runImage>;
	try {
		outcome = services.runImage({
			bytes,
			fileName: file.split("/").at(-1) ?? file,
			tree,
			model,
			vendor,
			...(options.initrd === undefined ? {} : { initrd: readUserFile(io, options.initrd) }),
			...(options.append === undefined ? {} : { append: options.append }),
			...(ramBytes === undefined ? {} : { ramBytes }),
			budgetInstructions,
			vcpus: wholeNumber("--smp", options.smp ?? "1", 1, 64),
			seed: wholeNumber("--seed", options.seed ?? "1", 0, 2 ** 32 - 1),
			...(snapshot === null ? {} : { snapshotIn: snapshot }),
			...(snapshotOut === undefined ? {} : { onSnapshot: (state) => writeUserFile(io, snapshotOut, state) }),
			compare: await comparedTrees(io, treeName, tree),
			onConsole: console.onConsole,
		});
	} catch (error) {
		if (error instanceof ImageError || error instanceof SnapshotError)
			throw new UsageError(`${file}: ${error.message}`);
		throw error;
	}
	return finish(io, options, console, outcome, () =>
		[statText(outcome), ...(outcome.saved === null ? [] : [savedText(outcome.saved, outcome)])].join(""),
	);
}

/** Adds `reenter run`. */
export function registerRun({ context, command, action }: Registry): void {
	command("run [file]", "run a guest image: ELF64, multiboot, or a Linux kernel")
		.option("--tree <tree>", "the tree", BASE_TREE)
		.option("--cpu <model>", "CPU model")
		.option("--vendor <vendor>", "vmx or svm")
		.option("--kernel <file>", "the image, in QEMU's word")
		.option("--initrd <file>", "initial RAM disk of a Linux kernel")
		.option("--append <args>", "command line of a Linux kernel, arguments of a multiboot guest")
		.option("--memory <size>", "guest memory in MiB, or with K, M or G")
		.option("--smp <n>", "virtual CPUs; default 1")
		.option("--seed <n>", "chooses how several CPUs take turns, and what RDRAND returns; default 1")
		.option("--backend <machine>", "soft, or dev: this computer's /dev/kvm", "soft")
		.option("--budget <instructions>", "guest instructions, VM exits and 1000s of cycles after which to stop")
		.option("--snapshot-out <file>", "write the machine as it is at the end of the run")
		.option("--snapshot-in <file>", "go on from there, in place of an image")
		.action(action((file: string | undefined, options: RunArguments) => runCommand(context, file, options)));
}
