/** The tab "Loop" in a real browser. `npm run test:web` builds the page first. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { join } from "node:path";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";

if (CHROMIUM === undefined) console.log("skipped: the page's tests (no Chromium; set CHROMIUM to its path)");

describe.skipIf(CHROMIUM === undefined)("the loop", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("shows the base tree, and the step that is chosen with its cost", async () => {
		const { page, context, errors } = await chromium.open();
		const step = page.getByRole("treeitem", { name: /__vmx_vcpu_run/ });
		await step.click({ timeout: 30_000 });
		const details = page.getByRole("region", { name: "the selected step" });
		expect(await details.textContent()).toMatch(/vmresume/);
		expect(page.url()).toContain("step=");
		await page.screenshot({ path: join(SHOTS, "loop.png") });
		expect(errors).toEqual([]);
		await context.close();
	});

	it("draws what a series moves as moved, from the link alone", async () => {
		const { page, context, errors } = await chromium.open("#loop?tree=v6.18&with=series-v2");
		await page.locator(".move-line").first().waitFor({ timeout: 30_000 });
		const moved = page.getByRole("treeitem", { name: /XSETBV\(guest XCR0\).*moved here/ });
		expect(await moved.count()).toBe(1);
		await page.screenshot({ path: join(SHOTS, "compare.png") });
		expect(errors).toEqual([]);
		await context.close();
	});
});
