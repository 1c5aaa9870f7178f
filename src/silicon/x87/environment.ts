/** x87 control: the control and status words, the environment, the whole state (SDM Vol. 1, 8.1.10 and 8.1.11). */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { fromF80, isNaNValue, KIND } from "../fpu/value.ts";
import type { Insn } from "../translate/insn.ts";
import { hasFault } from "../translate/memory-operands.ts";
import type { Microcode } from "../translate/microcode.ts";
import { OUTCOME, type Services } from "../translate/services.ts";
import { type Effect, loadAt, noteUnavailableMmx, probe, storeAt } from "./instruction.ts";
import * as X from "./state.ts";

const INITIAL_CONTROL = 0x37f;

/** FNINIT. The registers keep their numbers; all are empty. */
export function initialize(cpu: Cpu): void {
	X.setControl(cpu, INITIAL_CONTROL);
	X.setStatus(cpu, 0);
	X.setTags(cpu, 0);
	cpu.memory.u16[(cpu.base + X.FOP) >> 1] = 0;
	cpu.write64(X.FIP, 0n);
	cpu.write64(X.FDP, 0n);
}

/** FNINIT. */
export const fninit: Effect = (cpu) => {
	initialize(cpu);
	return true;
};

/** FNCLEX: exception flags, SF, ES and B are cleared. */
export const fnclex: Effect = (cpu) => {
	X.setStatus(cpu, X.status(cpu) & 0x7f00);
	return true;
};

/** FLDCW. */
export const fldcw: Effect = (cpu, insn, services) => {
	const value = Number(loadAt(cpu, insn, services, 0, 2));
	if (hasFault(cpu)) return false;
	X.setControl(cpu, value);
	return true;
};

/** FNSTCW. */
export const fnstcw: Effect = (cpu, insn, services) =>
	storeAt(cpu, insn, services, 0, 2, BigInt(X.control(cpu)));

/** FNSTSW. */
export const fnstsw: Effect = (cpu, insn, services) => {
	const value = X.status(cpu);
	if (insn.operands[0]!.kind === "memory") return storeAt(cpu, insn, services, 0, 2, BigInt(value));
	cpu.memory.u16[(cpu.base + L.GPR + 8 * L.RAX) >> 1] = value;
	return true;
};

/** EMMS: all registers are empty. It has the exceptions of an MMX instruction. */
export const emms: Microcode = (cpu) => {
	noteUnavailableMmx(cpu);
	if (hasFault(cpu)) return OUTCOME.fault;
	X.touch(cpu);
	X.setTags(cpu, 0);
	return OUTCOME.next;
};

/** FNENI, FNDISI, FNSETPM: of the 8087 and 80287, without effect since. */
export const nothing: Effect = () => true;

// ---- the environment ---------------------------------------------------------------------------------

/** Two bits of the full tag word: valid, zero, special, empty. */
function fullTag(cpu: Cpu, register: number): number {
	if ((X.tags(cpu) & (1 << register)) === 0) return 3;
	const { signExponent, significand } = X.registerBits(cpu, register);
	const value = fromF80(signExponent, significand);
	if (value.kind === KIND.zero) return 1;
	const special = isNaNValue(value) || value.kind !== KIND.finite || value.denormal;
	return special ? 2 : 0;
}

/** The tag word as FNSTENV stores it. */
function fullTags(cpu: Cpu): number {
	let word = 0;
	for (let register = 0; register < 8; register++) word |= fullTag(cpu, register) << (2 * register);
	return word;
}

function setFullTags(cpu: Cpu, word: number): void {
	let abridged = 0;
	for (let register = 0; register < 8; register++) {
		if (((word >>> (2 * register)) & 3) !== 3) abridged |= 1 << register;
	}
	X.setTags(cpu, abridged);
}

/** What stands in the environment's seven fields: 16-bit words or 32-bit doublewords. */
type Fields = [
	control: number,
	status: number,
	tags: number,
	ip: number,
	csOpcode: number,
	dp: number,
	ds: number,
];

function selector(cpu: Cpu, segment: number): number {
	// Intel's processors since Haswell store no selectors (CPUID.7.0:EBX[13]).
	if (cpu.model.vendorString !== "AuthenticAMD") return 0;
	return cpu.read32(L.SEG + segment * L.SEG_BYTES + L.SEG_SELECTOR) & 0xffff;
}

function isReal(cpu: Cpu): boolean {
	return (cpu.read32(L.CR0) & 1) === 0;
}

function environment(cpu: Cpu, wide: boolean): Fields {
	const words = cpu.memory.u16;
	const opcode = words[(cpu.base + X.FOP) >> 1]! & 0x7ff;
	let ip = cpu.read32(X.FIP);
	let dp = cpu.read32(X.FDP);
	let csOpcode = selector(cpu, L.CS) | (wide ? opcode << 16 : 0);
	let ds = selector(cpu, L.DS);
	if (isReal(cpu)) {
		// Linear addresses, of which the upper bits stand above the opcode (SDM figures 8-10 and 8-12).
		const linear = (segment: number, offset: number) =>
			(offset + cpu.read32(L.SEG + segment * L.SEG_BYTES + L.SEG_BASE)) >>> 0;
		ip = linear(L.CS, ip);
		dp = linear(L.DS, dp);
		csOpcode = ((ip >>> 16) << 12) | opcode;
		ds = (dp >>> 16) << 12;
	}
	return [X.control(cpu), X.status(cpu), fullTags(cpu), ip, csOpcode, dp, ds];
}

/** Whether the operand is of the 32-bit format: 28 bytes rather than 14. */
function isWide(insn: Insn): boolean {
	const operand = insn.operands[0]!;
	return operand.kind === "memory" && (operand.bytes === 28 || operand.bytes === 108);
}

function storeEnvironment(cpu: Cpu, insn: Insn, services: Services): void {
	const wide = isWide(insn);
	for (const [at, field] of environment(cpu, wide).entries()) {
		if (!wide) {
			storeAt(cpu, insn, services, 2 * at, 2, BigInt(field & 0xffff));
			continue;
		}
		// What is left of the words' doublewords is stored as ones.
		const filled = at < 3 || (at === 6 && !isReal(cpu)) ? field | 0xffff0000 : field;
		storeAt(cpu, insn, services, 4 * at, 4, BigInt(filled >>> 0));
	}
}

/** @returns the fields, or null with a fault noted */
function loadEnvironment(cpu: Cpu, insn: Insn, services: Services): number[] | null {
	const bytes = isWide(insn) ? 4 : 2;
	const fields: number[] = [];
	for (let at = 0; at < 7; at++) {
		fields.push(Number(loadAt(cpu, insn, services, bytes * at, bytes)));
		if (hasFault(cpu)) return null;
	}
	return fields;
}

function setEnvironment(cpu: Cpu, insn: Insn, fields: readonly number[]): void {
	const [fcw, fsw, ftw, ip, csOpcode, dp] = fields as Fields;
	X.setStatus(cpu, fsw & 0xffff);
	X.setControl(cpu, fcw & 0xffff);
	setFullTags(cpu, ftw);
	cpu.writeNumber(X.FIP, ip);
	cpu.writeNumber(X.FDP, dp);
	cpu.memory.u16[(cpu.base + X.FOP) >> 1] = isWide(insn) ? (csOpcode >>> 16) & 0x7ff : 0;
}

const environmentBytes = (insn: Insn) => (isWide(insn) ? 28 : 14);

/** FNSTENV: stores the environment, then masks all exceptions. */
export const fnstenv: Effect = (cpu, insn, services) => {
	if (!probe(cpu, insn, services, environmentBytes(insn))) return false;
	storeEnvironment(cpu, insn, services);
	X.setControl(cpu, X.control(cpu) | 0x3f);
	return true;
};

/** FLDENV. */
export const fldenv: Effect = (cpu, insn, services) => {
	const fields = loadEnvironment(cpu, insn, services);
	if (fields === null) return false;
	setEnvironment(cpu, insn, fields);
	return true;
};

/** FNSAVE: the environment and ST(0) to ST(7), then FNINIT. */
export const fnsave: Effect = (cpu, insn, services) => {
	const start = environmentBytes(insn);
	if (!probe(cpu, insn, services, start + 80)) return false;
	storeEnvironment(cpu, insn, services);
	for (let i = 0; i < 8; i++) {
		const { signExponent, significand } = X.registerBits(cpu, X.physical(cpu, i));
		storeAt(cpu, insn, services, start + 10 * i, 8, significand);
		storeAt(cpu, insn, services, start + 10 * i + 8, 2, BigInt(signExponent));
	}
	initialize(cpu);
	return true;
};

/** FRSTOR. */
export const frstor: Effect = (cpu, insn, services) => {
	const fields = loadEnvironment(cpu, insn, services);
	if (fields === null) return false;
	const start = environmentBytes(insn);
	const stack: { signExponent: number; significand: bigint }[] = [];
	for (let i = 0; i < 8; i++) {
		const significand = loadAt(cpu, insn, services, start + 10 * i, 8);
		const signExponent = Number(loadAt(cpu, insn, services, start + 10 * i + 8, 2));
		if (hasFault(cpu)) return false;
		stack.push({ signExponent, significand });
	}
	setEnvironment(cpu, insn, fields);
	for (const [i, bits] of stack.entries()) X.setRegisterBits(cpu, X.physical(cpu, i), bits);
	return true;
};
