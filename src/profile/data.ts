/** reenter.data: a recording in a file, as JSON with a head that says what wrote it. */
import { ProfileError } from "./errors.ts";
import type { Recording } from "./record.ts";
import type { ExitStat, TraceEvent } from "./tracepoints.ts";

/** Version of the format; another one is refused. */
export const DATA_VERSION = 2;

/** What a file holds. */
export interface RecordedData extends Recording {
	readonly stats: readonly ExitStat[];
	/** Tracepoints, as far as they were kept. */
	readonly events: readonly TraceEvent[];
	/** Symbols that the build of the tree inlines, for `--inline kernel`. */
	readonly inlined: readonly string[];
	/** What it inlines at most, for `--inline all`. */
	readonly inlinable: readonly string[];
}

/** The text of a file. */
export function dataText(data: RecordedData): string {
	return `${JSON.stringify({ format: "reenter.data", version: DATA_VERSION, ...data })}\n`;
}

/** Whether a text is that of a recording, by its beginning. */
export function isRecordingText(text: string): boolean {
	return text.startsWith('{"format":"reenter.data"');
}

/**
 * Reads a file's text.
 * @param path for messages
 * @throws ProfileError if it is no recording, or of another version
 */
export function parseData(text: string, path: string): RecordedData {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		throw new ProfileError(
			`${path} is no recording: it is not JSON; make one with reenter record -o ${path}`,
		);
	}
	const head = value as { readonly format?: unknown; readonly version?: unknown } | null;
	if (typeof head !== "object" || head === null || head.format !== "reenter.data")
		throw new ProfileError(`${path} is no recording; make one with reenter record -o ${path}`);
	if (head.version !== DATA_VERSION)
		throw new ProfileError(
			`${path} is of version ${String(head.version)}, and this program reads version ${DATA_VERSION}; record it again`,
		);
	return value as RecordedData;
}
