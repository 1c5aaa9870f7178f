import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		pool: "threads",
		maxWorkers: 2,
		// Files that share a thread load the program once, and one that leaves something behind is found by the next.
		isolate: false,
		testTimeout: 60_000,
	},
});
