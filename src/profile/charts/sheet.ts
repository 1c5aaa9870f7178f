/**
 * The sheet that charts are drawn on: an SVG file without scripts or outside fonts, the same bytes for the same figures.
 * It has a background of its own and follows the reader's light or dark scheme. Colours are told apart without colour
 * vision too: they differ in lightness, every second one is hatched, and lines have markers (after Okabe and Ito, 2008).
 */

/** Colours by scheme. Each has 3:1 or more on its background. */
// biome-ignore format: a table
const COLOURS: Readonly<Record<string, readonly [light: string, dark: string]>> = {
	back: ["#ffffff", "#14171c"],
	text: ["#1f2328", "#e6e9ee"],
	dim:  ["#59636e", "#a3adb8"],
	grid: ["#d5d9de", "#353b44"],
	c0:   ["#0072b2", "#56b4e9"],
	c1:   ["#d55e00", "#e69f00"],
	c2:   ["#007a5a", "#2fc49a"],
	c3:   ["#7a7f87", "#8f959d"],
};

/** Number of colours for data: `c0` and on. */
export const DATA_COLOURS = 4;
/** Width of a character at 12 px, roughly. */
export const CHARACTER = 6.6;

/** Text as it may stand in SVG. */
export function escaped(text: string): string {
	return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** A coordinate with at most two decimals. */
export function at(value: number): string {
	return String(Math.round(value * 100) / 100);
}

/** A line of text. */
export function label(
	x: number,
	y: number,
	text: string,
	more: {
		readonly anchor?: "start" | "middle" | "end";
		readonly style?: string;
		readonly turn?: number;
	} = {},
): string {
	const { anchor = "start", style = "t", turn } = more;
	const turned = turn === undefined ? "" : ` transform="rotate(${turn} ${at(x)} ${at(y)})"`;
	return `<text class="${style}" x="${at(x)}" y="${at(y)}" text-anchor="${anchor}"${turned}>${escaped(text)}</text>`;
}

/** Fill of data number `index`: plain for even ones, hatched for odd ones. */
export function fillOf(index: number): string {
	return index % 2 === 0 ? `var(--c${index})` : `url(#h${index})`;
}

function styles(): string {
	const list = (scheme: 0 | 1) =>
		Object.entries(COLOURS)
			.map(([name, pair]) => `--${name}:${pair[scheme]}`)
			.join(";");
	return (
		`<style>svg{${list(0)}}@media (prefers-color-scheme:dark){svg{${list(1)}}}` +
		"text{font:12px system-ui,sans-serif}.t{fill:var(--text)}.d{fill:var(--dim)}.h{fill:var(--text);font-size:14px;font-weight:600}" +
		".g{stroke:var(--grid)}.a{stroke:var(--dim)}</style>"
	);
}

function hatches(): string {
	const odd = [...Array(DATA_COLOURS).keys()].filter((index) => index % 2 === 1);
	return odd
		.map(
			(index) =>
				`<pattern id="h${index}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
				`<rect width="5" height="5" fill="var(--c${index})" fill-opacity="0.3"/><rect width="2.5" height="5" fill="var(--c${index})"/></pattern>`,
		)
		.join("");
}

/**
 * The file.
 * @param title what the chart shows; readers of the screen get it too
 * @param description what a reader who does not see it must know
 */
export function sheet(
	width: number,
	height: number,
	title: string,
	description: string,
	parts: readonly string[],
): string {
	return `${[
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${at(width)} ${at(height)}" width="${at(width)}" height="${at(height)}" role="img" aria-labelledby="title desc">`,
		`<title id="title">${escaped(title)}</title>`,
		`<desc id="desc">${escaped(description)}</desc>`,
		styles(),
		`<defs>${hatches()}</defs>`,
		`<rect width="${at(width)}" height="${at(height)}" rx="6" fill="var(--back)"/>`,
		label(16, 26, title, { style: "h" }),
		...parts,
		"</svg>",
	].join("\n")}\n`;
}
