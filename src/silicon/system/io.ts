/** IN, OUT, INS and OUTS (SDM Vol. 1, chapter 19; Vol. 2). */
import type { Cpu } from "../cpu/cpu.ts";
import { watchPorts } from "../cpu/debug.ts";
import { GP0 } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { cpl, isProtectedMode } from "../cpu/modes.ts";
import { FLAG } from "../cpu/rflags.ts";
import { segmentBase, segmentLimit } from "../cpu/segments.ts";
import { explicitAccess, faulted, probeLinear, readLinear, writeLinear } from "../paging/access.ts";
import { PF } from "../paging/physical.ts";
import { IMPLICIT } from "../paging/walk.ts";
import { Mnemonic, Register } from "../translate/decode.ts";
import type { Insn, Operand } from "../translate/insn.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import { advance, fail, gpr32, type Handler, intercepted, linearAt, setGpr32 } from "./operands.ts";

/** What is behind the ports of a processor that no hypervisor intercepts. */
export interface PortHandlers {
	/** @returns the value read; its bits above `bytes` are ignored */
	read(cpu: Cpu, port: number, bytes: number): number;
	/** May set `cpu.halted` to end execution behind the instruction. */
	write(cpu: Cpu, port: number, bytes: number, value: number): void;
}

const handlersOf = new WeakMap<Cpu, PortHandlers>();

/** Connects ports to a processor. Without, reads give all ones and writes go nowhere. */
export function setPortHandlers(cpu: Cpu, handlers: PortHandlers): void {
	handlersOf.set(cpu, handlers);
}

function readPort(cpu: Cpu, port: number, bytes: number): number {
	return handlersOf.get(cpu)?.read(cpu, port, bytes) ?? -1;
}

/**
 * Whether the current level may use a port: CPL ≤ IOPL, or the I/O permission bitmap of the TSS says so. False
 * with a fault noted if not.
 */
function permitted(cpu: Cpu, port: number, bytes: number): boolean {
	if (!isProtectedMode(cpu) || cpl(cpu) <= (cpu.read32(L.RFLAGS) & FLAG.IOPL) >>> 12) return true;
	const base = segmentBase(cpu, L.TR);
	const limit = segmentLimit(cpu, L.TR);
	if (limit >= 103) {
		const bitmap = Number(readLinear(cpu, base + 102n, 2, IMPLICIT)) + (port >>> 3);
		if (faulted(cpu)) return false;
		// The processor always reads two bytes of the bitmap.
		if (bitmap + 1 <= limit) {
			const bits = Number(readLinear(cpu, base + BigInt(bitmap), 2, IMPLICIT));
			if (faulted(cpu)) return false;
			if (((bits >>> (port & 7)) & ((1 << bytes) - 1)) === 0) return true;
		}
	}
	fail(cpu, GP0);
	return false;
}

/** Exit qualification of an I/O instruction (SDM table 28-5). */
function qualification(
	port: number,
	bytes: number,
	input: boolean,
	string: boolean,
	rep: boolean,
	imm: boolean,
): number {
	return (
		((bytes - 1) | (input ? 8 : 0) | (string ? 16 : 0) | (rep ? 32 : 0) | (imm ? 64 : 0) | (port << 16)) >>> 0
	);
}

function portOf(cpu: Cpu, operand: Operand): number {
	return operand.kind === "immediate" ? Number(operand.value) & 0xff : gpr32(cpu, L.RDX) & 0xffff;
}

function accumulatorBytes(operand: Operand): number {
	if (operand.kind !== "register") return 4;
	return operand.register === Register.AL ? 1 : operand.register === Register.AX ? 2 : 4;
}

const input: Handler = (cpu, insn) => {
	const bytes = accumulatorBytes(insn.operands[0]!);
	const source = insn.operands[1]!;
	const port = portOf(cpu, source);
	if (!permitted(cpu, port, bytes)) return OUTCOME.fault;
	const info = qualification(port, bytes, true, false, false, source.kind === "immediate");
	if (intercepted(cpu, insn, INTERCEPT.io, info)) return OUTCOME.stop;
	watchPorts(cpu, port, bytes);
	const value = readPort(cpu, port, bytes);
	if (bytes === 4) {
		setGpr32(cpu, L.RAX, value);
	} else {
		const mask = bytes === 1 ? 0xff : 0xffff;
		cpu.write32(L.GPR + L.RAX * 8, (gpr32(cpu, L.RAX) & ~mask) | (value & mask));
	}
	return OUTCOME.next;
};

const output: Handler = (cpu, insn) => {
	const bytes = accumulatorBytes(insn.operands[1]!);
	const target = insn.operands[0]!;
	const port = portOf(cpu, target);
	if (!permitted(cpu, port, bytes)) return OUTCOME.fault;
	const info = qualification(port, bytes, false, false, false, target.kind === "immediate");
	if (intercepted(cpu, insn, INTERCEPT.io, info)) return OUTCOME.stop;
	const value = bytes === 4 ? gpr32(cpu, L.RAX) : gpr32(cpu, L.RAX) & (bytes === 1 ? 0xff : 0xffff);
	return writePort(cpu, insn, port, bytes, value);
};

function writePort(cpu: Cpu, insn: Insn, port: number, bytes: number, value: number): Outcome {
	watchPorts(cpu, port, bytes);
	handlersOf.get(cpu)?.write(cpu, port, bytes, value);
	if (cpu.halted === "no") return OUTCOME.next;
	advance(cpu, insn);
	return OUTCOME.stop;
}

/** INS and OUTS: one element per turn, each asked for again, so that a fault or exit leaves the registers between two. */
function stringIo(inputs: boolean, bytes: number): Handler {
	const pointer = inputs ? L.RDI : L.RSI;
	return (cpu, insn) => {
		const repeat = insn.rep || insn.repne;
		const bits = insn.addressBytes * 8;
		const port = gpr32(cpu, L.RDX) & 0xffff;
		while (!repeat || BigInt.asUintN(bits, cpu.gpr(L.RCX)) !== 0n) {
			if (!permitted(cpu, port, bytes)) return OUTCOME.fault;
			const offset = BigInt.asUintN(bits, cpu.gpr(pointer));
			const linear = linearAt(cpu, inputs ? L.ES : insn.segment, offset, bytes, inputs);
			if (faulted(cpu)) return OUTCOME.fault;
			const access = explicitAccess(cpu);
			if (intercepted(cpu, insn, INTERCEPT.io, qualification(port, bytes, inputs, true, repeat, false))) {
				return OUTCOME.stop;
			}
			watchPorts(cpu, port, bytes);
			if (inputs) {
				// The port is read only when its value has a place to go.
				if (!probeLinear(cpu, linear, bytes, access | PF.write)) return OUTCOME.fault;
				writeLinear(cpu, linear, bytes, BigInt(readPort(cpu, port, bytes) >>> 0), access);
			} else {
				const value = readLinear(cpu, linear, bytes, access);
				if (faulted(cpu)) return OUTCOME.fault;
				handlersOf.get(cpu)?.write(cpu, port, bytes, Number(value));
			}
			const down = (cpu.read32(L.RFLAGS) & FLAG.DF) !== 0;
			setIndex(cpu, pointer, bits, cpu.gpr(pointer) + BigInt(down ? -bytes : bytes));
			if (repeat) setIndex(cpu, L.RCX, bits, cpu.gpr(L.RCX) - 1n);
			if (cpu.halted !== "no") {
				if (!repeat || BigInt.asUintN(bits, cpu.gpr(L.RCX)) === 0n) advance(cpu, insn);
				return OUTCOME.stop;
			}
			if (!repeat) break;
			if (BigInt.asUintN(bits, cpu.gpr(L.RCX)) === 0n) break;
			cpu.cycles += cpu.model.guestCosts.system.cycles;
			// A trap is due behind each element, and events are taken there.
			const stepped = (cpu.read32(L.RFLAGS) & FLAG.TF) !== 0 || cpu.read32(L.PENDING_DBG) !== 0;
			if (stepped || cpu.pending !== 0 || cpu.cycles >= cpu.limit) return OUTCOME.again;
		}
		return OUTCOME.next;
	};
}

/** Writes an index or count register with the address size; 32 bits zero-extend. */
function setIndex(cpu: Cpu, register: number, bits: number, value: bigint): void {
	if (bits === 16) cpu.setGpr(register, (cpu.gpr(register) & ~0xffffn) | (value & 0xffffn));
	else cpu.setGpr(register, BigInt.asUintN(bits, value));
}

/** Handlers by iced-x86 `Mnemonic`. */
export const ioHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.In, input],
	[Mnemonic.Out, output],
	[Mnemonic.Insb, stringIo(true, 1)],
	[Mnemonic.Insw, stringIo(true, 2)],
	[Mnemonic.Insd, stringIo(true, 4)],
	[Mnemonic.Outsb, stringIo(false, 1)],
	[Mnemonic.Outsw, stringIo(false, 2)],
	[Mnemonic.Outsd, stringIo(false, 4)],
];
