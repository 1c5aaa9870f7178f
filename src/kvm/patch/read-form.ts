/** What a schema found wrong, as one line with the likely mend. */
import * as v from "valibot";
import { FlowError } from "../flow/errors.ts";
import { hint } from "../flow/patch.ts";

type Entries = Readonly<Record<string, v.GenericSchema>>;
type RecordSchema = v.StrictObjectSchema<v.ObjectEntries, undefined>;

/** The word for a value's type. */
function kindOf(value: unknown): string {
	if (value === null) return "null";
	if (Array.isArray(value)) return "a list";
	const type = typeof value;
	return type === "object" ? "an object" : type === "undefined" ? "missing" : `a ${type}`;
}

/**
 * Reads an object by its schema.
 * @param where file, line and part of the document, for messages
 * @throws FlowError with one line
 */
export function readRecord<Schema extends RecordSchema>(
	schema: Schema,
	value: unknown,
	where: string,
): v.InferOutput<Schema> {
	if (typeof value !== "object" || value === null || Array.isArray(value))
		throw new FlowError(`${where} is ${kindOf(value)}, not an object`, true);
	const parsed = v.safeParse(schema, value);
	if (parsed.success) return parsed.output;
	throw new FlowError(`${where}: ${explain(parsed.issues, schema.entries as Entries)}`, true);
}

/** An unknown key comes first: it is often the missing one, misspelt. */
function explain(issues: readonly v.BaseIssue<unknown>[], entries: Entries): string {
	const unknown = issues.find((issue) => issue.type === "strict_object" && issue.expected === "never");
	if (unknown !== undefined) {
		const key = v.getDotPath(unknown) ?? "";
		const name = String(unknown.path?.at(-1)?.key ?? key);
		return `there is no "${name}" here${hint(name, Object.keys(entries))}`;
	}
	const [issue] = issues;
	const path = issue === undefined ? null : v.getDotPath(issue);
	if (issue === undefined || path === null) return "it is not of the form that it must have";
	if (issue.type === "strict_object" && issue.received === "undefined") return `"${path}" is missing`;
	const { message, expected, received } = issue;
	if (issue.kind === "validation") return `"${path}": ${message}`;
	if (issue.type === "picklist" || issue.type === "literal")
		return `"${path}" is ${received}; it is one of ${expected?.replace(/[()]/g, "").replaceAll(" | ", ", ")}`;
	if (issue.type === "function" || issue.type === "union")
		return `"${path}" cannot be ${kindOf(issue.input)}`;
	return `"${path}" is ${kindOf(issue.input)}; it must be ${wordFor(expected)}`;
}

function wordFor(expected: string | null): string {
	if (expected === "Array") return "a list";
	return expected === null || expected === "Object" ? "an object" : `a ${expected}`;
}

/**
 * Reads an object that has one of several forms, told apart by the key that is a form's name.
 * @param deep keys whose values are read elsewhere, part by part
 * @throws FlowError with one line
 */
export function readForm(
	forms: Readonly<Record<string, RecordSchema>>,
	value: unknown,
	where: string,
	deep: readonly string[],
): unknown {
	if (typeof value !== "object" || value === null || Array.isArray(value))
		throw new FlowError(`${where} is ${kindOf(value)}, not an object`, true);
	const keys = Object.keys(value);
	const names = Object.keys(forms);
	const found = keys.filter((key) => names.includes(key));
	if (found.length !== 1) {
		const listed = names.map((name) => `"${name}"`).join(", ");
		if (found.length > 1)
			throw new FlowError(
				`${where} has both ${found.map((key) => `"${key}"`).join(" and ")}; it does one thing`,
				true,
			);
		const near = keys.map((key) => hint(key, names)).find((text) => text !== "");
		throw new FlowError(`${where} has none of ${listed}${near ?? ""}`, true);
	}
	const schema = forms[found[0]!]!;
	const entries: Record<string, v.GenericSchema> = { ...(schema.entries as Entries) };
	for (const key of deep) if (key in entries) entries[key] = v.optional(v.any());
	for (const key of deep) {
		if (Object.hasOwn(schema.entries, key) && !isOptional(schema, key) && !Object.hasOwn(value, key))
			throw new FlowError(`${where}: "${key}" is missing`, true);
	}
	return readRecord(v.strictObject(entries), value, where);
}

function isOptional(schema: RecordSchema, key: string): boolean {
	return (schema.entries as Entries)[key]?.type === "optional";
}
