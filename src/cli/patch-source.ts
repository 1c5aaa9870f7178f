/** Patch files on disk: JSON with comments, TypeScript and JavaScript modules, and what they say is wrong with them. */
import { resolve } from "node:path";
import { FlowError } from "../kvm/flow/errors.ts";
import { lineIn } from "../kvm/patch/guard-code.ts";
import { parsePatchJson } from "../kvm/patch/json.ts";
import type { Path } from "../kvm/patch/node-reader.ts";
import type { PatchFile } from "../kvm/patch/patch-file.ts";
import { type Io, UsageError, fileProblem } from "./io.ts";

const MODULE = /\.(ts|mts|cts|js|mjs|cjs)$/;

/** Whether a word of the command line names a patch file. */
export function isPatchFile(spec: string): boolean {
	return spec === "-" || spec.endsWith(".json") || spec.endsWith(".jsonc") || MODULE.test(spec);
}

/** Reads a file that the user named; `-` is stdin. @throws UsageError with one line */
export function readUserFile(io: Io, path: string): Uint8Array {
	try {
		return io.readFile(path);
	} catch (error) {
		throw new UsageError(`${path}: cannot be read: ${fileProblem(error)}`);
	}
}

/** Files that were read, so that stdin is read once and a module runs once. */
const loaded = new WeakMap<Io, Map<string, Promise<PatchFile>>>();
const bytesRead = new WeakMap<Io, Map<string, Uint8Array>>();

/** The patch files that were read, by the paths that named them: what another thread reads must be the same. */
export function filesRead(io: Io): ReadonlyMap<string, Uint8Array> {
	return bytesRead.get(io) ?? new Map();
}

/**
 * Reads a patch file.
 * @param path a file, or `-` for JSON on stdin
 * @throws FlowError that names file and line if it cannot be parsed, or its module throws; UsageError if it cannot be read
 */
export function loadPatchFile(io: Io, path: string): Promise<PatchFile> {
	const files = loaded.get(io) ?? new Map<string, Promise<PatchFile>>();
	loaded.set(io, files);
	const file = files.get(path) ?? readPatchFile(io, path);
	files.set(path, file);
	return file;
}

async function readPatchFile(io: Io, path: string): Promise<PatchFile> {
	const bytes = readUserFile(io, path);
	bytesRead.set(io, new Map([...filesRead(io), [path, bytes]]));
	const text = new TextDecoder().decode(bytes);
	return MODULE.test(path) ? loadModule(path, text) : parsePatchJson(path === "-" ? "stdin" : path, text);
}

/** A module's default export. Its `import … from "reenter"` is this program itself. */
async function loadModule(file: string, text: string): Promise<PatchFile> {
	const [{ createJiti }, api] = await Promise.all([import("jiti"), import("../index.ts")]);
	const filename = resolve(file);
	const jiti = createJiti(filename, {
		virtualModules: { reenter: api },
		fsCache: false,
		moduleCache: false,
	});
	let exports: unknown;
	try {
		const options = { filename, ext: `.${file.split(".").at(-1)}`, async: true, forceTranspile: true };
		exports = await jiti.evalModule(text, options);
	} catch (error) {
		throw moduleError(file, error);
	}
	const document = defaultOf(exports, /\.c[jt]s$/.test(file));
	if (document === undefined)
		throw new FlowError(`${file}: it has no default export; write export default definePatch({ … })`, true);
	return { document, locate: (path) => locateInSource(file, text, document, path) };
}

/** The default export; of a CommonJS module what it exports. */
function defaultOf(exports: unknown, isCommonJs: boolean): unknown {
	if (typeof exports !== "object" || exports === null) return undefined;
	if ("default" in exports) return exports.default;
	return isCommonJs ? exports : undefined;
}

/** What a module threw, as one line with the line of the file. */
function moduleError(file: string, error: unknown): FlowError {
	if (!(error instanceof Error)) return new FlowError(`${file}: it threw ${String(error)}`, true);
	const said = error.message.split("\n")[0]!.trim();
	const at = /:(\d+):\d+\s*$/.exec(error.message);
	if (error.name === "ParseError" || error instanceof SyntaxError || said.startsWith("ParseError: ")) {
		const line = at === null ? lineIn(error, file) : Number(at[1]);
		return new FlowError(
			`${file}${line === null ? "" : `:${line}`}: syntax error: ${said.replace("ParseError: ", "")}`,
			true,
		);
	}
	const line = lineIn(error, file);
	return new FlowError(`${file}${line === null ? "" : `:${line}`}: it threw ${error.name}: ${said}`, true);
}

/** The line of a module that has a part of its document: the first of the part's words that one line alone has. */
function locateInSource(file: string, text: string, document: unknown, path: Path): string {
	let part: unknown = document;
	for (const key of path) part = (part as Record<string | number, unknown> | undefined)?.[key];
	const lines = text.split("\n");
	for (const word of path.length === 0 ? [] : wordsOf(part)) {
		const found = lines.flatMap((line, at) =>
			['"', "'", "`"].some((quote) => line.includes(quote + word + quote)) ? [at + 1] : [],
		);
		if (found.length === 1) return `${file}:${found[0]}`;
	}
	return file;
}

function wordsOf(part: unknown): string[] {
	if (typeof part === "string") return [part];
	if (typeof part !== "object" || part === null) return [];
	return Object.values(part).flatMap(wordsOf);
}
