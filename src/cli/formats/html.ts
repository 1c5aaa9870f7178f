/**
 * Results as one HTML file that needs no network: properties on top, the steps of a counterexample on the left, the state
 * behind the chosen step on the right. Steps and what they changed are in the markup; the script shows the whole state.
 */
import type { CheckResult, Violation } from "../../check/types.ts";
import { markup, scriptJson } from "../../profile/markup.ts";
import { boundsLines } from "../text/check.ts";
import { checkPoints } from "./points.ts";
import { HTML_SCRIPT, HTML_STYLE } from "./html-page.ts";
import { readChange, untilViolated } from "./states.ts";

const MARK = { step: "", event: "⚡ ", violation: "► violated here: " } as const;

function stepsHtml(violation: Violation): string {
	const lines = untilViolated(violation);
	const event = lines.findIndex(({ kind }) => kind === "event");
	const chosen = lines.length - 1;
	return lines
		.map((line, at) => {
			const where = line.kind === "step" ? `<b>${markup(line.flow)}</b>: ` : "";
			const changes = line.changes.map((change) => `<small>${markup(change)}</small>`).join("");
			const early = event >= 0 && at < event - 10 ? " early" : "";
			const current = at === chosen ? ' aria-current="step"' : "";
			return (
				`<li class="${line.kind}${early}"><button${current}>` +
				`<i>${line.at}</i><span>${MARK[line.kind]}${where}${markup(line.step)}${changes}</span></button></li>`
			);
		})
		.join("\n");
}

/** The state before the first step, and what each step changed: the script makes the state behind a step of it. */
function statesHtml(violation: Violation): string {
	const steps = untilViolated(violation).map(({ changes }) =>
		changes.map(readChange).map(({ name, before, after }) => [name, before, after]),
	);
	const data = scriptJson({ initial: violation.initial, steps });
	return `<table></table><script type="application/json">${data}</script>`;
}

function counterexampleHtml(violation: Violation, word: string): string {
	const stack = violation.callStack.map((name) => ` ${markup(name)}`).join("\n");
	return `<section class="trace" tabindex="-1">
<h3>${word}: ${markup(violation.property)}</h3>
<p>${markup(violation.summary)}</p>
<div class="panes">
<ol>
${stepsHtml(violation)}
</ol>
<aside aria-live="polite"><h4>State behind the step</h4>
${statesHtml(violation)}
<h4>Call Trace</h4><pre>${stack}</pre></aside>
</div>
<p>replay: <code>${markup(violation.replay)}</code></p>
</section>`;
}

function checkedText(result: CheckResult): string {
	const { guest, replayed, searches } = result.bounds;
	if (!replayed) return boundsLines(result, 0).join(" ");
	return `Replayed one schedule on guest ${guest}; ${searches[0]!.configurations.join("; ")}.`;
}

function resultHtml(result: CheckResult): string {
	const points = checkPoints([result]).map(({ name, outcome }) => {
		const word = outcome === "ok" ? "✔" : outcome === "failed" ? "✘ violated:" : "⚠ finding:";
		return `<li class="${outcome}">${word} ${markup(name)}</li>`;
	});
	const title = `${result.tree} on ${result.module ?? result.vendor}, ${result.cpu}: ${result.verdict}`;
	return `<article>
<h2 class="${result.verdict}">${markup(title)}</h2>
<ul class="properties">${points.join("")}</ul>
<p>${markup(checkedText(result))}</p>
${result.violations.map((violation) => counterexampleHtml(violation, "Violated")).join("\n")}
${result.findings.map((finding) => counterexampleHtml(finding, "Finding")).join("\n")}
</article>`;
}

/** The whole page. */
export function htmlText(results: readonly CheckResult[]): string {
	const trees = [...new Set(results.map(({ tree }) => tree))].join(", ");
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>reenter check ${markup(trees)}</title>
<style>${HTML_STYLE}</style>
</head>
<body>
<h1>reenter check ${markup(trees)}</h1>
<p class="keys">Keys: <kbd>j</kbd> next step, <kbd>k</kbd> step before, <kbd>v</kbd> the violation, <kbd>a</kbd> all steps or those near the event.</p>
${results.map(resultHtml).join("\n")}
<script>${HTML_SCRIPT}</script>
</body>
</html>
`;
}
