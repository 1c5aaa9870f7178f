/** Flame graphs as SVG, also the difference of two: no script, so they show in a mail and in docs. */
import { type CallTreeData, stackOf, type Weight } from "./call-tree.ts";
import { type FlameBox, layoutFlame } from "./flame.ts";

const WIDTH = 1200;
const ROW = 18;
const MARGIN = 8;
const HEAD = 30;
/** With the lines that say what a difference's colours mean. */
const DIFFERENCE_HEAD = 66;
/** Width of a character at 11 px, roughly. */
const CHARACTER = 6.2;

export interface FlameSvgOptions {
	readonly title: string;
	readonly weight: Weight;
	/** What to compare with, and its name: boxes are coloured by how much of the whole they gained or lost. */
	readonly base?: { readonly name: string; readonly calls: CallTreeData };
}

const escaped = (text: string) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

/** A hue by what a function is: the guest, the processor's own work, KVM's swaps, the rest. Told apart by lightness too. */
function plainColour(name: string): string {
	if (name === "[guest]") return "#b9d7ea";
	if (name.startsWith("[VM ")) return "#8a8a8a";
	if (/xsave_state|xfeatures|pkru/.test(name)) return "#d55e00";
	if (/^(vmx|svm|tdx|__vmx|__svm|vt)_/.test(name)) return "#f0c808";
	if (/^(kvm|vcpu|handle)_/.test(name)) return "#f6dd8f";
	return "#dcdcdc";
}

/** Blue for less, orange for more, by the change in share of the whole. */
function changeColour(change: number): string {
	const strength = Math.min(1, Math.abs(change) * 12);
	const fade = (full: number) => Math.round(235 - (235 - full) * strength);
	return change > 0
		? `rgb(${fade(213)},${fade(94)},${fade(0)})`
		: `rgb(${fade(0)},${fade(114)},${fade(178)})`;
}

/** Functions named in the line of what is gone. */
const GONE_NAMED = 4;
/** Of the whole, in the base; less is not named. */
const GONE_LEAST_SHARE = 0.002;

/** The outermost boxes of the base that the other graph has not, heaviest first. */
function goneBoxes(
	base: CallTreeData,
	before: ReadonlyMap<string, FlameBox>,
	now: ReadonlySet<string>,
): FlameBox[] {
	return [...before]
		.filter(([stack, box]) => {
			const above = base.parent[box.node]!;
			const caller = stackOf(base, above).join(";");
			return !now.has(stack) && box.width >= GONE_LEAST_SHARE && (above === 0 || now.has(caller));
		})
		.map(([, box]) => box)
		.sort((a, b) => b.width - a.width);
}

/** What the colours of a difference mean, and what is not in the picture because it is gone. */
function differenceHead(name: string, gone: readonly FlameBox[]): string[] {
	const swatch = (x: number, fill: string, text: string) =>
		`<rect x="${x}" y="28" width="14" height="12" fill="${fill}"/><text x="${x + 20}" y="38" fill="#222222">${escaped(text)}</text>`;
	const named = gone.slice(0, GONE_NAMED).map((box) => `${box.name} ${(100 * box.width).toFixed(2)} %`);
	const rest = gone.length > GONE_NAMED ? `, and ${gone.length - GONE_NAMED} more` : "";
	return [
		swatch(MARGIN, changeColour(1), `a greater share than in ${name}`),
		swatch(MARGIN + 280, changeColour(-1), "a smaller one"),
		swatch(MARGIN + 420, changeColour(0), "the same"),
		...(gone.length === 0
			? []
			: [
					`<text x="${MARGIN}" y="56" fill="#222222">in ${escaped(name)} alone: ${escaped(named.join(", ") + rest)}</text>`,
				]),
	];
}

function keyed(tree: CallTreeData, boxes: readonly FlameBox[]): Map<string, FlameBox> {
	return new Map(boxes.map((box) => [stackOf(tree, box.node).join(";"), box]));
}

/** The picture. */
export function flameSvg(tree: CallTreeData, options: FlameSvgOptions): string {
	const { weight, base } = options;
	const layout = layoutFlame(tree, weight, 0, 0.0004);
	const before = base === undefined ? null : keyed(base.calls, layoutFlame(base.calls, weight).boxes);
	const head = before === null ? HEAD : DIFFERENCE_HEAD;
	const height = head + layout.depth * ROW + MARGIN;
	const parts = [
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="11" role="img" aria-label="${escaped(options.title)}">`,
		`<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
		`<text x="${MARGIN}" y="19" font-size="13" fill="#222222">${escaped(options.title)}</text>`,
	];
	if (base !== undefined && before !== null) {
		const now = new Set(keyed(tree, layoutFlame(tree, weight).boxes).keys());
		parts.push(...differenceHead(base.name, goneBoxes(base.calls, before, now)));
	}
	for (const box of layout.boxes) {
		const x = MARGIN + box.left * (WIDTH - 2 * MARGIN);
		const width = box.width * (WIDTH - 2 * MARGIN);
		const y = head + (layout.depth - 1 - box.depth) * ROW;
		const share = `${(100 * box.width).toFixed(2)} %`;
		const old = before?.get(stackOf(tree, box.node).join(";"))?.width ?? 0;
		const change = before === null ? null : box.width - old;
		const fill = change === null ? plainColour(box.name) : changeColour(change);
		const note =
			change === null ? share : `${share}, ${change >= 0 ? "+" : "−"}${(100 * Math.abs(change)).toFixed(2)}`;
		const room = Math.floor((width - 4) / CHARACTER);
		const label = box.name.length <= room ? box.name : room > 3 ? `${box.name.slice(0, room - 1)}…` : "";
		parts.push(
			`<g><title>${escaped(box.name)}: ${Math.round(box.total)} ${weight} (${note})</title>` +
				`<rect x="${x.toFixed(2)}" y="${y}" width="${Math.max(width - 0.4, 0.2).toFixed(2)}" height="${ROW - 1}" fill="${fill}"/>` +
				(label === ""
					? ""
					: `<text x="${(x + 3).toFixed(2)}" y="${y + 12}" fill="#1a1a1a">${escaped(label)}</text>`) +
				"</g>",
		);
	}
	parts.push("</svg>\n");
	return parts.join("\n");
}
