/** `reenter measure`, `reenter measure swaps` and `reenter doctor`. */
import { DevKvmUnavailable } from "../../devkvm/libc.ts";
import type { DevKvm } from "../../devkvm/system.ts";
import { KINDS } from "../../measure/exits.ts";
import { CannotFit, fitModel, vendorOfModule } from "../../measure/fit.ts";
import { KvmError } from "../../uapi/api.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { findTree } from "../../kvm/trees/trees.ts";
import { defaultModel } from "../../review/review.ts";
import type { ExitTable } from "../../measure/types.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { checkWritable, emit, progressLine, writeUserFile } from "../output.ts";
import type { Registry } from "../registry.ts";
import { readUserFile } from "../patch-source.ts";
import { doctorText, exitTableText, swapsText } from "../text/measure.ts";

interface MeasureArguments extends CommonOptions {
	readonly rounds?: string;
	readonly only?: string;
	readonly compare?: string;
	readonly fit?: string;
}

const WHAT = ["exits", "swaps"] as const;

function kinds(only: string | undefined): readonly string[] | undefined {
	const names = KINDS.map(({ name }) => name);
	const wanted = only?.split(",");
	for (const name of wanted ?? []) {
		if (!names.includes(name))
			throw new UsageError(`no exit "${name}"${hint(name, names)}; there are ${names.join(", ")}`);
	}
	return wanted;
}

/** An earlier `measure --json`. */
function readTable(context: Context, path: string): ExitTable {
	const text = new TextDecoder().decode(readUserFile(context.io, path));
	try {
		const table = JSON.parse(text) as Partial<ExitTable>;
		if (Array.isArray(table.exits)) return table as ExitTable;
	} catch {
		// Falls through: the one message fits both.
	}
	throw new UsageError(`${path}: not what measure --json prints`);
}

/** Opens /dev/kvm for a command. @returns null after one line that says why it cannot be, and how it could */
function openKvm({ io, services }: Context): DevKvm | null {
	try {
		return services.openDevKvm();
	} catch (error) {
		if (!(error instanceof DevKvmUnavailable)) throw error;
		io.err(`reenter: ${error.message}\n`);
		return null;
	}
}

async function measureCommand(context: Context, what: string, options: MeasureArguments): Promise<number> {
	const { io, services, style } = context;
	if (!WHAT.some((one) => one === what)) {
		throw new UsageError(
			`nothing to measure by the name of "${what}"${hint(what, WHAT)}; there are exits and swaps`,
		);
	}
	const rounds = options.rounds === undefined ? undefined : wholeNumber("--rounds", options.rounds, 1);
	const only = kinds(options.only);
	const base = options.compare === undefined ? null : readTable(context, options.compare);
	checkWritable(io, options.fit);
	const kvm = openKvm(context);
	if (kvm === null) return EXIT.skipped;
	try {
		kvm.pinThread();
		const info = services.hostInfo();
		const common = {
			kvm,
			clock: services.clock,
			platform: { kernel: info.kernel, module: info.module, cpu: info.cpu },
			...(rounds === undefined ? {} : { rounds }),
		};
		const exits = () =>
			services.measureExits({
				...common,
				...(only === undefined ? {} : { only }),
				onProgress: progressLine(io, "exits"),
			});
		const swaps = () =>
			services.measureSwaps({ ...common, flags: info.flags, onProgress: progressLine(io, "swaps") });
		if (options.fit !== undefined) return await writeFit(context, options.fit, exits, swaps);
		if (what === "swaps") {
			const report = await swaps();
			emit(
				io,
				options,
				() => swapsText(report, style),
				() => report,
			);
		} else {
			const table = await exits();
			emit(
				io,
				options,
				() => exitTableText(table, base, style),
				() => table,
			);
		}
		return EXIT.holds;
	} catch (error) {
		if (!(error instanceof KvmError)) throw error;
		io.err(`reenter: this KVM refuses what is measured with: ${error.message}\n`);
		return EXIT.skipped;
	} finally {
		kvm.close();
	}
}

async function writeFit(
	{ io, services }: Context,
	path: string,
	measureExits: () => ReturnType<typeof services.measureExits>,
	measureSwaps: () => ReturnType<typeof services.measureSwaps>,
): Promise<number> {
	const { module } = services.hostInfo();
	const vendor = vendorOfModule(module);
	if (vendor === null) {
		io.err(
			`reenter: no model is fitted: ${module} is neither kvm_intel nor kvm_amd, so its exits are not the hardware's\n`,
		);
		return EXIT.skipped;
	}
	const exits = await measureExits();
	const swaps = await measureSwaps();
	const model = defaultModel(vendor);
	const tree = findTree(swaps.behavesLike ?? "v6.18");
	const modelled = services.measureCost({ guest: "invd", tree, vendor, model, osxsave: false });
	try {
		const file = fitModel({
			exits,
			swaps,
			base: model,
			vendor,
			modelledInvdCycles: modelled.cyclesPerExit,
			name: "this",
		});
		writeUserFile(io, path, `${JSON.stringify(file, null, "\t")}\n`);
		io.out(`${path}: ${Object.keys(file.costs).join(", ")} measured, the rest from ${model.name}\n`);
		return EXIT.holds;
	} catch (error) {
		if (!(error instanceof CannotFit)) throw error;
		io.err(`reenter: no model is fitted: ${error.message}\n`);
		return EXIT.skipped;
	}
}

function doctorCommand({ io, services, style }: Context, options: CommonOptions): number {
	const info = services.hostInfo();
	emit(
		io,
		options,
		() => doctorText(info, services.nodeVersion, style),
		() => ({ ...info, flags: [...info.flags], node: services.nodeVersion }),
	);
	return EXIT.holds;
}

/** Adds `reenter measure`. */
export function registerMeasure({ context, command, action }: Registry): void {
	command("measure [what]", "what exits cost on this computer's KVM; swaps: when it swaps XCR0, XSS and PKRU")
		.option("--rounds <n>", "samples of each case")
		.option("--only <exits>", "names of the table, separated by commas")
		.option("--compare <file>", "an earlier --json to compare with")
		.option("--fit <file>", "write a CPU model of this computer, for --cpu")
		.action(
			action((what: string | undefined, options: MeasureArguments) =>
				measureCommand(context, what ?? "exits", options),
			),
		);
}

/** Adds `reenter doctor`. */
export function registerDoctor({ context, command, action }: Registry): void {
	command("doctor", "what this computer has, and what that means for which command").action(
		action((options: CommonOptions) => doctorCommand(context, options)),
	);
}
