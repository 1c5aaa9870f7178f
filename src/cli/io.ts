/** What a command needs of the world: entry.ts binds it to the process, tests to memory. */
import type { Terminal } from "./top/terminal.ts";

export interface Io {
	/** Data. */
	out(text: string): void;
	/** Bytes of a guest's console. */
	outByte(byte: number): void;
	/** Diagnostics and progress. */
	err(text: string): void;
	/** Columns of the terminal on stderr where progress is wanted, else null. */
	readonly progressColumns: number | null;
	readonly color: boolean;
	/** The terminal, if stdin and stdout are one that a command may take over. */
	readonly terminal: Terminal | null;
	/** @throws Error of the file system */
	readFile(path: string): Uint8Array;
	/** Says in advance whether a file can be written. @throws Error of the file system if it cannot */
	checkWritable(path: string): void;
	/** Makes a folder, and those that it lies in, where there is none. @throws Error of the file system */
	makeFolder(path: string): void;
	/** Writes a whole file or nothing. @throws Error of the file system */
	writeFile(path: string, content: string | Uint8Array): void;
}

/**
 * Exit codes. `skipped`: this computer lacks what the command needs. `internal`, sysexits' EX_SOFTWARE, is a defect of this program,
 * never a verdict. `unread`: whoever read stdout went away, a shell's code for SIGPIPE. No verdict either, as 0 would be.
 */
export const EXIT = {
	holds: 0,
	violated: 1,
	usage: 2,
	guest: 3,
	internal: 70,
	skipped: 77,
	unread: 141,
} as const;

/**
 * What the file system says is wrong, without its code and the call that failed: these name the program's temporary
 * files, and functions that the user did not call.
 */
export function fileProblem(error: unknown): string {
	const said = error instanceof Error ? error.message : String(error);
	return /^E[A-Z0-9]+: ([^,]*)/.exec(said)?.[1] ?? said;
}

/** This computer lacks what the command needs: one line, exit code 77. */
export class SkippedError extends Error {
	override readonly name = "SkippedError";
}

/** Bad usage or bad input: one line, exit code 2. */
export class UsageError extends Error {
	override readonly name = "UsageError";
}
