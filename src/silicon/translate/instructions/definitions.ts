/** All definitions by mnemonic, and which encodings of those mnemonics they cover. */
import { Mnemonic as M } from "../decode.ts";
import { ALL_BITS, BITS } from "../flags.ts";
import type { Insn } from "../insn.ts";
import { placeOf, segmentOf } from "../registers.ts";
import { ARITHMETIC } from "./arithmetic.ts";
import { BITS_CHAPTER } from "./bits.ts";
import { DATA, HINTS, cmovcc, setcc } from "./data.ts";
import type { Definition } from "./definition.ts";
import { SHIFT } from "./shift.ts";
import { isMmxForm, vectorDefinitionOf } from "./vector/forms.ts";
import { RAISES } from "./vector/vector.ts";

/** Conditions in encoding order. */
// biome-ignore format: pairs of a condition and its negation
const CONDITIONS: readonly [number, number, number][] = [
	[M.Jo, M.Seto, M.Cmovo], [M.Jno, M.Setno, M.Cmovno],
	[M.Jb, M.Setb, M.Cmovb], [M.Jae, M.Setae, M.Cmovae],
	[M.Je, M.Sete, M.Cmove], [M.Jne, M.Setne, M.Cmovne],
	[M.Jbe, M.Setbe, M.Cmovbe], [M.Ja, M.Seta, M.Cmova],
	[M.Js, M.Sets, M.Cmovs], [M.Jns, M.Setns, M.Cmovns],
	[M.Jp, M.Setp, M.Cmovp], [M.Jnp, M.Setnp, M.Cmovnp],
	[M.Jl, M.Setl, M.Cmovl], [M.Jge, M.Setge, M.Cmovge],
	[M.Jle, M.Setle, M.Cmovle], [M.Jg, M.Setg, M.Cmovg],
];

const definitions = new Map<number, Definition>([...DATA, ...ARITHMETIC, ...SHIFT, ...BITS_CHAPTER]);
const jumpConditions = new Map<number, number>();
for (const [condition, [jump, set, move]] of CONDITIONS.entries()) {
	jumpConditions.set(jump, condition);
	definitions.set(set, setcc(condition));
	definitions.set(move, cmovcc(condition));
}

/** The condition of a Jcc, or undefined for anything else. */
export function jumpCondition(mnemonic: number): number | undefined {
	return jumpConditions.get(mnemonic);
}

/** The definition of an instruction that is translated, or undefined. */
export function definitionOf(insn: Insn): Definition | undefined {
	const vector = vectorDefinitionOf(insn);
	if (vector !== null) return vector;
	const definition = definitions.get(insn.mnemonic);
	if (definition === undefined) return undefined;
	// AMD's XOP form of BEXTR went with XOP; its control is an immediate.
	if (insn.mnemonic === M.Bextr && insn.operands[2]!.kind === "immediate") return undefined;
	for (const [at, operand] of insn.operands.entries()) {
		if (operand.kind !== "register" || placeOf(operand.register) !== undefined) continue;
		// Selectors may be read; loading one is the system side's, as are control and debug registers.
		const readsSelector =
			segmentOf(operand.register) >= 0 && ((insn.mnemonic === M.Mov && at === 1) || insn.mnemonic === M.Push);
		if (!readsSelector) return undefined;
	}
	return definition;
}

const TOUCHES_NO_MEMORY = new Set<number>([M.Lea, M.Nop, ...HINTS]);
const FAULTS_WITHOUT_OPERAND = new Set<number>([
	M.Push,
	M.Pushf,
	M.Pushfd,
	M.Pushfq,
	M.Pop,
	M.Leave,
	M.Call,
	M.Ret,
	M.Div,
	M.Idiv,
	M.Xlatb,
]);

/** Whether an instruction can fault, so that the state before it must be exact. */
export function canFault(insn: Insn): boolean {
	if (FAULTS_WITHOUT_OPERAND.has(insn.mnemonic)) return true;
	if (TOUCHES_NO_MEMORY.has(insn.mnemonic)) return false;
	if (vectorDefinitionOf(insn) !== null && (RAISES.has(insn.mnemonic) || isMmxForm(insn.code))) return true;
	return insn.operands.some((operand) => operand.kind === "memory");
}

/** Flags that an instruction overwrites whatever they were, as RflagsBits. */
export function flagsKilled(insn: Insn): number {
	switch (insn.mnemonic) {
		case M.Div:
		case M.Idiv:
			return 0;
		case M.Bt:
		case M.Bts:
		case M.Btr:
		case M.Btc:
			return BITS.CF;
	}
	if (SHIFT.has(insn.mnemonic)) {
		const count = insn.operands.at(-1)!;
		const mask =
			insn.operands[0]!.kind !== "near" && "bytes" in insn.operands[0]! ? insn.operands[0].bytes : 4;
		if (count.kind !== "immediate" || (count.value & (mask === 8 ? 63n : 31n)) === 0n) return 0;
	}
	return (insn.flagsWritten | insn.flagsUndefined) & ALL_BITS;
}
