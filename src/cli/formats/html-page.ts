/** Style and script of the HTML page. */

/** Two panes from 700 pixels on, one below the other on a phone. Colour is never the only sign. */
export const HTML_STYLE = `
:root { --text: #1b1f24; --page: #fff; --soft: #5a636e; --line: #d5dae0; --pick: #e7f0fd; --bad: #b3211b; --good: #116b2f; --event: #7a4d00; }
@media (prefers-color-scheme: dark) {
	:root { --text: #dde3ea; --page: #14171b; --soft: #9aa5b1; --line: #363d45; --pick: #1d3354; --bad: #ff8f87; --good: #7ed698; --event: #f0bd62; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1400px; font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.2rem; border-top: 1px solid var(--line); padding-top: 1rem; } h3, h4 { margin: 1rem 0 .3rem; }
.violated, .failed, .violation b { color: var(--bad); } .holds { color: var(--good); }
.properties { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; }
.failed { font-weight: 600; } .finding { color: var(--event); }
.panes { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 700px) { .panes { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } aside { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow: auto; } }
ol { margin: 0; padding: 0; list-style: none; border: 1px solid var(--line); max-height: 75vh; overflow: auto; }
ol button { display: flex; gap: .8rem; width: 100%; padding: .15rem .5rem; border: 0; background: none; color: inherit; font: 13px/1.5 ui-monospace, monospace; text-align: left; cursor: pointer; }
ol button[aria-current] { background: var(--pick); outline: 2px solid currentColor; outline-offset: -2px; }
ol i { min-width: 3.5em; text-align: right; color: var(--soft); font-style: normal; }
ol span { overflow-wrap: anywhere; } ol small { display: block; color: var(--soft); }
li.event button { color: var(--event); font-weight: 600; } li.violation button { color: var(--bad); font-weight: 600; }
table { border-collapse: collapse; font: 13px/1.5 ui-monospace, monospace; }
th { text-align: left; font-weight: 400; padding-right: 1rem; color: var(--soft); } .changed th, .changed td { color: var(--event); font-weight: 600; }
pre, code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; } .near .early { display: none; }
kbd { border: 1px solid var(--line); border-radius: 3px; padding: 0 .3em; } @media (max-width: 699px) { .keys { display: none; } }
`;

/** Moves the choice of a step. Only what is in the page is used. */
export const HTML_SCRIPT = `
const traces = [...document.querySelectorAll(".trace")];
let trace = traces[0];
const buttonsOf = (one) => [...one.querySelectorAll("ol button")];
const dataOf = new Map(traces.map((one) => [one, JSON.parse(one.querySelector("script").textContent)]));
function cell(row, kind, text) {
	const made = document.createElement(kind);
	made.textContent = text;
	row.append(made);
}
function showState(one, at) {
	const { initial, steps } = dataOf.get(one);
	const state = { ...initial };
	steps.slice(0, at + 1).flat().forEach(([name, , after]) => { state[name] = after; });
	const changed = new Map(steps[at].map(([name, before]) => [name, before]));
	const rows = Object.entries(state).map(([name, value]) => {
		const row = document.createElement("tr");
		const isChanged = changed.has(name);
		if (isChanged) row.className = "changed";
		cell(row, "th", isChanged ? name + " ●" : name);
		cell(row, "td", isChanged ? changed.get(name) + " → " + value : value);
		return row;
	});
	one.querySelector("table").replaceChildren(...rows);
}
function choose(one, at) {
	trace = one;
	const buttons = buttonsOf(one);
	const next = Math.max(0, Math.min(buttons.length - 1, at));
	buttons.forEach((button, n) => n === next ? button.setAttribute("aria-current", "step") : button.removeAttribute("aria-current"));
	buttons[next].scrollIntoView({ block: "nearest" });
	showState(one, next);
}
for (const one of traces) {
	one.classList.add("near");
	buttonsOf(one).forEach((button, at) => button.addEventListener("click", () => choose(one, at)));
	choose(one, buttonsOf(one).length - 1);
}
trace = traces[0];
window.scrollTo(0, 0);
document.addEventListener("keydown", (event) => {
	if (trace === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
	const buttons = buttonsOf(trace);
	const at = buttons.findIndex((button) => button.hasAttribute("aria-current"));
	const shown = (from, step) => {
		let n = from + step;
		while (n >= 0 && n < buttons.length && buttons[n].offsetParent === null) n += step;
		return n < 0 || n >= buttons.length ? from : n;
	};
	if (event.key === "j") choose(trace, shown(at, 1));
	else if (event.key === "k") choose(trace, shown(at, -1));
	else if (event.key === "v") choose(trace, buttons.length - 1);
	else if (event.key === "a") traces.forEach((one) => one.classList.toggle("near"));
	else return;
	event.preventDefault();
});
`;
