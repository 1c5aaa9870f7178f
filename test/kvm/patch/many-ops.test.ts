/** Ops of patches' own are numbered for a process, which has room for 64 of them. */
import { describe, expect, it, vi } from "vitest";

describe("the ops that patches define", () => {
	it("are 64 at most in one process: the next one is refused where it was written, in one line", async () => {
		// A process of its own, as far as modules are: the numbers are for all that it reads.
		vi.resetModules();
		const { applyPatchFile } = await import("../../../src/kvm/patch/patch-file.ts");
		const { findTree } = await import("../../../src/kvm/trees/trees.ts");
		const ops = Array.from({ length: 65 }, (_, at) => ({ name: `op-${at}`, cycles: 1 }));
		const read = (count: number) =>
			applyPatchFile(
				{
					document: { name: "many", base: "v6.18", ops: ops.slice(0, count) },
					locate: (path) => `many.json${path.length > 0 ? " ops" : ""}`,
				},
				findTree("v6.18"),
				[],
			);
		expect(read(64).customOps.length).toBe(64);
		// Names that are known need no room.
		expect(() => read(64)).not.toThrow();
		expect(() => read(65)).toThrow(
			/^many\.json ops: op 65: op op-64 is one too many: patches may define 64 ops/,
		);
	});
});
