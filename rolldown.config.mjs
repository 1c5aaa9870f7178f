// Bundles what the commands load: modules that call each other in every VM exit stand in one file, where V8 knows their constants.
// All files of the bundle stand in one folder, so that a worker is found beside whoever starts it; the folder is as deep below the
// root as src/cli, from where scripts are found.
import { readFileSync } from "node:fs";
import { sharedIced } from "./scripts/bundle/iced.mjs";

const { dependencies, optionalDependencies } = JSON.parse(
	readFileSync(new URL("package.json", import.meta.url), "utf8"),
);

/** What is loaded by name: the command, the library, and the threads' files. */
const entries = {
	entry: "dist/cli/entry.js",
	index: "dist/index.js",
	open: "dist/backends/open.js",
	"pool-worker": "dist/cli/pool/pool-worker.js",
	"top-worker": "dist/cli/top/top-worker.js",
	"kut-worker": "dist/cli/kut/kut-worker.js",
	"thread-worker": "dist/devkvm/thread-worker.js",
};

const packages = Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => name !== "iced-x86");

export const bundle = {
	input: entries,
	platform: "node",
	plugins: [sharedIced],
	external: packages.flatMap((name) => [name, new RegExp(`^${name}/`)]),
	output: {
		dir: "dist/bundle",
		cleanDir: true,
		entryFileNames: "[name].js",
		chunkFileNames: "[name]-[hash].js",
		codeSplitting: { groups: [{ name: "engine", test: /\/dist\/(silicon|kvm|host|check)\// }] },
	},
};

export default bundle;
