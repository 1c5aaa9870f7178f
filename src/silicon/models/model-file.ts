/**
 * A CPU model in a file: what was measured on one computer, on top of a built-in model from which the rest is
 * inherited.
 *
 *     { "format": "reenter-cpu-model", "version": 1, "name": "this", "title": "…", "base": "turin", "tscHz": 2.6e9,
 *       "costs": { "vmrun": { "cycles": 612, "plusMinus": 9, "source": "measured: …" } } }
 */
import * as v from "valibot";
import { OP_NAMES, type OpName } from "../ops.ts";
import type { Cost, CpuModel } from "./model.ts";

/** What is wrong with a model file, in one line. */
export class ModelFileError extends Error {
	override readonly name = "ModelFileError";
}

const positive = v.pipe(v.number(), v.finite(), v.minValue(0));

const schema = v.strictObject({
	format: v.literal("reenter-cpu-model"),
	version: v.literal(1),
	name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]*$/i)),
	title: v.string(),
	/** A built-in model. */
	base: v.string(),
	tscHz: v.pipe(v.number(), v.minValue(1e6)),
	costs: v.record(
		v.string(),
		v.strictObject({ cycles: positive, plusMinus: positive, source: v.pipe(v.string(), v.minLength(1)) }),
	),
});

/** A model file's content. */
export type ModelFile = v.InferOutput<typeof schema>;

/** One line on what is wrong: valibot's own speaks of types and of "undefined". */
function problemOf(issue: v.InferIssue<typeof schema>): string {
	const place = v.getDotPath(issue);
	if (place === null) return "it is no object; reenter measure --fit writes one";
	if (issue.received === "undefined") return `${place} is missing`;
	if (issue.expected === "never") return `there is no ${place} here`;
	return `${place}: ${issue.message.replace(/^Invalid \w+: /, "").replace(/^E/, "e")}`;
}

/**
 * Makes a model from a file's content.
 * @param document parsed JSON
 * @param where the file's name, for messages
 * @param findBase the built-in models
 * @throws ModelFileError naming the file, the place in it and what is wanted there
 */
export function parseModelFile(
	document: unknown,
	where: string,
	findBase: (name: string) => CpuModel | undefined,
): CpuModel {
	const result = v.safeParse(schema, document);
	if (!result.success) throw new ModelFileError(`${where}: ${problemOf(result.issues[0])}`);
	const { name, title, base: baseName, tscHz, costs } = result.output;
	const base = findBase(baseName);
	if (base === undefined) throw new ModelFileError(`${where}: base: no CPU model "${baseName}"`);
	const measured: Partial<Record<OpName, Cost>> = {};
	for (const [op, cost] of Object.entries(costs)) {
		if (!(OP_NAMES as readonly string[]).includes(op)) {
			throw new ModelFileError(`${where}: costs: there is no op "${op}"`);
		}
		measured[op as OpName] = { ...cost, origin: "measured" };
	}
	return { ...base, name, title, tscHz, costs: { ...base.costs, ...measured } };
}
