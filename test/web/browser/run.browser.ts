/** The tab "Run" in a real browser. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";
import { findProgram, programBytes } from "../../../src/guests/programs.ts";

describe.skipIf(CHROMIUM === undefined)("running a guest", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("steps through the guest's code and the loop, and an event can be dropped at any point", async () => {
		const { page, context, errors } = await chromium.open("#run?guest=invd&vendor=svm&at=400");
		const current = page.locator(".frame[aria-selected=true]");
		await current.waitFor({ timeout: 30_000 });
		const before = await page.locator("output.position").textContent();
		await page.getByRole("button", { name: "to the next instruction of the guest" }).click();
		await expect.poll(() => page.locator("output.position").textContent()).not.toBe(before);
		expect(await current.getAttribute("class")).toContain("frame-guest");
		await page.getByRole("combobox", { name: "drop" }).selectOption("nmi");
		await page.getByRole("button", { name: "⚡ here" }).click();
		await page.locator(".frame-event").first().waitFor();
		expect(page.url()).toMatch(/events=nmi@\d+g/);
		await page.screenshot({ path: join(SHOTS, "run.png") });
		expect(errors).toEqual([]);
		await context.close();
	});

	it("is scrubbed and played by keys, and its link has the position", async () => {
		const { page, context, errors } = await chromium.open("#run?guest=invd");
		const slider = page.getByRole("slider", { name: "position in the run" });
		await slider.focus({ timeout: 30_000 });
		await page.keyboard.press("End");
		const at = await page.locator("output.position").textContent();
		const [end, last] = at!.split(" / ");
		expect(end).toBe(last);
		expect(page.url()).toContain(`at=${end}`);
		const current = page.locator(".frame[aria-selected=true] .figure, .frame[aria-selected=true]").last();
		const cycle = () => page.getByRole("heading", { name: /^cycle \d+, op \d+$/ }).textContent();
		const late = await cycle();
		await page.keyboard.press("Home");
		await expect.poll(cycle).not.toBe(late);
		expect(await current.count()).toBe(1);
		await page.locator(".play").focus();
		await page.keyboard.press("Enter");
		await expect.poll(() => page.url()).toMatch(/at=\d\d/);
		await page.keyboard.press("Enter");
		expect(await page.locator(".play").textContent()).toContain("play");
		expect(errors).toEqual([]);
		await context.close();
	});

	it("replays a violation that the check has found, by its link", async () => {
		const { page, context, errors } = await chromium.open("#move?tree=series-v1&vendor=tdx");
		await page.getByRole("link", { name: "watch it happen" }).first().click({ timeout: 60_000 });
		const { hash } = new URL(page.url());
		const again = await chromium.open(hash);
		const alert = again.page.getByRole("alert");
		await alert.waitFor({ timeout: 30_000 });
		expect(await alert.textContent()).toContain("interrupt-serviced");
		expect(await again.page.locator(".frame[aria-selected=true]").getAttribute("class")).toContain(
			"frame-violation",
		);
		await again.page.screenshot({ path: join(SHOTS, "violation.png") });
		await again.context.close();
		expect(errors).toEqual([]);
		await context.close();
	});

	it.each([
		["dropped on the page, whichever tab is open", "#loop"],
		["chosen", "#run"],
	])("takes an image that is %s, and its link carries it", async (how, hash) => {
		const { page, context, errors } = await chromium.open(hash);
		const bytes = Buffer.from(programBytes(findProgram("cpuid")!));
		if (how === "chosen") {
			const input = page.locator(".run input[type=file]");
			await input.setInputFiles({ name: "mine.elf", mimeType: "application/octet-stream", buffer: bytes });
		} else {
			await page.locator(".path").waitFor({ timeout: 30_000 });
			const transfer = await page.evaluateHandle((base64) => {
				const files = new DataTransfer();
				const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
				files.items.add(new File([content], "mine.elf"));
				return files;
			}, bytes.toString("base64"));
			await page.locator(".path").dispatchEvent("drop", { dataTransfer: transfer });
		}
		await expect.poll(() => page.url(), { timeout: 20_000 }).toContain("image=");
		const again = await chromium.open(new URL(page.url()).hash);
		await again.page.getByText("exit code 0").waitFor({ timeout: 30_000 });
		await again.context.close();
		expect(errors).toEqual([]);
		await context.close();
	});
});
