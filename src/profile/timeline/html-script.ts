/**
 * Script of the timeline's page. Only what is in the page is used. It draws on a canvas what is in view, each pixel at most
 * once, so that a long run opens as quickly as a short one.
 */

/** Data, and how times become places: `scale` of each run, aligned at its exits or not. */
const MODEL = `
const data = JSON.parse(document.getElementById("data").textContent);
const sums = (steps) => { let at = 0; return Float64Array.from(steps, (step) => at += step); };
const runs = data.runs.map((run) => ({
	...run,
	anchors: Float64Array.from(run.anchors),
	lanes: run.lanes.map((lane) => {
		const from = sums(lane.from);
		const to = from.map((start, at) => start + lane.length[at]);
		const rows = Array.from({ length: lane.rows }, () => []);
		lane.depth.forEach((depth, at) => rows[depth].push(at));
		return { ...lane, from, to, rows };
	}),
	bands: run.bands.map((band) => ({ ...band, to: sums(band.to) })),
}));
/** Where each run's exits stand when all runs' are below one another. */
const common = Math.min(...runs.map(({ anchors }) => anchors.length)) - 1;
const shared = [0];
for (let n = 1; n <= common; n++) shared.push(shared[n - 1] + Math.max(...runs.map(({ anchors }) => anchors[n] - anchors[n - 1])));
/** First index of a sorted list at which it is at least (or above) a value. */
function search(length, isThere) {
	let low = 0, high = length;
	while (low < high) { const middle = (low + high) >> 1; if (isThere(middle)) high = middle; else low = middle + 1; }
	return low;
}
/** A run's time as a place on the axis; a slice that ends at an exit ends where the part before it does. */
function place(run, time, isEnd) {
	if (!view.aligned) return time;
	const { anchors } = run;
	const part = Math.max(0, Math.min(common, search(anchors.length, (n) => isEnd ? anchors[n] >= time : anchors[n] > time) - 1));
	return shared[part] + time - anchors[part];
}
const whole = () => Math.max(1, ...runs.map((run) => place(run, run.cycles, true)));
const view = { from: 0, to: 1, aligned: false, all: false };
const selected = { run: 0, lane: 1, at: -1 };
const cyclesText = (units) => { const [whole, rest] = (units / 100).toFixed(2).split("."); return whole.replace(/(?=(?:[0-9]{3})+$)(?!^)/g, " ") + (rest === "00" ? "" : "." + rest.replace(/0$/, "")); };
`;

/** The picture. */
const DRAW = `
const app = document.getElementById("app"), canvas = document.getElementById("view"), over = document.getElementById("over"), tip = document.getElementById("tip");
const ROW = 17, BAND = 15, LEFT = 92, HEAD = 22, AXIS = 20, GAP = 6, CHARACTER = 6.7, OVER = 14;
let colours = {}, hatch, dots, blocks = [], height = 0, drawn = 0;
const bandsOf = (run) => run.bands.map((band, at) => ({ band, at })).filter(({ band }) => view.all || band.changes);
function readColours() {
	const style = getComputedStyle(document.documentElement);
	for (const name of ["page", "text", "soft", "line", "grid", "panel", "pick", "ink", "function", "loop", "step", "op", "guest", "instruction", "handler", "arrival", "violation", "band-guest", "band-host", "band-off", "band-neither"])
		colours[name] = style.getPropertyValue("--" + name).trim();
	const tile = (size, draw) => { const one = document.createElement("canvas"); one.width = one.height = size; const to = one.getContext("2d"); draw(to); return to.createPattern(one, "repeat"); };
	hatch = tile(8, (to) => { to.fillStyle = colours["band-guest"]; to.globalAlpha = 0.35; to.fillRect(0, 0, 8, 8); to.globalAlpha = 1; to.strokeStyle = colours["band-guest"]; to.lineWidth = 2.4; to.beginPath(); for (const x of [-8, 0, 8]) { to.moveTo(x, 8); to.lineTo(x + 8, 0); } to.stroke(); });
	dots = tile(6, (to) => { to.fillStyle = colours["band-neither"]; to.globalAlpha = 0.3; to.fillRect(0, 0, 6, 6); to.globalAlpha = 1; to.beginPath(); to.arc(3, 3, 1.5, 0, 7); to.fill(); });
}
/** Where runs, lanes and bands stand, from the top down. */
function lay() {
	let y = AXIS;
	blocks = runs.map((run) => {
		const block = { top: y, lanes: [], bands: [] };
		y += HEAD;
		for (const lane of run.lanes) { block.lanes.push(y); y += lane.rows.length * ROW + GAP; }
		for (const { at } of bandsOf(run)) { block.bands.push({ at, y }); y += BAND; }
		y += GAP * 2;
		block.bottom = y;
		return block;
	});
	height = y;
}
const width = () => canvas.clientWidth - LEFT - 6;
const pixels = () => width() / (view.to - view.from);
const xOf = (at) => LEFT + (at - view.from) * pixels();
function sized(one, tall) {
	const ratio = devicePixelRatio || 1;
	one.style.height = tall + "px";
	one.width = Math.round(one.clientWidth * ratio); one.height = Math.round(tall * ratio);
	const to = one.getContext("2d");
	to.setTransform(ratio, 0, 0, ratio, 0, 0);
	to.font = "11px ui-monospace, monospace"; to.textBaseline = "middle";
	to.fillStyle = colours.page; to.fillRect(0, 0, one.clientWidth, tall);
	return to;
}
function label(to, text, x, y, room, colour) {
	const letters = Math.floor((room - 6) / CHARACTER);
	if (letters < 1) return;
	to.fillStyle = colour;
	to.fillText(text.length <= letters ? text : letters > 2 ? text.slice(0, letters - 1) + "…" : text.slice(0, letters), x + 3, y);
}
/** The slices of one row that are in view. Those narrower than a pixel share one. */
function drawRow(to, run, lane, row, y) {
	const scale = pixels();
	let n = search(row.length, (at) => place(run, lane.to[row[at]], true) >= view.from);
	while (n < row.length) {
		const at = row[n], start = place(run, lane.from[at], false);
		if (start > view.to) break;
		const kind = data.kinds[lane.kind[at]];
		const left = Math.max(LEFT, xOf(start)), right = Math.min(LEFT + width(), xOf(place(run, lane.to[at], true)));
		to.fillStyle = colours[kind];
		if (kind === "arrival" || kind === "violation") {
			to.beginPath(); to.moveTo(left, y + 1); to.lineTo(left + 5, y + ROW / 2); to.lineTo(left, y + ROW - 2); to.lineTo(left - 5, y + ROW / 2); to.fill();
			to.fillStyle = colours.text; to.fillText((kind === "violation" ? "✘ " : "⚡ ") + data.texts[lane.text[at]], left + 8, y + ROW / 2);
			n++;
		} else if (right - left < 1.5) {
			to.fillRect(Math.floor(left), y, 1.5, ROW - 2);
			const next = view.from + (Math.floor(left) + 1 - LEFT) / scale;
			n = Math.max(n + 1, search(row.length, (one) => place(run, lane.to[row[one]], true) >= next));
		} else {
			to.fillRect(left, y, Math.max(1, right - left - 0.7), ROW - 2);
			if (kind === "op" || kind === "handler") { to.fillStyle = colours.ink; to.fillRect(left, y + ROW - 4, Math.max(1, right - left - 0.7), kind === "handler" ? 2 : 1); }
			const note = lane.note[at] === 0 ? "" : " " + data.texts[lane.note[at]];
			label(to, data.texts[lane.text[at]] + note, left, y + (ROW - 2) / 2, right - left, colours.ink);
			n++;
		}
	}
}
/** The host's is a line, the guest's a hatched bar, with letters where there is room. */
function drawBand(to, run, band, top, tall, base, scale, names) {
	const middle = top + tall / 2, end = base + (view.to - view.from) * scale;
	let n = 0;
	const from = (at) => at === 0 ? 0 : band.to[at - 1];
	if (names) n = search(band.to.length, (at) => place(run, band.to[at], true) >= view.from);
	while (n < band.to.length) {
		const [, whose] = data.values[band.value[n]];
		const start = place(run, from(n), false);
		const left = Math.max(base, base + (start - (names ? view.from : 0)) * scale);
		const right = Math.min(base + width(), base + (place(run, band.to[n], true) - (names ? view.from : 0)) * scale);
		if (left > base + width()) break;
		const wide = Math.max(1, right - left);
		if (whose === "guest" || whose === "neither") { to.fillStyle = whose === "guest" ? hatch : dots; to.fillRect(left, top + 1, wide, tall - 3); }
		else if (whose === "off") { to.fillStyle = colours["band-off"]; to.fillRect(left, top + 3, wide, tall - 7); }
		else { to.fillStyle = colours["band-host"]; if (whose === "both") { for (let x = left; x < right; x += 7) to.fillRect(x, middle - 1, Math.min(4, right - x), 2); } else to.fillRect(left, middle - 1, wide, 2); }
		const word = wide > whose.length * CHARACTER + 14 ? whose : whose[0].toUpperCase();
		if (names && wide > 12 && (word === whose || whose[0] !== "o")) {
			const room = word.length * CHARACTER + 4;
			to.fillStyle = colours.page; to.fillRect(left + 3, middle - 6, room, 11);
			to.fillStyle = colours.text; to.fillText(word, left + 5, middle);
		}
		if (right - left < 1) {
			const next = (names ? view.from : 0) + (Math.floor(left - base) + 1) / scale;
			n = Math.max(n + 1, search(band.to.length, (at) => place(run, band.to[at], true) >= next));
		} else n++;
	}
}
function drawAxis(to) {
	const least = 96 / pixels() / 100;
	let step = 10 ** Math.ceil(Math.log10(least));
	for (const part of [5, 2]) if (step / part >= least) { step /= part; break; }
	step = Math.max(step, 0.01);
	to.textAlign = "center";
	for (let tick = Math.ceil(view.from / 100 / step) * step; tick * 100 <= view.to; tick += step) {
		const x = xOf(tick * 100);
		to.fillStyle = colours.grid; to.fillRect(x, AXIS, 1, height);
		to.fillStyle = colours.soft; to.fillText(cyclesText(Math.round(tick * 100)), x, 9);
	}
	to.textAlign = "left";
	to.fillStyle = colours.soft; to.fillText(view.aligned ? "aligned" : "cycles", 4, 9);
}
function draw() {
	drawn = 0;
	const to = sized(canvas, height);
	drawAxis(to);
	runs.forEach((run, r) => {
		const block = blocks[r];
		to.fillStyle = colours.panel; to.fillRect(0, block.top, canvas.clientWidth, HEAD - 4);
		to.fillStyle = colours.text; to.font = "600 12px system-ui, sans-serif";
		to.fillText(run.title + " — " + run.reasons.length + " exits in " + cyclesText(run.cycles) + " cycles", 6, block.top + (HEAD - 4) / 2);
		to.font = "11px ui-monospace, monospace";
		const exits = run.anchors.subarray(1, run.anchors.length - 1);
		if (exits.length * 3 < width() * (whole() / (view.to - view.from))) for (const exit of exits) { const x = xOf(place(run, exit, true)); if (x >= LEFT && x <= LEFT + width()) { to.fillStyle = colours.line; to.fillRect(x, block.top + HEAD, 1, block.bottom - block.top - HEAD - GAP * 2); } }
		run.lanes.forEach((lane, l) => {
			to.fillStyle = colours.soft; to.fillText(lane.name, 6, block.lanes[l] + ROW / 2 - 1);
			lane.rows.forEach((row, depth) => drawRow(to, run, lane, row, block.lanes[l] + depth * ROW));
		});
		for (const { at, y } of block.bands) {
			to.fillStyle = colours.soft; to.fillText(run.bands[at].name, 6, y + BAND / 2);
			drawBand(to, run, run.bands[at], y, BAND, LEFT, pixels(), true);
		}
	});
	drawSelected(to);
	drawOver();
}
function drawSelected(to) {
	const { run: r, lane: l, at } = selected;
	if (at < 0) return;
	const run = runs[r], lane = run.lanes[l];
	const left = Math.max(LEFT - 2, xOf(place(run, lane.from[at], false))), right = Math.min(LEFT + width() + 2, xOf(place(run, lane.to[at], true)));
	if (right < LEFT || left > LEFT + width()) return;
	const y = blocks[r].lanes[l] + lane.depth[at] * ROW;
	to.strokeStyle = colours.pick; to.lineWidth = 3; to.strokeRect(left - 1.5, y - 2.5, Math.max(3, right - left + 2), ROW + 2);
}
/** The whole run, small: the first band that changes, of each run, and what is in view. */
function drawOver() {
	const first = runs[0].bands.findIndex(({ changes }) => changes), tall = runs.length * OVER + 6;
	const to = sized(over, tall), scale = width() / whole();
	if (first >= 0) runs.forEach((run, r) => { to.fillStyle = colours.soft; to.fillText(run.bands[first].name, 6, 3 + r * OVER + OVER / 2); drawBand(to, run, run.bands[first], 3 + r * OVER, OVER - 1, LEFT, scale, false); });
	to.strokeStyle = colours.pick; to.lineWidth = 2; to.strokeRect(LEFT + view.from * scale, 1, Math.max(4, (view.to - view.from) * scale), tall - 2);
}
function again() { if (drawn === 0) drawn = requestAnimationFrame(draw); }
function show(from, to) {
	const all = whole(), span = Math.min(all, Math.max(200, to - from));
	view.from = Math.max(0, Math.min(all - span, from)); view.to = view.from + span;
	again();
}
`;

/** What the details, the tooltip and the tables say. */
const WORDS = `
const WHOSE = { host: "the host's", guest: "the guest's", both: "the same for both", neither: "neither's", on: "on", off: "off" };
const valueText = ([value, whose]) => (value === "" ? "" : value + ", ") + (WHOSE[whose] || whose);
function make(kind, text, name) { const one = document.createElement(kind); one.textContent = text; if (name) one.className = name; return one; }
function rowOf(cells, head, name) { const row = make("tr", "", name); cells.forEach((text, n) => row.append(make(n === 0 && head ? "th" : "td", text))); if (head && row.firstChild) row.firstChild.scope = "row"; return row; }
const nameOf = (lane, at) => data.texts[lane.text[at]] + (lane.note[at] === 0 ? "" : " " + data.texts[lane.note[at]]);
const timesOf = (lane, at) => lane.length[at] === 0 ? "at " + cyclesText(lane.from[at]) : cyclesText(lane.from[at]) + " to " + cyclesText(lane.to[at]) + " (" + cyclesText(lane.length[at]) + " cycles)";
function details() {
	const aside = document.getElementById("details"), { run: r, lane: l, at } = selected;
	if (at < 0) return;
	const run = runs[r], lane = run.lanes[l], around = [];
	for (let n = at - 1, depth = lane.depth[at]; n >= 0 && depth > 0; n--) if (lane.depth[n] < depth) { depth = lane.depth[n]; around.unshift(nameOf(lane, n)); }
	const table = make("table", ""), head = make("thead", ""), body = make("tbody", "");
	table.append(make("caption", "State"), head, body);
	head.append(rowOf(["", "before", "behind"], false));
	const before = run.states[lane.before[at]], after = run.states[lane.after[at]];
	run.bands.forEach((band, n) => {
		const isChanged = before[n] !== after[n];
		body.append(rowOf([band.name + (isChanged ? " ●" : ""), valueText(data.values[before[n]]), isChanged ? valueText(data.values[after[n]]) : "same"], true, isChanged ? "changed" : ""));
	});
	aside.replaceChildren(make("h2", nameOf(lane, at)), make("p", data.kinds[lane.kind[at]] + ", " + lane.name + ", " + run.title), make("p", timesOf(lane, at)), make("p", around.length === 0 ? "" : "in " + around.join(" › ")), table);
}
function steps(exit) {
	const body = document.querySelector("#steps tbody"), rows = [];
	runs.forEach((run) => {
		const from = exit === 0 ? 0 : run.anchors[exit], to = run.anchors[exit + 1];
		if (to === undefined) return;
		run.lanes.forEach((lane) => {
			for (let at = 0; at < lane.from.length; at++) {
				if (lane.from[at] < from || lane.from[at] >= to) continue;
				const before = run.states[lane.before[at]], after = run.states[lane.after[at]];
				const changed = run.bands.filter((_, n) => before[n] !== after[n]).map((band) => band.name + ": " + valueText(data.values[after[run.bands.indexOf(band)]]));
				rows.push([run.title, lane.name, cyclesText(lane.from[at]), cyclesText(lane.length[at]), "· ".repeat(lane.depth[at]) + nameOf(lane, at), changed.join("; ")]);
			}
		});
	});
	body.replaceChildren(...rows.map((cells) => rowOf(cells, false)));
}
`;

/** Keys, mouse and buttons. */
const INPUT = `
function choose(r, l, at, follows) {
	const lane = runs[r].lanes[l];
	Object.assign(selected, { run: r, lane: l, at });
	if (follows) {
		const from = place(runs[r], lane.from[at], false), to = place(runs[r], lane.to[at], true), span = view.to - view.from;
		const small = Math.max(to - from, 1) * pixels() < 3;
		if (small || to - from > span) { const wide = Math.max(2000, (to - from) * (small ? 40 : 1.1)); show((from + to - wide) / 2, (from + to + wide) / 2); }
		else if (from < view.from || to > view.to) show((from + to - span) / 2, (from + to + span) / 2);
	}
	details(); again();
}
const zoom = (factor, at) => { const x = at === undefined ? (view.from + view.to) / 2 : at; show(x - (x - view.from) * factor, x + (view.to - x) * factor); };
const pan = (share) => { const by = (view.to - view.from) * share; show(view.from + by, view.to + by); };
function move(by) {
	const { run: r, lane: l, at } = selected, lane = runs[r].lanes[l];
	if (lane.from.length === 0) return;
	if (at < 0) { const first = search(lane.from.length, (n) => place(runs[r], lane.from[n], false) >= view.from); choose(r, l, Math.min(first, lane.from.length - 1), true); return; }
	choose(r, l, Math.max(0, Math.min(lane.from.length - 1, at + by)), true);
}
function outwards() { const { run: r, lane: l, at } = selected, { depth } = runs[r].lanes[l]; for (let n = at - 1; n >= 0; n--) if (depth[n] < depth[at]) { choose(r, l, n, true); return; } }
function inwards() { const { run: r, lane: l, at } = selected, { depth } = runs[r].lanes[l]; if (at >= 0 && depth[at + 1] > depth[at]) choose(r, l, at + 1, true); }
function otherLane() {
	const from = selected.at < 0 ? view.from : place(runs[selected.run], runs[selected.run].lanes[selected.lane].from[selected.at], false);
	let { run: r, lane: l } = selected;
	for (let n = 0; n < runs.length * 3; n++) {
		l++; if (l === runs[r].lanes.length) { l = 0; r = (r + 1) % runs.length; }
		const lane = runs[r].lanes[l];
		if (lane.from.length > 0) { choose(r, l, Math.min(lane.from.length - 1, search(lane.from.length, (one) => place(runs[r], lane.from[one], false) >= from)), true); return; }
	}
}
function toSelected() { const { run: r, lane: l, at } = selected; if (at < 0) return; const lane = runs[r].lanes[l], from = place(runs[r], lane.from[at], false), to = place(runs[r], lane.to[at], true), more = Math.max(100, (to - from) * 0.05); show(from - more, to + more); }
function align(on) { view.aligned = on; document.getElementById("aligned").checked = on; show(view.from, view.to); }
function allBands(on) { view.all = on; document.getElementById("all").checked = on; lay(); again(); }
const ACTIONS = {
	in: () => zoom(0.6), out: () => zoom(1 / 0.6), left: () => pan(-0.25), right: () => pan(0.25), fit: () => show(0, whole()),
	next: () => move(1), previous: () => move(-1), outwards, inwards, lane: otherLane, zoom: toSelected,
};
const KEYS = { w: "in", "+": "in", "=": "in", s: "out", "-": "out", a: "left", ArrowLeft: "left", d: "right", ArrowRight: "right", 0: "fit", j: "next", n: "next", k: "previous", p: "previous", ArrowUp: "outwards", ArrowDown: "inwards", l: "lane", Enter: "zoom" };
app.addEventListener("keydown", (event) => {
	if (event.ctrlKey || event.metaKey || event.altKey) return;
	const action = KEYS[event.key];
	if (action !== undefined) ACTIONS[action]();
	else if (event.key === "e") align(!view.aligned);
	else if (event.key === "b") allBands(!view.all);
	else return;
	event.preventDefault();
});
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => ACTIONS[button.dataset.do]());
document.getElementById("aligned").addEventListener("change", (event) => align(event.target.checked));
document.getElementById("all").addEventListener("change", (event) => allBands(event.target.checked));
/** What is below the mouse: a slice, or a band's part. */
function hit(event) {
	const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
	if (x < LEFT) return null;
	const at = view.from + (x - LEFT) / pixels(), slack = 2 / pixels();
	for (let r = 0; r < runs.length; r++) {
		const run = runs[r], block = blocks[r];
		for (let l = 0; l < run.lanes.length; l++) {
			const lane = run.lanes[l], row = lane.rows[Math.floor((y - block.lanes[l]) / ROW)];
			if (row === undefined || y < block.lanes[l]) continue;
			const n = search(row.length, (one) => place(run, lane.to[row[one]], true) >= at - slack);
			if (n < row.length && place(run, lane.from[row[n]], false) <= at + slack) return { r, l, at: row[n], text: nameOf(lane, row[n]) + String.fromCharCode(10) + timesOf(lane, row[n]) };
		}
		for (const { at: b, y: top } of block.bands) {
			if (y < top || y >= top + BAND) continue;
			const band = run.bands[b], n = search(band.to.length, (one) => place(run, band.to[one], true) >= at);
			if (n < band.to.length) return { text: band.name + ": " + valueText(data.values[band.value[n]]) + String.fromCharCode(10) + cyclesText(n === 0 ? 0 : band.to[n - 1]) + " to " + cyclesText(band.to[n]) };
		}
	}
	return null;
}
let drag = null;
canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, from: view.from, to: view.to, moved: false }; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointermove", (event) => {
	if (drag !== null) {
		const by = (event.clientX - drag.x) / pixels();
		if (Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
		if (drag.moved) show(drag.from - by, drag.to - by);
		tip.hidden = true;
		return;
	}
	const found = hit(event), box = app.getBoundingClientRect();
	tip.hidden = found === null;
	if (found === null) return;
	tip.textContent = found.text;
	tip.style.left = Math.max(0, Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth - 4)) + "px";
	tip.style.top = event.clientY - box.top + 16 + "px";
});
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("pointerup", (event) => { const was = drag; drag = null; if (was === null || was.moved) return; const found = hit(event); if (found !== null && found.at !== undefined) choose(found.r, found.l, found.at, false); app.focus({ preventScroll: true }); });
canvas.addEventListener("dblclick", toSelected);
canvas.addEventListener("wheel", (event) => {
	if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY / 300), view.from + (event.clientX - canvas.getBoundingClientRect().left - LEFT) / pixels());
	else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) / width());
	else return;
	event.preventDefault();
}, { passive: false });
const scrub = (event) => { if (event.buttons === 0) return; const at = (event.clientX - over.getBoundingClientRect().left - LEFT) / width() * whole(), half = (view.to - view.from) / 2; show(at - half, at + half); };
over.addEventListener("pointerdown", scrub); over.addEventListener("pointermove", scrub);
document.getElementById("exit").addEventListener("change", (event) => steps(Number(event.target.value)));
document.getElementById("tables").addEventListener("toggle", (event) => { if (event.target.open) steps(Number(document.getElementById("exit").value)); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); again(); });
new ResizeObserver(() => again()).observe(app);
readColours(); lay(); show(0, whole());
`;

/** The whole script. */
export const TIMELINE_SCRIPT = `"use strict";${MODEL}${DRAW}${WORDS}${INPUT}`;
