/** `reenter explain`. */
import { dirname, join, relative } from "node:path";
import { type ChartFile, findingsCharts } from "../../profile/findings/charts.ts";
import { pkuFindings } from "../../profile/findings/run.ts";
import { findingsText } from "../../profile/findings/text.ts";
import { defaultModel } from "../../review/review.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { cpuOrFile } from "../model-file.ts";
import { checkWritable, emit, writeUserFile } from "../output.ts";
import type { Registry } from "../registry.ts";
import { resolveModel } from "../resolve.ts";

interface ExplainArguments extends CommonOptions {
	readonly cpu?: string;
	readonly charts?: string;
}

/** How a page links to files of a folder. @param page the page's own file; undefined: where the command runs */
function linkTo(folder: string, page: string | undefined): string {
	const path = relative(dirname(page ?? "."), folder).replaceAll("\\", "/");
	return path === "" ? "" : `${path}/`;
}

function explainCommand({ io }: Context, topic: string, args: ExplainArguments): number {
	if (topic !== "pku") throw new UsageError(`nothing is known of "${topic}"; there is pku`);
	const named = cpuOrFile(io, args.cpu);
	const model =
		named === undefined ? defaultModel("vmx") : typeof named === "string" ? resolveModel(named) : named;
	if (!model.vendors.includes("vmx"))
		throw new UsageError(`${model.name} has no vmx, which the mail's tables are of`);
	const { charts: folder } = args;
	if (folder !== undefined) checkWritable(io, join(folder, "findings-series.svg"));
	const findings = pkuFindings(model);
	const charts: readonly ChartFile[] = folder === undefined ? [] : findingsCharts(findings);
	for (const { name, svg } of charts) writeUserFile(io, join(folder!, name), svg);
	emit(
		io,
		args,
		() => findingsText(findings, charts, folder === undefined ? "" : linkTo(folder, args.output)),
		() => findings,
	);
	return EXIT.holds;
}

/** Adds `reenter explain`. */
export function registerExplain({ context, command, action }: Registry): void {
	command("explain <topic>", "pku: what the series gives applications, and what protection keys give")
		.option("--cpu <model>", "CPU model, or a file that measure --fit wrote")
		.option("--charts <folder>", "write charts there as SVG files, and show them in the page")
		.action(action((topic: string, args: ExplainArguments) => explainCommand(context, topic, args)));
}
