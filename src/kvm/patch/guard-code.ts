/** A patch's own code: what it throws by mistake names the step and the line, and is no verdict on KVM. */
import { FlowError } from "../flow/errors.ts";
import { describeCode } from "../flow/fingerprint.ts";

/** Errors that a slip in someone's code raises; what the machine throws has types of its own. */
const SLIPS: readonly unknown[] = [Error, TypeError, ReferenceError, RangeError, SyntaxError];

const guarded = new WeakMap<object, unknown>();

/**
 * The function, with its slips reported as a FlowError.
 * @param file for messages
 * @param name the step's or guard's
 */
export function guardCode<F extends (...args: never[]) => unknown>(run: F, file: string, name: string): F {
	let safe = guarded.get(run) as F | undefined;
	if (safe === undefined) {
		safe = ((...args: never[]) => {
			try {
				return run(...args);
			} catch (error) {
				if (!(error instanceof Error) || !SLIPS.includes(error.constructor)) throw error;
				const line = lineIn(error, file);
				throw new FlowError(
					`${file}${line === null ? "" : `:${line}`}: step "${name}" threw ${error.name}: ${error.message}`,
					true,
				);
			}
		}) as F;
		guarded.set(run, safe);
		describeCode(safe, run.toString());
	}
	return safe;
}

/** The line of a file at which an error was thrown, or null. */
export function lineIn(error: Error, file: string): number | null {
	const name = file
		.split("/")
		.at(-1)!
		.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
	const match = new RegExp(`${name}:(\\d+)`).exec(error.stack ?? "");
	return match === null ? null : Number(match[1]);
}
