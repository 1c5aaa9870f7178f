// What sampling costs: VM exits a second with and without, interleaved. Run after `npm run build`.
import { startSession } from "../dist/profile/record.js";
import { findWorkload } from "../dist/profile/workloads/workloads.js";
import { findTree } from "../dist/kvm/trees/trees.js";
import { defaultModel } from "../dist/review/review.js";

const ROUNDS = 7;
const EXITS = 100_000;
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
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const off = median(rates.get("off"));
for (const [name, values] of rates) {
	const rate = median(values);
	const cost = (100 * (off - rate)) / off;
	const want = name === "sampled" ? "  (want < 15 %)" : "";
	console.log(`profile ${name.padEnd(8)} ${rate.toFixed(2)} M exits/s  ${cost.toFixed(1)} % less${want}`);
}
