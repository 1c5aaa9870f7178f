/** The text of `reenter review`. */
import type { CostResult, TreeReview, VendorReview } from "../../review/types.ts";
import type { Style } from "../style.ts";
import { boundsLines } from "./check.ts";
import { signed, wrap } from "./format.ts";

/** One tree's review as text. */
export function reviewText(review: TreeReview, style: Style): string {
	const lines = [style.bold(`${review.tree}  against ${review.base}`)];
	for (const vendor of review.vendors) lines.push(...vendorLines(vendor, style));
	return `${lines.join("\n")}\n`;
}

function vendorLines({ vendor, module, cpu, check, baseCost, cost }: VendorReview, style: Style): string[] {
	const bad = check.verdict === "violated" ? "✘ violated" : "✘ vacuous";
	const verdict = check.verdict === "holds" ? style.good("✔ holds") : style.bad(bad);
	const lines = [`  ${(module ?? vendor).padEnd(4)} ${verdict}   ${style.dim(cpu)}`];
	for (const violation of check.violations) {
		lines.push(...wrap(`${violation.property}: ${violation.summary}`, 7));
		lines.push(`       ${style.dim("$")} ${violation.replay}`);
	}
	for (const finding of check.findings)
		lines.push(...wrap(`finding, ${finding.property}: ${finding.summary}`, 7));
	lines.push(`       ${costLine(baseCost, cost)}`);
	for (const line of opChanges(baseCost, cost)) lines.push(`         ${line}`);
	lines.push(...boundsLines(check, 7, true).map(style.dim));
	for (const [what, count] of Object.entries(check.sometimes)) {
		if (count === 0) lines.push(style.dim(`       never reached: ${what}`));
	}
	return lines;
}

/** `invd  2000 → 1500 cycles an exit  −500 (−25.0 %)`. */
export function costLine(base: CostResult, cost: CostResult): string {
	const saved = cost.cyclesPerExit - base.cyclesPerExit;
	const percent = (100 * saved) / base.cyclesPerExit;
	const change = Math.abs(saved) < 0.005 ? "the same" : `${signed(saved, 0)} (${signed(percent, 1)} %)`;
	return `${cost.guest}  ${base.cyclesPerExit.toFixed(0)} → ${cost.cyclesPerExit.toFixed(0)} cycles an exit  ${change}`;
}

function opChanges(base: CostResult, cost: CostResult): string[] {
	const names = [...new Set([...Object.keys(base.opsPerExit), ...Object.keys(cost.opsPerExit)])];
	return names.flatMap((name) => {
		const before = base.opsPerExit[name] ?? 0;
		const after = cost.opsPerExit[name] ?? 0;
		return before === after ? [] : [`${name}  ${before} → ${after}`];
	});
}

/** The documented JSON of a review. */
export function reviewJson(reviews: readonly TreeReview[]): object {
	return {
		reviews: reviews.map(({ tree, base, vendors }) => ({
			tree,
			base,
			vendors: vendors.map(({ vendor, module, cpu, check, baseCost, cost }) => ({
				vendor,
				...(module === undefined ? {} : { module }),
				cpu,
				verdict: check.verdict,
				violations: check.violations.map(({ property, summary, replay }) => ({ property, summary, replay })),
				findings: check.findings.map(({ property, summary, replay }) => ({ property, summary, replay })),
				bounds: check.bounds,
				cost: {
					guest: cost.guest,
					baseCycles: baseCost.cyclesPerExit,
					cycles: cost.cyclesPerExit,
					savedCycles: Math.round((baseCost.cyclesPerExit - cost.cyclesPerExit) * 100) / 100,
				},
			})),
		})),
	};
}
