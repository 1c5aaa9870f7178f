import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LOST_AT } from "../check/lost-interrupt.ts";
import { reenter } from "./memory-io.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
	existsSync,
);

/** Presses keys in the page, and leaves what is chosen, and its state, in the title. */
const PROBE = `<script>
const chosen = () => document.querySelector("[aria-current]").innerText;
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const log = [chosen()];
for (const key of ["k", "k", "j", "v"]) { press(key); log.push(chosen()); }
document.querySelector("li.event button").click();
log.push(chosen());
const rows = [...document.querySelectorAll(".trace table")][0].querySelectorAll(".changed");
document.title = JSON.stringify({ log, changed: [...rows].map((row) => row.innerText) });
</script></body>`;

describe.skipIf(CHROMIUM === undefined)("the HTML page in a browser", () => {
	it("goes from step to step by j and k, to the violation by v, and shows what the chosen step changed", async () => {
		const words = `check series-v1 --vendor tdx --replay irq@${LOST_AT} --format html`;
		const { out } = await reenter(words.split(" "));
		const folder = mkdtempSync(join(tmpdir(), "reenter-"));
		try {
			writeFileSync(
				join(folder, "page.html"),
				out.replace("</body>", () => PROBE),
			);
			const options = [
				"--headless",
				"--no-sandbox",
				"--disable-gpu",
				"--dump-dom",
				`--user-data-dir=${folder}`,
			];
			const dom = execFileSync(CHROMIUM!, [...options, `file://${folder}/page.html`], {
				encoding: "utf8",
				stdio: ["ignore", "pipe", "ignore"],
			});
			const title = /<title>(.*?)<\/title>/.exec(dom)![1]!.replaceAll("&amp;", "&").replaceAll("&gt;", ">");
			const { log, changed } = JSON.parse(title) as { log: string[]; changed: string[] };
			expect(log[0]).toContain("violated here: interrupt-serviced");
			expect(new Set(log.slice(0, 3)).size).toBe(3);
			expect(log[4]).toBe(log[0]);
			expect(log[5]).toContain("external interrupt arrives");
			expect(changed).toEqual([expect.stringMatching(/interrupt pending ●\s*no → yes/)]);
		} finally {
			rmSync(folder, { recursive: true, force: true });
		}
	});
});
