/** The texts of `reenter measure` and `reenter doctor`. */
import type { HostInfo } from "../../devkvm/host.ts";
import type { SwapReport } from "../../measure/swaps.ts";
import { type ExitTable, isEmulated, type MeasuredExit, type Platform } from "../../measure/types.ts";
import type { Style } from "../style.ts";
import { columns, signed, wrap } from "./format.ts";

function platformLine({ kernel, module, cpu, tscHz }: Platform): string {
	return `${cpu}, TSC ${(tscHz / 1e9).toFixed(3)} GHz; ${module} of Linux ${kernel}`;
}

const whole = (value: number) => String(Math.round(value));

function exitRow({ name, cycles }: MeasuredExit, tscHz: number, base: ExitTable | null): string[] {
	const row = [
		`  ${name}`,
		whole(cycles.median),
		whole((cycles.median * 1e9) / tscHz),
		whole(cycles.p99),
		`${whole(cycles.low)}..${whole(cycles.high)}`,
	];
	if (base === null) return row;
	const before = base.exits.find((exit) => exit.name === name);
	if (before === undefined) return [...row, "", "", ""];
	const difference = cycles.median - before.cycles.median;
	return [
		...row,
		whole(before.cycles.median),
		signed(difference, 0),
		`${signed((100 * difference) / before.cycles.median, 1)} %`,
	];
}

/** `name cycles` as kvm-unit-tests' vmexit has it, with more behind. @param base an earlier table to compare with */
export function exitTableText(table: ExitTable, base: ExitTable | null, style: Style): string {
	const { platform } = table;
	const head = ["  exit", "cycles", "ns", "p99", "95 % of the median"];
	if (base !== null) head.push("before", "Δ", "Δ %");
	return [
		style.bold(platformLine(platform)),
		...columns([head, ...table.exits.map((exit) => exitRow(exit, platform.tscHz, base))]),
		...table.skipped.map(({ name, reason }) => `  ${name}: skipped: ${reason}`),
		style.dim(
			`  ${table.rounds} interleaved rounds; the empty loop, ${table.loopCycles.median.toFixed(1)} cycles an iteration, is taken off; its p99 lies ${(100 * table.noise).toFixed(1)} % above its median`,
		),
		...(isEmulated(table.loopCycles.median)
			? wrap(
					"this KVM emulates kernel-mode guest code: even the empty loop is not executed by the processor. These are costs of its emulator, not of VM exits.",
					2,
				)
			: []),
		"",
	].join("\n");
}

/** When each register is swapped here, and what it costs. */
export function swapsText(report: SwapReport, style: Style): string {
	const rows = report.cases.map(({ register, path, added, reason }) =>
		added === null
			? [`  ${register}`, path, "", "", reason]
			: [
					`  ${register}`,
					path,
					signed(added.median, 0),
					`${signed(added.low, 0)}..${signed(added.high, 0)}`,
					"",
				],
	);
	const like =
		report.behavesLike === null
			? "it cannot be told which tree this kernel behaves like"
			: `this kernel behaves like ${report.behavesLike}`;
	return [
		style.bold(platformLine(report.platform)),
		"  cycles that a value unlike the host's adds to an exit:",
		...columns([["  register", "path", "cycles", "95 %", ""], ...rows]),
		...report.verdicts.map(({ register, verdict }) => `  ${register}: ${verdictText(verdict)}`),
		...wrap(`${like}: ${report.explanation}`, 2),
		"",
	].join("\n");
}

function verdictText(verdict: SwapReport["verdicts"][number]["verdict"]): string {
	switch (verdict) {
		case "every exit":
			return "swapped at every exit";
		case "outside the fastpath":
			return "swapped outside the fastpath only";
		case "not swapped":
			return "no swap seen";
		case "cannot be told":
			return "cannot be told here";
		default:
			return verdict satisfies never;
	}
}

/** One line a fact, and what it means for which command. */
export function doctorText(info: HostInfo, node: string, style: Style): string {
	const ok = (good: boolean) => (good ? style.good("✔") : style.bad("✘"));
	const usable = info.devKvm === true;
	const hardware = info.module === "kvm_intel" || info.module === "kvm_amd";
	const lines = [
		`${ok(true)} Node ${node}, Linux ${info.kernel}, ${info.cpu}${info.guest ? ", itself a guest" : ""}`,
		`${ok(info.koffi)} koffi${info.koffi ? "" : ": not here (npm install koffi); measure, compare-backends and --backend dev need it"}`,
		`${ok(usable)} /dev/kvm${usable ? "" : `: ${String(info.devKvm)}`}`,
		`${ok(hardware)} vendor module ${info.module}${hardware ? "" : ": neither kvm_intel nor kvm_amd; what measure prints are this module's costs, and measure --fit makes no model"}`,
		`${ok(info.perfCounters)} performance counters${info.perfCounters ? "" : ": none; no command needs them"}`,
	];
	if (usable) {
		const missing = Object.entries(info.capabilities)
			.filter(([, value]) => value === 0)
			.map(([name]) => name);
		lines.push(
			`${ok(true)} capabilities${missing.length === 0 ? ": all that are asked for" : `, without ${missing.join(", ")}`}`,
		);
	}
	lines.push("  review, check, cost, run, show and diff need none of these");
	return `${lines.join("\n")}\n`;
}
