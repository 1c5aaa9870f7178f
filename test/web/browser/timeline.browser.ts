/** The page of `reenter trace` in a real browser, from a file; and its JSON in speedscope. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type Page, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { reenter } from "../../cli/memory-io.ts";
import { CHROMIUM, SHOTS } from "./browser.ts";

const resolve = createRequire(import.meta.url).resolve;
const FOLDER = process.env.DOCS_IMG ?? SHOTS;

async function written(...words: string[]): Promise<string> {
	const { written, err } = await reenter(["trace", ...words, "--output", "out"]);
	expect(err).toBe("");
	return written.get("out")!;
}

const TREES = ["--tree", "v6.18", "--tree", "series-v2"];

describe.skipIf(CHROMIUM === undefined)("the page of a timeline", () => {
	let browser: Browser;
	let folder: string;
	beforeAll(async () => {
		mkdirSync(FOLDER, { recursive: true });
		folder = mkdtempSync(join(tmpdir(), "reenter-"));
		browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
	});
	afterAll(async () => {
		await browser?.close();
		rmSync(folder, { recursive: true, force: true });
	});

	async function open(
		html: string,
		colorScheme: "light" | "dark" = "light",
	): Promise<{ readonly page: Page; readonly problems: string[]; readonly tookMs: number }> {
		const file = join(folder, "timeline.html");
		writeFileSync(file, html);
		const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme });
		const page = await context.newPage();
		const problems: string[] = [];
		page.on("pageerror", (error) => problems.push(error.message));
		page.on("console", (message) => problems.push(message.text()));
		page.on("request", (request) => {
			if (request.url() !== pathToFileURL(file).href) problems.push(request.url());
		});
		const began = performance.now();
		await page.goto(pathToFileURL(file).href);
		await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done(undefined))));
		return { page, problems, tookMs: performance.now() - began };
	}

	it("opens from a file, without the network, and shows two trees on one axis", async () => {
		const html = await written("invd", "--exits", "10", ...TREES);
		expect(html.length).toBeLessThan(500_000);
		const { page, problems } = await open(html);
		await page.screenshot({ path: join(FOLDER, "timeline.png"), fullPage: true });
		expect(problems).toEqual([]);
		await page.getByText("The same as tables").click();
		const row = page.getByRole("row", { name: /^XCR0/ });
		expect(await row.textContent()).toMatch(/^XCR020.*0/);
		await page.getByRole("combobox", { name: "Steps" }).selectOption("2");
		expect(await page.locator("#steps tbody tr").count()).toBeGreaterThan(100);
		expect(await page.locator("#steps").textContent()).toContain("XCR0: 0x602e7, the host's");
		await page.context().close();
	});

	it("is used by keys: steps, out and in, lanes, zoom, alignment", async () => {
		const { page, problems } = await open(await written("invd", "--exits", "3", ...TREES));
		const title = page.locator("#details h2");
		const press = async (...keys: string[]) => {
			for (const key of keys) await page.keyboard.press(key);
			return title.textContent();
		};
		while ((await page.evaluate(() => document.activeElement?.id)) !== "app")
			await page.keyboard.press("Tab");
		expect(await page.locator("#app").evaluate((app) => getComputedStyle(app).outlineWidth)).toBe("3px");
		expect(await press("j")).toBe("kvm_vcpu_ioctl");
		expect(await press("ArrowDown", "ArrowDown")).toBe("vcpu_run");
		expect(await press("ArrowUp")).toBe("kvm_arch_vcpu_ioctl_run");
		expect(await press("k")).toBe("kvm_vcpu_ioctl");
		expect(await press("l")).toContain("guest");
		expect(await page.locator("#details").textContent()).toContain("series-v2");
		expect(await page.getByRole("checkbox", { name: "align at each exit" }).isChecked()).toBe(false);
		await press("e", "b", "Enter", "w", "a", "d", "s", "0");
		expect(await page.getByRole("checkbox", { name: "align at each exit" }).isChecked()).toBe(true);
		expect(await page.getByRole("checkbox", { name: "all registers" }).isChecked()).toBe(true);
		expect(problems).toEqual([]);
		await page.context().close();
	});

	it("says what changed in the step that is clicked on", async () => {
		const { page, problems } = await open(await written("invd", "--exits", "1"));
		await page.locator("#app").focus();
		await page.keyboard.press("j");
		for (let n = 0; n < 200; n++) {
			await page.keyboard.press("j");
			if ((await page.locator("#details h2").textContent()) === "XSETBV(host XCR0)") break;
		}
		expect(await page.locator("#details .changed").first().textContent()).toMatch(/XCR0 ●.*guest's.*host's/);
		const box = (await page.locator("#view").boundingBox())!;
		await page.mouse.move(box.x + box.width / 2, box.y + 70);
		await page.mouse.click(box.x + box.width / 2, box.y + 100);
		expect(await page.locator("#tip").isVisible()).toBe(true);
		expect(problems).toEqual([]);
		await page.context().close();
	});

	it.each(["light", "dark"] as const)("%s: breaks no rule of axe", async (scheme) => {
		const { page } = await open(await written("invd", "--exits", "2", ...TREES), scheme);
		await page.locator("#app").focus();
		await page.keyboard.press("j");
		await page.getByText("The same as tables").click();
		// The page's policy lets no script in but its own, so axe comes by the debugger.
		const source = readFileSync(resolve("axe-core/axe.min.js"), "utf8");
		await page.evaluate(source);
		const found = await page.evaluate(async () => {
			const { axe } = window as unknown as {
				axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
			};
			const { violations } = await axe.run();
			return violations.map(({ id, nodes }) => `${id}: ${nodes[0]!.html}`);
		});
		expect(found).toEqual([]);
		await page.screenshot({ path: join(SHOTS, `timeline-${scheme}.png`), fullPage: true });
		await page.context().close();
	});

	it("opens as quickly with a thousand exits, and each draws what is in view alone", async () => {
		const { page, problems, tookMs } = await open(await written("invd", "--exits", "1000", ...TREES));
		expect(problems).toEqual([]);
		expect(tookMs).toBeLessThan(5000);
		const drawMs = await page.evaluate(() => {
			const began = performance.now();
			document.getElementById("app")!.dispatchEvent(new KeyboardEvent("keydown", { key: "w" }));
			return performance.now() - began;
		});
		expect(drawMs).toBeLessThan(500);
		await page.context().close();
	});

	it("speedscope opens the same run as Chrome's JSON", async () => {
		const json = await written("invd", "--exits", "3", ...TREES, "--format", "chrome");
		const script = join(folder, "profile.js");
		const base64 = Buffer.from(json).toString("base64");
		writeFileSync(script, `speedscope.loadFileFromBase64("t.json", "${base64}")`);
		const page = await browser.newPage();
		const release = join(dirname(resolve("speedscope/package.json")), "dist/release/index.html");
		await page.goto(`${pathToFileURL(release).href}#localProfilePath=${script}`);
		await page
			.getByText(/v6\.18 on vmx/)
			.first()
			.waitFor({ timeout: 20_000 });
		await page.close();
	});
});
