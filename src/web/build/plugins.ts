/** What the page's build does besides bundling: a service worker that keeps all files, and the sizes of what was made. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";
import { serviceWorkerSource } from "./service-worker.ts";

/** Bytes of a file that the bundler made. */
function bytesOf(file: { readonly type: string }): Uint8Array {
	const { source, code } = file as { source?: string | Uint8Array; code?: string };
	const content = source ?? code ?? "";
	return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/** Emits `sw.js`: all files of this build, kept by one version, which is their hash. */
export function serviceWorker(): Plugin {
	return {
		name: "reenter-service-worker",
		apply: "build",
		enforce: "post",
		generateBundle(_options, bundle) {
			const names = Object.keys(bundle).sort();
			const hash = createHash("sha256");
			for (const name of names) hash.update(name).update(bytesOf(bundle[name]!));
			const source = serviceWorkerSource(hash.digest("hex").slice(0, 12), ["./", "icon.svg", ...names]);
			this.emitFile({ type: "asset", fileName: "sw.js", source });
		},
	};
}

/** Prints each file's size, and writes `sizes.json`, which a test holds against its limits. */
export function bundleSizes(): Plugin {
	return {
		name: "reenter-bundle-sizes",
		apply: "build",
		enforce: "post",
		generateBundle(_options, bundle) {
			const rows = Object.entries(bundle).map(([name, file]) => {
				const bytes = bytesOf(file);
				return { name, bytes: bytes.length, gzipBytes: gzipSync(bytes).length };
			});
			rows.sort((a, b) => b.gzipBytes - a.gzipBytes);
			const total = rows.reduce(
				(sum, row) => ({ bytes: sum.bytes + row.bytes, gzipBytes: sum.gzipBytes + row.gzipBytes }),
				{ bytes: 0, gzipBytes: 0 },
			);
			const kilo = (bytes: number) => `${(bytes / 1000).toFixed(1).padStart(8)} kB`;
			const lines = [...rows, { name: "total", ...total }].map(
				({ name, bytes, gzipBytes }) => `${kilo(bytes)} ${kilo(gzipBytes)} gzip  ${name}`,
			);
			this.info(`sizes\n${lines.join("\n")}`);
			const source = `${JSON.stringify({ files: rows, total }, null, "\t")}\n`;
			this.emitFile({ type: "asset", fileName: "sizes.json", source });
		},
	};
}
