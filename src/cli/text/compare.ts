/** What `reenter compare-backends` prints. */
import type { CompareReport, FoundDifference } from "../../backends/compare/compare.ts";
import type { ImageReport } from "../../backends/compare/images.ts";
import type { Difference } from "../../backends/compare/lockstep.ts";
import type { Style } from "../style.ts";

/** Fields of a difference that are printed; --json has all. */
const FIELDS_MAX = 12;

function differenceLines({ event, left, right, fields }: Difference): string[] {
	const what = left === right ? `behind event ${event}, ${left}` : `at event ${event}: ${left} | ${right}`;
	const width = Math.max(...fields.map(({ field }) => field.length), 0);
	const rows = fields
		.slice(0, FIELDS_MAX)
		.map(({ field, left: a, right: b }) => `    ${field.padEnd(width)}  ${a} | ${b}`);
	const more = fields.length - rows.length;
	return [`  ${what}`, ...rows, ...(more > 0 ? [`    and ${more} more`] : [])];
}

function foundLines(found: FoundDifference, left: string, right: string): string[] {
	return [
		`✘ guest ${found.guest}${found.guests > 1 ? ` and ${found.guests - 1} more` : ""}: ${left} | ${right}, reduced to ${found.pieces} pieces`,
		...differenceLines(found.difference),
		...found.listing.map((line) => `    ${line}`),
		"",
	];
}

/** The report in lines. */
export function compareText(
	report: CompareReport | null,
	images: readonly ImageReport[],
	style: Style,
): string {
	const lines: string[] = [];
	for (const { name, events, difference, known } of images) {
		if (difference === null) lines.push(`${style.good("✔")} ${name}: ${events} accesses alike`);
		else if (known !== null) lines.push(`${style.event("-")} ${name}: ${known}`);
		else lines.push(`${style.bad("✘")} ${name}: differs`, ...differenceLines(difference));
	}
	if (report === null) return `${lines.join("\n")}\n`;
	const { left, right, modules, seed, guests, equal, states, known, found } = report;
	if (images.length > 0) lines.push("");
	lines.push(
		`${left} (${modules[0]}) | ${right} (${modules[1]}), seed ${seed}: ${guests} guests, ${states} states compared`,
		`${equal} equal, but for what is listed; ${found.reduce((sum, one) => sum + one.guests, 0)} with differences that nothing explains`,
		"",
	);
	for (const { reason, guests: count, pieces } of known) {
		lines.push(`  ${String(count).padStart(5)} guests  ${reason}`);
		if (pieces.length > 0) lines.push(`                left out: ${pieces.join("; ")}`);
	}
	if (known.length > 0) lines.push("");
	for (const one of found) lines.push(...foundLines(one, left, right));
	return `${lines.join("\n").trimEnd()}\n`;
}
