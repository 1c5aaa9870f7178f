/** An Io that keeps everything in memory. */
import type { Io } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";
import { SERVICES, type Services } from "../../src/cli/services.ts";

export interface Outcome {
	readonly code: number;
	readonly out: string;
	readonly err: string;
	readonly written: ReadonlyMap<string, string>;
}

/** Workers load what is built, and tests what is written: they stay on their own thread. */
const ONE_THREAD: Services = { ...SERVICES, threads: 1 };

/** Runs a command line. @param files what can be read, by path */
export async function reenter(
	argv: readonly string[],
	files: Record<string, Uint8Array | string> = {},
	services: Services = ONE_THREAD,
): Promise<Outcome> {
	let out = "";
	let err = "";
	const written = new Map<string, string>();
	const io: Io = {
		out: (text) => {
			out += text;
		},
		outByte: (byte) => {
			out += String.fromCharCode(byte);
		},
		err: (text) => {
			err += text;
		},
		progressColumns: null,
		color: false,
		terminal: null,
		readFile: (path) => {
			const content = files[path];
			if (content === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
			return typeof content === "string" ? new TextEncoder().encode(content) : content;
		},
		makeFolder: (path) => {
			if (path.startsWith("/nowhere/")) throw new Error("ENOENT: no such file or directory");
		},
		checkWritable: (path) => {
			if (path.startsWith("/nowhere/"))
				throw new Error(`ENOENT: no such file or directory, open '${path}.part-1'`);
		},
		writeFile: (path, text) => {
			if (path.startsWith("/nowhere/")) throw new Error("ENOENT: no such file or directory");
			written.set(path, typeof text === "string" ? text : String.fromCharCode(...text));
		},
	};
	const code = await main(argv, io, services);
	return { code, out, err, written };
}
