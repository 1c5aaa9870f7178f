import { describe, expect, it } from "vitest";
import { reenter } from "./memory-io.ts";

const record = async (tree: string, name = "a.data", files: Record<string, string> = {}) => {
	const words = ["record", "invd", "--iterations", "400", "--period", "499", "--tree", tree, "-o", name];
	return (await reenter(words, files)).written;
};
const base = (await record("v6.18")).get("a.data")!;
const series = (await record("series-v2")).get("a.data")!;
const FILES = { "base.data": base, "new.data": series };
const run = (line: string, files: Record<string, string> = FILES) => reenter(line.split(" "), files);

describe("reenter diff of recordings", () => {
	it("the series: kvm_load_guest_xsave_state is gone from the profile, and its share is spread over the others", async () => {
		const { code, out } = await run("diff base.data new.data --json");
		expect(code).toBe(0);
		const { base: from, data, compute, rows } = JSON.parse(out);
		expect([from.tree, data.tree, compute]).toEqual(["v6.18", "series-v2", "delta-abs"]);
		const of = (name: string) => rows.find((row: { symbol: string }) => row.symbol === name);
		expect(of("kvm_load_guest_xsave_state")).toMatchObject({ percent: null, value: null });
		expect(of("vmx_vmexit").value).toBeGreaterThan(5);
		const sum = (key: string) =>
			rows.reduce((total: number, row: Record<string, number>) => total + (row[key] ?? 0), 0);
		expect(sum("baselinePercent")).toBeCloseTo(100, 2);
		expect(sum("percent")).toBeCloseTo(100, 2);
	});

	it("a recording compared with itself has not changed", async () => {
		const { out } = await run("diff base.data base.data -c ratio --json");
		for (const { value } of JSON.parse(out).rows) expect(value).toBe(1);
	});

	it("without words compares the last two, as perf diff does; record keeps the one before", async () => {
		const written = await record("series-v2", "reenter.data", { "reenter.data": base });
		expect(written.get("reenter.data.old")).toBe(base);
		const files = { "reenter.data.old": base, "reenter.data": written.get("reenter.data")! };
		expect((await reenter(["diff"], files)).out).toMatch(/^# Event 'cycles'\n#\n# Baseline {2}Delta Abs/);
	});

	it("record says what it has written, as JSON too", async () => {
		const words = ["record", "invd", "--iterations", "40", "-o", "new.data"];
		const said = await reenter(words);
		expect([said.out, said.err]).toEqual([
			"",
			expect.stringMatching(/^\[ reenter record: wrote new\.data \(\d+ samples, 43 exits\) \]\n$/),
		]);
		const { out, err } = await reenter([...words, "--json"]);
		expect([JSON.parse(out), err]).toEqual([
			{ file: "new.data", samples: expect.any(Number), exits: 43 },
			"",
		]);
	});

	it("trees stay trees, also beside recordings of the same name", async () => {
		expect((await run("diff v6.18 series-v2")).out).not.toContain("Baseline");
	});

	for (const [line, message] of [
		["diff base.data v6.18", /base\.data is a recording and v6\.18 is none: diff compares two files/],
		["diff v6.18 base.data", /base\.data is a recording and v6\.18 is none/],
		["diff base.data", /diff of recordings needs two: the baseline and base\.data/],
		["diff base.data new.data --patch p.json", /--patch is for trees, which these are not/],
		["diff v6.18 series-v2 --compute ratio", /--compute is for recordings, which these are not/],
		["diff base.data new.data -c best", /--compute "best": there are delta, delta-abs, ratio, wdiff/],
		["diff base.data new.data -o 2", /--order "2": 0 is by the baseline/],
		["diff base.data gone.data", /base\.data is a recording and gone\.data is none/],
		["diff", /diff needs two trees, or --patch, or two files of reenter record/],
	] as const)
		it(`${line} is bad usage`, async () => {
			const { code, err } = await run(line);
			expect(code).toBe(2);
			expect(err).toMatch(message);
		});
});
