/** The tab "Cost" in a real browser. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";

describe.skipIf(CHROMIUM === undefined)("the costs", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("of two trees stand side by side, and follow a slider", async () => {
		const { page, context, errors } = await chromium.open("#cost?with=series-v2");
		const row = page.getByRole("row", { name: /invd series-v2/ });
		await row.waitFor({ timeout: 30_000 });
		await page.getByText("measuring").waitFor({ state: "hidden", timeout: 30_000 });
		const before = await row.textContent();
		await page.screenshot({ path: join(SHOTS, "cost.png") });
		const slider = page.getByRole("slider", { name: /^vmresume/ });
		await slider.focus();
		await page.keyboard.press("End");
		await expect.poll(() => row.textContent()).not.toBe(before);
		expect(page.url()).toContain("costs=vmresume:");
		expect(errors).toEqual([]);
		await context.close();
	});
});
