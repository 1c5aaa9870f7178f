/**
 * Carries out a script's instructions with the processor's own handlers, without translating them: what translated code
 * would do to the machine, at a tenth of the price for code that is run once. What lies outside of the script (a TD's
 * start) goes to the translator.
 */
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { FLAG, writeRflags } from "../../silicon/cpu/rflags.ts";
import { explicitAccess, faulted, readLinear, writeLinear } from "../../silicon/paging/access.ts";
import {
	advance,
	effectiveAddress,
	gpr32,
	operandSize,
	registerIndex,
	writeGpr,
} from "../../silicon/system/operands.ts";
import { processorServices } from "../../silicon/system/services.ts";
import { Mnemonic, decode } from "../../silicon/translate/decode.ts";
import type { Insn, Operand } from "../../silicon/translate/insn.ts";
import { placeOf } from "../../silicon/translate/registers.ts";
import { OUTCOME, type Outcome } from "../../silicon/translate/services.ts";

const SHADOW = 3;

/** Where code lies: linear address and bytes. */
export interface Code {
	readonly base: number;
	readonly bytes: Uint8Array;
}

/**
 * A script's instructions by address. A part is decoded from its start as far as it is executed: what lies behind, or in a part
 * of data, never is.
 */
export class DecodedScript {
	private readonly parts: readonly Code[];
	private readonly instructions = new Map<number, Insn>();
	/** How far each part is decoded, in bytes; Infinity if there is no instruction. */
	private readonly reached: number[];

	constructor(parts: readonly Code[]) {
		this.parts = parts.map(({ base, bytes }) => ({ base, bytes: bytes.slice() }));
		this.reached = parts.map(() => 0);
	}

	/** Whether these parts are what it decodes. */
	isOf(parts: readonly Code[]): boolean {
		return parts.length === this.parts.length && this.parts.every((part, at) => isSame(part, parts[at]!));
	}

	/** The instruction that begins at an address. @param address linear */
	at(address: number): Insn | undefined {
		return this.instructions.get(address) ?? this.decodeTo(address);
	}

	private decodeTo(address: number): Insn | undefined {
		const part = this.parts.findIndex(({ base, bytes }) => address >= base && address < base + bytes.length);
		if (part < 0) return undefined;
		const { base, bytes } = this.parts[part]!;
		let at = this.reached[part]!;
		while (at <= address - base) {
			const insn = decode(bytes.subarray(at, at + 15), BigInt(base + at), 64);
			if (insn.mnemonic === Mnemonic.INVALID) {
				at = Number.POSITIVE_INFINITY;
				break;
			}
			this.instructions.set(base + at, insn);
			at += insn.length;
		}
		this.reached[part] = at;
		return this.instructions.get(address);
	}
}

function isSame(some: Code, other: Code): boolean {
	return (
		some.base === other.base &&
		some.bytes.length === other.bytes.length &&
		some.bytes.every((byte, at) => byte === other.bytes[at])
	);
}

/** Scripts that were decoded last, the newest first: a search builds its machine twice. */
const decoded: DecodedScript[] = [];
const DECODED_MAX = 8;

/** The instructions of a script. */
export function decodeCode(parts: readonly Code[]): DecodedScript {
	const known = decoded.find((script) => script.isOf(parts));
	if (known !== undefined) return known;
	const script = new DecodedScript(parts);
	decoded.unshift(script);
	decoded.length = Math.min(decoded.length, DECODED_MAX);
	return script;
}

const isGpr = (operand: Operand | undefined) =>
	operand?.kind === "register" && placeOf(operand.register) !== undefined;

/** MOV, XCHG with memory, PUSH, POP, POPF and NOP, which are translated elsewhere; the rest is the system side's. */
function carryOut(cpu: Cpu, insn: Insn): Outcome {
	switch (insn.mnemonic) {
		case Mnemonic.Nop:
			return OUTCOME.next;
		case Mnemonic.Mov: {
			const [to, from] = insn.operands;
			if (to?.kind === "register" && from?.kind === "immediate") {
				writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), from.value);
				return OUTCOME.next;
			}
			if (isGpr(to) && isGpr(from)) {
				writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), cpu.gpr(registerIndex(insn, 1)));
				return OUTCOME.next;
			}
			if (to?.kind === "memory" && from?.kind === "register") {
				const value = BigInt(gpr32(cpu, registerIndex(insn, 1)));
				writeLinear(cpu, effectiveAddress(cpu, insn), 4, value, explicitAccess(cpu));
				return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
			}
			return processorServices.system(cpu, insn);
		}
		case Mnemonic.Xchg: {
			const at = effectiveAddress(cpu, insn);
			const value = readLinear(cpu, at, 4, explicitAccess(cpu));
			if (faulted(cpu)) return OUTCOME.fault;
			writeLinear(cpu, at, 4, BigInt(gpr32(cpu, registerIndex(insn, 1))), explicitAccess(cpu));
			if (faulted(cpu)) return OUTCOME.fault;
			writeGpr(cpu, registerIndex(insn, 1), 4, value);
			return OUTCOME.next;
		}
		case Mnemonic.Popfq: {
			// At CPL 0 all flags are popped.
			const flags = readLinear(cpu, cpu.gpr(L.RSP), 8, explicitAccess(cpu));
			if (faulted(cpu)) return OUTCOME.fault;
			cpu.setGpr(L.RSP, cpu.gpr(L.RSP) + 8n);
			writeRflags(cpu, Number(flags & 0xffff_ffffn));
			return OUTCOME.next;
		}
		case Mnemonic.Push: {
			const top = cpu.gpr(L.RSP) - 8n;
			writeLinear(cpu, top, 8, cpu.gpr(registerIndex(insn, 0)), explicitAccess(cpu));
			if (faulted(cpu)) return OUTCOME.fault;
			cpu.setGpr(L.RSP, top);
			return OUTCOME.next;
		}
		case Mnemonic.Pop: {
			const value = readLinear(cpu, cpu.gpr(L.RSP), 8, explicitAccess(cpu));
			if (faulted(cpu)) return OUTCOME.fault;
			cpu.setGpr(L.RSP, cpu.gpr(L.RSP) + 8n);
			cpu.setGpr(registerIndex(insn, 0), value);
			return OUTCOME.next;
		}
		default:
			return processorServices.system(cpu, insn);
	}
}

/**
 * Makes the executor of a script.
 * @param translated runs guest code that is not the script's
 */
export function scriptExecutor(script: DecodedScript, translated: (cpu: Cpu) => void): (cpu: Cpu) => void {
	return (cpu) => {
		for (;;) {
			if (cpu.pending !== 0 || cpu.cycles >= cpu.limit) {
				if (processorServices.boundary(cpu)) return;
			}
			const insn = script.at(cpu.readNumber(L.RIP));
			if (insn === undefined) {
				translated(cpu);
				return;
			}
			const shadow = cpu.read32(L.INTERRUPTIBILITY) & SHADOW;
			const before = (cpu.read32(L.RFLAGS) & FLAG.TF) === 0 ? null : processorServices.beforeInstruction(cpu);
			const outcome = carryOut(cpu, insn);
			if (outcome === OUTCOME.stop) return;
			if (outcome === OUTCOME.fault) {
				if (processorServices.deliverFault(cpu)) return;
				continue;
			}
			if (outcome === OUTCOME.next) advance(cpu, insn);
			cpu.f64[(cpu.base + L.INSTRUCTIONS) >> 3]! += 1;
			if (shadow !== 0) cpu.write32(L.INTERRUPTIBILITY, cpu.read32(L.INTERRUPTIBILITY) & ~SHADOW);
			if (before !== null && processorServices.afterInstruction(cpu, before, insn.mnemonic, insn.length))
				return;
		}
	};
}
