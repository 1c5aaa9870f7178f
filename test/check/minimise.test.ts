import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { runCheck } from "../../src/check/check.ts";
import { scheduleText } from "../../src/check/schedule.ts";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { type MinimiseRuns, minimise } from "../../src/check/minimise.ts";
import { readToken } from "../../src/check/token.ts";
import type { CheckOptions } from "../../src/check/types.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { LOST_AT } from "./lost-interrupt.ts";
import { reenter } from "../cli/memory-io.ts";

const check = (only: CheckOptions["only"], configuration = DEFAULT_CONFIGURATION) =>
	runCheck({
		tree: findTree("series-v1"),
		base: v618,
		vendor: "tdx",
		model: defaultModel("tdx"),
		mceHandler: "task-work",
		configuration,
		...(only === undefined ? {} : { only }),
	});
const violation = (...args: Parameters<typeof check>) =>
	check(...args).violations.find(({ property }) => property === "interrupt-serviced")!;

describe("a schedule that is written by hand", () => {
	// The one before shifts the op count of those behind it, so the place is looked for.
	const schedules = Array.from({ length: 200 }, (_, at) => [
		{ event: "preempt", at: 5 } as const,
		{ event: "irq", at: LOST_AT + at } as const,
		{ event: "nmi", at: LOST_AT + at + 40 } as const,
	]);
	const schedule = schedules.find((one) => violation(one) !== undefined)!;

	it("of three events is minimised to the one that matters, and that one shows the same", () => {
		const { minimised } = violation(schedule);
		expect(minimised!.schedule.map(({ event }) => event)).toEqual(["irq"]);
		const again = violation(minimised!.schedule);
		expect(again.property).toBe("interrupt-serviced");
		expect(again.minimised).toBeUndefined();
	});

	it("is minimised to the default configuration where that shows it", () => {
		const { minimised } = violation([{ event: "irq", at: LOST_AT }], {
			...DEFAULT_CONFIGURATION,
			pke: "off",
		});
		const { configuration } = readToken(minimised!.replay.split(" ")[2]!)!;
		expect(configuration).toEqual(DEFAULT_CONFIGURATION);
	});

	it("is told so in the text, with the token of the less", async () => {
		const words = `check series-v1 --vendor tdx --replay ${scheduleText(schedule)}`;
		const { out } = await reenter(words.split(" "));
		expect(out).toMatch(/^ {2}minimised 3 → 1 events: reenter replay r1:\S+$/m);
	});
});

describe("minimising", () => {
	/** A run that passes `steps`, one op each; a violation shows if the needed events are at their steps. */
	const runs = (needed: readonly string[], steps: number): MinimiseRuns & { calls: number } => ({
		calls: 0,
		shows(shown) {
			this.calls++;
			const keys = shown.schedule.map(({ event, at }) => `${event}@${at % 10}`);
			return needed.every((key) => keys.includes(key));
		},
		landmarks: ({ schedule }) =>
			schedule.map(({ at }) => ({
				flow: "f",
				step: String(at % 10),
				occurrence: Math.floor(at / 10) + 1,
				opsInto: 0,
				entry: 0,
			})),
		placeOf: ({ step, occurrence }) => {
			const at = Number(step) + (occurrence - 1) * 10;
			return at < steps ? at : null;
		},
	});

	it("keeps what is needed and nothing else, each at its first occurrence", () => {
		const injection = fc.record({
			event: fc.constantFrom("irq", "nmi", "mce"),
			at: fc.integer({ min: 10, max: 39 }),
		});
		fc.assert(
			fc.property(fc.array(injection, { minLength: 1, maxLength: 6 }), fc.nat(5), (drawn, count) => {
				const schedule = [...drawn].sort((a, b) => a.at - b.at) as { event: "irq"; at: number }[];
				const needed = [
					...new Set(schedule.slice(0, count + 1).map(({ event, at }) => `${event}@${at % 10}`)),
				];
				const model = runs(needed, 40);
				const least = minimise({ schedule, configuration: DEFAULT_CONFIGURATION }, model);
				expect(least.schedule.map(({ event, at }) => `${event}@${at}`).sort()).toEqual(needed.sort());
				expect(model.calls).toBeLessThan(40);
			}),
			{ seed: 3, numRuns: 200 },
		);
	});
});
