/** The instructions that manage shadow stacks (SDM Vol. 2; Vol. 1, 17.2). */
import { exchangeToken, shadowLoad, shadowProbe, shadowStore } from "../cet/access.ts";
import { CET, CP, cetControl, isCetOn, shadowStackEnabled } from "../cpu/cet.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { GP0, UD, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { cpl, is64Bit } from "../cpu/modes.ts";
import { ARITHMETIC_FLAGS, FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import { faulted } from "../paging/access.ts";
import { Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import {
	fail,
	failWith,
	type Handler,
	memoryOperand,
	operandSize,
	privileged,
	registerIndex,
	writeGpr,
} from "./operands.ts";

const BUSY = 1n;
/** Bit of a previous-SSP token that tells it from a restore token, whose bit 0 is the mode that made it. */
const PREVIOUS = 2n;

/** EFER.LMA AND CS.L, as tokens hold it. */
function modeBit(cpu: Cpu): bigint {
	return is64Bit(cpu) ? 1n : 0n;
}

/** CF as given, the other arithmetic flags 0. */
function setCarry(cpu: Cpu, carry: boolean): void {
	writeRflags(cpu, (readRflags(cpu) & ~ARITHMETIC_FLAGS) | (carry ? FLAG.CF : 0));
}

/** Linear address of a token, a multiple of 8; the fault is noted if it is none. */
function tokenOperand(cpu: Cpu, insn: Insn): bigint {
	const linear = memoryOperand(cpu, insn, 8);
	if (!faulted(cpu) && (linear & 7n) !== 0n) fail(cpu, GP0);
	return linear;
}

/** RDSSP: a NOP without a shadow stack. */
const rdssp: Handler = (cpu, insn) => {
	if (shadowStackEnabled(cpu)) writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), cpu.read64(L.SSP));
	return OUTCOME.next;
};

/** INCSSP: pops up to 255 elements, of which the first and the last are touched. */
const incssp: Handler = (cpu, insn) => {
	if (!shadowStackEnabled(cpu)) return fail(cpu, UD);
	const bytes = operandSize(insn, 0);
	const level = cpl(cpu);
	const count = cpu.gpr(registerIndex(insn, 0)) & 0xffn;
	const ssp = cpu.read64(L.SSP);
	const moved = ssp + count * BigInt(bytes);
	shadowLoad(cpu, ssp, bytes, level);
	if (!faulted(cpu) && count > 1n) shadowLoad(cpu, moved - BigInt(bytes), bytes, level);
	if (faulted(cpu)) return OUTCOME.fault;
	cpu.write64(L.SSP, moved);
	return OUTCOME.next;
};

/** RSTORSSP: changes to another shadow stack by its restore token, which becomes the previous-SSP token. */
const rstorssp: Handler = (cpu, insn) => {
	if (!shadowStackEnabled(cpu)) return fail(cpu, UD);
	const level = cpl(cpu);
	const linear = tokenOperand(cpu, insn);
	if (faulted(cpu) || !shadowProbe(cpu, linear, 8, level)) return OUTCOME.fault;
	const token = shadowLoad(cpu, linear, 8, level);
	const long = modeBit(cpu);
	const points = ((token & ~1n) - 8n) & ~7n;
	if ((token & 3n) !== long || (long === 0n && token >> 32n !== 0n) || points !== linear)
		return failWith(cpu, VECTOR.CP, CP.rstorssp);
	shadowStore(cpu, linear, 8, cpu.read64(L.SSP) | long | PREVIOUS, level);
	cpu.write64(L.SSP, linear);
	// The stack was a multiple of 4 alone: below the token there is a hole.
	setCarry(cpu, (token & 4n) !== 0n);
	return OUTCOME.next;
};

/** SAVEPREVSSP: turns the previous-SSP token into a restore token on the shadow stack that was left. */
const saveprevssp: Handler = (cpu) => {
	if (!shadowStackEnabled(cpu)) return fail(cpu, UD);
	const level = cpl(cpu);
	const long = modeBit(cpu);
	let ssp = cpu.read64(L.SSP);
	if ((ssp & 7n) !== 0n) return fail(cpu, GP0);
	const token = shadowLoad(cpu, ssp, 8, level);
	if (faulted(cpu)) return OUTCOME.fault;
	ssp += 8n;
	if ((readRflags(cpu) & FLAG.CF) !== 0) {
		if (long === 1n) return fail(cpu, GP0);
		const hole = shadowLoad(cpu, ssp, 4, level);
		if (faulted(cpu)) return OUTCOME.fault;
		if (hole !== 0n) return fail(cpu, GP0);
		ssp += 4n;
	}
	if ((token & PREVIOUS) === 0n || (long === 0n && token >> 32n !== 0n)) return fail(cpu, GP0);
	const old = token & ~3n;
	const top = (old & ~7n) - 8n;
	if (!shadowProbe(cpu, top, Number(old - top), level)) return OUTCOME.fault;
	if ((old & 4n) !== 0n) shadowStore(cpu, old - 4n, 4, 0n, level);
	shadowStore(cpu, top, 8, old | long, level);
	cpu.write64(L.SSP, ssp);
	return OUTCOME.next;
};

/** WRSS: a store to the shadow stack of the current mode, where WR_SHSTK_EN allows it. */
const wrss: Handler = (cpu, insn) => {
	const level = cpl(cpu);
	const wanted = CET.SH_STK_EN | CET.WR_SHSTK_EN;
	if ((cetControl(cpu, level) & wanted) !== wanted) return fail(cpu, UD);
	return write(cpu, insn, level);
};

/** WRUSS: a store of level 0 to a shadow stack of user mode. */
const wruss: Handler = (cpu, insn) => {
	if (!isCetOn(cpu)) return fail(cpu, UD);
	return privileged(cpu) ? write(cpu, insn, 3) : fail(cpu, GP0);
};

function write(cpu: Cpu, insn: Insn, level: number): Outcome {
	const bytes = operandSize(insn, 1);
	const linear = memoryOperand(cpu, insn, bytes, true);
	if (faulted(cpu)) return OUTCOME.fault;
	if ((linear & BigInt(bytes - 1)) !== 0n) return fail(cpu, GP0);
	shadowStore(cpu, linear, bytes, cpu.gpr(registerIndex(insn, 1)), level);
	return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
}

/** SETSSBSY: begins to use the shadow stack of IA32_PL0_SSP. */
const setssbsy: Handler = (cpu) => {
	if (!shadowStackEnabled(cpu, 0)) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	const linear = cpu.read64(L.PL0_SSP);
	if ((linear & 7n) !== 0n) return fail(cpu, GP0);
	if (!exchangeToken(cpu, linear, linear | BUSY, linear, 0))
		return faulted(cpu) ? OUTCOME.fault : failWith(cpu, VECTOR.CP, CP.setssbsy);
	cpu.write64(L.SSP, linear);
	return OUTCOME.next;
};

/** CLRSSBSY: frees a supervisor shadow stack; CF tells that its token was not that of one in use. */
const clrssbsy: Handler = (cpu, insn) => {
	if (!shadowStackEnabled(cpu, 0)) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	const linear = tokenOperand(cpu, insn);
	if (faulted(cpu)) return OUTCOME.fault;
	const wasBusy = exchangeToken(cpu, linear, linear, linear | BUSY, 0);
	if (faulted(cpu)) return OUTCOME.fault;
	setCarry(cpu, !wasBusy);
	cpu.write64(L.SSP, 0n);
	return OUTCOME.next;
};

/** Handlers by iced-x86 `Mnemonic`. */
export const shadowStackHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Rdsspd, rdssp],
	[Mnemonic.Rdsspq, rdssp],
	[Mnemonic.Incsspd, incssp],
	[Mnemonic.Incsspq, incssp],
	[Mnemonic.Rstorssp, rstorssp],
	[Mnemonic.Saveprevssp, saveprevssp],
	[Mnemonic.Wrssd, wrss],
	[Mnemonic.Wrssq, wrss],
	[Mnemonic.Wrussd, wruss],
	[Mnemonic.Wrussq, wruss],
	[Mnemonic.Setssbsy, setssbsy],
	[Mnemonic.Clrssbsy, clrssbsy],
];
