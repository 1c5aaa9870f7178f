/** The CPU model and the configuration, in a real browser. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Chromium } from "./browser.ts";

const MODEL = {
	format: "reenter-cpu-model",
	version: 1,
	name: "mine",
	title: "my computer",
	base: "emerald-rapids",
	tscHz: 2.1e9,
	costs: { vmresume: { cycles: 5000, plusMinus: 9, source: "measured by hand" } },
};

describe.skipIf(CHROMIUM === undefined)("the machine", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("has a configuration that is chosen by the keyboard, changes the figures, and is in the link", async () => {
		const { page, context, errors } = await chromium.open("#loop");
		const cost = page.locator(".summary .figure").first();
		await cost.waitFor({ timeout: 60_000 });
		const usual = await cost.textContent();
		await page.locator(".machine > summary").focus();
		await page.keyboard.press("Enter");
		await page.getByRole("combobox", { name: "guest XCR0 xcr0" }).selectOption("host");
		await page.keyboard.press("Escape");
		await expect.poll(() => page.url()).toContain("configuration=xcr0=host");
		await expect
			.poll(() => page.locator(".summary").textContent(), { timeout: 60_000 })
			.toContain("xcr0=host");
		expect(Number(await cost.textContent())).toBeLessThan(Number(usual));
		const again = await chromium.open(new URL(page.url()).hash.replace("#loop", "#cost"));
		await again.page.locator(".chart tr.first").first().waitFor({ timeout: 60_000 });
		expect(await again.page.locator(".summary").textContent()).toContain("xcr0=host");
		await again.context.close();
		expect(errors).toEqual([]);
		await context.close();
	});

	it("has a CPU model of a file, which a link carries", async () => {
		const { page, context, errors } = await chromium.open("#cost");
		await page.locator(".machine > summary").click();
		const input = page.locator(".machine input[type=file]");
		const buffer = Buffer.from(JSON.stringify(MODEL));
		await input.setInputFiles({ name: "mine.json", mimeType: "application/json", buffer });
		await expect.poll(() => page.url()).toContain("model=");
		const again = await chromium.open(new URL(page.url()).hash);
		const vmresume = again.page.locator(".slider", { hasText: "vmresume" });
		await expect.poll(() => vmresume.textContent(), { timeout: 60_000 }).toContain("measured by hand");
		expect(await vmresume.locator("output").textContent()).toBe("5000");
		await again.context.close();
		expect(errors).toEqual([]);
		await context.close();
	});

	it.each([
		["#explore?tree=series-v1", 'names a view "explore"'],
		["#loop?patch=cut-off", "patch is cut off or damaged"],
		["#run?guest=invd&events=nmi@x", "not of the form"],
		["#loop?cpu=pentium", 'no CPU model "pentium"'],
		["#loop?tree=v9.99", "v9.99"],
		["#run?guest=nothing", 'no guest "nothing"'],
		["#run?guest=file:mine.elf", "drop the file on the page"],
		["#move?configuration=colour=red", 'no factor "colour"'],
	])("says in one line what is wrong with %s", async (hash, what) => {
		const { page, context } = await chromium.open(hash);
		await expect
			.poll(() => page.locator(".problem").allTextContents(), { timeout: 60_000 })
			.toContainEqual(expect.stringContaining(what));
		expect(await page.getByRole("tab").count()).toBe(5);
		await context.close();
	});
});
