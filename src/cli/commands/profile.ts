/** `reenter top`, `stat`, `script`, `record` and `report`: perf's words for where the cycles go. */
import { type Command, Option } from "commander";
import { type RecordedData, dataText } from "../../profile/data.ts";
import { explainSymbol, explanationText } from "../../profile/explain-symbol.ts";
import { chromeProfile } from "../../profile/exports/chrome.ts";
import { foldedText } from "../../profile/exports/folded.ts";
import { pprofBytes } from "../../profile/exports/pprof.ts";
import { speedscopeFile } from "../../profile/exports/speedscope.ts";
import { record } from "../../profile/record.ts";
import { hostTree, reportRows, reportText, viewTree } from "../../profile/report.ts";
import { scriptText } from "../../profile/script.ts";
import { TRACEPOINT_NAMES } from "../../profile/tracepoint-text.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { longEventsText, statText } from "../../profile/stat.ts";
import { STAT_EVENTS, type StatEvent, StatRecorder } from "../../profile/stat-recorder.ts";
import { flameSvg } from "../../profile/svg.ts";
import type { Context } from "../context.ts";
import { DEFAULT_DATA_FILE, isRecording, oldFile, readData } from "../data-file.ts";
import { EXIT, type Io, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { checkWritable, emit, emitText, writeUserFile } from "../output.ts";
import {
	addWorkloadOptions,
	count,
	inlinedOf,
	inlineOption,
	recordData,
	requested,
	type WorkloadArguments,
} from "../profile-options.ts";
import type { Registry } from "../registry.ts";
import { runLive } from "../top/live.ts";

const EVENTS_MAX = 100_000;
const FORMATS = ["text", "folded", "speedscope", "chrome", "pprof", "svg"] as const;

interface TopArguments extends WorkloadArguments {
	readonly entries?: number;
	readonly exact?: boolean;
	readonly nmi?: boolean;
	readonly guest?: boolean;
	readonly explain?: string;
	readonly stdio?: boolean;
	readonly delay?: number;
}

interface ReportArguments extends WorkloadArguments {
	readonly input: string;
	readonly base?: string;
	readonly exact?: boolean;
	readonly guest?: boolean;
	readonly entries?: number;
	readonly format?: (typeof FORMATS)[number];
	readonly svg?: boolean;
}

/** perf top's -d, in seconds. */
const DELAY_SECONDS = 2;

/** Whether the terminal is taken over: there is one, and nothing asks for a text. */
function isLive({ io }: Context, { stdio, json, output, explain }: TopArguments): boolean {
	return (
		io.terminal !== null && stdio !== true && json !== true && output === undefined && explain === undefined
	);
}

function liveCommand(context: Context, workload: string, args: TopArguments): Promise<number> {
	if (args.patch?.includes("-") === true)
		throw new UsageError("--patch - reads stdin, from which the live view takes its keys; add --stdio");
	return runLive(
		context,
		context.io.terminal!,
		{ workload, args },
		{
			weight: args.exact === true ? "cycles" : "samples",
			guest: args.guest === true,
			inlining: args.inline ?? "kernel",
			delaySeconds: args.delay ?? DELAY_SECONDS,
			entries: args.entries ?? null,
		},
	);
}

async function topCommand(context: Context, workload: string, args: TopArguments): Promise<number> {
	if (isLive(context, args)) return liveCommand(context, workload, args);
	const { io } = context;
	const request = await requested(io, workload, args);
	const exact = args.exact === true || args.explain !== undefined;
	const ops = args.explain !== undefined;
	const options = {
		...request.options,
		exact,
		ops,
		nmi: args.nmi === true,
		countsGuest: args.guest === true,
	};
	const data = recordData({ ...request, options }, 0);
	const inlined = inlinedOf(data, args.inline ?? "kernel");
	if (args.explain !== undefined) {
		const explained = explainSymbol(data, args.explain, inlined);
		emit(
			io,
			args,
			() => explanationText(explained),
			() => explained,
		);
		return EXIT.holds;
	}
	const rows = reportRows(data.calls, {
		weight: args.exact === true ? "cycles" : "samples",
		inlined,
		guest: args.guest === true,
	});
	emit(
		io,
		args,
		() => `${headText(data)}${reportText(rows, args.entries)}`,
		() => ({ workload: data.workload, tree: data.tree, vendor: data.vendor, cpu: data.cpu, rows }),
	);
	return EXIT.holds;
}

function headText({ workload, tree, vendor, cpu, vcpus, exits }: RecordedData): string {
	return `# ${workload} on ${tree}, ${vendor}, ${cpu} (modelled), ${vcpus} vCPU${vcpus === 1 ? "" : "s"}, ${exits} exits\n`;
}

interface StatArguments extends WorkloadArguments {
	readonly hz?: number;
	readonly key?: "sample" | "time";
	readonly vcpu?: number;
	readonly duration?: number;
	readonly event?: StatEvent;
}

async function statCommand({ io }: Context, workload: string, args: StatArguments): Promise<number> {
	const { options } = await requested(io, workload, args);
	const { hz = null, key = "sample", vcpu = null, duration, event = "vmexit" } = args;
	const vcpus = options.vcpus ?? options.workload.vcpus;
	if (vcpu !== null && vcpu >= vcpus)
		throw new UsageError(
			`--vcpu ${vcpu}: ${workload} has ${vcpus}, 0 to ${vcpus - 1}; --vcpus gives it more`,
		);
	const clockHz = hz ?? options.model.tscHz;
	const recorder = new StatRecorder({
		event,
		vcpu,
		durationCycles: duration === undefined ? Number.POSITIVE_INFINITY : (duration * clockHz) / 1e6,
	});
	record({ ...options, profile: false, onMachine: (machine) => recorder.attach(machine) });
	const events = [...recorder.stats.values()];
	emit(
		io,
		args,
		() => longEventsText(recorder.long, clockHz) + statText(events, { hz, key, vcpu, event }),
		() => ({ events, ...(duration === undefined ? {} : { long: recorder.long }) }),
	);
	return EXIT.holds;
}

interface ScriptArguments extends WorkloadArguments {
	readonly input: string;
	readonly lines: number;
	readonly event?: ReadonlySet<string>;
}

async function scriptCommand(
	{ io }: Context,
	workload: string | undefined,
	args: ScriptArguments,
): Promise<number> {
	const { event: wanted = null, lines } = args;
	const data = workload === undefined ? readData(io, args.input) : await runForScript(io, workload, args);
	const events = data.events.filter(({ kind }) => wanted === null || wanted.has(kind)).slice(0, lines);
	emit(
		io,
		args,
		() => scriptText(events, data.hz),
		() => ({ events }),
	);
	return EXIT.holds;
}

async function runForScript(io: Io, workload: string, args: ScriptArguments): Promise<RecordedData> {
	const request = await requested(io, workload, args);
	const options = { ...request.options, profile: false };
	return recordData({ ...request, options }, args.lines, args.event ?? null);
}

/** Names of tracepoints as perf record's -e takes them: `kvm:kvm_exit,kvm:kvm_msr`, the system may be left out. */
function eventNames(text: string): ReadonlySet<string> {
	const names = text.split(",").map((name) => name.replace(/^kvm:/, ""));
	if (names.includes("*")) return new Set(TRACEPOINT_NAMES);
	for (const name of names) {
		if (!TRACEPOINT_NAMES.includes(name))
			throw new UsageError(
				`no tracepoint "${name}"${hint(name, TRACEPOINT_NAMES)}; there are ${TRACEPOINT_NAMES.join(", ")}`,
			);
	}
	return new Set(names);
}

async function recordCommand(
	{ io }: Context,
	workload: string,
	args: WorkloadArguments & { readonly file?: string },
): Promise<number> {
	const file = args.file ?? args.output ?? DEFAULT_DATA_FILE;
	checkWritable(io, file);
	const data = recordData(await withExact(io, workload, args), EVENTS_MAX);
	if (isRecording(io, file)) writeUserFile(io, oldFile(file), io.readFile(file));
	writeUserFile(io, file, dataText(data));
	const samples = data.calls.samples.reduce((sum, value) => sum + value, 0);
	const { exits } = data;
	if (args.json === true) emit(io, { json: true }, String, () => ({ file, samples, exits }));
	else io.err(`[ reenter record: wrote ${file} (${samples} samples, ${exits} exits) ]\n`);
	return EXIT.holds;
}

async function withExact(io: Io, workload: string, args: WorkloadArguments) {
	const request = await requested(io, workload, args);
	return { ...request, options: { ...request.options, exact: true, ops: true } };
}

function reportCommand({ io }: Context, args: ReportArguments): number {
	const data = readData(io, args.input);
	const base = args.base === undefined ? null : readData(io, args.base);
	const inlining = args.inline ?? "kernel";
	const weight = args.exact === true ? ("cycles" as const) : ("samples" as const);
	const view = (from: RecordedData) => {
		const tree = viewTree(from.calls, inlinedOf(from, inlining), weight === "cycles");
		return args.guest === true ? tree : hostTree(tree);
	};
	if (args.svg === true && args.format !== undefined && args.format !== "svg")
		throw new UsageError(`--svg and --format ${args.format} are two formats; choose one`);
	const format = args.svg === true ? "svg" : (args.format ?? "text");
	if (base !== null && format !== "svg")
		throw new UsageError("--base is for a flame graph: add --svg, or compare the files by reenter diff");
	const name = `${data.workload} on ${data.tree}, ${data.cpu}`;
	switch (format) {
		case "text": {
			const rows = reportRows(data.calls, {
				weight,
				inlined: inlinedOf(data, inlining),
				guest: args.guest === true,
			});
			emit(
				io,
				args,
				() => `${headText(data)}${reportText(rows, args.entries)}`,
				() => ({ workload: data.workload, rows }),
			);
			break;
		}
		case "folded":
			emitText(io, args, () => foldedText(view(data), weight));
			break;
		case "speedscope":
			emitText(io, args, () => `${JSON.stringify(speedscopeFile(view(data), name, weight, data.hz))}\n`);
			break;
		case "chrome":
			emitText(io, args, () => {
				const cyclesPerWeight = weight === "cycles" ? 1 : data.periodCycles;
				const file = chromeProfile(view(data), name, weight, { hz: data.hz, cyclesPerWeight });
				return `${JSON.stringify(file)}\n`;
			});
			break;
		case "svg":
			emitText(io, args, () => {
				if (base === null) return flameSvg(view(data), { title: `${name}: ${weight}`, weight });
				const title = `${name} compared with ${base.tree}: ${weight}`;
				return flameSvg(view(data), { title, weight, base: { name: base.tree, calls: view(base) } });
			});
			break;
		case "pprof":
			if (args.output === undefined)
				throw new UsageError("pprof is binary; name a file: --output profile.pb");
			io.writeFile(args.output, pprofBytes(view(data), data.periodCycles, weight));
			break;
		default:
			format satisfies never;
	}
	return EXIT.holds;
}

function entriesOption(): Option {
	return new Option("-E, --entries <n>", "rows at most").argParser(count("entries"));
}

function inputOption(): Option {
	return new Option("-i, --input <file>", "what record wrote").default(DEFAULT_DATA_FILE);
}

function hertz(text: string): number {
	const value = Number(text);
	if (!(value > 0 && value < Number.POSITIVE_INFINITY))
		throw new UsageError(`--hz "${text}" is no frequency; write for example 2.7e9`);
	return value;
}

function vcpuNumber(text: string): number {
	return wholeNumber("--vcpu", text, 0);
}

function delaySeconds(text: string): number {
	const value = Number(text);
	if (!(value >= 0.1 && value <= 3600))
		throw new UsageError(`--delay "${text}" is no time of 0.1 to 3600 seconds; write for example 0.5`);
	return value;
}

/** Adds the commands. */
export function registerProfile({ context, command, action }: Registry): void {
	const workload = (usage: string, text: string): Command => addWorkloadOptions(command(usage, text));
	workload(
		"top <workload>",
		"where the host's cycles go, as perf top shows it: live on a terminal (h lists its keys), once elsewhere",
	)
		.option("--stdio", "print once; without a terminal that is the default")
		.addOption(
			new Option("-d, --delay <seconds>", "of the live view, between two refreshes; default 2").argParser(
				delaySeconds,
			),
		)
		.option("--exact", "all cycles, not samples; VM entry and VM exit apart")
		.option("--nmi", "take samples by NMIs that cost what they cost")
		.option("--guest", "sample the guest too")
		.option("--explain <symbol>", "why this symbol shows up")
		.addOption(entriesOption())
		.action(action((name: string, args: TopArguments) => topCommand(context, name, args)));
	workload("stat <workload>", "exits by reason, as perf kvm stat report shows them")
		.addOption(new Option("--hz <hz>", "print microseconds of a clock of this many Hz").argParser(hertz))
		.addOption(
			new Option("-k, --key <key>", "order of the rows: by samples, or by average time")
				.choices(["sample", "time"])
				.default("sample"),
		)
		.addOption(
			new Option("--event <event>", "what is counted: VM exits, or accesses by address, port or MSR")
				.choices(Object.keys(STAT_EVENTS))
				.default("vmexit"),
		)
		.addOption(new Option("--vcpu <n>", "events of this vCPU only").argParser(vcpuNumber))
		.addOption(
			new Option(
				"--duration <us>",
				"list events other than HLT that take longer, in microseconds of --hz or the model's clock",
			).argParser(count("duration")),
		)
		.action(action((name: string, args: StatArguments) => statCommand(context, name, args)));
	workload("script [workload]", "KVM's tracepoints, as perf script prints them")
		.addOption(
			new Option(
				"-e, --event <names>",
				"these tracepoints, as kvm:kvm_exit,kvm:kvm_msr; default all",
			).argParser(eventNames),
		)
		.addOption(inputOption())
		.addOption(new Option("-n, --lines <n>", "lines at most").argParser(count("lines")).default(1000))
		.action(action((name: string | undefined, args: ScriptArguments) => scriptCommand(context, name, args)));
	workload("record <workload>", "run a workload and keep its profile in a file")
		.addOption(new Option("-o, --file <file>", `the file, as is --output; default ${DEFAULT_DATA_FILE}`))
		.action(
			action((name: string, args: WorkloadArguments & { file?: string }) =>
				recordCommand(context, name, args),
			),
		);
	command("report", "show what record wrote, or export it")
		.addOption(inputOption())
		.option("--svg", "a flame graph, as --format svg")
		.option("--base <file>", "a recording to compare with, for --svg")
		.option("--exact", "all cycles, not samples")
		.option("--guest", "show what ran in the guest")
		.addOption(inlineOption())
		.addOption(
			new Option("--format <format>", "text, folded, speedscope, chrome, pprof or svg").choices(FORMATS),
		)
		.addOption(entriesOption())
		.action(action((args: ReportArguments) => reportCommand(context, args)));
}
