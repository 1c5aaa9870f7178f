// The check: every built-in tree on every vendor, with one event in a run and with two, in the default configuration, on all
// threads. Seconds, schedules and states a second of each number of events, and the targets beside them.
//
//     npm run bench:check -- --jobs 2 --max-events 1,2 --trees v6.18,series-v1
import { availableParallelism, cpus, loadavg } from "node:os";
import { performance } from "node:perf_hooks";
import { DEFAULT_CONFIGURATION } from "../dist/check/configuration.js";
import { processIo } from "../dist/cli/process-io.js";
import { runChecks } from "../dist/cli/pool/checks.js";
import { v618 } from "../dist/kvm/trees/base.js";
import { BUILT_IN_TREES, findTree } from "../dist/kvm/trees/trees.js";
import { VENDORS } from "../dist/silicon/models/model.js";
import { defaultModel } from "../dist/silicon/models/models.js";
import { readOptions } from "../dist/cli/script-options.js";

/** Seconds, by events of a run. */
const TARGETS = { 1: 3, 2: 60 };

const values = readOptions("bench:check", {
	jobs: { type: "string", default: String(availableParallelism()) },
	"max-events": { type: "string", default: Object.keys(TARGETS).join(",") },
	trees: { type: "string", default: BUILT_IN_TREES.map(({ name }) => name).join(",") },
	vendors: { type: "string", default: VENDORS.join(",") },
});
const threads = Number(values.jobs);

function request(tree, vendor, eventsMax) {
	const model = defaultModel(vendor);
	return {
		words: { spec: tree, patch: undefined, vendor, cpu: undefined },
		options: {
			tree: findTree(tree),
			base: v618,
			vendor,
			model,
			mceHandler: "task-work",
			configuration: DEFAULT_CONFIGURATION,
			eventsMax,
		},
	};
}

/** CPU seconds of the process so far, all threads'. */
const cpuSeconds = () => {
	const { user, system } = process.cpuUsage();
	return (user + system) / 1e6;
};
const rate = (count, seconds) => `${Math.round(count / seconds / 1000)} k/s`;

console.log(`${cpus()[0].model}, Node ${process.versions.node}, ${threads} threads, load ${loadavg()[0]}`);
console.log("events  seconds  CPU seconds  schedules  states  schedules/s  states/s  target");
for (const eventsMax of values["max-events"].split(",").map(Number)) {
	const requests = values.trees
		.split(",")
		.flatMap((tree) => values.vendors.split(",").map((vendor) => request(tree, vendor, eventsMax)));
	const [started, cpu] = [performance.now(), cpuSeconds()];
	const results = await runChecks(processIo, requests, { threads });
	const seconds = (performance.now() - started) / 1000;
	const sum = (read) => results.reduce((total, { bounds }) => total + read(bounds), 0);
	const [schedules, states] = [sum(({ runs }) => runs), sum((bounds) => bounds.states)];
	const target = TARGETS[eventsMax];
	const verdict = target === undefined ? "" : `${target} s: ${seconds <= target ? "met" : "missed"}`;
	console.log(
		[eventsMax, seconds.toFixed(2), (cpuSeconds() - cpu).toFixed(2), schedules, states]
			.concat([rate(schedules, seconds), rate(states, seconds), verdict])
			.join("  "),
	);
	for (const { tree, vendor, verdict: one, violations, bounds } of results) {
		const broken = violations.map(({ property }) => property).join(", ");
		console.log(
			`        ${tree} on ${vendor}: ${one}${broken === "" ? "" : ` (${broken})`}, ${bounds.runs} schedules`,
		);
	}
}
