/** `reenter explain`. */
import { findingsText, pkuFindings } from "../../profile/findings.ts";
import { defaultModel } from "../../review/review.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { cpuOrFile } from "../model-file.ts";
import { emit } from "../output.ts";
import type { Registry } from "../registry.ts";
import { resolveModel } from "../resolve.ts";

interface ExplainArguments extends CommonOptions {
	readonly cpu?: string;
}

function explainCommand({ io }: Context, topic: string, args: ExplainArguments): number {
	if (topic !== "pku") throw new UsageError(`nothing is known of "${topic}"; there is pku`);
	const named = cpuOrFile(io, args.cpu);
	const model =
		named === undefined ? defaultModel("vmx") : typeof named === "string" ? resolveModel(named) : named;
	if (!model.vendors.includes("vmx"))
		throw new UsageError(`${model.name} has no vmx, which the mail's tables are of`);
	const findings = pkuFindings(model);
	emit(
		io,
		args,
		() => findingsText(findings),
		() => findings,
	);
	return EXIT.holds;
}

/** Adds `reenter explain`. */
export function registerExplain({ context, command, action }: Registry): void {
	command("explain <topic>", "pku: what the series gives applications, and what protection keys give")
		.option("--cpu <model>", "CPU model, or a file that measure --fit wrote")
		.action(action((topic: string, args: ExplainArguments) => explainCommand(context, topic, args)));
}
