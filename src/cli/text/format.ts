/** Small things that several texts need. */

const WIDTH = 100;

/** A number with its sign, the minus as a minus. */
export function signed(value: number, digits: number): string {
	const text = Math.abs(value).toFixed(digits);
	return value < 0 ? `−${text}` : `+${text}`;
}

/** Breaks a sentence into lines of at most 100 columns, indented. */
export function wrap(text: string, indent: number): string[] {
	const lines: string[] = [];
	let line = "";
	for (const word of text.split(" ")) {
		if (line !== "" && indent + line.length + 1 + word.length > WIDTH) {
			lines.push(" ".repeat(indent) + line);
			line = word;
		} else line = line === "" ? word : `${line} ${word}`;
	}
	lines.push(" ".repeat(indent) + line);
	return lines;
}

/** Rows as columns, the first left-aligned, the others right-aligned. */
export function columns(rows: readonly (readonly string[])[], gap = 2): string[] {
	const widths: number[] = [];
	for (const row of rows)
		for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
	return rows.map((row) =>
		row
			.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)))
			.join(" ".repeat(gap))
			.trimEnd(),
	);
}
