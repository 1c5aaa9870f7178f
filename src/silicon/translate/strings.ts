/**
 * String instructions (SDM Vol. 1, 7.3.9), in TypeScript. Each iteration leaves the registers exact, so that a
 * fault or an event in the middle of a REP finds the instruction restartable.
 */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { tlbOffset } from "../cpu/tlb-index.ts";
import { DR7 } from "../cpu/debug.ts";
import { CC, FLAG } from "../cpu/rflags.ts";
import { Mnemonic as M } from "./decode.ts";
import { ccOp } from "./flags.ts";
import type { Insn } from "./insn.ts";
import { hasFault, isUser, linearIn, registerValue, setRegisterValue } from "./memory-operands.ts";
import { hasCodeLimits, modeOf } from "./mode.ts";
import { OUTCOME, type Outcome, type Services } from "./services.ts";

type StringMicrocode = (cpu: Cpu, insn: Insn, services: Services) => Outcome;

/** Bytes of an element, by mnemonic. */
// biome-ignore format: one row an instruction
const SIZES = new Map<number, number>([
	[M.Movsb, 1], [M.Movsw, 2], [M.Movsd, 4], [M.Movsq, 8],
	[M.Stosb, 1], [M.Stosw, 2], [M.Stosd, 4], [M.Stosq, 8],
	[M.Lodsb, 1], [M.Lodsw, 2], [M.Lodsd, 4], [M.Lodsq, 8],
	[M.Scasb, 1], [M.Scasw, 2], [M.Scasd, 4], [M.Scasq, 8],
	[M.Cmpsb, 1], [M.Cmpsw, 2], [M.Cmpsd, 4], [M.Cmpsq, 8],
]);

/** Whether it is a string instruction: MOVSD and CMPSD name SSE instructions too. */
export function isString(insn: Insn): boolean {
	if (!SIZES.has(insn.mnemonic)) return false;
	if (insn.mnemonic !== M.Movsd && insn.mnemonic !== M.Cmpsd) return true;
	return insn.operands.length === 2 && insn.operands.every((operand) => operand.kind === "memory");
}

/** Linear addresses of the operands, with the checks of their segments. */
function sourceLinear(cpu: Cpu, insn: Insn, bytes: number): bigint {
	const offset = registerValue(cpu, L.RSI, insn.addressBytes);
	return linearIn(cpu, insn.segment, offset, insn.bitness, bytes, false);
}

function destinationLinear(cpu: Cpu, insn: Insn, bytes: number, write: boolean): bigint {
	const offset = registerValue(cpu, L.RDI, insn.addressBytes);
	return linearIn(cpu, L.ES, offset, insn.bitness, bytes, write);
}

function loadSource(cpu: Cpu, insn: Insn, services: Services, bytes: number): bigint {
	const linear = sourceLinear(cpu, insn, bytes);
	return hasFault(cpu) ? 0n : services.load(cpu, linear, bytes, insn.segment === L.SS);
}

function loadDestination(cpu: Cpu, insn: Insn, services: Services, bytes: number): bigint {
	const linear = destinationLinear(cpu, insn, bytes, false);
	return hasFault(cpu) ? 0n : services.load(cpu, linear, bytes);
}

function storeDestination(cpu: Cpu, insn: Insn, services: Services, bytes: number, value: bigint): void {
	const linear = destinationLinear(cpu, insn, bytes, true);
	if (!hasFault(cpu)) services.store(cpu, linear, bytes, value);
}

function advance(cpu: Cpu, insn: Insn, register: number, bytes: number): void {
	setRegisterValue(cpu, register, insn.addressBytes, cpu.gpr(register) + BigInt(bytes));
}

/** Signed step of an element: DF says which way. */
function stepOf(cpu: Cpu, bytes: number): number {
	return (cpu.read32(L.RFLAGS) & FLAG.DF) === 0 ? bytes : -bytes;
}

/** Flags as CMP left, right would leave them. */
function compareFlags(cpu: Cpu, bytes: number, left: bigint, right: bigint): void {
	cpu.write64(L.CC_DST, left);
	cpu.write64(L.CC_SRC, right);
	cpu.write32(L.CC_OP, ccOp(CC.sub, bytes));
}

/**
 * Byte offset in the machine's memory of a page-local range, if the TLB has it.
 * @param table TLB_READ or TLB_WRITE
 * @returns -1 if not
 */
function hostAddress(cpu: Cpu, table: number, linear: bigint): number {
	const low = Number(linear & 0xffffffffn);
	const bank = isUser(cpu) ? L.USER_BANK : 0;
	const entry = cpu.base + bank + table + tlbOffset(low);
	if (cpu.u64[entry >> 3] !== (linear & ~0xfffn)) return -1;
	return (low + cpu.u32[(entry + 8) >> 2]!) >>> 0;
}

/** Elements from a linear address to the end of its page. At least 1: the last may cross. */
function elementsInPage(linear: bigint, bytes: number): number {
	return Math.max(1, Math.floor((4096 - Number(linear & 0xfffn)) / bytes));
}

/** One element of each kind. @returns false with a fault noted and nothing changed */
type Element = (cpu: Cpu, insn: Insn, services: Services, bytes: number) => boolean;

const move: Element = (cpu, insn, services, bytes) => {
	const value = loadSource(cpu, insn, services, bytes);
	if (hasFault(cpu)) return false;
	storeDestination(cpu, insn, services, bytes, value);
	if (hasFault(cpu)) return false;
	advance(cpu, insn, L.RSI, stepOf(cpu, bytes));
	advance(cpu, insn, L.RDI, stepOf(cpu, bytes));
	return true;
};

const store: Element = (cpu, insn, services, bytes) => {
	storeDestination(cpu, insn, services, bytes, registerValue(cpu, L.RAX, bytes));
	if (hasFault(cpu)) return false;
	advance(cpu, insn, L.RDI, stepOf(cpu, bytes));
	return true;
};

const load: Element = (cpu, insn, services, bytes) => {
	const value = loadSource(cpu, insn, services, bytes);
	if (hasFault(cpu)) return false;
	setRegisterValue(cpu, L.RAX, bytes, value);
	advance(cpu, insn, L.RSI, stepOf(cpu, bytes));
	return true;
};

const scan: Element = (cpu, insn, services, bytes) => {
	const value = loadDestination(cpu, insn, services, bytes);
	if (hasFault(cpu)) return false;
	compareFlags(cpu, bytes, registerValue(cpu, L.RAX, bytes), value);
	advance(cpu, insn, L.RDI, stepOf(cpu, bytes));
	return true;
};

/** ES:(E)DI is read first, as a Zen 4 does: of two faults its own comes. */
const compare: Element = (cpu, insn, services, bytes) => {
	const right = loadDestination(cpu, insn, services, bytes);
	if (hasFault(cpu)) return false;
	const left = loadSource(cpu, insn, services, bytes);
	if (hasFault(cpu)) return false;
	compareFlags(cpu, bytes, left, right);
	advance(cpu, insn, L.RSI, stepOf(cpu, bytes));
	advance(cpu, insn, L.RDI, stepOf(cpu, bytes));
	return true;
};

/** Copies up to `count` elements within the pages of source and destination at once. @returns how many */
function moveRun(cpu: Cpu, insn: Insn, bytes: number, count: number): number {
	const from = hostAddress(cpu, L.TLB_READ, sourceLinear(cpu, insn, 1));
	const to = hostAddress(cpu, L.TLB_WRITE, destinationLinear(cpu, insn, 1, true));
	if (from < 0 || to < 0 || (from & 0xfff) + bytes * count > 4096 || (to & 0xfff) + bytes * count > 4096)
		return 0;
	// Forward copies onto a range that starts within the source repeat it, element by element.
	const length = bytes * count;
	if (to > from && to < from + length) return 0;
	cpu.memory.u8.copyWithin(to, from, from + length);
	advance(cpu, insn, L.RSI, length);
	advance(cpu, insn, L.RDI, length);
	return count;
}

/** Fills up to `count` elements within a page at once. @returns how many */
function storeRun(cpu: Cpu, insn: Insn, bytes: number, count: number): number {
	const to = hostAddress(cpu, L.TLB_WRITE, destinationLinear(cpu, insn, 1, true));
	const length = bytes * count;
	if (to < 0 || (to & 0xfff) + length > 4096) return 0;
	const { u8 } = cpu.memory;
	const value = registerValue(cpu, L.RAX, bytes);
	for (let at = 0; at < bytes; at++) u8[to + at] = Number((value >> BigInt(8 * at)) & 0xffn);
	// Doubling copies of what is there.
	for (let done = bytes; done < length; done *= 2) {
		u8.copyWithin(to + done, to, to + Math.min(done, length - done));
	}
	advance(cpu, insn, L.RDI, length);
	return count;
}

type Run = (cpu: Cpu, insn: Insn, bytes: number, count: number) => number;

/** A debugger looks behind each element: single-step traps, or breakpoints that are on (SDM Vol. 3B, 18.3.1.4). */
function isStepped(cpu: Cpu): boolean {
	return (cpu.read32(L.RFLAGS) & FLAG.TF) !== 0 || (cpu.read32(L.DR7) & DR7.enables) !== 0;
}

/** Elements until the next page of either operand, or the count. Depends on the addresses alone. */
function elementsInStep(cpu: Cpu, insn: Insn, bytes: number, count: bigint): number {
	if (isStepped(cpu)) return 1;
	let elements = count > 4096n ? 4096 : Number(count);
	// Segments with limits are checked at each element.
	if (insn.bitness !== 64 && hasCodeLimits(modeOf(cpu))) return Math.min(elements, 64);
	if ((cpu.read32(L.RFLAGS) & FLAG.DF) !== 0) return Math.min(elements, 64);
	elements = Math.min(elements, elementsInPage(destinationLinear(cpu, insn, 1, false), bytes));
	return Math.min(elements, elementsInPage(sourceLinear(cpu, insn, 1), bytes));
}

/** Whether runs may be done at once: no limit of a segment can lie within. */
function inPages(cpu: Cpu, insn: Insn): boolean {
	return insn.bitness === 64 || !hasCodeLimits(modeOf(cpu));
}

/**
 * A string instruction from its element.
 * @param run does many elements at once, or 0 of them if it cannot
 * @param stops whether REPE and REPNE look at ZF
 */
function repeated(element: Element, run: Run | null, stops: boolean): StringMicrocode {
	return (cpu, insn, services) => {
		const bytes = SIZES.get(insn.mnemonic)!;
		if (!insn.rep && !insn.repne) return element(cpu, insn, services, bytes) ? OUTCOME.next : OUTCOME.fault;
		const cost = cpu.model.guestCosts.string.cycles;
		for (;;) {
			const count = registerValue(cpu, L.RCX, insn.addressBytes);
			if (count === 0n) return OUTCOME.next;
			const elements = elementsInStep(cpu, insn, bytes, count);
			let done = 0;
			// The last element of a step may cross pages, so a step of one goes element by element.
			while (done < elements) {
				const forward = (cpu.read32(L.RFLAGS) & FLAG.DF) === 0;
				const fast =
					run !== null && forward && inPages(cpu, insn) ? run(cpu, insn, bytes, elements - done) : 0;
				if (fast > 0) done += fast;
				else if (element(cpu, insn, services, bytes)) done++;
				else {
					// Before the first element nothing of RCX changes, not even its upper half.
					if (done > 0) setRegisterValue(cpu, L.RCX, insn.addressBytes, count - BigInt(done));
					return OUTCOME.fault;
				}
				if (stops && isOver(cpu, insn)) {
					setRegisterValue(cpu, L.RCX, insn.addressBytes, count - BigInt(done));
					cpu.cycles += cost * done;
					return OUTCOME.next;
				}
			}
			setRegisterValue(cpu, L.RCX, insn.addressBytes, count - BigInt(done));
			// Fast strings move a cache line where the others look at an element.
			cpu.cycles += cost * (run === null ? done : Math.ceil((done * bytes) / 64));
			// Events are taken between steps: RIP still names the instruction.
			if (count > BigInt(done) && (cpu.cycles >= cpu.limit || isStepped(cpu))) return OUTCOME.again;
		}
	};
}

/** Whether REPE or REPNE ends after a comparison. */
function isOver(cpu: Cpu, insn: Insn): boolean {
	const equal = cpu.read64(L.CC_DST) === cpu.read64(L.CC_SRC);
	return insn.repne ? equal : !equal;
}

function rows(names: readonly number[], microcode: StringMicrocode): [number, StringMicrocode][] {
	return names.map((name) => [name, microcode]);
}

/** String instructions by mnemonic; ask `isString` first. */
export const STRINGS: ReadonlyMap<number, StringMicrocode> = new Map<number, StringMicrocode>([
	...rows([M.Movsb, M.Movsw, M.Movsd, M.Movsq], repeated(move, moveRun, false)),
	...rows([M.Stosb, M.Stosw, M.Stosd, M.Stosq], repeated(store, storeRun, false)),
	...rows([M.Lodsb, M.Lodsw, M.Lodsd, M.Lodsq], repeated(load, null, false)),
	...rows([M.Scasb, M.Scasw, M.Scasd, M.Scasq], repeated(scan, null, true)),
	...rows([M.Cmpsb, M.Cmpsw, M.Cmpsd, M.Cmpsq], repeated(compare, null, true)),
]);
