/** What `reenter report` exports, in a program that others wrote: speedscope reads each format and finds the same shares. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findTree } from "../../../src/kvm/trees/trees.ts";
import { chromeProfile } from "../../../src/profile/exports/chrome.ts";
import { foldedText } from "../../../src/profile/exports/folded.ts";
import { pprofBytes } from "../../../src/profile/exports/pprof.ts";
import { speedscopeFile } from "../../../src/profile/exports/speedscope.ts";
import { record } from "../../../src/profile/record.ts";
import { hostTree, reportRows, viewTree } from "../../../src/profile/report.ts";
import { inlinedSymbols } from "../../../src/profile/symbols.ts";
import { findWorkload } from "../../../src/profile/workloads/workloads.ts";
import { defaultModel } from "../../../src/review/review.ts";
import { CHROMIUM } from "./browser.ts";

const resolve = createRequire(import.meta.url).resolve;
const tree = findTree("v6.18");
const inlined = inlinedSymbols(tree, "kernel");
const recording = record({
	workload: findWorkload("invd"),
	tree,
	vendor: "vmx",
	model: defaultModel("vmx"),
	iterations: 2000,
	periodCycles: 499,
});
const calls = hostTree(viewTree(recording.calls, inlined, false));
const first = reportRows(recording.calls, { inlined })[0]!;

describe.skipIf(CHROMIUM === undefined)("speedscope opens", () => {
	let browser: Browser;
	let folder: string;
	beforeAll(async () => {
		folder = mkdtempSync(join(tmpdir(), "reenter-"));
		browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
	});
	afterAll(async () => {
		await browser?.close();
		rmSync(folder, { recursive: true, force: true });
	});

	it.each([
		["folded stacks", "p.txt", () => foldedText(calls, "samples")],
		[
			"its own format",
			"p.json",
			() => JSON.stringify(speedscopeFile(calls, "invd", "samples", recording.hz)),
		],
		[
			"Chrome's JSON",
			"p.json",
			() =>
				JSON.stringify(chromeProfile(calls, "invd", "samples", { hz: recording.hz, cyclesPerWeight: 499 })),
		],
		["pprof", "p.pb", () => pprofBytes(calls, 499)],
	] as const)("%s, and finds the share of the first symbol that the table has", async (_, name, file) => {
		const script = join(folder, "profile.js");
		writeFileSync(
			script,
			`speedscope.loadFileFromBase64("${name}", "${Buffer.from(file()).toString("base64")}")`,
		);
		const page = await browser.newPage();
		// It says there what it had to repair.
		const said: string[] = [];
		page.on("console", (message) => said.push(message.text()));
		const release = join(dirname(resolve("speedscope/package.json")), "dist/release/index.html");
		await page.goto(`${pathToFileURL(release).href}#localProfilePath=${script}`);
		await page.getByText("Sandwich").click({ timeout: 20_000 });
		const row = page.getByRole("row", { name: new RegExp(first.symbol) }).first();
		const shares = [...((await row.textContent()) ?? "").matchAll(/\(([\d.]+)%\)/g)].map(([, share]) =>
			Number(share),
		);
		// Its columns: with what it calls, and by itself.
		expect(shares[1]).toBeCloseTo(first.overheadPercent, 0);
		expect(said.filter((line) => /Tried to end|still open/.test(line))).toEqual([]);
		await page.close();
	});
});
