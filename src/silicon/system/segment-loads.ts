/** Segment registers and descriptor-table registers: MOV, PUSH, POP, LDS …, LGDT …, LTR …, LAR, LSL, VERR, VERW. */
import type { Cpu } from "../cpu/cpu.ts";
import { GP0, UD, VECTOR } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, beginShadow, cpl, is64Bit, isLongMode, isProtectedMode } from "../cpu/modes.ts";
import { isCanonicalForRegister } from "../cpu/msr.ts";
import { FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import {
	ATTR,
	descriptorBase,
	descriptorLimit,
	segmentBase,
	segmentLimit,
	segmentSelector,
	setSegment,
} from "../cpu/segments.ts";
import { explicitAccess, faulted, readLinear, writeLinear } from "../paging/access.ts";
import { IMPLICIT } from "../paging/walk.ts";
import { Code, Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { segmentOf } from "../translate/registers.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import { umipForbids } from "./control-registers.ts";
import {
	descriptorLinear,
	isNull,
	loadDataSegment,
	loadNull,
	readDescriptor,
	selectorError,
} from "./descriptors.ts";
import {
	advance,
	fail,
	failWith,
	type Handler,
	intercepted,
	memoryOperand,
	nextRip,
	operandSize,
	peek,
	privileged,
	push,
	readOperand,
	registerIndex,
	setStackPointer,
	writeGpr,
	writeMemory,
} from "./operands.ts";

/** The segment register operand at a position, or -1. */
function segmentOperand(insn: Insn, at: number): number {
	const operand = insn.operands[at];
	return operand?.kind === "register" ? segmentOf(operand.register) : -1;
}

/** Ends an instruction that loaded a segment register. A load of SS casts a shadow over the next instruction. */
function loaded(cpu: Cpu, insn: Insn, segment: number): Outcome {
	if (segment === L.SS) beginShadow(cpu, BLOCKING.movSs, nextRip(insn));
	return advance(cpu, insn);
}

const movToSegment: Handler = (cpu, insn) => {
	const segment = segmentOperand(insn, 0);
	if (segment < 0 || segment === L.CS) return fail(cpu, UD);
	const selector = Number(readOperand(cpu, insn, 1, 2));
	if (faulted(cpu) || !loadDataSegment(cpu, segment, selector)) return OUTCOME.fault;
	return loaded(cpu, insn, segment);
};

const movFromSegment: Handler = (cpu, insn) => {
	const segment = segmentOperand(insn, 1);
	if (segment < 0) return fail(cpu, UD);
	return storeSelector(cpu, insn, segmentSelector(cpu, segment));
};

/** Stores 16 bits to memory, or zero-extended to a register of the operand's size. */
function storeSelector(cpu: Cpu, insn: Insn, selector: number): Outcome {
	if (insn.operands[0]?.kind === "register") {
		writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), BigInt(selector));
		return OUTCOME.next;
	}
	writeMemory(cpu, insn, 2, BigInt(selector));
	return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
}

/** Bytes that PUSH and POP of a segment register move, by the name of the encoding. */
function stackBytes(insn: Insn): number {
	const size = Code[insn.code]!.replace(/^(Push|Pop)/, "")[0];
	return size === "w" ? 2 : size === "d" ? 4 : 8;
}

const pushSegment: Handler = (cpu, insn) => {
	push(cpu, stackBytes(insn), BigInt(segmentSelector(cpu, segmentOperand(insn, 0))));
	return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
};

const popSegment: Handler = (cpu, insn) => {
	const segment = segmentOperand(insn, 0);
	const bytes = stackBytes(insn);
	const selector = Number(peek(cpu, bytes, 0) & 0xffffn);
	const above = cpu.gpr(L.RSP) + BigInt(bytes);
	if (faulted(cpu) || !loadDataSegment(cpu, segment, selector)) return OUTCOME.fault;
	setStackPointer(cpu, above);
	return loaded(cpu, insn, segment);
};

function loadFarPointer(segment: number): Handler {
	return (cpu, insn) => {
		const bytes = operandSize(insn, 0);
		const linear = memoryOperand(cpu, insn, bytes + 2);
		if (faulted(cpu)) return OUTCOME.fault;
		const offset = readLinear(cpu, linear, bytes, explicitAccess(cpu));
		if (faulted(cpu)) return OUTCOME.fault;
		const selector = Number(readLinear(cpu, linear + BigInt(bytes), 2, explicitAccess(cpu)));
		if (faulted(cpu) || !loadDataSegment(cpu, segment, selector)) return OUTCOME.fault;
		writeGpr(cpu, registerIndex(insn, 0), bytes, offset);
		return advance(cpu, insn);
	};
}

// ---- GDTR and IDTR ---------------------------------------------------------------------------------

function loadTable(table: number): Handler {
	return (cpu, insn) => {
		if (!privileged(cpu)) return fail(cpu, GP0);
		if (intercepted(cpu, insn, INTERCEPT.descriptorTable)) return OUTCOME.stop;
		const bytes = is64Bit(cpu) ? 8 : 4;
		const linear = memoryOperand(cpu, insn, bytes + 2);
		if (faulted(cpu)) return OUTCOME.fault;
		const limit = Number(readLinear(cpu, linear, 2, explicitAccess(cpu)));
		if (faulted(cpu)) return OUTCOME.fault;
		let base = readLinear(cpu, linear + 2n, bytes, explicitAccess(cpu));
		if (faulted(cpu)) return OUTCOME.fault;
		if (!isCanonicalForRegister(base, cpu)) return fail(cpu, GP0);
		// With a 16-bit operand size the base has 24 bits.
		if (insn.code === Code.Lgdt_m1632_16 || insn.code === Code.Lidt_m1632_16) base &= 0xffffffn;
		setSegment(cpu, table, 0, base, limit, 0);
		return OUTCOME.next;
	};
}

function storeTable(table: number): Handler {
	return (cpu, insn) => {
		if (umipForbids(cpu)) return fail(cpu, GP0);
		if (intercepted(cpu, insn, INTERCEPT.descriptorTable)) return OUTCOME.stop;
		const bytes = is64Bit(cpu) ? 8 : 4;
		const linear = memoryOperand(cpu, insn, bytes + 2);
		if (faulted(cpu)) return OUTCOME.fault;
		writeLinear(cpu, linear + 2n, bytes, segmentBase(cpu, table), explicitAccess(cpu));
		if (faulted(cpu)) return OUTCOME.fault;
		writeLinear(cpu, linear, 2, BigInt(segmentLimit(cpu, table)), explicitAccess(cpu));
		return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
	};
}

// ---- LDTR and TR -----------------------------------------------------------------------------------

/** LLDT and LTR: a system descriptor, which in IA-32e mode has 16 bytes. */
function loadSystemSegment(segment: number): Handler {
	return (cpu, insn) => {
		if (!isProtectedMode(cpu)) return fail(cpu, UD);
		if (!privileged(cpu)) return fail(cpu, GP0);
		if (intercepted(cpu, insn, INTERCEPT.localDescriptor)) return OUTCOME.stop;
		const selector = Number(readOperand(cpu, insn, 0, 2));
		if (faulted(cpu)) return OUTCOME.fault;
		if (isNull(selector)) {
			if (segment === L.TR) return fail(cpu, GP0);
			loadNull(cpu, segment, selector);
			return OUTCOME.next;
		}
		if ((selector & 4) !== 0) return failWith(cpu, VECTOR.GP, selectorError(selector));
		const found = readDescriptor(cpu, selector);
		if (found === null) return OUTCOME.fault;
		// LDT is type 2, available TSS type 9 (or 1 for 16 bits outside IA-32e mode).
		const fits =
			segment === L.LDTR ? found.type === 2 : found.type === 9 || (found.type === 1 && !isLongMode(cpu));
		if (!fits) return failWith(cpu, VECTOR.GP, selectorError(selector));
		if ((found.attributes & ATTR.P) === 0) return failWith(cpu, VECTOR.NP, selectorError(selector));
		let base = BigInt(descriptorBase(found.low, found.high));
		if (isLongMode(cpu)) {
			if ((selector & 0xfff8) + 15 > segmentLimit(cpu, L.GDTR)) {
				return failWith(cpu, VECTOR.GP, selectorError(selector));
			}
			base |= readLinear(cpu, descriptorLinear(cpu, selector) + 8n, 4, IMPLICIT) << 32n;
			if (faulted(cpu)) return OUTCOME.fault;
			if (!isCanonicalForRegister(base, cpu)) return failWith(cpu, VECTOR.GP, selectorError(selector));
		}
		let attributes = found.attributes;
		if (segment === L.TR) {
			// Marks the TSS busy.
			attributes |= 2;
			writeLinear(
				cpu,
				descriptorLinear(cpu, selector) + 5n,
				1,
				BigInt(((found.high >>> 8) & 0xff) | 2),
				IMPLICIT,
			);
			if (faulted(cpu)) return OUTCOME.fault;
		}
		setSegment(cpu, segment, selector, base, descriptorLimit(found.low, found.high), attributes);
		return OUTCOME.next;
	};
}

function storeSystemSelector(segment: number): Handler {
	return (cpu, insn) => {
		if (!isProtectedMode(cpu)) return fail(cpu, UD);
		if (umipForbids(cpu)) return fail(cpu, GP0);
		if (intercepted(cpu, insn, INTERCEPT.localDescriptor)) return OUTCOME.stop;
		return storeSelector(cpu, insn, segmentSelector(cpu, segment));
	};
}

// ---- queries ---------------------------------------------------------------------------------------

/** System descriptor types that LAR and LSL see in IA-32e mode: LDT, TSS available and busy; LAR also call gates. */
const LAR_TYPES = (1 << 2) | (1 << 9) | (1 << 11) | (1 << 12);
const LSL_TYPES = (1 << 2) | (1 << 9) | (1 << 11);

/** LAR, LSL, VERR, VERW: look at a descriptor, never fault on what it says, and answer in ZF. */
function query(kind: "lar" | "lsl" | "verr" | "verw"): Handler {
	return (cpu, insn) => {
		if (!isProtectedMode(cpu)) return fail(cpu, UD);
		const source = kind === "lar" || kind === "lsl" ? 1 : 0;
		const selector = Number(readOperand(cpu, insn, source, 2));
		if (faulted(cpu)) return OUTCOME.fault;
		const found = isNull(selector) ? null : readDescriptor(cpu, selector);
		const outside = found === null && faulted(cpu) && cpu.read32(L.FAULT_VECTOR) === VECTOR.GP;
		if (outside) cpu.write32(L.FAULT, 0);
		else if (faulted(cpu)) return OUTCOME.fault;
		let ok = found !== null;
		if (found !== null) {
			const { type, dpl } = found;
			const code = (type & 0x18) === 0x18;
			const conforming = code && (type & 4) !== 0;
			if (!conforming && (dpl < cpl(cpu) || dpl < (selector & 3))) ok = false;
			if (kind === "verr" && ((type & 0x10) === 0 || (code && (type & 2) === 0))) ok = false;
			if (kind === "verw" && (type & 0x1a) !== 0x12) ok = false;
			if ((type & 0x10) === 0) {
				if (kind === "lar" && (LAR_TYPES & (1 << type)) === 0) ok = false;
				if (kind === "lsl" && (LSL_TYPES & (1 << type)) === 0) ok = false;
			}
			if (ok && kind === "lar") {
				writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), BigInt((found.high & 0x00ffff00) >>> 0));
			} else if (ok && kind === "lsl") {
				const limit = BigInt(descriptorLimit(found.low, found.high));
				writeGpr(cpu, registerIndex(insn, 0), operandSize(insn, 0), limit);
			}
		}
		const flags = readRflags(cpu);
		writeRflags(cpu, ok ? flags | FLAG.ZF : flags & ~FLAG.ZF);
		return OUTCOME.next;
	};
}

/** SWAPGS: exchanges the GS base with IA32_KERNEL_GS_BASE. */
const swapgs: Handler = (cpu) => {
	if (!is64Bit(cpu)) return fail(cpu, UD);
	if (!privileged(cpu)) return fail(cpu, GP0);
	const at = L.SEG + L.GS * L.SEG_BYTES + L.SEG_BASE;
	const base = cpu.read64(at);
	cpu.write64(at, cpu.read64(L.KERNEL_GS_BASE));
	cpu.write64(L.KERNEL_GS_BASE, base);
	return OUTCOME.next;
};

/** ARPL adjusts a selector's RPL in 32-bit code. */
const arpl: Handler = (cpu, insn) => {
	if (!isProtectedMode(cpu)) return fail(cpu, UD);
	const target = readOperand(cpu, insn, 0, 2);
	if (faulted(cpu)) return OUTCOME.fault;
	const rpl = cpu.gpr(registerIndex(insn, 1)) & 3n;
	const raises = (target & 3n) < rpl;
	if (raises) {
		const value = (target & ~3n) | rpl;
		if (insn.operands[0]?.kind === "register") writeGpr(cpu, registerIndex(insn, 0), 2, value);
		else writeMemory(cpu, insn, 2, value);
		if (faulted(cpu)) return OUTCOME.fault;
	}
	const flags = readRflags(cpu);
	writeRflags(cpu, raises ? flags | FLAG.ZF : flags & ~FLAG.ZF);
	return OUTCOME.next;
};

/** Handlers by iced-x86 `Mnemonic`. */
export const segmentHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Lds, loadFarPointer(L.DS)],
	[Mnemonic.Les, loadFarPointer(L.ES)],
	[Mnemonic.Lfs, loadFarPointer(L.FS)],
	[Mnemonic.Lgs, loadFarPointer(L.GS)],
	[Mnemonic.Lss, loadFarPointer(L.SS)],
	[Mnemonic.Lgdt, loadTable(L.GDTR)],
	[Mnemonic.Lidt, loadTable(L.IDTR)],
	[Mnemonic.Sgdt, storeTable(L.GDTR)],
	[Mnemonic.Sidt, storeTable(L.IDTR)],
	[Mnemonic.Lldt, loadSystemSegment(L.LDTR)],
	[Mnemonic.Ltr, loadSystemSegment(L.TR)],
	[Mnemonic.Sldt, storeSystemSelector(L.LDTR)],
	[Mnemonic.Str, storeSystemSelector(L.TR)],
	[Mnemonic.Lar, query("lar")],
	[Mnemonic.Lsl, query("lsl")],
	[Mnemonic.Verr, query("verr")],
	[Mnemonic.Verw, query("verw")],
	[Mnemonic.Swapgs, swapgs],
	[Mnemonic.Arpl, arpl],
];

/** Handlers by iced-x86 `Code`, for mnemonics that have other forms as well. */
export const segmentCodeHandlers: readonly (readonly [number, Handler])[] = [
	...[Code.Mov_Sreg_rm16, Code.Mov_Sreg_r32m16, Code.Mov_Sreg_r64m16].map(
		(code) => [code, movToSegment] as const,
	),
	...[Code.Mov_rm16_Sreg, Code.Mov_r32m16_Sreg, Code.Mov_r64m16_Sreg].map(
		(code) => [code, movFromSegment] as const,
	),
	...codes(/^Push[wdq]_[C-GS]S$/, pushSegment),
	...codes(/^Pop[wdq]_[D-GS]S$/, popSegment),
];

/** Pairs a handler with every encoding whose name matches. */
function codes(name: RegExp, handler: Handler): (readonly [number, Handler])[] {
	const found = Object.entries(Code).filter(([key, value]) => name.test(key) && typeof value === "number");
	return found.map(([, value]) => [value as unknown as number, handler] as const);
}
