import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { findProgram, programBytes } from "../../src/guests/programs.ts";
import { reenter } from "./memory-io.ts";

const vendor = v.picklist(["vmx", "svm", "tdx"]);
const verdict = v.picklist(["holds", "violated", "vacuous"]);
const text = v.pipe(v.string(), v.minLength(1));
const violation = v.strictObject({
	property: text,
	summary: text,
	replay: v.pipe(text, v.startsWith("reenter replay r1:")),
});
const bounds = v.strictObject({
	eventsMax: v.number(),
	replayed: v.boolean(),
	kinds: v.array(text),
	points: v.number(),
	runs: v.number(),
	exits: v.number(),
	guest: text,
	mceHandler: text,
	searches: v.array(v.strictObject({ eventsMax: v.number(), configurations: v.array(text) })),
	states: v.number(),
	pruned: v.number(),
});

/** The documented form of `review --json` (docs/json.md). */
const review = v.strictObject({
	reviews: v.array(
		v.strictObject({
			tree: text,
			base: text,
			vendors: v.array(
				v.strictObject({
					vendor,
					cpu: text,
					verdict,
					violations: v.array(violation),
					findings: v.array(violation),
					bounds,
					cost: v.strictObject({
						guest: text,
						baseCycles: v.number(),
						cycles: v.number(),
						savedCycles: v.number(),
					}),
				}),
			),
		}),
	),
});

const cost = v.strictObject({
	guest: text,
	tree: text,
	vendor,
	cpu: text,
	cyclesPerExit: v.number(),
	exits: v.number(),
	opsPerExit: v.record(text, v.number()),
	cyclesByOrigin: v.strictObject({
		published: v.number(),
		calibrated: v.number(),
		assumed: v.number(),
		measured: v.number(),
		guest: v.number(),
	}),
	plusMinus: v.number(),
});

const trace = v.strictObject({
	at: v.number(),
	flow: v.string(),
	step: text,
	kind: v.picklist(["step", "event", "violation"]),
	changes: v.array(text),
});
const fullViolation = v.strictObject({
	...violation.entries,
	minimised: v.optional(v.strictObject({ schedule: v.array(v.any()), replay: text })),
	schedule: v.array(v.strictObject({ event: text, at: v.number(), inGuest: v.optional(v.boolean()) })),
	callStack: v.array(text),
	trace: v.array(trace),
	initial: v.record(text, v.string()),
});
const check = v.strictObject({
	footer: v.nullable(text),
	checks: v.array(
		v.strictObject({
			tree: text,
			vendor,
			cpu: text,
			verdict,
			violations: v.array(fullViolation),
			findings: v.array(fullViolation),
			sometimes: v.record(text, v.number()),
			bounds,
		}),
	),
});

/** The documented forms of commands that measure where cycles go, and of lists. */
const FORMS = [
	[
		["top", "invd", "--iterations", "200"],
		"workload tree vendor cpu rows",
		"rows",
		"symbol object mode overheadPercent weight",
	],
	[
		["top", "invd", "--iterations", "200", "--explain", "vmx_vcpu_run"],
		"symbol shownAs sampledPercent exactPercent calls ops code inlined skid callers",
		"ops",
		"what count cycles",
	],
	[
		["stat", "invd", "--iterations", "200"],
		"events",
		"events",
		"reason samples totalCycles minCycles maxCycles squares",
	],
	[["script", "invd", "-n", "9"], "events", "events", "kind cycles cpu vcpu text"],
	[
		["casebook", "dr6-reentry"],
		"cases",
		"cases",
		"name title vendor state fix property events configuration before behind bounds eventsMax runs",
	],
	[
		["compare-backends", "--left", "soft:svm", "--right", "soft:vmx", "invd.elf"],
		"images generated",
		"images",
		"name events difference known",
	],
] as const;

describe.each(FORMS)("%j --json", (words, keys, list, entry) => {
	it("has the form that docs/json.md says, and no number with more than four decimals", async () => {
		const { out } = await reenter([...words, "--json"], { "invd.elf": programBytes(findProgram("invd")!) });
		const said = JSON.parse(out) as Record<string, unknown[]>;
		expect(Object.keys(said)).toEqual(keys.split(" "));
		expect(Object.keys(said[list]![0]!)).toEqual(entry.split(" "));
		expect(out).not.toMatch(/\d\.\d{5}/);
	});
});

describe("JSON output has its documented form", () => {
	it("review", async () => {
		const { code, out } = await reenter(["review", "series-v1", "--vendor", "tdx", "--json"]);
		const { reviews } = v.parse(review, JSON.parse(out));
		expect(reviews[0]!.vendors[0]!.verdict).toBe("violated");
		expect(code).toBe(1);
	});

	it("cost", async () => {
		const { out } = await reenter(["cost", "invd", "--tree", "v6.18", "--cpu", "turin", "--json"]);
		expect(v.parse(cost, JSON.parse(out)).opsPerExit.xsetbv).toBe(2);
	});

	it("check", async () => {
		const { checks } = v.parse(
			check,
			JSON.parse(
				(
					await reenter([
						"check",
						"series-v1",
						"--vendor",
						"tdx",
						"--config",
						"exits=3",
						"--max-events",
						"1",
						"--json",
					])
				).out,
			),
		);
		expect(checks[0]!.violations.length).toBeGreaterThan(0);
	});
});
