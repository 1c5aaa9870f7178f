/** Where a command's text goes. */
import { join } from "node:path";
import { type Io, UsageError, fileProblem } from "./io.ts";
import type { CommonOptions } from "./context.ts";

/** Prints text or JSON, or writes it to the file of --output, whole or not at all. */
export function emit(io: Io, options: CommonOptions, text: () => string, json: () => object): void {
	emitText(io, options, () =>
		options.json === true ? `${JSON.stringify(json(), (_, value) => withoutNoise(value), "\t")}\n` : text(),
	);
}

/** Four decimals of a number: what is behind them is noise of a sum or a division. */
function withoutNoise(value: unknown): unknown {
	return typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(4)) : value;
}

/** Prints a text in whatever format, or writes it to the file of --output, whole or not at all. */
export function emitText(io: Io, options: CommonOptions, text: () => string): void {
	const content = text();
	if (options.output === undefined) {
		io.out(content);
		return;
	}
	writeUserFile(io, options.output, content);
}

/** Writes a file that the user named, whole or not at all. @throws UsageError with one line */
export function writeUserFile(io: Io, path: string, content: string | Uint8Array): void {
	try {
		io.writeFile(path, content);
	} catch (error) {
		throw unwritable(path, error);
	}
}

/** Makes a folder that the user named, where there is none. @throws UsageError with one line */
export function makeUserFolder(io: Io, path: string): void {
	try {
		io.makeFolder(path);
		io.checkWritable(join(path, "log"));
	} catch (error) {
		throw unwritable(path, error);
	}
}

/**
 * Refuses a file that cannot be written before any work is done.
 * @param path undefined: there is none to write
 * @throws UsageError with one line
 */
export function checkWritable(io: Io, path: string | undefined): void {
	if (path === undefined) return;
	try {
		io.checkWritable(path);
	} catch (error) {
		throw unwritable(path, error);
	}
}

function unwritable(path: string, error: unknown): UsageError {
	return new UsageError(`${path === "" ? '""' : path}: cannot be written: ${fileProblem(error)}`);
}

/** A progress line on a terminal, rewritten in place. */
export function progressLine(io: Io, what: string): (done: number, total: number) => void {
	if (io.progressColumns === null) return () => {};
	return (done, total) => status(io, done + 1 >= total ? "" : `checking ${what}: ${done}/${total}`);
}

/** Rewrites the line on stderr that says how far something is; one that is wider than the terminal would stay behind. */
export function status(io: Io, text: string): void {
	// The last column stays free: some terminals go on to the next line there.
	const columns = Math.max(0, (io.progressColumns ?? 80) - 1);
	io.err(`\r${text.slice(0, columns)}\x1b[K`);
}
