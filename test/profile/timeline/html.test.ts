import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { timelineHtml } from "../../../src/profile/timeline/html.ts";
import { type PageData, pageData } from "../../../src/profile/timeline/page-data.ts";
import { timelineRun } from "../../../src/profile/timeline/timeline.ts";
import { anyRun } from "./random-run.ts";

const HZ = 2_500_000_000;
const [some] = fc.sample(anyRun, { numRuns: 1, seed: 9 });
const page = (tree: string, guest = "invd") =>
	timelineHtml({ guest, hz: HZ, runs: [timelineRun({ tree, vendor: "vmx", cpu: "emerald-rapids" }, some!)] });

describe("the page of a timeline", () => {
	it("needs nothing else: no address but its own parts, and a policy that forbids any", () => {
		const html = page("v6.18");
		expect(html).not.toMatch(/(src|href)=|https?:\/\/|@import|import\(/);
		expect(html).toContain("default-src 'none'");
	});

	it("lets nothing that a patch file says become markup or script", () => {
		const hostile = `</script><img src=x onerror=alert(1)>"'&`;
		const html = page(hostile, hostile);
		expect(html).not.toContain("<img");
		expect(html.match(/<script/g)?.length).toBe(2);
		const data = /<script type="application\/json" id="data">(.*?)<\/script>/.exec(html)![1]!;
		expect((JSON.parse(data) as PageData).runs[0]!.title).toContain(hostile);
	});

	it("is the same bytes for the same timeline", () => {
		expect(page("v6.18")).toBe(page("v6.18"));
	});

	it("has a script that can be read", () => {
		const script = /<script>("use strict".*)<\/script>/s.exec(page("v6.18"))![1]!;
		expect(() => runInNewContext(`() => {${script}}`)).not.toThrow();
	});

	it("packs times as whole hundredths of cycles, from which they come back", () => {
		fc.assert(
			fc.property(anyRun, (run) => {
				const timeline = timelineRun({ tree: "a", vendor: "vmx", cpu: "c" }, run);
				const [packed] = pageData({ runs: [timeline] }).runs;
				for (const lane of packed!.lanes) {
					const spans = timeline.spans.filter(({ lane: name }) => name === lane.name);
					let from = 0;
					for (const [at, span] of spans.entries()) {
						from += lane.from[at]!;
						expect(from / 100).toBeCloseTo(span.fromCycles, 2);
						expect(lane.length[at]).toBeGreaterThanOrEqual(0);
					}
				}
			}),
			{ numRuns: 50 },
		);
	});
});
