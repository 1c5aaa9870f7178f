// What sampling costs: VM exits a second with and without. The forms take turns, and each is compared with the run without
// sampling of its own round: what else the computer does changes from round to round. Run after `npm run build`.
import { startSession } from "../dist/profile/record.js";
import { findWorkload } from "../dist/profile/workloads/workloads.js";
import { findTree } from "../dist/kvm/trees/trees.js";
import { defaultModel } from "../dist/review/review.js";

const ROUNDS = 7;
/** Long enough that compiling the tree, which each session does, is little of it. */
const EXITS = 500_000;
const FORMS = { off: { profile: false }, sampled: {}, exact: { exact: true } };
const rates = new Map(Object.keys(FORMS).map((name) => [name, []]));

for (let round = 0; round <= ROUNDS; round++) {
	for (const [name, options] of Object.entries(FORMS)) {
		const session = startSession({
			workload: findWorkload("invd"),
			tree: findTree("v6.18"),
			vendor: "vmx",
			model: defaultModel("vmx"),
			iterations: EXITS,
			...options,
		});
		// CPU time: what else runs on the computer does not count.
		const start = process.cpuUsage().user;
		session.vmm.run();
		const seconds = (process.cpuUsage().user - start) / 1e6;
		if (round > 0) rates.get(name).push(EXITS / seconds / 1e6);
	}
}
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const off = rates.get("off");
for (const [name, values] of rates) {
	const costs = values.map((rate, round) => 100 * (1 - rate / off[round]));
	const want = name === "sampled" ? "  (want < 15 %)" : "";
	console.log(
		`profile ${name.padEnd(8)} ${median(values).toFixed(2)} M exits/s  ${median(costs).toFixed(1)} % less${want}`,
	);
}
