import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import type { CheckResult, TraceLine, Violation } from "../../src/check/types.ts";
import { htmlText } from "../../src/cli/formats/html.ts";
import { itfText } from "../../src/cli/formats/itf.ts";
import { junitText } from "../../src/cli/formats/junit.ts";
import { type TestPoint, checkPoints } from "../../src/cli/formats/points.ts";
import { tapText } from "../../src/cli/formats/tap.ts";
import { traceStates } from "../../src/cli/formats/states.ts";
import { checkFooter } from "../../src/cli/text/check.ts";
import { LOST_AT } from "../check/lost-interrupt.ts";
import { reenter } from "./memory-io.ts";

const run = async (words: string) => reenter(words.split(" "));
const REPLAY = `check series-v1 --vendor tdx --replay irq@${LOST_AT}`;
const JSON_OF = async (words: string) => JSON.parse((await run(`${words} --format json`)).out);

/** A schedule that version 1 does not survive on TDX: found once, used by all. */
const found = JSON_OF(REPLAY).then(({ checks }) => checks[0].violations[0] as Violation);

describe("the saved trace is the shown trace", () => {
	it("text, JSON and ITF of one run have the same lines, the same changes, and states that fit them", async () => {
		const violation = await found;
		const { out } = await run(`${REPLAY} --full`);
		const shown = out.slice(0, out.indexOf("Call Trace:"));
		for (const { flow, step, kind, changes } of violation.trace) {
			if (kind === "step") expect(shown).toContain(`${flow}: ${step}`);
			if (kind === "event") expect(shown).toContain(`${step}\n`);
			for (const change of changes) expect(shown).toContain(change);
		}
		const steps = shown.split("\n").filter((line) => /^[ ⚡] *\d+ {2}/.test(line));
		expect(steps).toHaveLength(violation.trace.filter(({ kind }) => kind !== "violation").length);

		const itf = JSON.parse((await run(`${REPLAY} --format itf`)).out);
		expect(itf["#meta"]).toMatchObject({
			format: "ITF",
			property: violation.property,
			replay: violation.replay,
		});
		const saved = itf.states.map(({ flow, step, kind }: TraceLine) => [flow, step, kind]);
		expect(violation.trace.slice(0, saved.length).map(({ flow, step, kind }) => [flow, step, kind])).toEqual(
			saved,
		);
		for (const state of itf.states) expect(Object.keys(state).slice(1)).toEqual(itf.vars);
		const states = traceStates(violation);
		for (const [at, state] of itf.states.entries())
			expect(state.XCR0["#bigint"]).toBe(BigInt(states[at]!.state.XCR0!).toString());
		const at = itf.states.findIndex(({ kind }: TraceLine) => kind === "event");
		expect(itf.states[at - 1].interrupt_pending).toBe(false);
		expect(itf.states[at].interrupt_pending).toBe(true);
	});

	it("each change begins where the one before it ended", async () => {
		const { trace, initial } = await found;
		const state: Record<string, string> = { ...initial };
		for (const { changes } of trace) {
			for (const change of changes) {
				const [, name, before, after] = /^(.*?): (.*) → (.*)$/.exec(change)!;
				expect(state[name!]).toBe(before);
				state[name!] = after!;
			}
		}
	});
});

describe("replay", () => {
	it("shows the very same run by its token alone", async () => {
		const { replay } = await found;
		expect(replay).toMatch(/^reenter replay r1:\S{1,77}$/);
		const again = await JSON_OF(replay.replace("reenter ", ""));
		expect(again.checks[0].violations[0]).toEqual(await found);
		expect((await run(replay.replace("reenter ", ""))).code).toBe(1);
	});

	it("of a tree that a file makes names the file, and refuses another", async () => {
		const words = REPLAY.replace("series-v1", "series-v1:2");
		const { replay } = (await JSON_OF(words)).checks[0].violations[0];
		expect(replay).toMatch(/ series-v1:2$/);
		expect((await run(replay.replace("reenter ", ""))).code).toBe(1);
	});

	it.each([
		[
			(token: string) => `replay ${token} series-v2`,
			/token is not of series-v2: it is of series-v1: vmx_handle_exit_irqoff, vt_handle_exit_irqoff differ/,
		],
		[
			(token: string) => `replay ${token.slice(0, 3)}00000000${token.slice(11)}`,
			/no built-in tree is the token's; .*Against v6.18: it is of another tree: /,
		],
		[() => "replay r1:what", /"r1:what" is no token of this version/],
		[() => "replay", /replay needs a token, or --token-file/],
		[() => "replay --token-file gone.txt", /gone.txt: cannot be read/],
		[() => "check v6.18 --context many", /--context "many": write a whole number/],
		[() => "check v6.18 --format yaml", /--format.*yaml/],
	])("or the like says in one line what is wrong (%#)", async (words, message) => {
		const { code, out, err } = await run(words((await found).replay.split(" ")[2]!));
		expect(err).toMatch(message);
		expect(err.trimEnd().split("\n")).toHaveLength(1);
		expect(out).toBe("");
		expect(code).toBe(2);
	});

	it("takes the token from a file", async () => {
		const token = (await found).replay.split(" ")[2]!;
		const { code } = await reenter(["replay", "--token-file", "t.txt"], { "t.txt": `${token}\n` });
		expect(code).toBe(1);
	});
});

const nasty = `a "b" <c> & 'd' #e \\ ]]> \u0007\tend`;
const points: readonly TestPoint[] = [
	{ suite: "s & t", name: nasty, outcome: "ok", details: {} },
	{
		suite: "s & t",
		name: "two",
		outcome: "failed",
		details: { message: nasty, "call trace": [nasty], events: [] },
	},
	{ suite: "u", name: "three", outcome: "finding", details: { message: "m" } },
];

describe("TAP", () => {
	it("numbers its points, escapes directives, and has a YAML block that JSON can read line by line", () => {
		const text = tapText(points);
		expect(text.split("\n").slice(0, 2)).toEqual(["TAP version 14", "1..3"]);
		expect(text).toMatch(/^ok 1 - s & t: a "b" <c> & 'd' \\#e \\\\/m);
		expect(text).toMatch(/^not ok 2 - s & t: two\n {2}---\n/m);
		expect(text).toMatch(/^not ok 3 - u: three # todo/m);
		const message = /^ {2}message: (.*)$/m.exec(text)![1]!;
		expect(JSON.parse(message)).toBe(nasty);
	});

	it("has a point for every property of a check, and one for each thing that must be reached", async () => {
		const { out, code } = await run(`${REPLAY} --format tap`);
		expect(code).toBe(1);
		expect(out).toMatch(/^not ok \d+ - series-v1 on tdx: interrupt-serviced$/m);
		expect(out).toMatch(/^ok \d+ - series-v1 on tdx: host-xstate$/m);
		expect(out.match(/^(not )?ok /gm)).toHaveLength(Number(/^1\.\.(\d+)$/m.exec(out)![1]));
	});
});

/** Elements and attributes are balanced and escaped: enough of XML to see what a parser would refuse. */
function assertXml(text: string): void {
	const open: string[] = [];
	const rest = text
		.replace(/^<\?xml [^>]*\?>\n/, "")
		.replace(
			/<(\/?)([\w-]+)((?: [\w-]+="[^"<>]*")*)\s*(\/?)>/g,
			(_, closes: string, name: string, _attributes: string, empty: string) => {
				if (closes !== "") expect(open.pop()).toBe(name);
				else if (empty === "") open.push(name);
				return "";
			},
		);
	expect(open).toEqual([]);
	expect(rest).not.toMatch(/[<>]/);
	expect(text).not.toMatch(/&(?!(amp|lt|gt|quot|#10|#9);)/);
	// biome-ignore lint/suspicious/noControlCharactersInRegex: what XML has no place for
	expect(text).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
}

describe("JUnit XML", () => {
	it("is well-formed whatever is said in it", () => {
		const text = junitText("reenter <check>", points);
		assertXml(text);
		expect(text).toContain('tests="3" failures="1"');
		expect(text.match(/<testsuite /g)).toHaveLength(2);
	});

	it("of a check has a failure for a violation, and xmllint finds nothing wrong where it is installed", async () => {
		const { out } = await run(`${REPLAY} --format junit`);
		assertXml(out);
		expect(out).toMatch(
			/<testcase classname="series-v1 on tdx" name="interrupt-serviced">\n\s*<failure message="/,
		);
		try {
			execFileSync("xmllint", ["--noout", "-"], { input: out });
		} catch (error) {
			expect((error as NodeJS.ErrnoException).code).toBe("ENOENT");
		}
	});
});

describe("ITF", () => {
	it("says on stderr that other counterexamples are left out", async () => {
		const { out, err } = await run(`${REPLAY} --format itf`);
		expect(err).toMatch(/^reenter: ITF is one trace, the least; (another is|\d+ others are) left out\n$/);
		expect(() => JSON.parse(out)).not.toThrow();
	});

	it("without a counterexample is a trace without states", () => {
		expect(JSON.parse(itfText([]))).toMatchObject({ "#meta": { format: "ITF" }, vars: [], states: [] });
	});
});

describe("HTML", () => {
	it("is one file: nothing in it is fetched", async () => {
		const { out } = await run(`${REPLAY} --format html`);
		expect(out).toMatch(/^<!doctype html>/);
		expect(out).not.toMatch(/https?:|src=|<link|@import|url\(/);
		expect(out).toContain("prefers-color-scheme: dark");
		expect(out).toContain('name="viewport"');
	});

	it("has every shown step, marks the event and the violation by words, and escapes names", async () => {
		const { out } = await run(`${REPLAY} --format html`);
		expect(out).toContain("⚡ external interrupt arrives");
		expect(out).toContain("► violated here: interrupt-serviced");
		expect(out).toContain("✘ violated: interrupt-serviced");
		const violation: Violation = { ...(await found), summary: nasty, callStack: ["</script><b>"] };
		const [result] = (await JSON_OF(REPLAY)).checks as CheckResult[];
		const trace = [{ ...violation.trace[0]!, changes: ["XCR0: </script> → 1"] }];
		const page = htmlText([{ ...result!, violations: [{ ...violation, trace }], findings: [] }]);
		expect(page.match(/<\/script>/g)).toHaveLength(2);
		expect(page).toContain("a &quot;b&quot; &lt;c&gt; &amp;");
	});

	it("has data from which its script makes the states of the trace", async () => {
		const { out } = await run(`${REPLAY} --format html`);
		const data = JSON.parse(/<script type="application\/json">(.*?)<\/script>/.exec(out)![1]!);
		expect(data.initial).toEqual((await found).initial);
		const flat = data.steps.flat().map(([name, before, after]: string[]) => `${name}: ${before} → ${after}`);
		expect((await found).trace.flatMap(({ changes }) => changes).slice(0, flat.length)).toEqual(flat);
	});
});

describe("the footer for a mail", () => {
	const result = (tree: string, over: Partial<CheckResult["bounds"]> = {}) =>
		({
			tree,
			verdict: "holds",
			bounds: {
				points: 214,
				searches: [
					{ eventsMax: 2, configurations: ["default"] },
					{ eventsMax: 1, configurations: ["xcr0=host", "pke=off"] },
				],
				replayed: false,
				...over,
			},
		}) as CheckResult;

	it("says version, tree, points and events", () => {
		expect(checkFooter([result("series-v2"), result("series-v2")])).toMatch(
			/^Checked-by-model: reenter \d+\.\d+\.\d+, series-v2, 428 points,\n ≤2 events in 2 configurations, ≤1 event in 4 configurations$/,
		);
	});

	it("keeps to 72 columns", () => {
		const text = checkFooter([result("a-tree-with-quite-a-long-name-that-somebody-chose")])!;
		const lines = text.split("\n");
		expect(lines.length).toBeGreaterThan(1);
		for (const line of lines) expect(line.length).toBeLessThanOrEqual(72);
		for (const line of lines.slice(1)) expect(line).toMatch(/^ /);
	});

	it("is not there for a tree that is violated, or a replay", () => {
		expect(checkFooter([result("t"), { ...result("t"), verdict: "violated" }])).toBeNull();
		expect(checkFooter([result("t", { replayed: true })])).toBeNull();
	});
});

it("test points stand for each property once", async () => {
	const { checks } = await JSON_OF(REPLAY);
	const names = checkPoints(checks).map(({ name }) => name);
	expect(new Set(names).size).toBe(names.length);
});
