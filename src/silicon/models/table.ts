/** A CPU model's costs as a Markdown table: what docs/costs.md shows. */
import { OP_NAMES } from "../ops.ts";
import type { Cost, CpuModel } from "./model.ts";

function row(name: string, cost: Cost): string {
	return `| \`${name}\` | ${cost.cycles} | ${cost.origin} | ${cost.source} |`;
}

/** The costs of all ops and classes of guest instructions. @returns lines, without a final newline */
export function costTable(model: CpuModel): string {
	return [
		"| op | cycles | origin | source |",
		"|---|---:|---|---|",
		...OP_NAMES.map((name) => row(name, model.costs[name])),
		...Object.entries(model.guestCosts).map(([name, cost]) => row(`guest: ${name}`, cost)),
	].join("\n");
}
