/** What the process gives commands: standard streams, files, its terminal. */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { EXIT, type Io } from "./io.ts";
import { processTerminal } from "./top/terminal.ts";

/** Writes all of a text to a file descriptor; a reader that has gone away ends the program quietly. */
function write(fd: number, data: string | Uint8Array): void {
	let rest = Buffer.from(data as Uint8Array);
	while (rest.length > 0) {
		try {
			rest = rest.subarray(writeSync(fd, rest));
		} catch (error) {
			const { code } = error as NodeJS.ErrnoException;
			if (code === "EAGAIN") continue;
			if (code === "EPIPE") process.exit(EXIT.holds);
			throw error;
		}
	}
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
	progress: process.stderr.isTTY === true && CI === undefined,
	color:
		(NO_COLOR === undefined || NO_COLOR === "") &&
		(FORCE_COLOR === undefined ? process.stdout.isTTY === true : FORCE_COLOR !== "0"),
	readFile: (path) => readFileSync(path === "-" ? 0 : path),
	makeFolder: (path) => mkdirSync(path, { recursive: true }),
	checkWritable: (path) => writeWhole(path, "", false),
	writeFile: (path, content) => writeWhole(path, content, true),
};
