/** Encodings of vector instructions: which are translated, and what enables them. */
import { encodingOf, isVex, operandNames } from "../../decode.ts";
import type { Insn } from "../../insn.ts";
import { MMX, withMmx } from "./mmx.ts";
import type { Mode } from "../../mode.ts";
import type { Definition } from "../definition.ts";
import { VECTOR } from "./vector.ts";

const definitions: (Definition | null)[] = [];

const isMmxOperand = (name: string) => name === "mm" || name === "mmm64" || name === "mmm32";

/** Whether an encoding has MMX operands. @param code iced-x86 `Code` */
export function isMmxForm(code: number): boolean {
	return operandNames(code).some(isMmxOperand);
}

/** What no definition here covers: EVEX, 3DNow!, and the string instructions that share a mnemonic. */
function find(insn: Insn): Definition | null {
	const encoding = encodingOf(insn.code);
	if (encoding !== "Legacy" && encoding !== "VEX") return null;
	const names = operandNames(insn.code);
	if (names.some(isMmxOperand)) {
		const definition = MMX.get(insn.mnemonic) ?? VECTOR.get(insn.mnemonic);
		return definition === undefined ? null : withMmx(definition);
	}
	const isStringForm = names.length === 2 && names[0] === "m32" && names[1] === "m32";
	return isStringForm ? null : (VECTOR.get(insn.mnemonic) ?? null);
}

/** The definition of a vector instruction that is translated, or null. */
export function vectorDefinitionOf(insn: Insn): Definition | null {
	let definition = definitions[insn.code];
	if (definition === undefined) {
		definition = find(insn);
		definitions[insn.code] = definition;
	}
	return definition;
}

/** Whether an instruction is a vector instruction that the mode does not enable. */
export function isDisabled(insn: Insn, mode: Mode): boolean {
	if (mode.sse && mode.avx) return false;
	if (vectorDefinitionOf(insn) === null) return false;
	// MMX registers are x87's: an instruction with no others looks for itself whether they are available.
	if (isMmxForm(insn.code) && !operandNames(insn.code).some((name) => name.startsWith("xmm"))) return false;
	return isVex(insn.code) ? !mode.avx : !mode.sse;
}
