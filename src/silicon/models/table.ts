/** A CPU model's costs as a Markdown table: what docs/costs.md shows. */
import { OP_KINDS, OP_NAMES } from "../ops.ts";
import type { Cost, CpuModel } from "./model.ts";

function row(name: string, kind: string, cost: Cost): string {
	return `| \`${name}\` | ${kind} | ${cost.cycles} | ${cost.origin} | ${cost.source} |`;
}

/** The costs of all ops and classes of guest instructions. @returns lines, without a final newline */
export function costTable(model: CpuModel): string {
	return [
		"| op | kind | cycles | origin | source |",
		"|---|---|---:|---|---|",
		...OP_NAMES.map((name, op) => row(name, OP_KINDS[op]!, model.costs[name])),
		...Object.entries(model.guestCosts).map(([name, cost]) => row(name, "guest", cost)),
	].join("\n");
}
