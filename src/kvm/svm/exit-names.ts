/** Names of SVM exit codes. */
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";

/** Codes that are a base and a number: first code, how many, and how they are called (SVM_EXIT_REASONS). */
const RANGES: readonly (readonly [first: number, count: number, name: string])[] = [
	[EXIT_CODE.crReadBase, 16, "read_cr"],
	[EXIT_CODE.crWriteBase, 16, "write_cr"],
	[EXIT_CODE.drReadBase, 16, "read_dr"],
	[EXIT_CODE.drWriteBase, 16, "write_dr"],
	[EXIT_CODE.exceptionBase, 32, "excp"],
];
const NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(EXIT_CODE).map(([name, code]) => [code, name.replace(/([A-Z])/g, "_$1").toLowerCase()]),
);

/** Name of an exit code, as trace events print it. */
export function exitReasonName(code: number): string {
	for (const [first, count, name] of RANGES) {
		if (code >= first && code < first + count) return `${name}${code - first}`;
	}
	return NAMES.get(code) ?? `exit_${code.toString(16)}`;
}
