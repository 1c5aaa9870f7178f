/** The screen of `reenter top`: a state as lines, and lines as what a terminal is sent. */
import type { ReportRow } from "../../profile/report.ts";
import type { Style } from "../style.ts";
import { type Question, selectedIndex, shownRows, type TopState } from "./state.ts";

/** A terminal's size in characters. */
export interface Size {
	readonly columns: number;
	readonly rows: number;
}

/** Shares from which on perf colours a row (tools/perf/util/color.h: MIN_RED, MIN_GREEN). */
const RED_PERCENT = 5;
const GREEN_PERCENT = 0.5;
/** Lines above the table: samples, workload, column heads; and below: the last line. */
const HEAD_LINES = 3;
const FOOT_LINES = 1;

const QUESTIONS: Readonly<Record<Question, string>> = {
	delay: "Enter display delay in seconds",
	entries: "Enter display entries (lines), 0 for as many as fit",
	filter: "Enter display event count filter, or a percentage such as 0.5%",
	symbol: "Enter symbol name",
};

/** Lines of the table, or of a text in its place, that fit. */
export function pageLines({ rows }: Size): number {
	return Math.max(1, rows - HEAD_LINES - FOOT_LINES);
}

/** `23K`, `1M`, as perf prints counts. */
function unit(count: number): string {
	if (count >= 1e9) return `${Math.floor(count / 1e9)}G`;
	if (count >= 1e6) return `${Math.floor(count / 1e6)}M`;
	return count >= 1e3 ? `${Math.floor(count / 1e3)}K` : String(Math.floor(count));
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function headLines(state: TopState): [string, string] {
	const { recording, ended } = state;
	if (recording === null) return ["Collecting samples...", ""];
	const samples = sum(recording.calls.samples);
	const { workload, tree, vendor, cpu, vcpus, exits, periodCycles } = recording;
	const flags = [
		...(state.hidesKernel ? ["kernel hidden"] : []),
		...(state.hidesUser ? ["user hidden"] : []),
		...(state.filter.least > 0
			? [`from ${state.filter.least}${state.filter.unit === "percent" ? " %" : " samples"}`]
			: []),
		...(state.zeroes ? ["zeroing"] : []),
		...(state.inlining === "kernel" ? [] : [`inlined: ${state.inlining}`]),
	];
	return [
		`Samples: ${unit(samples)} of event 'cycles', period ${periodCycles}, Event count (approx.): ${unit(samples * periodCycles)}`,
		[
			...(ended === null ? [] : [ended]),
			`${workload} on ${tree}, ${vendor}, ${cpu} (modelled), ${vcpus} vCPU${vcpus === 1 ? "" : "s"}, ${unit(exits)} exits`,
			...flags,
		].join("; "),
	];
}

function tableLines(state: TopState, rows: readonly ReportRow[], page: number, style: Style): string[] {
	const chosen = selectedIndex(state, rows);
	const first = Math.max(0, Math.min(chosen - page + 1, rows.length - page));
	const width = Math.max("Shared Object".length, ...rows.map(({ object }) => object.length));
	const lines = [`Overhead  ${"Shared Object".padEnd(width)}  Symbol`];
	for (const [at, row] of rows.slice(first, first + page).entries()) {
		const { overheadPercent: percent } = row;
		const colour = percent >= RED_PERCENT ? style.bad : percent >= GREEN_PERCENT ? style.good : String;
		const share = colour(`${percent.toFixed(2)}%`.padStart(8));
		const line = `${share}  ${row.object.padEnd(width)}  [${row.mode}] ${row.symbol}`;
		lines.push(first + at === chosen ? `\x1b[7m${line}` : line);
	}
	return lines;
}

function footLine({ question, message, text }: TopState): string {
	if (question !== null) return `${QUESTIONS[question.what]}: ${question.text}_`;
	if (message !== "") return message;
	return text === null
		? "Press '?' for help on key bindings, ENTER for why a symbol is there, 'q' to quit"
		: "UP and DOWN move; any other key goes back";
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: SGR sequences begin with ESC
const SGR = /\x1b\[[0-9;]*m/y;

/** A line cut to a width. Sequences that set attributes take no room, and none outlives its line. */
function cut(line: string, columns: number): string {
	let out = "";
	let room = columns;
	let hasAttributes = false;
	for (let at = 0; at < line.length; ) {
		SGR.lastIndex = at;
		const sequence = SGR.exec(line)?.[0];
		if (sequence !== undefined) {
			out += sequence;
			at += sequence.length;
			hasAttributes = true;
			continue;
		}
		if (room-- > 0) out += line[at]!;
		at++;
	}
	return hasAttributes ? `${out}\x1b[0m` : out;
}

/**
 * The lines of the screen, at most as many as it has, none longer than it is wide.
 * @param size of the terminal
 */
export function screenLines(state: TopState, size: Size, style: Style): string[] {
	const page = pageLines(size);
	const rows = shownRows(state);
	const middle =
		state.text === null
			? tableLines(state, rows, page, style)
			: ["", ...state.text.lines.slice(state.text.first, state.text.first + page)];
	const lines = [...headLines(state), ...middle];
	const body = lines.slice(0, Math.max(0, size.rows - FOOT_LINES));
	while (body.length < size.rows - FOOT_LINES) body.push("");
	return [...body, footLine(state)].map((line) => cut(line, size.columns));
}

/** What draws lines over whatever is on the screen, without clearing it first: nothing flickers. */
export function drawText(lines: readonly string[]): string {
	return `\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}
