/** A timeline as one page that needs nothing else: no network, no other file. The same timeline gives the same bytes. */
import { markup, scriptJson } from "../markup.ts";
import { type BandSummary, summaryOf } from "./bands.ts";
import { TIMELINE_SCRIPT } from "./html-script.ts";
import { TIMELINE_STYLE } from "./html-style.ts";
import { pageData, titleOf } from "./page-data.ts";
import type { Timeline, TimelineRun } from "./timeline.ts";

const cyclesText = (cycles: number) => String(Math.round(cycles * 100) / 100);

/** What holds what: drawn as the script draws it. */
const LEGEND: readonly (readonly [svg: string, text: string])[] = [
	['<rect y="7" width="26" height="2" fill="var(--band-host)"/>', "the host’s value; flag on"],
	[
		'<defs><pattern id="g" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="var(--band-guest)" opacity=".35"/><rect width="2" height="6" fill="var(--band-guest)"/></pattern></defs><rect y="1" width="26" height="14" fill="url(#g)"/>',
		"the guest’s value",
	],
	[
		'<rect y="7" width="4" height="2" fill="var(--band-host)"/><rect x="7" y="7" width="4" height="2" fill="var(--band-host)"/><rect x="14" y="7" width="4" height="2" fill="var(--band-host)"/><rect x="21" y="7" width="4" height="2" fill="var(--band-host)"/>',
		"the same for both",
	],
	[
		'<defs><pattern id="o" width="6" height="6" patternUnits="userSpaceOnUse"><circle cx="3" cy="3" r="1.6" fill="var(--band-neither)"/></pattern></defs><rect y="1" width="26" height="14" fill="url(#o)"/>',
		"neither’s",
	],
	['<rect y="4" width="26" height="8" fill="var(--band-off)"/>', "flag off"],
	['<rect y="1" width="26" height="14" fill="var(--guest)"/>', "in the guest"],
	['<rect y="1" width="26" height="14" fill="var(--function)"/>', "function or loop"],
	['<rect y="1" width="26" height="14" fill="var(--step)"/>', "step"],
	[
		'<rect y="1" width="26" height="14" fill="var(--op)"/><rect y="13" width="26" height="1" fill="var(--ink)"/>',
		"op",
	],
	[
		'<rect y="1" width="26" height="14" fill="var(--handler)"/><rect y="13" width="26" height="2" fill="var(--ink)"/>',
		"handler",
	],
	['<path d="M13 2l6 6-6 6-6-6z" fill="var(--arrival)"/>', "⚡ event, ✘ violation"],
];

function legendHtml(): string {
	const items = LEGEND.map(
		([svg, text]) => `<li><svg width="26" height="16" aria-hidden="true">${svg}</svg>${text}</li>`,
	);
	return `<ul class="legend" aria-label="legend">${items.join("")}</ul>`;
}

const BUTTONS: readonly (readonly [action: string, name: string, sign: string])[] = [
	["in", "zoom in", "+"],
	["out", "zoom out", "−"],
	["left", "to the left", "◀"],
	["right", "to the right", "▶"],
	["fit", "all", "all"],
	["previous", "step before", "step before"],
	["next", "next step", "next step"],
	["outwards", "slice around it", "slice around it"],
	["inwards", "first slice in it", "first slice in it"],
	["lane", "next lane", "next lane"],
];

function barHtml(runs: number): string {
	const buttons = BUTTONS.map(
		([action, name, sign]) =>
			`<button type="button" data-do="${action}" aria-label="${name}" title="${name}">${sign}</button>`,
	);
	const align = `<label${runs > 1 ? "" : " hidden"}><input type="checkbox" id="aligned"> align at each exit</label>`;
	return `<div class="bar">${buttons.join("")}${align}<label><input type="checkbox" id="all"> all registers</label></div>`;
}

/** How often each register changed hands: what the bands say, in numbers. */
function bandsTable(runs: readonly TimelineRun[]): string {
	const summaries = runs.map(({ bands }) => new Map(bands.map((band) => [band.name, summaryOf(band)])));
	const names = [...new Set(runs.flatMap(({ bands }) => bands.map(({ name }) => name)))];
	const cells = (summary: BandSummary | undefined) =>
		summary === undefined
			? "<td></td><td></td>"
			: `<td class="n">${summary.changes}</td><td class="n">${cyclesText(summary.cycles)}</td>`;
	const rows = names.map(
		(name) =>
			`<tr><th scope="row">${markup(name)}</th>${summaries.map((one) => cells(one.get(name))).join("")}</tr>`,
	);
	const heads = runs.map(
		(run) =>
			`<th scope="col">${markup(titleOf(run))}: changes</th><th scope="col">cycles the guest’s, or off</th>`,
	);
	return `<table><caption>Registers and flags</caption><thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

/** The exits, and the time from each to the next. */
function exitsTable(runs: readonly TimelineRun[]): string {
	const exits = runs.map(({ frames }) => frames.stays.filter(({ reason }) => reason !== ""));
	const rows = Array.from({ length: Math.max(...exits.map(({ length }) => length)) }, (_, at) => {
		const cells = exits.map((list, run) => {
			const exit = list[at];
			if (exit === undefined) return "<td></td><td></td><td></td>";
			const next = list[at + 1]?.toCycles ?? runs[run]!.frames.endCycles;
			return `<td>${markup(exit.reason)}</td><td class="n">${cyclesText(exit.toCycles)}</td><td class="n">${cyclesText(next - exit.toCycles)}</td>`;
		});
		return `<tr><th scope="row">${at + 1}</th>${cells.join("")}</tr>`;
	});
	const heads = runs.map(
		(run) =>
			`<th scope="col">${markup(titleOf(run))}: exit</th><th scope="col">at cycle</th><th scope="col">to the next</th>`,
	);
	return `<div class="scroll" tabindex="0" role="region" aria-label="exits"><table><caption>Exits</caption><thead><tr><td></td>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

function stepsHtml(runs: readonly TimelineRun[]): string {
	const most = Math.max(
		...runs.map(({ frames }) => frames.stays.filter(({ reason }) => reason !== "").length),
	);
	const options = Array.from(
		{ length: most + 1 },
		(_, at) => `<option value="${at}">${at === 0 ? "before the first exit" : `behind exit ${at}`}</option>`,
	);
	return `<p><label>Steps <select id="exit">${options.join("")}</select></label></p>
<div class="scroll" tabindex="0" role="region" aria-label="steps"><table id="steps"><caption>Steps</caption><thead><tr><th scope="col">tree</th><th scope="col">lane</th><th scope="col">at cycle</th><th scope="col">cycles</th><th scope="col">what</th><th scope="col">changes</th></tr></thead><tbody></tbody></table></div>`;
}

/** The whole page. */
export function timelineHtml(timeline: Timeline): string {
	const { guest, runs } = timeline;
	const title = `${guest}: ${runs.map(({ tree }) => tree).join(" and ")}`;
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>reenter trace ${markup(title)}</title>
<style>${TIMELINE_STYLE}</style>
</head>
<body>
<main>
<h1>reenter trace ${markup(title)}</h1>
<p>Cycles are modelled. Each band says whose value a register holds. Keys on the picture: <kbd>w</kbd> <kbd>s</kbd> zoom, <kbd>a</kbd> <kbd>d</kbd> or arrows move, <kbd>0</kbd> all, <kbd>j</kbd> <kbd>k</kbd> next step and step before, <kbd>↑</kbd> <kbd>↓</kbd> the slice around and in it, <kbd>l</kbd> next lane, <kbd>Enter</kbd> zoom to the step, <kbd>e</kbd> align at exits, <kbd>b</kbd> all registers. Ctrl and wheel zoom, shift and wheel or dragging move.</p>
${barHtml(runs.length)}
${legendHtml()}
<div class="panes">
<div id="app" role="application" tabindex="0" aria-label="timeline; the tables below say the same" aria-describedby="details"><canvas id="over" aria-hidden="true"></canvas><canvas id="view" aria-hidden="true"></canvas><div id="tip" hidden></div></div>
<aside id="details" aria-live="polite" aria-label="details"><h2>No step is selected</h2><p>Click on one, or press j.</p></aside>
</div>
<details id="tables"><summary>The same as tables</summary>
${bandsTable(runs)}
${exitsTable(runs)}
${stepsHtml(runs)}
</details>
</main>
<script type="application/json" id="data">${scriptJson(pageData(timeline))}</script>
<script>${TIMELINE_SCRIPT}</script>
</body>
</html>
`;
}
