/** The table of `perf kvm stat report` (tools/perf/builtin-kvm.c): exits by how often they happen and what they take. */
import { type LongEvent, STAT_EVENTS, type StatEvent } from "./stat-recorder.ts";
import type { ExitStat } from "./tracepoints.ts";

export interface StatTextOptions {
	/** Cycles a second; null prints cycles. */
	readonly hz: number | null;
	/** What rows are ordered by: perf's -k. Default sample; time is the mean time. */
	readonly key?: "sample" | "time";
	/** The vCPU whose events these are. Default: all. */
	readonly vcpu?: number | null;
	/** What they are. Default: vmexit. */
	readonly event?: StatEvent;
}

/** The lines of events that took long, which perf prints as they come. @param hz cycles a second */
export function longEventsText(events: readonly LongEvent[], hz: number): string {
	const ns = (cycles: number) => Math.floor((cycles * 1e9) / hz);
	return events
		.map(
			({ reason, vcpu, cycles, tookCycles }) =>
				`${ns(cycles)} VM 0, vcpu ${vcpu}: ${reason} event took ${Math.floor(ns(tookCycles) / 1000)}usec\n`,
		)
		.join("");
}

/** Deviation of the mean in percent of it, as perf prints it behind the average. */
function deviationPercent({ samples, totalCycles, squares }: ExitStat): number {
	if (samples < 2) return 0;
	const mean = totalCycles / samples;
	const variance = Math.max(0, (squares - totalCycles * mean) / (samples - 1));
	return mean === 0 ? 0 : (100 * Math.sqrt(variance / samples)) / mean;
}

/** The table. */
export function statText(
	stats: readonly ExitStat[],
	{ hz, key = "sample", vcpu = null, event = "vmexit" }: StatTextOptions,
): string {
	const time = (cycles: number) => (hz === null ? cycles : (cycles * 1e6) / hz).toFixed(2);
	const unit = hz === null ? "cyc" : "us";
	const samples = stats.reduce((sum, row) => sum + row.samples, 0);
	const cycles = stats.reduce((sum, row) => sum + row.totalCycles, 0);
	const by = (row: ExitStat) => (key === "time" ? row.totalCycles / row.samples : row.samples);
	const rows = [...stats].sort((a, b) => by(b) - by(a) || (a.reason < b.reason ? -1 : 1));
	const lines = ["", "", `Analyze events for all VMs, ${vcpu === null ? "all VCPUs" : `VCPU ${vcpu}`}:`, ""];
	lines.push(
		`${STAT_EVENTS[event].padStart(20)} ${"Samples".padStart(10)} ${"Samples%".padStart(9)} ${"Time%".padStart(9)} ` +
			`${"Min Time".padStart(11)} ${"Max Time".padStart(11)} ${"Avg time".padStart(16)} `,
		"",
	);
	for (const row of rows) {
		const share = ((100 * row.samples) / samples).toFixed(2);
		const timeShare = (cycles === 0 ? 0 : (100 * row.totalCycles) / cycles).toFixed(2);
		lines.push(
			`${row.reason.padStart(20)} ${String(row.samples).padStart(10)} ${share.padStart(8)}% ${timeShare.padStart(8)}% ` +
				`${time(row.minCycles).padStart(9)}${unit} ${time(row.maxCycles).padStart(9)}${unit} ` +
				`${time(row.totalCycles / row.samples).padStart(11)}${unit} ( +- ${deviationPercent(row).toFixed(2).padStart(6)}% )`,
		);
	}
	lines.push("", `Total Samples:${samples}, Total events handled time:${time(cycles)}${unit}.`, "");
	return lines.join("\n");
}
