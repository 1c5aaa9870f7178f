// How fast the software machine is on this computer: start to verdict, VM exits a second, guest instructions a second.
// V8 is set as `reenter run` sets it for a guest. Run after `npm run build`. Figures are of this run on this computer; nothing is stored.
import { execFileSync } from "node:child_process";
import { performance } from "node:perf_hooks";
import { compileForGuests } from "../dist/cli/compiler.js";
import { programImage } from "../dist/guests/program-image.js";
import { createMachine, createSilicon } from "../dist/kvm/api/kvm.js";
import { Vmm } from "../dist/kvm/api/vmm.js";
import { compileTree } from "../dist/kvm/flow/compile.js";
import { findTree } from "../dist/kvm/trees/trees.js";
import { defaultModel } from "../dist/review/review.js";

function seconds(run) {
	const start = performance.now();
	run();
	return (performance.now() - start) / 1000;
}

function median(values) {
	return values.sort((a, b) => a - b)[values.length >> 1];
}

/** Runs a guest once, warm, and gives the time of a second run. */
function timeGuest(guest, vendor, treeName, iterations) {
	const model = defaultModel(vendor);
	const tree = compileTree(findTree(treeName), vendor);
	const silicon = createSilicon(model);
	const run = (count) => {
		const machine = createMachine({ model, vendor, tree, silicon });
		const vmm = new Vmm(machine);
		vmm.load(programImage(guest), { parameters: { iterations: count, osxsave: true } });
		const before = machine.cpu.instructions;
		const time = seconds(() => {
			const result = vmm.run();
			if (result.kind !== "exit" || result.code !== 0)
				throw new Error(`${guest} ended by ${JSON.stringify(result)}`);
		});
		return { time, instructions: machine.cpu.instructions - before, exits: machine.vcpu.stat.exits };
	};
	run(Math.ceil(iterations / 10));
	return run(iterations);
}

const starts = [];
for (let round = 0; round < 3; round++) {
	starts.push(
		seconds(() => {
			try {
				execFileSync(process.execPath, ["bin/reenter.js", "review", "series-v1", "series-v2"], {
					stdio: "ignore",
				});
			} catch (error) {
				if (error.status !== 1) throw error;
			}
		}),
	);
}
console.log(`npm start                        ${median(starts).toFixed(2)} s  (want < 5)`);
compileForGuests();
for (const [vendor, tree] of [
	["vmx", "v6.18"],
	["vmx", "series-v2"],
	["svm", "v6.18"],
	["svm", "series-v2"],
]) {
	const { time, exits } = timeGuest("invd", vendor, tree, 1_000_000);
	const rate = exits / time / 1e6;
	console.log(`fastpath exits, ${vendor} ${tree.padEnd(10)}   ${rate.toFixed(2)} M/s  (want >= 1)`);
}
const { time, instructions } = timeGuest("compute", "vmx", "v6.18", 20);
console.log(`guest instructions, compute      ${(instructions / time / 1e6).toFixed(0)} M/s  (want >= 300)`);
