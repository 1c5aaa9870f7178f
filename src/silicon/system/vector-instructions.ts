/** Vector instructions where they are not enabled. Where they are, they are translated and never come here. */
import type { Cpu } from "../cpu/cpu.ts";
import { UD } from "../cpu/fault.ts";
import { avxFault, sseFault } from "../cpu/vector-state.ts";
import { isVex } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { vectorDefinitionOf } from "../translate/instructions/vector/forms.ts";
import type { Outcome } from "../translate/services.ts";
import { fail } from "./operands.ts";

/** Whether an instruction is a vector instruction that this machine has. */
export function isVectorInstruction(insn: Insn): boolean {
	return vectorDefinitionOf(insn) !== null;
}

/** #UD or #NM, as the control registers say. @throws Error if the instruction is enabled, so that it was to be translated */
export function disabledVector(cpu: Cpu, insn: Insn): Outcome {
	const fault = insn.lock ? UD : isVex(insn.code) ? avxFault(cpu) : sseFault(cpu);
	if (fault === null) throw new Error(`vector instruction of code ${insn.code} was not translated`);
	return fail(cpu, fault);
}
