/** The tab "Move it" in a real browser. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Chromium, SHOTS } from "./browser.ts";
import { reenter } from "../../cli/memory-io.ts";

const card = (page: Page, name: string) =>
	page.getByRole("article").filter({ has: page.getByRole("heading", { name }) });

describe.skipIf(CHROMIUM === undefined)("moving a step", () => {
	let chromium: Chromium;
	beforeAll(async () => {
		chromium = await Chromium.start();
	});
	afterAll(() => chromium?.stop());

	it("by the keyboard makes a patch that the command line takes", async () => {
		const { page, context, errors } = await chromium.open("#move");
		const step = page.getByRole("treeitem", { name: /^kvm_load_guest_xsave_state\(\)/ });
		await step.click({ timeout: 30_000 });
		await page.keyboard.press("m");
		for (let at = 0; at < 6; at++) await page.keyboard.press("ArrowUp");
		await page.keyboard.press("Enter");
		const text = page.getByRole("textbox", { name: "the patch file's text" });
		await expect.poll(() => text.inputValue()).toContain('"move": "kvm_load_guest_xsave_state"');
		await card(page, "VMX").locator(".figure").waitFor();
		const [download] = await Promise.all([
			page.waitForEvent("download"),
			page.getByRole("button", { name: "my-move.json" }).click(),
		]);
		const files = { "my-move.json": readFileSync((await download.path())!, "utf8") };
		const { code, out } = await reenter(["diff", "--patch", "my-move.json"], files);
		expect(out).toContain("kvm_load_guest_xsave_state");
		expect(code).toBe(0);
		expect(errors).toEqual([]);
		await context.close();
	});

	it("by picking patches of a series makes their tree, with its verdict", async () => {
		const { page, context, errors } = await chromium.open("#move?vendor=tdx");
		const patches = page.getByRole("region", { name: "patches of the series" });
		const boxes = patches.locator("details[open] input");
		await boxes.first().check({ timeout: 30_000 });
		await expect.poll(() => page.url()).toContain("tree=series-v1:1");
		await card(page, "TDX").getByText("holds").waitFor({ timeout: 60_000 });
		for (const box of await boxes.all()) await box.check();
		await expect.poll(() => page.url()).toMatch(/tree=series-v1(&|$)/);
		await card(page, "TDX").getByText("violated").waitFor({ timeout: 60_000 });
		expect(errors).toEqual([]);
		await context.close();
	});

	it("by dragging moves it in the path, and its link has the patch", async () => {
		const { page, context, errors } = await chromium.open("#move");
		const row = (name: string) => page.locator(".movable .row", { hasText: name }).first();
		await row("refresh HOST_CR3").waitFor({ timeout: 30_000 });
		await row("refresh HOST_CR3").scrollIntoViewIfNeeded();
		const from = (await row("refresh HOST_CR3").boundingBox())!;
		const to = (await row("trace_kvm_entry").boundingBox())!;
		await page.mouse.move(from.x + 200, from.y + 12);
		await page.mouse.down();
		await page.mouse.move(from.x + 200, from.y - 10, { steps: 3 });
		await page.mouse.move(to.x + 200, to.y + 4, { steps: 5 });
		await page.screenshot({ path: join(SHOTS, "drag.png") });
		await page.mouse.up();
		await expect.poll(() => page.url()).toContain("patch=");
		const names = () => page.locator(".movable .row .name").allTextContents();
		await expect
			.poll(
				async () => {
					const all = await names();
					return all.indexOf("refresh HOST_CR3") - all.indexOf("trace_kvm_entry");
				},
				{ timeout: 30_000 },
			)
			.toBe(-1);
		const again = await chromium.open(new URL(page.url()).hash);
		await expect
			.poll(() => again.page.getByRole("textbox").first().inputValue(), { timeout: 30_000 })
			.toContain('"before": "trace_kvm_entry"');
		await again.context.close();
		expect(errors).toEqual([]);
		await context.close();
	});

	it("of series-v1 shows TDX violated, with the step that was left out", async () => {
		const { page, context, errors } = await chromium.open("#move?tree=series-v1&vendor=tdx");
		const tdx = card(page, "TDX");
		await tdx.getByText("violated").waitFor({ timeout: 60_000 });
		const found = page.getByRole("region", { name: "violations" });
		await found.getByText("handle_external_interrupt_irqoff").first().waitFor({ timeout: 60_000 });
		await card(page, "SVM").getByText("holds").waitFor({ timeout: 60_000 });
		await page.screenshot({ path: join(SHOTS, "move.png") });
		expect(errors).toEqual([]);
		await context.close();
	});
});
