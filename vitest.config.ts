import { defineConfig } from "vitest/config";

/** Tests of what V8 makes of objects: others of their thread would have left their mark on it. */
const ALONE = ["test/check/hidden-classes.test.ts"];

export default defineConfig({
	test: {
		pool: "threads",
		maxWorkers: 2,
		// A busy machine may take ten times as long as a quiet one.
		testTimeout: 180_000,
		projects: [
			{
				extends: true,
				// Files that share a thread load the program once, and one that leaves something behind is found by the next.
				test: { name: "shared", include: ["test/**/*.test.ts"], exclude: ALONE, isolate: false },
			},
			{ extends: true, test: { name: "alone", include: ALONE, isolate: true } },
		],
	},
});
