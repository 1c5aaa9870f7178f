/** Files of `reenter record`. */
import { isRecordingText, parseData, type RecordedData } from "../profile/data.ts";
import { type Io, UsageError } from "./io.ts";

/** What record writes and report reads when no file is named. */
export const DEFAULT_DATA_FILE = "reenter.data";

/** Where a recording goes that another one is written over, as perf record does it. */
export function oldFile(path: string): string {
	return `${path}.old`;
}

function read(io: Io, path: string): string | null {
	try {
		return new TextDecoder().decode(io.readFile(path));
	} catch {
		return null;
	}
}

/** Whether a word names a file which record wrote, of whatever version. */
export function isRecording(io: Io, word: string): boolean {
	const text = word === "-" ? null : read(io, word);
	return text !== null && isRecordingText(text);
}

/** Reads a recording. @throws UsageError, ProfileError with one line */
export function readData(io: Io, path: string): RecordedData {
	const text = read(io, path);
	if (text === null)
		throw new UsageError(`${path}: cannot be read; reenter record WORKLOAD -o ${path} makes one`);
	return parseData(text, path);
}
