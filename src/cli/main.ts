/** The command line: arguments in, exit code out. */
import { type Argument, Command, CommanderError } from "commander";
import { hint } from "../kvm/flow/patch.ts";
import { registerCasebook } from "./commands/casebook.ts";
import { registerCheck } from "./commands/check.ts";
import { registerCompareBackends } from "./commands/compare-backends.ts";
import { registerCost } from "./commands/cost.ts";
import { registerExplain } from "./commands/explain.ts";
import { registerKut } from "./commands/kut.ts";
import { registerDiff } from "./commands/diff.ts";
import { registerModels, registerShow, registerTrees } from "./commands/lists.ts";
import { registerDoctor, registerMeasure } from "./commands/measure.ts";
import { registerProfile } from "./commands/profile.ts";
import { registerReplay } from "./commands/replay.ts";
import { registerReview } from "./commands/review.ts";
import { registerRun } from "./commands/run.ts";
import { registerSchema } from "./commands/schema.ts";
import { registerTrace } from "./commands/trace.ts";
import type { Context } from "./context.ts";
import { isExpectedError } from "./errors.ts";
import { EXIT, type Io, SkippedError } from "./io.ts";
import { makeRegistry, type Registry } from "./registry.ts";
import type { Services } from "./services.ts";
import { makeStyle } from "./style.ts";
import { versionText } from "./version.ts";

const START = `reenter: KVM's x86 run loop, to change and to check

  reenter review series-v1 series-v2    are they safe on each vendor, and what do they save?
  reenter check series-v1 --vendor tdx  the shortest schedule that breaks it
  reenter cost invd --tree series-v2    cycles an exit, and what they are made of
  reenter show v6.18 vcpu_enter_guest   the run loop; reenter diff v6.18 series-v2: what moved
  reenter run guest.elf                 run a guest image;  reenter help lists all commands
`;

/** The commands, in the order in which help lists them. */
const COMMANDS: readonly ((registry: Registry) => void)[] = [
	registerReview,
	registerCheck,
	registerReplay,
	registerCasebook,
	registerCost,
	registerProfile,
	registerTrace,
	registerExplain,
	registerRun,
	registerKut,
	registerTrees,
	registerShow,
	registerDiff,
	registerModels,
	registerSchema,
	registerMeasure,
	registerCompareBackends,
	registerDoctor,
];

/**
 * Runs one command.
 * @param argv the arguments behind `reenter`
 * @returns the exit code: 0 holds, 1 violated, 2 bad usage or input, 3 the guest stopped for a reason of its own
 */
export async function main(argv: readonly string[], io: Io, services: Services): Promise<number> {
	const context: Context = { io, services, style: makeStyle(io.color) };
	if (argv.length === 0) {
		io.out(START);
		return EXIT.holds;
	}
	let code: number = EXIT.holds;
	const program = build(context, (result) => {
		code = result;
	});
	try {
		await program.parseAsync([...argv], { from: "user" });
		return code;
	} catch (error) {
		if (error instanceof CommanderError) return commanderExit(error, program, argv, io);
		if (error instanceof SkippedError) {
			io.err(`reenter: skipped: ${error.message}\n`);
			return EXIT.skipped;
		}
		if (isExpectedError(error)) {
			io.err(`reenter: ${error.message}\n`);
			return EXIT.usage;
		}
		throw error;
	}
}

/** Help and version are no errors; the rest becomes one line. */
function commanderExit(error: CommanderError, program: Command, argv: readonly string[], io: Io): number {
	if (error.exitCode === 0) return EXIT.holds;
	let message = error.message.replace(/^error: /, "").replace(/\n/g, " ");
	// commander prints its help for a command that it does not know to help with, as an error without a word.
	const helpOf = error.code === "commander.help" && argv[0] === "help" ? argv[1] : undefined;
	const unknown = error.code === "commander.unknownCommand" ? argv[0] : helpOf;
	if (unknown !== undefined) {
		const names = program.commands.map((command) => command.name());
		message = `no command "${unknown}"${hint(unknown, names)} (reenter help lists them)`;
	}
	io.err(`reenter: ${message}\n`);
	return EXIT.usage;
}

/** `<dir>`, `[test...]`. */
function argumentTerm(argument: Argument): string {
	const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
	return argument.required ? `<${name}>` : `[${name}]`;
}

function build(context: Context, done: (code: number) => void): Command {
	const { io } = context;
	const program = new Command("reenter");
	program
		.description("KVM's x86 vCPU run loop: change it, and learn whether it is still safe and what it saves")
		.version(versionText(), "-V, --version", "print the versions of the program and of what it models")
		.helpCommand("help [command]", "how a command is used")
		.showSuggestionAfterError(true)
		.configureHelp({
			// Every command has options.
			subcommandTerm: (command) =>
				`${command.name()} ${command.registeredArguments.map(argumentTerm).join(" ")}`.trimEnd(),
			minWidthToWrap: 20,
		})
		.configureOutput({ writeOut: (text) => io.out(text), writeErr: () => {} })
		.exitOverride();
	const registry = makeRegistry(program, context, done);
	for (const register of COMMANDS) register(registry);
	return program;
}
