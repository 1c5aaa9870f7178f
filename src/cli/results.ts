/** What `check` and `replay` print: one run's results in the format that was asked for. */
import { type Command, Option } from "commander";
import type { CheckResult } from "../check/types.ts";
import type { CommonOptions, Context } from "./context.ts";
import { checkPoints } from "./formats/points.ts";
import { htmlText } from "./formats/html.ts";
import { itfText } from "./formats/itf.ts";
import { junitText } from "./formats/junit.ts";
import { tapText } from "./formats/tap.ts";
import { wholeNumber } from "./numbers.ts";
import { emitText } from "./output.ts";
import { checkFooter, checkJson, checkText } from "./text/check.ts";

const FORMATS = ["text", "json", "tap", "junit", "itf", "html"] as const;

/** Options of commands that print results. */
export interface ResultArguments {
	readonly format?: (typeof FORMATS)[number];
	readonly full?: boolean;
	readonly context?: number;
}

/** Adds the options of `ResultArguments`. */
export function addResultOptions(command: Command): Command {
	return command
		.addOption(new Option("--format <format>", "how results are printed (docs/check.md)").choices(FORMATS))
		.option("--full", "print every step of a counterexample")
		.addOption(
			new Option("--context <steps>", "steps before the first event that a counterexample shows")
				.argParser((text) => wholeNumber("--context", text, 0))
				.default(3),
		);
}

/** Prints results. */
export function emitResults(
	{ io, style }: Context,
	results: readonly CheckResult[],
	options: CommonOptions & ResultArguments,
): void {
	const format = options.json === true ? "json" : (options.format ?? "text");
	const counterexamples = results.flatMap(({ violations, findings }) => [...violations, ...findings]);
	if (format === "itf" && counterexamples.length > 1) {
		const left = counterexamples.length - 1;
		io.err(
			`reenter: ITF is one trace, the least; ${left === 1 ? "another is" : `${left} others are`} left out\n`,
		);
	}
	emitText(io, options, () => {
		switch (format) {
			case "text": {
				const shown = { full: options.full === true, context: options.context ?? 3 };
				const footer = checkFooter(results);
				const texts = results.map((result) => checkText(result, style, shown));
				return `${texts.join("\n")}${footer === null ? "" : `\n${footer}\n`}`;
			}
			case "json":
				return `${JSON.stringify(checkJson(results), null, "\t")}\n`;
			case "tap":
				return tapText(checkPoints(results));
			case "junit":
				return junitText("reenter check", checkPoints(results));
			case "itf":
				return itfText(results);
			case "html":
				return htmlText(results);
			default:
				return format satisfies never;
		}
	});
}
