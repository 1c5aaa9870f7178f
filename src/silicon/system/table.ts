/** The table of system instructions: which handler carries out which instruction. */
import type { Cpu } from "../cpu/cpu.ts";
import { Code } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import type { Outcome } from "../translate/services.ts";
import { controlRegisterHandlers } from "./control-registers.ts";
import { extendedStateHandlers } from "./extended-state.ts";
import { farCodeHandlers, farHandlers } from "./far-transfers.ts";
import { interruptHandlers, undefinedOpcode } from "./interrupts.ts";
import { ioHandlers } from "./io.ts";
import { nearHandlers } from "./near-branches.ts";
import type { Handler } from "./operands.ts";
import { registerHandlers } from "./registers.ts";
import { segmentCodeHandlers, segmentHandlers } from "./segment-loads.ts";
import { shadowStackHandlers } from "./shadow-stacks.ts";
import { disabledVector, isVectorInstruction } from "./vector-instructions.ts";
import { virtualizationHandlers } from "./virtualization.ts";

const CODES = 1 + Math.max(...Object.values(Code).filter((code) => typeof code === "number"));

/** Every encoding has a mnemonic; most handlers serve all encodings of one. */
const byMnemonic = new Map<number, Handler>([
	...registerHandlers,
	...segmentHandlers,
	...farHandlers,
	...nearHandlers,
	...shadowStackHandlers,
	...interruptHandlers,
	...ioHandlers,
	...extendedStateHandlers,
	...virtualizationHandlers,
]);

/**
 * Handlers by iced-x86 `Code`, completed from `byMnemonic` as instructions are met. Made at its full length: an array
 * with holes would be a hash table, and this is looked into at every instruction that is not translated.
 */
const byCode = new Array<Handler | undefined>(CODES).fill(undefined);
for (const [code, handler] of [...controlRegisterHandlers, ...segmentCodeHandlers, ...farCodeHandlers]) {
	byCode[code] = handler;
}

/** Carries out an instruction that is not translated: one of the table, or #UD. RIP names it. */
export function system(cpu: Cpu, insn: Insn): Outcome {
	let handler = byCode[insn.code];
	if (handler === undefined) {
		handler = byMnemonic.get(insn.mnemonic) ?? (isVectorInstruction(insn) ? disabledVector : undefinedOpcode);
		byCode[insn.code] = handler;
	}
	return handler(cpu, insn);
}
