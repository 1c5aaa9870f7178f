/** The command line: arguments in, exit code out. */
import { Command, CommanderError, Option } from "commander";
import { ImageError } from "../guests/image.ts";
import { FlowError } from "../kvm/flow/errors.ts";
import { hint } from "../kvm/flow/patch.ts";
import { ReviewError } from "../review/errors.ts";
import { checkCommand, costCommand, reviewCommand } from "./commands/instruments.ts";
import { diffCommand, modelsCommand, showCommand, treesCommand } from "./commands/lists.ts";
import { runCommand } from "./commands/run.ts";
import { EXIT, type Io, UsageError } from "./io.ts";
import { checkOutput } from "./output.ts";
import type { Services } from "./services.ts";
import { makeStyle } from "./style.ts";
import type { CommonOptions, Context } from "./context.ts";
import { versionText } from "./version.ts";

const START = `reenter: KVM's x86 run loop, to change and to check

  reenter review series-v1 series-v2    are they safe on each vendor, and what do they save?
  reenter check series-v1 --vendor tdx  the shortest schedule that breaks it
  reenter cost invd --tree series-v2    cycles an exit, and what they are made of
  reenter show v6.18 vcpu_enter_guest   the run loop; reenter diff v6.18 series-v2: what moved
  reenter run guest.elf                 run a guest image;  reenter help lists all commands
`;

const MCE_HANDLERS = ["task-work", "schedule"] as const;

/**
 * Runs one command.
 * @param argv the arguments behind `reenter`
 * @returns the exit code: 0 holds, 1 violated, 2 bad usage or input, 3 the guest stopped for a reason of its own
 */
export function main(argv: readonly string[], io: Io, services: Services): number {
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
		program.parse([...argv], { from: "user" });
		return code;
	} catch (error) {
		if (error instanceof CommanderError) return commanderExit(error, program, argv, io);
		if (
			error instanceof UsageError ||
			error instanceof FlowError ||
			error instanceof ReviewError ||
			error instanceof ImageError
		) {
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
	if (error.code === "commander.unknownCommand") {
		const names = program.commands.map((command) => command.name());
		message = `no command "${argv[0]}"${hint(argv[0]!, names)} (reenter help lists them)`;
	}
	io.err(`reenter: ${message}\n`);
	return EXIT.usage;
}

function build(context: Context, done: (code: number) => void): Command {
	const { io } = context;
	const program = new Command("reenter");
	program
		.description("KVM's x86 vCPU run loop: change it, and learn whether it is still safe and what it saves")
		.version(versionText(), "-V, --version", "print the versions of the program and of what it models")
		.helpCommand("help [command]", "how a command is used")
		.showSuggestionAfterError(true)
		.configureOutput({ writeOut: (text) => io.out(text), writeErr: () => {} })
		.exitOverride();
	const command = (usage: string, description: string) =>
		program
			.command(usage)
			.description(description)
			.option("--json", "print JSON (docs/json.md)")
			.option("--output <file>", "write what would be printed to a file")
			.hook("preAction", (self) => checkOutput(io, self.opts<CommonOptions>()))
			.exitOverride()
			.configureOutput({ writeOut: (text) => io.out(text), writeErr: () => {} });
	const mceHandler = () =>
		new Option(
			"--mce-handler <variant>",
			"the kernel's #MC handler: task-work, or schedule as before 5567d11c21a1",
		)
			.choices(MCE_HANDLERS)
			.default("task-work");

	command("review [trees...]", "for each vendor: is the tree safe, and what does it save")
		.option("--base <tree>", "the tree to compare with", "v6.18")
		.option("--vendor <vendor>", "vmx, svm or tdx; default all")
		.option("--cpu <model>", "CPU model; default turin for svm, emerald-rapids for vmx and tdx")
		.option("--guest <program>", "the guest whose cost is compared; default invd, td-vmcall for tdx")
		.addOption(mceHandler())
		.action((trees, options) => done(reviewCommand(context, trees, options)));
	command("check <tree>", "one event of each kind at every op, against the properties")
		.option("--vendor <vendor>", "vmx, svm or tdx; default all")
		.option("--cpu <model>", "CPU model")
		.option("--base <tree>", "the tree that explains what was skipped", "v6.18")
		.option("--replay <schedule>", "only this schedule, for example irq@57")
		.option("--full", "print every step of a counterexample")
		.addOption(mceHandler())
		.action((tree, options) => done(checkCommand(context, tree, options)));
	command("cost <guest>", "cycles an exit, and the ops it is made of")
		.option("--cpu <model>", "CPU model")
		.option("--tree <tree>", "the tree", "v6.18")
		.option("--vendor <vendor>", "vmx, svm or tdx")
		.option("--pke", "CR4.PKE set and PKRU all ones but the two low bits")
		.option("--no-osxsave", "CR4.OSXSAVE clear")
		.option("--xcr0 <mask>", "the guest's XCR0, for example 0x2e7, or host")
		.option("--xss <mask>", "the guest's IA32_XSS, for example 0x1800, or host")
		.action((guest, options) => done(costCommand(context, guest, options)));
	command("run <file>", "run a guest image, ELF64 or multiboot")
		.option("--tree <tree>", "the tree", "v6.18")
		.option("--cpu <model>", "CPU model")
		.option("--vendor <vendor>", "vmx or svm")
		.option("--append <args>", "arguments for a multiboot guest", "")
		.option("--budget <instructions>", "guest instructions after which to stop")
		.action((file, options) => done(runCommand(context, file, options)));
	command("trees", "the built-in trees and their patches").action((options) =>
		done(treesCommand(context, options)),
	);
	command("show <tree> [flow]", "the steps of a tree, or of one kernel function").action(
		(tree, flow, options) => done(showCommand(context, tree, flow, options)),
	);
	command("diff <a> <b>", "what moved between two trees, from where to where").action((a, b, options) =>
		done(diffCommand(context, a, b, options)),
	);
	command("models [model]", "CPU models: features, and the cost of each op with its source").action(
		(model, options) => done(modelsCommand(context, model, options)),
	);
	return program;
}
