/** The texts of `reenter cost`, `run` and `models`. */
import type { Saved } from "../../review/saved.ts";
import type { RunEnd, RunOutcome } from "../../review/run.ts";
import type { CostResult } from "../../review/types.ts";
import type { Cost, CpuModel } from "../../silicon/models/model.ts";
import type { Style } from "../style.ts";
import { columns } from "./format.ts";

/** Cycles an exit, and the ops it is made of, dearest first. */
export function costText(cost: CostResult, costOf: (op: string) => Cost, style: Style): string {
	const lines = [
		`${style.bold(`${cost.guest} ${cost.cyclesPerExit.toFixed(0)}`)}  cycles an exit, ${cost.tree}, ${cost.module ?? cost.vendor} on ${cost.cpu}`,
	];
	const rows = Object.entries(cost.opsPerExit).map(([name, count]) => {
		const { cycles, origin } = costOf(name);
		return { name, count, cycles: count * cycles, origin };
	});
	rows.sort((a, b) => b.cycles - a.cycles);
	lines.push(
		...columns([
			["  op", "an exit", "cycles", "figure is"],
			...rows.map(({ name, count, cycles, origin }) => [
				`  ${name}`,
				String(count),
				cycles.toFixed(1),
				origin,
			]),
			["  guest's own instructions", "", cost.cyclesByOrigin.guest.toFixed(1), "assumed"],
		]),
	);
	const { published, calibrated, assumed, measured } = cost.cyclesByOrigin;
	const fromHere =
		measured === 0
			? ""
			: `${measured.toFixed(0)} on figures measured here (± ${cost.plusMinus.toFixed(0)}), `;
	lines.push(
		style.dim(
			`  of these cycles ${fromHere}${published.toFixed(0)} rest on published figures, ${calibrated.toFixed(0)} on calibrated, ${assumed.toFixed(0)} on assumed ones`,
		),
	);
	return `${lines.join("\n")}\n`;
}

/** Exit counts as `perf kvm stat report` lays them out. */
function exitTable(heading: string, exitCounts: RunEnd["exitCounts"], behind: string): string {
	const total = Object.values(exitCounts).reduce((sum, { count }) => sum + count, 0);
	const rows = Object.entries(exitCounts)
		.sort(([, a], [, b]) => b.count - a.count)
		.map(
			([name, { count }]) =>
				`${name.padStart(20)} ${String(count).padStart(10)} ${((100 * count) / total).toFixed(2).padStart(8)}%`,
		);
	return [
		"",
		"Analyze events for all VMs, all VCPUs:",
		"",
		`${heading.padStart(20)} ${"Samples".padStart(10)} ${"Samples%".padStart(9)}`,
		...rows,
		"",
		`Total Samples:${total}${behind}.`,
		"",
	].join("\n");
}

/** The exits of a run on the software machine. */
export function statText({ exitCounts, instructions, cycles }: RunOutcome): string {
	return exitTable(
		"VM-EXIT",
		exitCounts,
		`, ${instructions} guest instructions, ${cycles.toFixed(0)} cycles`,
	);
}

/** The returns of KVM_RUN of a run on /dev/kvm: more is not seen from user space. */
export function runStatText({ exitCounts }: RunEnd): string {
	return exitTable("KVM_RUN", exitCounts, "");
}

function yesNo(state: boolean): string {
	return state ? "yes" : "no";
}

/** What a tree saves in a run's exits. */
export function savedText({ from, to, rows, savedCycles }: Saved, outcome: RunOutcome): string {
	const exits = rows.reduce((sum, row) => sum + row.exits, 0);
	const fast = rows.reduce((sum, row) => sum + (row.path === "fastpath" ? row.exits : 0), 0);
	return [
		`${to} against ${from}, for the exits of this run:`,
		...columns([
			["  exits", "went back by", "OSXSAVE", "XCR0", "XSS", "PKE", "cycles saved an exit"],
			...rows.map(({ path, swaps, exits: count, savedCyclesPerExit }) => [
				`  ${count}`,
				path === "fastpath" ? "the fastpath" : "the outer loop",
				yesNo(swaps.osxsave),
				`0x${swaps.xcr0.toString(16)}`,
				`0x${swaps.xss.toString(16)}`,
				`${yesNo(swaps.pke)}${swaps.pkruDiffers ? ", PKRU differs" : ""}`,
				savedCyclesPerExit.toFixed(1),
			]),
		]),
		`  ${fast} of ${exits} exits stayed in the fastpath; ${savedCycles} cycles saved, ${((100 * savedCycles) / outcome.cycles).toFixed(4)} % of the run's`,
		"",
	].join("\n");
}

/** A model's features and costs. */
export function modelText(model: CpuModel, style: Style): string {
	return [
		`${style.bold(model.name)}  ${model.title}; ${model.vendors.join(", ")}; TSC ${(model.tscHz / 1e9).toFixed(1)} GHz`,
		...columns([
			["  op", "cycles", "origin"],
			...Object.entries(model.costs).map(([name, { cycles, origin }]) => [
				`  ${name}`,
				cycles.toFixed(1),
				origin,
			]),
		]),
		"",
	].join("\n");
}
