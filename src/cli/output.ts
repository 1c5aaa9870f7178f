/** Where a command's text goes. */
import { type Io, UsageError } from "./io.ts";
import type { CommonOptions } from "./context.ts";

/** Prints text or JSON, or writes it to the file of --output, whole or not at all. */
export function emit(io: Io, options: CommonOptions, text: () => string, json: () => object): void {
	emitText(io, options, () => (options.json === true ? `${JSON.stringify(json(), null, "\t")}\n` : text()));
}

/** Prints a text in whatever format, or writes it to the file of --output, whole or not at all. */
export function emitText(io: Io, options: CommonOptions, text: () => string): void {
	const content = text();
	if (options.output === undefined) {
		io.out(content);
		return;
	}
	try {
		io.writeFile(options.output, content);
	} catch (error) {
		throw unwritable(options.output, error);
	}
}

/** Refuses an output that cannot be written before any work is done. @throws UsageError with one line */
export function checkOutput(io: Io, options: CommonOptions): void {
	if (options.output === undefined) return;
	try {
		io.checkWritable(options.output);
	} catch (error) {
		throw unwritable(options.output, error);
	}
}

function unwritable(path: string, error: unknown): UsageError {
	return new UsageError(
		`${path}: cannot be written: ${error instanceof Error ? error.message : String(error)}`,
	);
}

/** A progress line on a terminal, rewritten in place. */
export function progressLine(io: Io, what: string): (done: number, total: number) => void {
	if (!io.progress) return () => {};
	return (done, total) =>
		io.err(done + 1 >= total ? "\r\x1b[K" : `\rchecking ${what}: ${done}/${total}\x1b[K`);
}
