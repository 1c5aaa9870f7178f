/** Figures as the page prints them. */

/** Cycles: whole numbers, from 10 000 on in groups; one decimal below 10. */
export function cycles(value: number): string {
	const rounded = Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value);
	const digits = String(rounded).replace("-", "−");
	return Math.abs(rounded) < 10_000 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A difference with its sign. */
export function difference(value: number): string {
	if (Math.abs(value) < 0.05) return "±0";
	return value > 0 ? `+${cycles(value)}` : cycles(value);
}

/** A share with its sign, in percent. */
export function percent(value: number): string {
	const rounded = Math.round(Math.abs(value) * 1000) / 10;
	return `${value < 0 ? "−" : "+"}${rounded} %`;
}
