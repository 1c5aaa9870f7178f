/** Files of `reenter record`. */
import { isRecordingText, parseData, type RecordedData } from "../profile/data.ts";
import { type Io, UsageError, fileProblem } from "./io.ts";

/** What record writes and report reads when no file is named. */
export const DEFAULT_DATA_FILE = "reenter.data";

/** Where a recording goes that another one is written over, as perf record does it. */
export function oldFile(path: string): string {
	return `${path}.old`;
}

/** Whether a word names a file which record wrote, of whatever version. */
export function isRecording(io: Io, word: string): boolean {
	if (word === "-") return false;
	try {
		return isRecordingText(new TextDecoder().decode(io.readFile(word)));
	} catch {
		return false;
	}
}

/** Reads a recording. @throws UsageError, ProfileError with one line */
export function readData(io: Io, path: string): RecordedData {
	let bytes: Uint8Array;
	try {
		bytes = io.readFile(path);
	} catch (error) {
		throw new UsageError(
			`${path}: cannot be read: ${fileProblem(error)}; reenter record WORKLOAD -o FILE makes a recording`,
		);
	}
	return parseData(new TextDecoder().decode(bytes), path);
}
