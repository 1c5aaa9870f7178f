/** How commands put themselves on the command line: one file a command in commands/, one row each in main.ts. */
import { type Command, Option } from "commander";
import { CHECK_GUESTS } from "../check/types.ts";
import type { CommonOptions, Context } from "./context.ts";
import { wholeNumber } from "./numbers.ts";
import { checkWritable } from "./output.ts";

/** What a command's file is given to register with. */
export interface Registry {
	readonly context: Context;
	/**
	 * Adds a command with the options that every command has.
	 * @param usage commander's: `check <tree>`
	 * @param description one line
	 */
	command(usage: string, description: string): Command;
	/** Wraps a command's work as commander's action: what it returns is the exit code. */
	action<T extends unknown[]>(work: (...args: T) => number | Promise<number>): (...args: T) => Promise<void>;
}

/**
 * A registry that puts commands on a program.
 * @param done takes the exit code of the command that ran
 */
export function makeRegistry(program: Command, context: Context, done: (code: number) => void): Registry {
	const { io } = context;
	return {
		context,
		command: (usage, description) =>
			program
				.command(usage)
				.description(description)
				.option("--json", "print JSON (docs/json.md)")
				.option("--output <file>", "write what would be printed to a file")
				.hook("preAction", (self) => checkWritable(io, self.opts<CommonOptions>().output))
				.exitOverride()
				.configureOutput({ writeOut: (text) => io.out(text), writeErr: () => {} }),
		action:
			(work) =>
			async (...args) =>
				done(await work(...args)),
	};
}

/** `--patch`, of every command that takes a tree. */
export function patchOption(): Option {
	return new Option(
		"--patch <file>",
		"a patch file, JSON or TypeScript, applied to the tree; repeated, a series; - is JSON on stdin",
	).argParser((file: string, before: string[] | undefined) => [...(before ?? []), file]);
}

const MCE_HANDLERS = ["task-work", "schedule"] as const;

/** `--mce-handler`, of every command that checks. */
export function mceHandlerOption(): Option {
	return new Option(
		"--mce-handler <variant>",
		"the kernel's #MC handler: task-work, or schedule as before 5567d11c21a1",
	)
		.choices(MCE_HANDLERS)
		.default("task-work");
}

/** `--guest` of commands that check. */
export function guestOption(): Option {
	return new Option(
		"--guest <guest>",
		"script: its instructions carried out; code: the same bytes, translated",
	)
		.choices(CHECK_GUESTS)
		.default("script");
}

/** The option of commands that search. */
export interface JobsArguments {
	readonly jobs?: number;
}

/** `--jobs`. */
export function jobsOption(): Option {
	return new Option(
		"-j, --jobs <n>",
		"threads that search, at most; default one for each CPU. The result is the same",
	).argParser((text) => wholeNumber("--jobs", text, 1));
}
