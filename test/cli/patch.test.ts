import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import type { Io } from "../../src/cli/io.ts";
import type { CheckRequest } from "../../src/cli/pool/checks.ts";
import type { PoolOptions } from "../../src/cli/pool/pool.ts";
import { SERVICES } from "../../src/cli/services.ts";
import type { ReviewOptions } from "../../src/review/review.ts";
import { patchJsonSchema } from "../../src/kvm/patch/schema.ts";
import { reenter } from "./memory-io.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const examples = Object.fromEntries(
	readdirSync(join(ROOT, "examples")).map((name) => [`examples/${name}`, read(`examples/${name}`)]),
);
/** Interrupts are all that the examples' violations need. */
const services = {
	...SERVICES,
	threads: 1,
	runChecks: (io: Io, requests: readonly CheckRequest[], pool: PoolOptions) =>
		SERVICES.runChecks(
			io,
			requests.map(({ words, options }) => ({
				words,
				options: { ...options, events: ["irq" as const], eventsMax: 1, configuration: DEFAULT_CONFIGURATION },
			})),
			pool,
		),
};
/** For tests that do not look at what a check says. */
const runChecks = async () => [];
const run = (words: string, files: Record<string, string> = {}) =>
	reenter(words.split(" "), { ...examples, ...files }, services);

describe("the examples", () => {
	it("reorder: three moves, and diff shows what they move", async () => {
		const { code, out } = await run("diff --patch examples/reorder.json");
		expect(out.match(/^moved/gm)).toHaveLength(2);
		expect(out).toMatch(/kvm_load_guest_xsave_state\n.*from {2}vmx_vcpu_run/);
		expect(code).toBe(0);
	});

	it("series: the first three patches, as the built-in ones", async () => {
		const mine = JSON.parse((await run("cost invd --patch examples/series.ts --vendor svm --json")).out);
		const builtIn = JSON.parse((await run("cost invd --tree series-v2:1-3 --vendor svm --json")).out);
		expect(mine.tree).toBe("my-series");
		expect(mine.cyclesPerExit).toBe(builtIn.cyclesPerExit);
	});

	it("patch 2: version 1 is violated on TDX, version 2 holds", async () => {
		const first = await run("check --patch examples/patch-2-v1.json --vendor tdx");
		expect(first.code).toBe(1);
		expect(first.out).toContain("violated: interrupt-serviced");
		expect(first.out).toMatch(/replay: reenter replay r1:\S+ --patch examples\/patch-2-v1.json$/m);
		expect((await run("check --patch examples/patch-2-v2.json --vendor tdx")).code).toBe(0);
	});

	it("pv-clock: a step and an op of its own, with the op's cost", async () => {
		const { out } = await run("cost invd --patch examples/pv-clock.json --vendor svm --json");
		expect(JSON.parse(out).opsPerExit.pv_clock_store).toBe(1);
		const text = (await run("cost invd --patch examples/pv-clock.json --vendor svm")).out;
		expect(text).toMatch(/pv_clock_store +1 +34\.0 +assumed/);
	});

	it("vendor module: cost, diff and check name it by --vendor", async () => {
		const words = "--patch examples/vendor-module.ts --vendor counting-vmx";
		const cost = JSON.parse((await run(`cost invd ${words} --json`)).out);
		expect(cost.module).toBe("counting-vmx");
		expect(cost.opsPerExit.count_store).toBe(1);
		expect((await run(`diff ${words}`)).out).toContain(".vcpu_run: vt_vcpu_run → counting_vcpu_run");
		const { code, out } = await run(`check ${words} --replay irq@100 --json`);
		expect(code).toBe(0);
		expect(JSON.parse(out).checks[0]).toMatchObject({
			vendor: "vmx",
			module: "counting-vmx",
			verdict: "holds",
		});
	});
});

describe("--patch", () => {
	const a = JSON.stringify({
		name: "a",
		edits: [{ move: "clgi", from: "svm_vcpu_run", to: "vcpu_enter_guest", at: "start" }],
	});
	const b = JSON.stringify({
		name: "b",
		base: "v6.18",
		edits: [{ remove: "clgi", from: "vcpu_enter_guest" }],
	});

	it("a file whose base stands on it in turn, or that has a name twice, is refused with its line", async () => {
		const on = (base: string) =>
			`{\n"name": "p", "base": "${base}",\n"edits": [ { "remove": "clgi", "from": "svm_vcpu_run" } ] }`;
		const files = {
			"d/one.json": on("./two.json"),
			"d/two.json": on("../d/one.json"),
			"self.json": on("./self.json"),
		};
		const refused = async (words: string, more = {}) => {
			const { code, out, err } = await run(words, { ...files, ...more });
			expect([code, out]).toEqual([2, ""]);
			return err;
		};
		expect(await refused("diff --patch self.json")).toMatch(
			/self.json:2: base: self.json stands on this file in turn\n$/,
		);
		expect(await refused("diff --patch d/one.json")).toMatch(
			/d\/two.json:2: base: d\/one.json stands on this file in turn\n$/,
		);
		const twice = { "t.json": '{ "name": "t", "edits": [],\n"edits": [] }' };
		expect(await refused("diff --patch t.json", twice)).toBe(
			'reenter: t.json:2: "edits" stands twice here\n',
		);
	});

	it("repeated is a series: each applies to what stands before it", async () => {
		const { out } = await run("diff --patch a.json --patch b.json", { "a.json": a, "b.json": b });
		expect(out).toContain("removed   clgi");
	});

	it("applies to the tree that is named, whatever base the file was made for", async () => {
		const { out } = await run("show series-v2 vcpu_enter_guest --patch a.json", { "a.json": a });
		expect(out).toMatch(/vcpu_enter_guest.*\n {2}clgi\n/);
		expect(out).toContain("kvm_load_guest_pkru");
	});

	it("- is JSON on stdin, read once", async () => {
		expect((await run("diff --patch -", { "-": a })).out).toContain("moved     clgi");
	});

	it("with show needs no tree", async () => {
		expect((await run("show vcpu_enter_guest --patch a.json", { "a.json": a })).out).toContain("\n  clgi\n");
	});

	it("of another vendor's flows is said to change nothing that this one runs", async () => {
		const check = (vendor: string) =>
			run(`check --patch p.json --vendor ${vendor} --max-events 0 --config default`, {
				"p.json": JSON.stringify({ name: "p", edits: [{ remove: "trace_kvm_entry", from: "svm_vcpu_run" }] }),
			});
		expect((await check("vmx")).out).toContain("unchanged: vmx runs nothing in which p differs from v6.18");
		expect((await check("svm")).out).not.toContain("unchanged");
	});

	it("takes comments and a trailing comma's absence as JSON with comments does", async () => {
		const text = `// why\n${a}`;
		expect((await run("diff --patch a.json", { "a.json": text })).code).toBe(0);
	});

	it.each([
		["p.mjs", "export default { name: 'p', edits: [{ remove: 'clgi', from: 'svm_vcpu_run' }] };"],
		[
			"p.mts",
			"const from: string = 'svm_vcpu_run'; export default { name: 'p', edits: [{ remove: 'clgi', from }] };",
		],
		["p.cjs", "module.exports = { name: 'p', edits: [{ remove: 'clgi', from: 'svm_vcpu_run' }] };"],
		[
			"p.js",
			'import { remove } from "reenter"; export default { name: "p", edits: [remove("clgi", "svm_vcpu_run")] };',
		],
		[
			"p.ts",
			'import { removesClgi } from "./test/cli/shared-edits.ts"; export default { name: "p", edits: [removesClgi] };',
		],
	])("takes a module: %s", async (name, text) => {
		const { out, err } = await run(`diff --patch ${name}`, { [name]: text });
		expect(err).toBe("");
		expect(out).toMatch(/^removed {3}clgi$/m);
	});

	it("is compared with the tree that it is made for, unless --base names another", async () => {
		const reviewTree = ({ tree, base }: ReviewOptions) => ({ tree: tree.name, base: base.name, vendors: [] });
		const bases = async (words: string) => {
			const { out } = await reenter(words.split(" "), examples, { ...services, runChecks, reviewTree });
			return JSON.parse(out).reviews.map(({ base }: { base: string }) => base);
		};
		expect(await bases("review --patch examples/pv-clock.json --json")).toEqual(["series-v2"]);
		expect(await bases("review --patch examples/pv-clock.json --base v6.18 --json")).toEqual(["v6.18"]);
		expect(await bases("review examples/pv-clock.json series-v1 --json")).toEqual(["series-v2", "v6.18"]);
		expect(await bases("review series-v2:1 --patch examples/patch-2-v2.json --json")).toEqual([
			"series-v2:1",
		]);
	});

	it("is quoted for the shell in the replay line", async () => {
		const specs: (string | undefined)[] = [];
		const reviewTree = ({ tree, base }: ReviewOptions) => {
			specs.push(tree.spec);
			return { tree: tree.name, base: base.name, vendors: [] };
		};
		await reenter(
			["review", "--patch", "my patch's.json"],
			{ "my patch's.json": a },
			{ ...services, runChecks, reviewTree },
		);
		await reenter(
			["review", "series-v2:1", "--patch", "a.json"],
			{ "a.json": a },
			{ ...services, runChecks, reviewTree },
		);
		expect(specs).toEqual(["--patch 'my patch'\\''s.json'", "series-v2:1 --patch a.json"]);
	});

	it("takes a base that is a file beside it", async () => {
		const onA = JSON.stringify({
			name: "c",
			base: "./a.json",
			edits: [{ remove: "clgi", from: "vcpu_enter_guest" }],
		});
		const { out } = await run("diff dir/c.json dir/a.json", { "dir/a.json": a, "dir/c.json": onA });
		expect(out).toContain("inserted  clgi");
	});
});

describe("bad input of --patch gets one line with file and line, and exit code 2", () => {
	const lines = (...text: string[]) => text.join("\n");
	const files = {
		"syntax.json": lines("{", '  "name": "p",', '  "edits": [ { "remove" "clgi" } ]', "}"),
		"step.json": lines(
			'{ "name": "p",',
			'"edits": [',
			'{ "remove": "clgi", "from": "svm_vcpu_run" },',
			'{ "remove": "clgj", "from": "svm_vcpu_run" } ] }',
		),
		"deep.json": lines(
			'{ "name": "p", "edits": [',
			'{ "insert": { "if": "is_td_vcpu",',
			'"then": [',
			'{ "op": "rdtcs" } ] },',
			'"into": "vcpu_run", "at": "end" } ] }',
		),
		"base.json": lines("{", '"name": "p",', '"base": "v6.17", "edits": [] }'),
		"v2.json":
			'{ "name": "q", "base": "series-v2", "edits": [{ "remove": "clgi", "from": "svm_vcpu_run" }] }',
		"ok.json": '{ "name": "ok", "edits": [{ "remove": "stgi", "from": "svm_vcpu_run" }] }',
		"syntax.ts": lines("const a: number = 1;", "export default {", "  name: 'p', edits: [ ] ] };"),
		"throws.ts": lines(
			"interface A { a: number }",
			"",
			"const a: A = JSON.parse('nonsense');",
			"export default a;",
		),
		"empty.ts": "export const patch = { name: 'p' };",
		"step.ts": lines(
			"export default {",
			'  name: "p",',
			"  edits: [",
			'    { remove: "clgj", from: "svm_vcpu_run" },',
			"  ],",
			"};",
		),
		"import.ts": 'import { nothing } from "./not-there.ts";\nexport default { name: "p", edits: [nothing] };',
	};
	it.each([
		["check --patch syntax.json", /^reenter: syntax\.json:3: not JSON: /],
		["check --patch step.json", /^reenter: step\.json:4: edit 2: svm_vcpu_run has no step "clgj"/],
		[
			"check --patch deep.json",
			/^reenter: deep\.json:4: edit 1, then 1: there is no op rdtcs; did you mean "rdtsc"\?/,
		],
		["check --patch base.json", /^reenter: base\.json:3: base: no tree "v6.17"; did you mean "v6.18"\?/],
		[
			"check --patch ok.json --patch v2.json",
			/^reenter: v2\.json:1: base: it is made for series-v2, and stands behind ok/,
		],
		["check --patch gone.json", /^reenter: gone\.json: cannot be read/],
		["check --patch syntax.ts", /^reenter: syntax\.ts:3: syntax error: /],
		[
			"check --patch throws.ts",
			/^reenter: throws\.ts:3: it threw SyntaxError: |^reenter: throws\.ts:3: syntax error/,
		],
		["check --patch empty.ts", /^reenter: empty\.ts: it has no default export/],
		["check --patch step.ts", /^reenter: step\.ts:4: edit 1: svm_vcpu_run has no step "clgj"/],
		["check --patch import.ts", /^reenter: import\.ts.*not-there/],
		["check ok.json --vendor pv", /^reenter: no vendor "pv"; .*there are vmx, svm, tdx/],
		["check", /^reenter: check needs a tree or --patch/],
		["show", /^reenter: show needs a tree or --patch/],
		["diff v6.18", /^reenter: diff needs two trees, or --patch/],
		["diff v6.18 series-v2 --patch ok.json", /^reenter: diff with --patch takes one tree/],
	])("reenter %s", async (words, message) => {
		const { code, out, err } = await run(words, files);
		expect(err).toMatch(message);
		expect(err.trimEnd().split("\n")).toHaveLength(1);
		expect(out).toBe("");
		expect(code).toBe(2);
	});
});

describe("the JSON Schema of patch files", () => {
	it("is the one that is published, and that reenter schema prints", async () => {
		expect(JSON.parse(read("schema/patch.json"))).toEqual(JSON.parse(JSON.stringify(patchJsonSchema())));
		expect(JSON.parse((await run("schema")).out)).toEqual(JSON.parse(read("schema/patch.json")));
	});

	it("completes edits and nodes", () => {
		const text = read("schema/patch.json");
		for (const word of ["move", "insert", "removeFlow", "callOp", "basedOn", "cycles"])
			expect(text).toContain(`"${word}"`);
		expect(text).not.toContain("undefined");
	});
});
