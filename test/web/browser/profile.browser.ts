/** The tab "Profile" in a real browser. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";

describe.skipIf(CHROMIUM === undefined)("a profile", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("of two trees has their tables and flame graphs, and says why a symbol is there", async () => {
		const { page, context, errors } = await chromium.open("#profile?with=series-v2&vendor=svm");
		const symbol = page
			.getByRole("table")
			.last()
			.getByRole("button", { name: /svm_vcpu_run/ })
			.first();
		await symbol.click({ timeout: 60_000 });
		expect(await page.getByRole("region", { name: "why a symbol is there" }).textContent()).toContain(
			"Cycles a call",
		);
		// Of both trees, since both have the symbol.
		expect(await page.locator(".reason h3").allTextContents()).toEqual(["v6.18", "series-v2"]);
		expect(await page.locator(".flame").count()).toBe(2);
		await page.screenshot({ path: join(SHOTS, "profile.png") });
		expect(errors).toEqual([]);
		await context.close();
	});
});
