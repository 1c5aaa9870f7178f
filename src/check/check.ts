/**
 * The check: one event of each kind before every op, and in the guest behind every VM entry, against the
 * properties. What a pass does not prove is said by `bounds`.
 */
import type { CompiledTree } from "../kvm/flow/compile.ts";
import { compileTree } from "../kvm/flow/compile.ts";
import { type Silicon, createSilicon } from "../kvm/api/kvm.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { skippedStep } from "./explain.ts";
import { minimise, minimiseRuns } from "./minimise.ts";
import { type Failure, type RunResult, type RunSetup, runSchedule } from "./run.ts";
import { type Configuration, DEFAULT_CONFIGURATION, configurationName } from "./configuration.ts";
import { EVENT_KINDS, eventRow, findEventKind } from "./events.ts";
import { makeToken } from "./token.ts";
import { Tracer } from "./trace.ts";
import type { CheckOptions, CheckResult, EventKind, Injection, Violation } from "./types.ts";

/** The program that a vendor's check runs. */
export function checkGuest(vendor: CheckOptions["vendor"]): string {
	return vendor === "tdx" ? "td-mixed" : "mixed";
}

const silicons = new Map<CpuModel, Silicon>();

/** One hardware a model, so that translated code is kept from run to run. */
export function siliconFor(model: CpuModel): Silicon {
	let silicon = silicons.get(model);
	if (silicon === undefined) {
		silicon = createSilicon(model);
		silicons.set(model, silicon);
	}
	return silicon;
}

/** The token of a schedule, as `--replay` takes it: `irq@57`, `nmi@60g` for one in the guest. */
export function scheduleToken(schedule: readonly Injection[]): string {
	return schedule.map(({ event, at, inGuest }) => `${event}@${at}${inGuest === true ? "g" : ""}`).join(",");
}

/** Reads a token. @returns null if it is none */
export function parseSchedule(token: string): Injection[] | null {
	const schedule: Injection[] = [];
	for (const part of token.split(",")) {
		const match = /^([a-z-]+)@(\d+)(g?)$/.exec(part);
		const event = findEventKind(match?.[1] ?? "");
		if (match === null || event === undefined) return null;
		schedule.push({ event, at: Number(match[2]), ...(match[3] === "g" ? { inGuest: true } : {}) });
	}
	return schedule.sort((a, b) => a.at - b.at);
}

/** Every schedule of one event: the least comes first. */
function singleEvents(quiet: RunResult, kinds: readonly EventKind[]): Injection[][] {
	const entries = new Set(quiet.entries);
	const schedules: Injection[][] = [];
	for (let at = 1; at <= quiet.ops; at++) {
		for (const event of kinds) {
			const { places } = eventRow(event);
			const isEntry = entries.has(at);
			if (places.includes(isEntry && places.includes("entry") ? "entry" : "host"))
				schedules.push([{ event, at }]);
			if (isEntry && places.includes("guest")) schedules.push([{ event, at, inGuest: true }]);
		}
	}
	return schedules;
}

/** Runs a check. */
export function runCheck(options: CheckOptions): CheckResult {
	const { vendor, model, mceHandler } = options;
	const configuration: Configuration = options.configuration ?? { ...DEFAULT_CONFIGURATION, mceHandler };
	const guest = options.guest ?? checkGuest(vendor);
	const silicon = siliconFor(model);
	const setup = (tree: CompiledTree): RunSetup => ({ tree, model, configuration, silicon, guest });
	const ours = setup(compileTree(options.tree, vendor, true));
	const kinds = options.events ?? EVENT_KINDS;
	const quiet = runSchedule(ours, []);
	const schedules = options.only !== undefined ? [[...options.only]] : [[], ...singleEvents(quiet, kinds)];

	const found = new Map<string, { failure: Failure; schedule: readonly Injection[] }>();
	const sometimes = {
		"fastpath re-entry": 0,
		"interrupt serviced": 0,
		"#MC handled": 0,
		"context switch": 0,
	};
	let exits = 0;
	for (const [done, schedule] of schedules.entries()) {
		const result = runSchedule(ours, schedule);
		exits += result.exits;
		sometimes["fastpath re-entry"] += result.fastpathReentries;
		sometimes["interrupt serviced"] += result.interruptsHandled;
		sometimes["#MC handled"] += result.machineChecks;
		sometimes["context switch"] += result.switches;
		for (const failure of result.failures) {
			if (!found.has(failure.property)) found.set(failure.property, { failure, schedule });
		}
		if (done % 256 === 0) options.onProgress?.(done, schedules.length);
	}

	const base = setup(compileTree(options.base, vendor, true));
	const explained = [...found.values()].map((entry) => ({
		degree: entry.failure.degree,
		violation: explain(options, ours, base, entry.failure, entry.schedule),
	}));
	const violations = explained
		.filter(({ degree }) => degree === "violation")
		.map(({ violation }) => violation);
	return {
		tree: options.tree.name,
		vendor,
		...(options.tree.loadedModule === undefined ? {} : { module: options.tree.loadedModule }),
		cpu: model.name,
		verdict: violations.length === 0 ? "holds" : "violated",
		violations,
		findings: explained.filter(({ degree }) => degree === "finding").map(({ violation }) => violation),
		sometimes,
		bounds: {
			eventsMax: 1,
			replayed: options.only !== undefined,
			kinds,
			points: quiet.ops,
			runs: schedules.length,
			exits,
			guest,
			mceHandler,
			configurations: [configurationName(configuration)],
		},
	};
}

/** The command that shows a run again. A tree that is known by its hash alone need not be named. */
function replayCommand(
	{ tree, vendor, model }: CheckOptions,
	{ configuration, guest }: RunSetup,
	schedule: readonly Injection[],
): string {
	const token = makeToken({ tree, vendor }, { model, configuration, guest, schedule });
	return `reenter replay ${token}${tree.spec === undefined ? "" : ` ${tree.spec}`}`;
}

/** What shows the same with less, for a schedule that no search found. */
function minimised(
	options: CheckOptions,
	ours: RunSetup,
	{ property }: Failure,
	schedule: readonly Injection[],
): Pick<Violation, "minimised"> {
	if (options.only === undefined) return {};
	const { configuration } = ours;
	const least = minimise({ schedule, configuration }, minimiseRuns(ours, property));
	if (least.schedule === schedule && least.configuration === configuration) return {};
	const replay = replayCommand(options, { ...ours, configuration: least.configuration }, least.schedule);
	return { minimised: { schedule: least.schedule, replay } };
}

/** A failure as a violation: its trace, the step that was left out, and the command that shows it again. */
export function explain(
	options: CheckOptions,
	ours: RunSetup,
	base: RunSetup,
	failure: Failure,
	schedule: readonly Injection[],
): Violation {
	const tracer = new Tracer();
	runSchedule(ours, schedule, tracer);
	const places = tracer.places.slice(0, tracer.placesAtFailure.get(failure.property));
	const skipped =
		options.tree.name === options.base.name
			? null
			: skippedStep(ours, base, failure.property, schedule, places);
	const titles = schedule.map(({ event }) => eventRow(event).title);
	const event = titles.length === 0 ? "" : `${titles.join(", then ")}: `;
	return {
		property: failure.property,
		summary: `${event}${failure.detail}${skipped === null ? "" : `; ${skipped}`}`,
		replay: replayCommand(options, ours, schedule),
		...minimised(options, ours, failure, schedule),
		schedule,
		callStack: failure.callStack,
		trace: tracer.lines,
		initial: tracer.initial,
	};
}
