import { describe, expect, it } from "vitest";
import type { TraceLine, Violation } from "../../src/check/types.ts";
import { excerpt } from "../../src/cli/text/excerpt.ts";

const step = (at: number, changes: readonly string[] = []): TraceLine => ({
	at,
	flow: "vcpu_run",
	step: `step ${at}`,
	kind: "step",
	changes,
});
const line = (at: number, kind: "event" | "violation"): TraceLine => ({ ...step(at), kind });

function violationOf(trace: readonly TraceLine[]): Violation {
	return {
		property: "host-xstate",
		summary: "PKRU is 0x1, not user space's 0x2; IA32_STAR is the guest's",
		replay: "",
		schedule: [],
		callStack: [],
		trace,
		initial: { PKRU: "0x2", STAR: "0x0", IF: "on" },
	};
}

const steps = (count: number) => Array.from({ length: count }, (_, at) => step(at));
const shown = (trace: readonly TraceLine[], context = 3) =>
	excerpt(violationOf(trace), context).map((one) => ("leftOut" in one ? `… ${one.leftOut}` : one.at));

describe("what is printed of a counterexample", () => {
	it("is all of a short one, from shortly before its first event", () => {
		const trace = [...steps(50), line(50, "event"), step(51), line(52, "violation")];
		expect(shown(trace)).toEqual([47, 48, 49, 50, 51, 52]);
	});

	it("is the end of a long one without events, and what comes to the registers that are named", () => {
		const trace = [...steps(500), line(500, "violation")].map((one) => {
			if (one.at === 20) return { ...one, changes: ["PKRU: 0x2 → 0x1"] };
			if (one.at === 30) return { ...one, changes: ["STAR: 0x0 → 0x5"] };
			return one.at === 40 ? { ...one, changes: ["IF: on → off"] } : one;
		});
		const lines = shown(trace);
		expect(lines.slice(0, 6)).toEqual(["… 20", 20, "… 9", 30, "… 410", 441]);
		expect(lines.at(-1)).toBe(500);
	});

	it("has what stands near each event", () => {
		const trace = [...steps(300), line(300, "violation")].map((one) =>
			one.at === 10 || one.at === 100 ? { ...one, kind: "event" as const } : one,
		);
		const lines = shown(trace);
		expect(lines.slice(0, 4)).toEqual([7, 8, 9, 10]);
		expect(lines).toContain("… 74");
		expect(lines).toContain(97);
	});
});
