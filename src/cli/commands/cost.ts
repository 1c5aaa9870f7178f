/** `reenter cost`. */
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { emit } from "../output.ts";
import type { Registry } from "../registry.ts";
import { resolveCpu, resolveTree, resolveVendor } from "../resolve.ts";
import { costText } from "../text/cost.ts";

interface CostArguments extends CommonOptions {
	readonly cpu?: string;
	readonly tree: string;
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
	const value = Number(text);
	if (!Number.isSafeInteger(value) || value < 0)
		throw new UsageError(`--${flag} "${text}" is no mask; write for example 0x7, or host`);
	return value;
}

function costCommand(context: Context, guest: string, options: CostArguments): number {
	const { io, services, style } = context;
	const { model, vendor } = resolveCpu(
		options.cpu,
		options.vendor === undefined ? undefined : resolveVendor(options.vendor),
	);
	const xcr0 = mask("xcr0", options.xcr0, model.features.xcr0);
	const xss = mask("xss", options.xss, model.features.xss);
	const cost = services.measureCost({
		guest,
		tree: resolveTree(io, options.tree),
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
		() => costText(cost, model, style),
		() => cost,
	);
	return EXIT.holds;
}

/** Adds `reenter cost`. */
export function registerCost({ context, command, action }: Registry): void {
	command("cost <guest>", "cycles an exit, and the ops it is made of")
		.option("--cpu <model>", "CPU model")
		.option("--tree <tree>", "the tree", "v6.18")
		.option("--vendor <vendor>", "vmx, svm or tdx")
		.option("--pke", "CR4.PKE set and PKRU all ones but the two low bits")
		.option("--no-osxsave", "CR4.OSXSAVE clear")
		.option("--xcr0 <mask>", "the guest's XCR0, for example 0x2e7, or host")
		.option("--xss <mask>", "the guest's IA32_XSS, for example 0x1800, or host")
		.action(action((guest: string, options: CostArguments) => costCommand(context, guest, options)));
}
