/** Scales: from figures to places on a chart, and where the ticks are. */

/** A range of figures laid over a range of pixels. */
export interface Scale {
	place(value: number): number;
	readonly ticks: readonly number[];
}

/** The round step, 1, 2 or 5 times a power of ten, that parts a range into at most so many pieces. */
function roundStep(range: number, pieces: number): number {
	const rough = range / pieces;
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9))!;
	return step * power;
}

/**
 * A linear scale from or through 0, its ends at ticks.
 * @param values what it must hold
 * @param from pixel of the least, and `to` of the greatest
 */
export function linearScale(values: readonly number[], from: number, to: number, pieces = 6): Scale {
	const least = Math.min(0, ...values);
	const greatest = Math.max(0, ...values);
	const step = roundStep(greatest - least || 1, pieces);
	const first = Math.floor(least / step + 1e-9);
	const last = Math.max(Math.ceil(greatest / step - 1e-9), first + 1);
	const ticks: number[] = [];
	for (let tick = first; tick <= last; tick++) ticks.push(Number((tick * step).toPrecision(12)));
	const place = (value: number) => from + ((value - first * step) / ((last - first) * step)) * (to - from);
	return { place, ticks };
}

/** A logarithmic scale with a tick at each power of ten. @param values all above 0 */
export function logScale(values: readonly number[], from: number, to: number): Scale {
	const first = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
	const last = Math.max(Math.ceil(Math.log10(Math.max(...values)) - 1e-9), first + 1);
	const ticks: number[] = [];
	for (let power = first; power <= last; power++) ticks.push(10 ** power);
	const place = (value: number) => from + ((Math.log10(value) - first) / (last - first)) * (to - from);
	return { place, ticks };
}

/** `10`, `100`, `1k`, `10k`, `1M`. */
export function shortNumber(value: number): string {
	if (value >= 1e6) return `${value / 1e6}M`;
	return value >= 1e3 ? `${value / 1e3}k` : String(value);
}
