import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Task } from "./child.ts";
import { casesOf, noTotals, superviseChild } from "./supervisor.ts";

const task: Task = {
	kinds: ["code", "vmcb"],
	seed: 100,
	ordinal: 6,
	milliseconds: 0,
	cases: 0,
	rssBytes: 0,
};
const limits = { cpuSeconds: 0.3, wallSeconds: 2, rssBytes: 400 * 2 ** 20 };

/** A child whose case 103 of `vmcb` does something that no case may do. */
async function supervise(deed: string, bounds = limits) {
	const totals = noTotals();
	const failures: string[] = [];
	const child = fork(fileURLToPath(new URL("misbehaving-child.mjs", import.meta.url)), [deed, "6"]);
	const next = await superviseChild(child, task, bounds, totals, (text) => failures.push(text));
	return { next, totals, failures };
}

describe.skipIf(process.platform !== "linux")("a fuzzer's case", () => {
	test("that ends is counted by kind and ending", async () => {
		const { next, totals, failures } = await supervise("end");
		expect(failures).toEqual([]);
		expect([...totals.endings]).toEqual([["code: vm-exit", 2]]);
		expect(next).toBe(8);
	});

	test.each([
		["die", "the process ended with SIGKILL"],
		["leave", "the process ended with 0"],
		["spin", "hangs: "],
		["grow", "memory grew to "],
		["throw", "TypeError: of a case"],
	])("that makes its process %s is named by its number, and the next one is tried", async (deed, text) => {
		const { next, totals, failures } = await supervise(deed);
		expect(failures).toHaveLength(1);
		expect(failures[0]).toMatch(`npm run fuzz -- --kind vmcb --case 103\n${text}`);
		expect(next).toBe(8);
		expect(totals.failures).toBe(1);
		expect(casesOf(totals)).toBe(2);
	});

	test("that waits for ever is named too", async () => {
		const { failures } = await supervise("wait", { ...limits, wallSeconds: 0.3 });
		expect(failures[0]).toMatch("npm run fuzz -- --kind vmcb --case 103\nhangs: ");
	});
});
