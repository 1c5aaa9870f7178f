/** `reenter trace`: a run as a timeline, of one tree or of several on one axis. */
import { Option } from "commander";
import {
	type Configuration,
	ConfigurationError,
	DEFAULT_CONFIGURATION,
	parseConfiguration,
} from "../../check/configuration.ts";
import type { Injection } from "../../check/types.ts";
import { type Image, ImageError } from "../../guests/image.ts";
import { loadImage } from "../../guests/load.ts";
import { programImage } from "../../guests/program-image.ts";
import { PROGRAMS } from "../../guests/programs.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { hint } from "../../kvm/flow/patch.ts";
import type { VendorTree } from "../../kvm/flow/vendor-module.ts";
import { chromeTimeline } from "../../profile/timeline/chrome.ts";
import { timelineHtml } from "../../profile/timeline/html.ts";
import { summaryOf } from "../../profile/timeline/bands.ts";
import type { Timeline } from "../../profile/timeline/timeline.ts";
import { recordTimeline } from "../../review/timeline.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, type Io, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { cpuOrFile } from "../model-file.ts";
import { emit } from "../output.ts";
import { readUserFile } from "../patch-source.ts";
import { patchOption, type Registry } from "../registry.ts";
import { baseOf, resolveTarget, resolveTree } from "../resolve.ts";
import { readSchedule } from "../schedule.ts";
import { readUserToken, resolveToken } from "../token-tree.ts";

const FORMATS = ["html", "chrome"] as const;
/** The check's own guest: a list of exits of all kinds. */
const SCRIPT = "script";
const EXITS = 10;
/** Above, a page is slow to open and the run slow to record. */
const EXITS_MAX = 10_000;

interface TraceArguments extends CommonOptions {
	readonly exits: number;
	readonly skip?: number;
	readonly tree?: readonly string[];
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly cpu?: string;
	readonly config?: string;
	readonly schedule?: string;
	readonly format: (typeof FORMATS)[number];
}

/** What is run: on which trees, in which configuration, with which events. */
interface Run {
	readonly targets: readonly (VendorTree & { readonly model: CpuModel })[];
	readonly configuration: Configuration;
	readonly schedule: readonly Injection[];
}

/** The trees that are named; with --patch, what is patched and below it the result. */
async function treesOf(io: Io, { tree: names = [], patch }: TraceArguments): Promise<readonly Tree[]> {
	if (patch === undefined) return Promise.all(names.map((name) => resolveTree(io, name)));
	const [spec, second] = names;
	if (second !== undefined) throw new UsageError("trace with --patch takes one --tree, the one to patch");
	return [await baseOf(io, spec, patch), await resolveTree(io, spec, patch)];
}

/** The run that a token names, and the same on the trees that are named besides. */
async function tokenRun(io: Io, token: string, args: TraceArguments): Promise<Run> {
	const given = (["vendor", "cpu", "config"] as const).find((option) => args[option] !== undefined);
	if (given !== undefined) throw new UsageError(`--${given} is the token's to say`);
	const replay = readUserToken(token);
	const [named = null, ...others] = await treesOf(io, args);
	const target = resolveToken(replay, named);
	const vendor = target.tree.loadedModule ?? target.vendor;
	return {
		targets: [target, ...others.map((tree) => resolveTarget(tree, vendor, target.model))],
		configuration: replay.configuration,
		schedule: replay.schedule,
	};
}

async function runOf(io: Io, guest: string, args: TraceArguments): Promise<Run> {
	const { schedule: text } = args;
	if (text?.startsWith("r1:") === true) {
		if (guest !== SCRIPT)
			throw new UsageError(`a token is of the check's own guest: reenter trace ${SCRIPT} --schedule ${text}`);
		return tokenRun(io, text, args);
	}
	const schedule = text === undefined ? [] : readSchedule("--schedule", text);
	const named = await treesOf(io, args);
	const trees = named.length === 0 ? [await resolveTree(io, undefined)] : named;
	const cpu = cpuOrFile(io, args.cpu);
	const usual = PROGRAMS.find(({ name }) => name === guest)?.vendors[0];
	const targets = trees.map((tree) => resolveTarget(tree, args.vendor, cpu, usual));
	const [{ vendor, model }] = targets as [Run["targets"][number]];
	try {
		const configuration =
			args.config === undefined ? DEFAULT_CONFIGURATION : parseConfiguration(args.config, vendor, model);
		return { targets, configuration, schedule };
	} catch (error) {
		if (error instanceof ConfigurationError) throw new UsageError(error.message);
		throw error;
	}
}

/** The guest's image; null for the check's own guest. */
function imageOf(io: Io, guest: string): Image | null {
	if (guest === SCRIPT) return null;
	const names = PROGRAMS.map(({ name }) => name);
	if (names.includes(guest)) return programImage(guest);
	try {
		return loadImage(readUserFile(io, guest));
	} catch (error) {
		if (error instanceof ImageError) throw new ImageError(`${guest}: ${error.message}`);
		if (!(error instanceof UsageError)) throw error;
		throw new UsageError(
			`no guest "${guest}", and no image of that name${hint(guest, names)}; there are ${SCRIPT}, ${names.join(", ")}`,
		);
	}
}

/** What a timeline comes to. */
function summary({ guest, runs }: Timeline): object {
	return {
		guest,
		runs: runs.map(({ tree, vendor, cpu, frames, bands }) => ({
			tree,
			vendor,
			cpu,
			exits: frames.stays.filter(({ reason }) => reason !== "").map(({ reason }) => reason),
			cycles: Math.round(frames.endCycles * 100) / 100,
			bands: bands.map(summaryOf).map((band) => ({ ...band, cycles: Math.round(band.cycles * 100) / 100 })),
			end: frames.end,
		})),
	};
}

async function traceCommand({ io }: Context, guest: string, args: TraceArguments): Promise<number> {
	const image = imageOf(io, guest);
	const run = await runOf(io, guest, args);
	const program = PROGRAMS.find(({ name }) => name === guest);
	const other = run.targets.find(({ vendor }) => program !== undefined && !program.vendors.includes(vendor));
	if (other !== undefined)
		throw new UsageError(`${guest} runs on ${program!.vendors.join(" and ")}, not on ${other.vendor}`);
	const timeline = recordTimeline({
		...run,
		guest,
		image,
		exits: args.exits,
		skip: args.skip ?? (program === undefined ? 0 : "loop"),
	});
	emit(
		io,
		args,
		() => (args.format === "html" ? timelineHtml(timeline) : `${JSON.stringify(chromeTimeline(timeline))}\n`),
		() => summary(timeline),
	);
	return EXIT.holds;
}

function exitsCount(text: string): number {
	return wholeNumber("--exits", text, 1, EXITS_MAX);
}

function skipCount(text: string): number {
	return wholeNumber("--skip", text, 0);
}

/** Adds `reenter trace`. */
export function registerTrace({ context, command, action }: Registry): void {
	command("trace <guest>", "a run as a timeline: steps, events, and whose value each register holds")
		.addOption(new Option("--exits <n>", "VM exits that are shown").argParser(exitsCount).default(EXITS))
		.addOption(
			new Option(
				"--skip <n>",
				"VM exits before those; default: up to the loop of a guest of this project, else 0",
			).argParser(skipCount),
		)
		.addOption(
			new Option("--tree <tree>", "the tree, default v6.18; repeated, trees on one axis").argParser(
				(tree: string, before: string[] | undefined) => [...(before ?? []), tree],
			),
		)
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree")
		.option("--cpu <model>", "CPU model, or a file that measure --fit wrote")
		.option("--config <name>", "a configuration of the check, as xcr0=host,pke=off")
		.option("--schedule <schedule>", "events that arrive, as irq@57; or a token that check printed")
		.addOption(
			new Option("--format <format>", "one page that needs nothing else, or Chrome's and Perfetto's JSON")
				.choices(FORMATS)
				.default("html"),
		)
		.action(action((guest: string, args: TraceArguments) => traceCommand(context, guest, args)));
}
