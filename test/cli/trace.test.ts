import { describe, expect, it } from "vitest";
import { findProgram, programBytes } from "../../src/guests/programs.ts";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { makeToken } from "../../src/check/token.ts";
import { selectVendor } from "../../src/kvm/flow/vendor-module.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { reenter } from "./memory-io.ts";

const trace = (...words: string[]) => reenter(["trace", ...words]);

interface Summary {
	readonly guest: string;
	readonly runs: readonly {
		readonly tree: string;
		readonly vendor: string;
		readonly exits: readonly string[];
		readonly cycles: number;
		readonly bands: readonly { readonly name: string; readonly changes: number; readonly cycles: number }[];
		readonly end: string;
	}[];
}

describe("reenter trace", () => {
	it("sums up in JSON how often each register changed hands, under each tree", async () => {
		const { code, out } = await trace(
			"invd",
			"--exits",
			"3",
			"--tree",
			"v6.18",
			"--tree",
			"series-v2",
			"--json",
		);
		expect(code).toBe(0);
		const { guest, runs } = JSON.parse(out) as Summary;
		expect(guest).toBe("invd");
		expect(runs.map(({ tree, vendor, exits }) => [tree, vendor, exits.join()])).toEqual([
			["v6.18", "vmx", "INVD,INVD,INVD"],
			["series-v2", "vmx", "INVD,INVD,INVD"],
		]);
		expect(runs.map(({ bands }) => bands.find(({ name }) => name === "XCR0")!.changes)).toEqual([6, 0]);
	});

	it("writes Chrome's JSON, the same bytes each time", async () => {
		const words = ["cpuid", "--exits", "2", "--vendor", "svm", "--format", "chrome", "--output", "t.json"];
		const [first, second] = [await trace(...words), await trace(...words)];
		const text = first.written.get("t.json")!;
		expect(second.written.get("t.json")).toBe(text);
		const { traceEvents } = JSON.parse(text) as { traceEvents: { ph: string; name: string }[] };
		expect(traceEvents.some(({ ph, name }) => ph === "X" && name === "svm_vcpu_run")).toBe(true);
	});

	it("takes an image file, and a patch, which stands below what it patches", async () => {
		const files = {
			"guest.elf": programBytes(findProgram("invd")!),
			"p.json": JSON.stringify({
				name: "mine",
				base: "v6.18",
				title: "no Processor Trace",
				edits: [{ remove: "pt_guest_exit", from: "vmx_vcpu_run" }],
			}),
		};
		const words = ["trace", "guest.elf", "--exits", "2", "--skip", "1", "--patch", "p.json", "--json"];
		const { out, err } = await reenter(words, files);
		expect(err).toBe("");
		expect((JSON.parse(out) as Summary).runs.map(({ exits }) => exits.length)).toEqual([2, 2]);
	});

	it("replays a token of the check, with the tree that it was made of", async () => {
		const token = makeToken(selectVendor(findTree("series-v1"), "tdx")!, {
			model: defaultModel("tdx"),
			configuration: DEFAULT_CONFIGURATION,
			guest: "script",
			schedule: [{ event: "irq", at: 13, inGuest: true }],
		});
		const { code, out } = await trace("script", "--schedule", token, "--exits", "30", "--json");
		expect(code).toBe(0);
		const [run] = (JSON.parse(out) as Summary).runs;
		expect([run!.tree, run!.vendor]).toEqual(["series-v1", "tdx"]);
		const other = await trace("invd", "--schedule", token);
		expect(other.err).toContain("reenter trace script --schedule");
		expect(other.code).toBe(2);
	});

	it.each([
		[["incd"], /no guest "incd", .* did you mean "invd"\?/],
		[["invd", "--exits", "many"], /--exits "many"/],
		[["invd", "--exits", "20000"], /from 1 to 10000/],
		[["invd", "--skip", "-1"], /--skip "-1"/],
		[["invd", "--tree", "v6.19"], /no tree "v6.19"/],
		[["invd", "--vendor", "tdx"], /invd runs on vmx and svm, not on tdx/],
		[["invd", "--config", "xcr0=mine"], /xcr0 is one of own, host/],
		[["invd", "--schedule", "irq"], /"irq" is no event of a schedule/],
		[["invd", "--format", "svg"], /html, chrome/],
		[["invd", "--output", "/nowhere/t.html"], /\/nowhere\/t.html: cannot be written/],
		[
			["invd", "--skip", "100000", "--exits", "1", "--tree", "v6.18", "--patch", "p", "--tree", "v6.18"],
			/one --tree/,
		],
	] as const)("%j is refused with one line", async (words, message) => {
		const { code, out, err } = await trace(...words);
		expect([code, out]).toEqual([2, ""]);
		expect(err).toMatch(message);
		expect(err.trim().split("\n").length).toBe(1);
	});
});
