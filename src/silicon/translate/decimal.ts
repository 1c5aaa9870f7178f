/** Instructions that 64-bit mode has not: decimal adjustment, SALC and BOUND (SDM Vol. 2). In TypeScript, being rare. */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { ARITHMETIC_FLAGS, FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import { Mnemonic as M } from "./decode.ts";
import type { Insn } from "./insn.ts";
import { hasFault, linearOf, registerValue, setRegisterValue } from "./memory-operands.ts";
import { placeOf } from "./registers.ts";
import { OUTCOME, type Outcome, type Services } from "./services.ts";

type Microcode = (cpu: Cpu, insn: Insn, services: Services) => Outcome;

const accumulator = (cpu: Cpu, bytes: 1 | 2): number => Number(registerValue(cpu, L.RAX, bytes));

function setAccumulator(cpu: Cpu, bytes: 1 | 2, value: number): void {
	setRegisterValue(cpu, L.RAX, bytes, BigInt(value & (bytes === 1 ? 0xff : 0xffff)));
}

/** SF, ZF and PF of AL as it is now, with other flags; OF and what is not named becomes 0. */
function setFlags(cpu: Cpu, others: number): Outcome {
	const al = accumulator(cpu, 1);
	let flags = others;
	if (al === 0) flags |= FLAG.ZF;
	if (al >= 0x80) flags |= FLAG.SF;
	let odd = 0;
	for (let rest = al; rest !== 0; rest >>= 1) odd ^= rest & 1;
	if (odd === 0) flags |= FLAG.PF;
	writeRflags(cpu, (readRflags(cpu) & ~ARITHMETIC_FLAGS) | flags);
	return OUTCOME.next;
}

/** DAA and DAS. @param sign 1 or -1 */
function adjustPacked(sign: 1 | -1): Microcode {
	return (cpu) => {
		const flags = readRflags(cpu);
		const old = accumulator(cpu, 1);
		let al = old;
		let result = 0;
		if ((old & 15) > 9 || (flags & FLAG.AF) !== 0) {
			al += sign * 6;
			result |= FLAG.AF;
			if ((flags & FLAG.CF) !== 0 || al < 0 || al > 0xff) result |= FLAG.CF;
		}
		if (old > 0x99 || (flags & FLAG.CF) !== 0) {
			al += sign * 0x60;
			result |= FLAG.CF;
		}
		setAccumulator(cpu, 1, al);
		return setFlags(cpu, result);
	};
}

/** AAA and AAS. @param sign 1 or -1 */
function adjustUnpacked(sign: 1 | -1): Microcode {
	return (cpu) => {
		const flags = readRflags(cpu);
		let ax = accumulator(cpu, 2);
		const adjusts = (ax & 15) > 9 || (flags & FLAG.AF) !== 0;
		if (adjusts) ax += sign * 0x106;
		setAccumulator(cpu, 2, ax & 0xff0f);
		return setFlags(cpu, adjusts ? FLAG.AF | FLAG.CF : 0);
	};
}

function immediate(insn: Insn): number {
	const operand = insn.operands[0];
	return operand?.kind === "immediate" ? Number(operand.value & 0xffn) : 10;
}

/** AAM: AL in digits of a base; #DE for base 0. */
const aam: Microcode = (cpu, insn) => {
	const base = immediate(insn);
	if (base === 0) {
		raise(cpu, VECTOR.DE);
		return OUTCOME.fault;
	}
	const al = accumulator(cpu, 1);
	setAccumulator(cpu, 2, (Math.floor(al / base) << 8) | (al % base));
	return setFlags(cpu, 0);
};

/** AAD: the digits in AH and AL as one number. */
const aad: Microcode = (cpu, insn) => {
	const ax = accumulator(cpu, 2);
	setAccumulator(cpu, 2, ((ax & 0xff) + (ax >> 8) * immediate(insn)) & 0xff);
	return setFlags(cpu, 0);
};

/** SALC: AL becomes CF in every bit. */
const salc: Microcode = (cpu) => {
	setAccumulator(cpu, 1, (readRflags(cpu) & FLAG.CF) !== 0 ? 0xff : 0);
	return OUTCOME.next;
};

/** BOUND: #BR for an index outside of the signed bounds in memory. */
const bound: Microcode = (cpu, insn, services) => {
	const operand = insn.operands[0];
	if (operand?.kind !== "register") throw new TypeError("BOUND without an index register");
	const bytes = operand.bytes;
	const linear = linearOf(cpu, insn, 2 * bytes, false);
	if (hasFault(cpu)) return OUTCOME.fault;
	const signed = (value: bigint) => BigInt.asIntN(bytes * 8, value);
	const lower = signed(services.load(cpu, linear, bytes));
	if (hasFault(cpu)) return OUTCOME.fault;
	const upper = signed(services.load(cpu, BigInt.asUintN(32, linear + BigInt(bytes)), bytes));
	if (hasFault(cpu)) return OUTCOME.fault;
	const index = signed(registerValue(cpu, placeOf(operand.register)!.index, bytes));
	if (index >= lower && index <= upper) return OUTCOME.next;
	raise(cpu, VECTOR.BR);
	return OUTCOME.fault;
};

/** By mnemonic. */
export const DECIMAL: ReadonlyMap<number, Microcode> = new Map<number, Microcode>([
	[M.Daa, adjustPacked(1)],
	[M.Das, adjustPacked(-1)],
	[M.Aaa, adjustUnpacked(1)],
	[M.Aas, adjustUnpacked(-1)],
	[M.Aam, aam],
	[M.Aad, aad],
	[M.Salc, salc],
	[M.Bound, bound],
]);
