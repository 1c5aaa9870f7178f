import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Task } from "./child.ts";
import { type CaseLimits, casesOf, noTotals, superviseChild } from "./supervisor.ts";

const task: Task = {
	kinds: ["code", "vmcb"],
	seed: 100,
	ordinal: 6,
	milliseconds: 0,
	cases: 0,
	rssBytes: 0,
};
/** What no case here comes to, however busy the machine is; a test tightens the one limit that it is about. */
const ample: CaseLimits = { cpuSeconds: 60, wallSeconds: 120, rssBytes: 8 * 2 ** 30 };

/** A child whose case 103 of `vmcb` does something that no case may do. */
async function supervise(deed: string, tight: Partial<CaseLimits> = {}) {
	const totals = noTotals();
	const failures: string[] = [];
	const child = fork(fileURLToPath(new URL("misbehaving-child.mjs", import.meta.url)), [deed, "6"]);
	const next = await superviseChild(child, task, { ...ample, ...tight }, totals, (text) =>
		failures.push(text),
	);
	return { next, totals, failures };
}

describe.skipIf(process.platform !== "linux")("a fuzzer's case", () => {
	test("that ends is counted by kind and ending", async () => {
		const { next, totals, failures } = await supervise("end");
		expect(failures).toEqual([]);
		expect([...totals.endings]).toEqual([["code: vm-exit", 2]]);
		expect(next).toBe(8);
	});

	test.each<[string, string, Partial<CaseLimits>]>([
		["die", "the process ended with SIGKILL", {}],
		["leave", "the process ended with 0", {}],
		["throw", "TypeError: of a case", {}],
		["spin", "hangs: \\d+ s of CPU time", { cpuSeconds: 0.3 }],
		["wait", "hangs: \\d+ s$", { wallSeconds: 0.3 }],
		["grow", "memory grew to \\d+ MiB", { rssBytes: 400 * 2 ** 20 }],
	])(
		"that makes its process %s is named by its number, and the next one is tried",
		async (deed, text, tight) => {
			const { next, totals, failures } = await supervise(deed, tight);
			expect(failures).toHaveLength(1);
			expect(failures[0]).toMatch(new RegExp(`^npm run fuzz -- --kind vmcb --case 103\n${text}`));
			expect(next).toBe(8);
			expect(totals.failures).toBe(1);
			expect(casesOf(totals)).toBe(2);
		},
	);
});
