/** What the process gives commands: standard streams, files, its terminal. */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { EXIT, fileProblem, type Io, UsageError } from "./io.ts";
import { processTerminal } from "./top/terminal.ts";

/** Writes all of a text to a file descriptor; a reader that has gone away ends the program quietly. @throws UsageError with one line */
export function write(fd: number, data: string | Uint8Array): void {
	let rest = Buffer.from(data as Uint8Array);
	while (rest.length > 0) {
		try {
			rest = rest.subarray(writeSync(fd, rest));
		} catch (error) {
			const { code } = error as NodeJS.ErrnoException;
			if (code === "EAGAIN") continue;
			if (code === "EPIPE") process.exit(EXIT.unread);
			throw new UsageError(`${fd === 1 ? "stdout" : "stderr"}: cannot be written: ${fileProblem(error)}`);
		}
	}
}

/**
 * Makes a folder and those that it lies in. Node's own `recursive` goes round and round where a folder that is there refuses
 * to have another in it, as /proc does.
 */
function makeFolder(path: string): void {
	if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
	const parent = dirname(path);
	if (parent !== path) makeFolder(parent);
	mkdirSync(path);
}

/** Writes a file beside its final place and renames it: whole or not at all. */
function writeWhole(path: string, content: string | Uint8Array, keep: boolean): void {
	if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) throw new Error("it is a directory");
	const temporary = `${path}.part-${process.pid}`;
	try {
		writeFileSync(temporary, content);
		if (keep) renameSync(temporary, path);
	} finally {
		rmSync(temporary, { force: true });
	}
}

const { NO_COLOR, FORCE_COLOR, CI } = process.env;

/** The process's own. */
export const processIo: Io = {
	out: (text) => write(1, text),
	terminal: processTerminal((text) => write(1, text)),
	outByte: (byte) => write(1, Uint8Array.of(byte)),
	err: (text) => write(2, text),
	get progressColumns() {
		return process.stderr.isTTY === true && CI === undefined ? process.stderr.columns : null;
	},
	color:
		(NO_COLOR === undefined || NO_COLOR === "") &&
		(FORCE_COLOR === undefined ? process.stdout.isTTY === true : FORCE_COLOR !== "0"),
	readFile: (path) => readFileSync(path === "-" ? 0 : path),
	makeFolder,
	checkWritable: (path) => writeWhole(path, "", false),
	writeFile: (path, content) => writeWhole(path, content, true),
};
