/** A CPU model from the command line: a built-in one, or a file of `measure --fit`. */
import { ModelFileError, parseModelFile } from "../silicon/models/model-file.ts";
import { findModel } from "../silicon/models/models.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { type Io, UsageError } from "./io.ts";
import { readUserFile } from "./patch-source.ts";

function readModel(io: Io, path: string): CpuModel {
	const text = new TextDecoder().decode(readUserFile(io, path));
	let document: unknown;
	try {
		document = JSON.parse(text);
	} catch (error) {
		throw new UsageError(
			`${path}: not JSON: ${String(error)
				.split("\n")[0]!
				.replace(/^SyntaxError: /, "")}`,
		);
	}
	try {
		return parseModelFile(document, path, findModel);
	} catch (error) {
		if (error instanceof ModelFileError) throw new UsageError(error.message);
		throw error;
	}
}

/**
 * What --cpu says: a model's name as it is, a path that ends in .json as the model in that file.
 * @throws UsageError if the file is no model
 */
export function cpuOrFile(io: Io, cpu: string | undefined): string | CpuModel | undefined {
	return cpu?.endsWith(".json") === true ? readModel(io, cpu) : cpu;
}
