/** The pictures of README and docs: `npm run screenshots` writes them to docs/img, the tests beside their other artefacts. */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";

const FOLDER = process.env.DOCS_IMG === undefined ? join(SHOTS, "docs") : resolve(process.env.DOCS_IMG);

/** Name, address, and what is there when the picture can be taken; a text that is scrolled to. */
const PICTURES = [
	["loop", "#loop?with=series-v2", ".move-line", "vcpu_enter_guest"],
	["move", "#move?tree=series-v1&vendor=tdx", ".found .violation", ""],
	["run", "#run?tree=series-v1&vendor=tdx&guest=script&events=irq@13", ".schedule", ""],
	["profile", "#profile?with=series-v2&vendor=svm&step=svm_vcpu_run", ".reason pre", ""],
	["cost", "#cost?with=series-v2", ".chart:nth-of-type(2) tr:nth-child(4)", ""],
] as const;

describe.skipIf(CHROMIUM === undefined)("the pictures", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		mkdirSync(FOLDER, { recursive: true });
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it.each(PICTURES)("%s is taken", async (name, hash, sign, row) => {
		const { page, context } = await chromium.open(hash, { viewport: { width: 1280, height: 800 } });
		await page.locator(sign).first().waitFor({ timeout: 60_000 });
		if (name === "move")
			await page
				.locator(".card[data-verdict='checking …']")
				.first()
				.waitFor({ state: "hidden", timeout: 60_000 });
		if (row !== "") {
			await page
				.getByRole("treeitem", { name: new RegExp(`^${row}`) })
				.first()
				.evaluate((element) => {
					scrollTo({ top: element.getBoundingClientRect().top - 90 });
				});
		}
		// The browser draws no scroll bar in a picture, so its place is not kept either.
		await page.addStyleTag({ content: "html { scrollbar-gutter: auto }" });
		await page.evaluate(() => document.fonts.ready.then(() => undefined));
		await page.screenshot({ path: join(FOLDER, `${name}.png`) });
		await context.close();
	});
});
