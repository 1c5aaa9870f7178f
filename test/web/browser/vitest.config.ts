import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/web/browser/**/*.browser.ts"],
		pool: "threads",
		maxWorkers: 1,
		testTimeout: 60_000,
		hookTimeout: 60_000,
	},
});
