/** Tables of definitions by the manual's names. */
import { Mnemonic } from "../../decode.ts";
import type { Definition } from "../definition.ts";

/** One row: the name without a V, and the definition, which serves the instruction with and without VEX. */
export type Row = readonly [string, Definition];

/** The iced-x86 mnemonics of a name: with and without VEX, as far as they exist. @throws TypeError if neither does */
export function mnemonicsOf(name: string): number[] {
	const lower = name.toLowerCase();
	const known: Readonly<Record<string, unknown>> = Mnemonic;
	const found = [lower, `v${lower}`]
		.map((text) => known[text[0]!.toUpperCase() + text.slice(1)])
		.filter((value) => typeof value === "number");
	if (found.length === 0) throw new TypeError(`no instruction is named ${name}`);
	return found;
}

/** Definitions by mnemonic. */
export function byMnemonic(rows: readonly Row[]): [number, Definition][] {
	return rows.flatMap(([name, definition]) =>
		mnemonicsOf(name).map((mnemonic): [number, Definition] => [mnemonic, definition]),
	);
}
