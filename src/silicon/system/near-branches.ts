/**
 * Near branches where control-flow enforcement is on: CALL and RET with a shadow stack, indirect JMP and CALL with tracking,
 * and ENDBRANCH (SDM Vol. 2). Where it is off they are translated.
 */
import { shadowStackEnabled } from "../cpu/cet.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { cpl } from "../cpu/modes.ts";
import { popReturn, pushReturn } from "../cet/access.ts";
import { endbranch, trackNear } from "../cet/tracker.ts";
import { faulted } from "../paging/access.ts";
import { Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME } from "../translate/services.ts";
import { checkBranch } from "./far-transfers.ts";
import { type Handler, nextRip, operandSize, peek, push, readOperand, setStackPointer } from "./operands.ts";

/** Where a near JMP or CALL leads; on a fault it is noted. */
function target(cpu: Cpu, insn: Insn): bigint {
	const operand = insn.operands[0];
	const address = operand?.kind === "near" ? operand.target : readOperand(cpu, insn, 0, operandSize(insn, 0));
	if (!faulted(cpu)) checkBranch(cpu, address);
	return address;
}

const jump: Handler = (cpu, insn) => {
	const address = target(cpu, insn);
	if (faulted(cpu)) return OUTCOME.fault;
	cpu.write64(L.RIP, address);
	if (insn.operands[0]?.kind !== "near") trackNear(cpu, insn.noTrack);
	return OUTCOME.jumped;
};

const call: Handler = (cpu, insn) => {
	const address = target(cpu, insn);
	if (faulted(cpu)) return OUTCOME.fault;
	const rsp = cpu.gpr(L.RSP);
	const next = BigInt.asUintN(insn.operandBytes * 8, nextRip(insn));
	push(cpu, insn.operandBytes, next);
	if (faulted(cpu)) return OUTCOME.fault;
	const direct = insn.operands[0]?.kind === "near";
	// A direct CALL of what follows it is how code finds its own address: it has no RET.
	if (shadowStackEnabled(cpu) && !(direct && address === nextRip(insn))) {
		pushReturn(cpu, next, cpl(cpu));
		if (faulted(cpu)) {
			cpu.setGpr(L.RSP, rsp);
			return OUTCOME.fault;
		}
	}
	cpu.write64(L.RIP, address);
	if (!direct) trackNear(cpu, insn.noTrack);
	return OUTCOME.jumped;
};

const ret: Handler = (cpu, insn) => {
	const bytes = insn.operandBytes;
	const address = peek(cpu, bytes, 0);
	if (!faulted(cpu)) checkBranch(cpu, address);
	if (!faulted(cpu) && shadowStackEnabled(cpu)) popReturn(cpu, address, cpl(cpu));
	if (faulted(cpu)) return OUTCOME.fault;
	const extra = insn.operands[0]?.kind === "immediate" ? insn.operands[0].value : 0n;
	setStackPointer(cpu, cpu.gpr(L.RSP) + BigInt(bytes) + extra);
	cpu.write64(L.RIP, address);
	return OUTCOME.jumped;
};

function endbranchHandler(long: boolean): Handler {
	return (cpu) => {
		endbranch(cpu, long);
		return OUTCOME.next;
	};
}

/** Handlers by iced-x86 `Mnemonic`. Far forms of JMP and CALL are found by their `Code` first. */
export const nearHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Jmp, jump],
	[Mnemonic.Call, call],
	[Mnemonic.Ret, ret],
	[Mnemonic.Endbr32, endbranchHandler(false)],
	[Mnemonic.Endbr64, endbranchHandler(true)],
];
