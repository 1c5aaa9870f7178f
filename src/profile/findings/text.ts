/** The findings as Markdown. */
import { type Comparison, meanOfUnfitted } from "../compare.ts";
import type { ChartFile } from "./charts.ts";
import { type Findings, savedPercent, type SeriesGain } from "./run.ts";

/** Two digits; what rounds to nothing has no sign. */
const digits = (value: number) => value.toFixed(2).replace(/^-(0\.00)$/, "$1");
const percent = (value: number) => `${digits(value)} %`;
const cycles = (value: number) => String(Math.round(value));

function gainsTable(gains: readonly SeriesGain[]): string[] {
	return [
		"| workload | runs | v6.18, cycles | series-v2, cycles | the series saves | least and greatest run |",
		"|---|---:|---:|---:|---:|---:|",
		...gains.map(
			({ workload, runs, baseCycles, seriesCycles, gainPercent, spreadPercent: [least, greatest] }) =>
				`| \`${workload}\` | ${runs} | ${cycles(baseCycles)} | ${cycles(seriesCycles)} | ${percent(gainPercent)} | ` +
				`${runs === 1 ? "" : `${digits(least)} to ${percent(greatest)}`} |`,
		),
	];
}

function ratesTable({ rates }: Findings): string[] {
	return [
		"| pieces a second, by keys | page permissions, cycles a piece | protection keys, cycles a piece | keys save | the series saves, by page permissions | the series saves, by keys |",
		"|---:|---:|---:|---:|---:|---:|",
		...rates.map(
			({ piecesPerSecond, pages, keys }) =>
				`| ${cycles(piecesPerSecond)} | ${cycles(pages.baseCycles)} | ${cycles(keys.baseCycles)} | ` +
				`${percent(savedPercent(pages.baseCycles, keys.baseCycles))} | ${percent(savedPercent(pages.baseCycles, pages.seriesCycles))} | ` +
				`${percent(savedPercent(keys.baseCycles, keys.seriesCycles))} |`,
		),
	];
}

/** The answer, as far as the figures give one. */
function answer({ gains, rates }: Findings): string[] {
	const invd = gains.find(({ workload }) => workload === "invd")!;
	const other = gains.filter(({ workload }) => workload !== "invd");
	const most = other.reduce((best, row) => (row.gainPercent > best.gainPercent ? row : best));
	const keysSave = rates.map(({ pages, keys }) => savedPercent(pages.baseCycles, keys.baseCycles));
	const seriesSaves = rates.map(({ pages }) => savedPercent(pages.baseCycles, pages.seriesCycles));
	const first =
		`The series gives ${invd.gainPercent.toFixed(1)} % to the loop of INVD, and at most ${most.gainPercent.toFixed(1)} % (\`${most.workload}\`) to the others. ` +
		`Keys instead of page permissions save ${Math.min(...keysSave).toFixed(1)} to ${Math.max(...keysSave).toFixed(1)} % of guarded work, by its rate; ` +
		`the series, of the same work guarded by page permissions, ${Math.min(...seriesSaves).toFixed(1)} to ${Math.max(...seriesSaves).toFixed(1)} %.`;
	const keysWin = rates.every((_, at) => keysSave[at]! > seriesSaves[at]!);
	return [
		first,
		keysWin
			? "These workloads do nothing but exit, or nothing but switch; an application does other things in between, and its gain is a fraction of these. " +
				"At every rate the keys save more than the series does. " +
				`A gain of more than ${Math.max(most.gainPercent, ...seriesSaves).toFixed(1)} % that an application sees is therefore not the series'; it can be the keys', if it switches often.`
			: "So with these workloads the two cannot be told apart.",
	];
}

function unfittedText(name: string, seed: Comparison): string {
	const mean = meanOfUnfitted(name, seed);
	return mean === null ? "" : `; of the rows that nothing was fitted to, ${mean.toFixed(2)}`;
}

/** The tables without one of the causes at a time: what it explains, and what it must not spoil. */
function causesText({ withoutCauses }: Findings): string[] {
	return [
		"### Without one cause at a time",
		"",
		"Nothing is fitted anew here. Each cause has the same cost in all tables in which it is at all; the runs are a quarter as long.",
		"",
		"| left out | table | `vmx_vmexit`, mail | ours | rank correlation | mean difference |",
		"|---|---|---:|---:|---:|---:|",
		...withoutCauses.map(({ cause, workload, comparison: { rows, rankCorrelation, meanDifference } }) => {
			const exit = rows.find(({ symbol }) => symbol === "vmx_vmexit")!;
			return (
				`| ${cause === "" ? "nothing" : cause} | \`${workload}\` | ${percent(exit.seed)} | ${percent(exit.ours)} | ` +
				`${rankCorrelation.toFixed(2)} | ${meanDifference.toFixed(2)} |`
			);
		}),
	];
}

/**
 * The page.
 * @param charts what stands beside the tables; empty for none
 * @param folder of the charts, as links from the page have it: ends in a slash, or is empty
 */
export function findingsText(findings: Findings, charts: readonly ChartFile[] = [], folder = ""): string {
	const picture = (name: string) =>
		charts
			.filter((chart) => chart.name === `findings-${name}.svg`)
			.flatMap((chart) => [`![${chart.alternative}](${folder}${chart.name})`, ""]);
	const lines = [
		"# Protection keys or XCR0 loads?",
		"",
		`Printed by \`reenter explain pku\`: vmx, ${findings.cpu}, ${(findings.hz / 1e9).toFixed(1)} GHz, cycles modelled ([costs.md](costs.md)).`,
		"",
		"A database got faster with protection keys enabled. Either the guest gained from the XCR0 loads that the series takes out",
		"of the fastpath, or it uses the keys. Each workload runs on v6.18 and on series-v2; time is that of the guest's first CPU.",
		"Workloads of several CPUs run several times, each time with other lengths of the CPUs' turns.",
		"",
		...picture("series"),
		...gainsTable(findings.gains),
		"",
		"Where `perf top` has the host's time, on v6.18:",
		"",
		...picture("shares"),
		"## Guarded memory, by rate",
		"",
		"A program opens a region of memory for each piece of work, and closes it again: two switches. The pieces get longer from row",
		"to row. Page permissions take INVLPG and a shoot-down of three other vCPUs at each switch, protection keys a WRPKRU.",
		"",
		...picture("keys"),
		...ratesTable(findings),
		"",
		"## Answer",
		"",
		...answer(findings),
		"",
		"## The seed's tables beside ours",
		"",
		"The mail labels only the second table. No cost was fitted to any of them. The shapes of the workloads were chosen by the",
		"symbols, and some of their parameters fitted: [profile.md](profile.md) says which, and by what evidence.",
	];
	for (const [name, seed] of Object.entries(findings.seeds)) {
		lines.push(
			"",
			`### ${name}`,
			"",
			...picture(name),
			"| symbol | mail | ours |",
			"|---|---:|---:|",
			...seed.rows.map((row) => `| \`${row.symbol}\` | ${percent(row.seed)} | ${percent(row.ours)} |`),
			"",
			`Rank correlation ${seed.rankCorrelation.toFixed(2)}, mean absolute difference ${seed.meanDifference.toFixed(2)} points${unfittedText(name, seed)}.`,
		);
	}
	lines.push("", ...causesText(findings));
	return `${lines.join("\n")}\n`;
}
