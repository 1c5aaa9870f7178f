/** `reenter cost`. */
import { opCost } from "../../kvm/flow/custom-op.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { emit } from "../output.ts";
import { cpuOrFile } from "../model-file.ts";
import { patchOption, type Registry } from "../registry.ts";
import { resolveTarget, resolveTree } from "../resolve.ts";
import { costText } from "../text/cost.ts";

interface CostArguments extends CommonOptions {
	readonly cpu?: string;
	readonly tree?: string;
	readonly patch?: readonly string[];
	readonly vendor?: string;
	readonly pke?: boolean;
	readonly osxsave: boolean;
	readonly xcr0?: string;
	readonly xss?: string;
}

/** A register mask of the command line: a number, or the host's value. */
function mask(flag: string, text: string | undefined, host: number): number | undefined {
	if (text === undefined) return undefined;
	if (text === "host") return host;
	const value = text === "" ? Number.NaN : Number(text);
	if (!Number.isSafeInteger(value) || value < 0)
		throw new UsageError(`--${flag} "${text}" is no mask; write for example 0x7, or host`);
	return value;
}

async function costCommand(context: Context, guest: string, options: CostArguments): Promise<number> {
	const { io, services, style } = context;
	const patched = await resolveTree(io, options.tree, options.patch);
	const { tree, vendor, model } = resolveTarget(patched, options.vendor, cpuOrFile(io, options.cpu));
	const xcr0 = mask("xcr0", options.xcr0, model.features.xcr0);
	const xss = mask("xss", options.xss, model.features.xss);
	const cost = services.measureCost({
		guest,
		tree,
		vendor,
		model,
		osxsave: options.osxsave,
		pke: options.pke === true,
		...(xcr0 === undefined ? {} : { xcr0 }),
		...(xss === undefined ? {} : { xss }),
	});
	emit(
		io,
		options,
		() => costText(cost, (op) => opCost(tree, model, op), style),
		() => cost,
	);
	return EXIT.holds;
}

/** Adds `reenter cost`. */
export function registerCost({ context, command, action }: Registry): void {
	command("cost <guest>", "cycles an exit, and the ops it is made of")
		.option("--cpu <model>", "CPU model, or a file that measure --fit wrote")
		.option("--tree <tree>", "the tree; default v6.18")
		.addOption(patchOption())
		.option("--vendor <vendor>", "vmx, svm, tdx or a vendor module of the tree")
		.option("--pke", "CR4.PKE set and PKRU all ones but the two low bits")
		.option("--no-osxsave", "CR4.OSXSAVE clear")
		.option("--xcr0 <mask>", "the guest's XCR0, for example 0x2e7, or host")
		.option("--xss <mask>", "the guest's IA32_XSS, for example 0x1800, or host")
		.action(action((guest: string, options: CostArguments) => costCommand(context, guest, options)));
}
