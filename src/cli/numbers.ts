/** Numbers from the command line. */
import { UsageError } from "./io.ts";

/**
 * Reads a whole number, as 4096 or 1e6. JavaScript's own reading takes the empty word for 0, which a variable of a shell that is
 * not set is.
 * @param flag as it is written: `--jobs`
 * @throws UsageError naming the flag, the word and the bounds
 */
export function wholeNumber(
	flag: string,
	text: string,
	least: number,
	greatest = Number.MAX_SAFE_INTEGER,
): number {
	const value = /^\d+(e\d+)?$/i.test(text) ? Number(text) : Number.NaN;
	if (value >= least && value <= greatest) return value;
	const bounds = greatest === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${greatest}`;
	throw new UsageError(`${flag} "${text}": write a whole number ${bounds}`);
}
