/** Builds the page: `npm run build:web` makes build/web, a folder that any static host serves; `npm run web` serves it while it is worked on. */
import { resolve } from "node:path";
import { defineConfig } from "vite";
import { firstView } from "./build/first-view.ts";
import { bundleSizes, serviceWorker } from "./build/plugins.ts";

const here = import.meta.dirname;
/** iced-x86's npm package is the one for Node: it reads its WebAssembly with `fs`. In the worker the bytes are fetched first. */
const nodeModules = ["fs", "path", "util"].map((find) => ({
	find: new RegExp(`^${find}$`),
	replacement: resolve(here, "worker/node-modules.ts"),
}));

export default defineConfig({
	root: here,
	base: "./",
	publicDir: resolve(here, "public"),
	resolve: { alias: nodeModules },
	define: { __dirname: '""' },
	worker: { format: "es" },
	build: {
		outDir: resolve(here, "../../build/web"),
		emptyOutDir: true,
		target: "es2023",
		assetsInlineLimit: 0,
		chunkSizeWarningLimit: 3000,
		reportCompressedSize: false,
	},
	plugins: [firstView(), serviceWorker(), bundleSizes()],
	server: { port: 5173 },
	preview: { port: 4173 },
});
