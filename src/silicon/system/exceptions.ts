/**
 * Delivery of events through the IDT (SDM Vol. 3A, chapter 7): 64-bit gates with IST, 32-bit gates, and the
 * real-mode vector table; double and triple faults.
 *
 * Nothing of the processor changes before all of a delivery's checks and stack writes have succeeded, so a VM exit
 * in the middle sees the state before the event, and VECTORING_INFO tells it which event that was.
 */
import type { Cpu } from "../cpu/cpu.ts";
import { checkEventEntry, finishEventEntry } from "../cet/far-transfers.ts";
import { isCetOn } from "../cpu/cet.ts";
import { DR6, noteDebugException } from "../cpu/debug.ts";
import { FAULT_KIND, raise, VECTOR } from "../cpu/fault.ts";
import { fromHalves } from "../cpu/halves.ts";
import * as L from "../cpu/layout.ts";
import { isCanonicalHigh } from "../cpu/msr.ts";
import { BLOCKING, cpl, is64Bit, isLongMode, isProtectedMode } from "../cpu/modes.ts";
import { FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import { ATTR, segmentAt, segmentBase, segmentLimit, segmentSelector } from "../cpu/segments.ts";
import {
	faulted,
	probeLinear,
	probeWords,
	readLinear,
	readWords,
	writeLinear,
	writeWords,
} from "../paging/access.ts";
import { PF } from "../paging/physical.ts";
import { IMPLICIT } from "../paging/walk.ts";
import {
	type Descriptor,
	isCodeSegment,
	isConforming,
	isNull,
	loadFromDescriptor,
	loadNull,
	loadRealSegment,
	readDescriptor,
	selectorError,
} from "./descriptors.ts";

/**
 * `hardware`: external interrupt or NMI. `software`: INT n, INT3, INTO. `privileged`: INT1, which like them returns
 * behind itself but asks no gate for its DPL. `exception`: found by the processor.
 */
export type EventType = "hardware" | "software" | "privileged" | "exception";

/** Vectors whose fault during the delivery of another makes a double fault (SDM table 7-4). */
function isContributory(vector: number): boolean {
	return vector === VECTOR.DE || (vector >= VECTOR.TS && vector <= VECTOR.GP) || vector === VECTOR.CP;
}

/** Whether a second exception while the first is being delivered makes a double fault (SDM table 7-5). */
export function makesDoubleFault(first: number, second: number): boolean {
	if (isContributory(first)) return isContributory(second);
	if (first === VECTOR.PF) return second === VECTOR.PF || isContributory(second);
	return false;
}

/** Type of an event in bits 10:8 of interruption information (SDM table 25-17). */
function interruptionType(vector: number, type: EventType): number {
	if (type === "exception") return 3;
	if (type === "privileged") return 5;
	if (type === "software") return vector === VECTOR.BP || vector === VECTOR.OF ? 6 : 4;
	return vector === VECTOR.NMI ? 2 : 0;
}

function noteVectoring(
	cpu: Cpu,
	vector: number,
	type: EventType,
	errorCode: number | null,
	length: number,
): void {
	const info =
		vector | (interruptionType(vector, type) << 8) | (errorCode === null ? 0 : 1 << 11) | (1 << 31);
	cpu.write32(L.VECTORING_INFO, info);
	cpu.write32(L.VECTORING_ERROR_CODE, errorCode ?? 0);
	cpu.write32(L.VECTORING_LENGTH, length);
}

function endVectoring(cpu: Cpu): void {
	cpu.write32(L.VECTORING_INFO, 0);
	cpu.write32(L.VECTORING_LENGTH, 0);
}

/** Third fault: a VM exit, or shutdown of the bare machine. */
function tripleFault(cpu: Cpu): boolean {
	if (cpu.guest !== null) {
		cpu.guest.tripleFault(cpu);
		return cpu.guest === null;
	}
	cpu.write32(L.ACTIVITY, 2);
	cpu.halted = "shutdown";
	return true;
}

/**
 * Delivers an event. Faults on the way are delivered instead, up to the triple fault.
 * @param vector 0-255
 * @param errorCode pushed if not null
 * @param instructionLength of the INT instruction: software events return behind it. 0 for all others
 * @returns true if the context ended: a VM exit on the way, or shutdown
 */
export function deliverEvent(
	cpu: Cpu,
	vector: number,
	type: EventType,
	errorCode: number | null,
	instructionLength: number,
): boolean {
	let event = vector;
	let kind = type;
	let code = errorCode;
	let length = instructionLength;
	for (;;) {
		noteVectoring(cpu, event, kind, code, length);
		cpu.write32(L.FAULT, FAULT_KIND.none);
		if (attempt(cpu, event, kind, code, length)) {
			endVectoring(cpu);
			return false;
		}
		const noted = cpu.read32(L.FAULT);
		cpu.write32(L.FAULT, FAULT_KIND.none);
		if (noted === FAULT_KIND.secondLevel) {
			cpu.guest!.secondLevelFault(cpu);
			endVectoring(cpu);
			return cpu.guest === null;
		}
		const second = cpu.read32(L.FAULT_VECTOR);
		const secondCode = cpu.read32(L.FAULT_HAS_ERROR_CODE) !== 0 ? cpu.read32(L.FAULT_ERROR_CODE) : null;
		// The second exception is offered to the hypervisor before it turns into a double fault (SDM 26.2).
		if (exceptionExits(cpu, second, secondCode)) return true;
		if (second === VECTOR.PF) cpu.write64(L.CR2, cpu.read64(L.FAULT_LINEAR));
		if (kind === "exception" && event === VECTOR.DF && (isContributory(second) || second === VECTOR.PF)) {
			endVectoring(cpu);
			return tripleFault(cpu);
		}
		const double = kind === "exception" && makesDoubleFault(event, second);
		event = double ? VECTOR.DF : second;
		code = double ? 0 : secondCode;
		kind = "exception";
		length = 0;
		if (double) {
			// A #DF that exits directly did not occur during delivery, as the manual counts it (SDM 28.2.4).
			endVectoring(cpu);
			if (exceptionExits(cpu, VECTOR.DF, 0)) return true;
		}
	}
}

function exceptionExits(cpu: Cpu, vector: number, errorCode: number | null): boolean {
	if (cpu.guest === null || !cpu.guest.exception(cpu, vector, errorCode ?? 0, errorCode !== null))
		return false;
	endVectoring(cpu);
	return true;
}

/**
 * Delivers the noted fault: an exception through the IDT or as a VM exit, a second-level fault as a VM exit.
 * @returns true if the context ended
 */
export function deliverFault(cpu: Cpu): boolean {
	const ended = deliverNoted(cpu);
	cpu.nmiUnblockedByIret = false;
	return ended;
}

function deliverNoted(cpu: Cpu): boolean {
	const kind = cpu.read32(L.FAULT);
	cpu.write32(L.FAULT, FAULT_KIND.none);
	if (kind === FAULT_KIND.secondLevel) {
		cpu.guest!.secondLevelFault(cpu);
		return cpu.guest === null;
	}
	const vector = cpu.read32(L.FAULT_VECTOR);
	const errorCode = cpu.read32(L.FAULT_HAS_ERROR_CODE) !== 0 ? cpu.read32(L.FAULT_ERROR_CODE) : null;
	const details = vector === VECTOR.DB ? cpu.read32(L.FAULT_LINEAR) : 0;
	if (exceptionExits(cpu, vector, errorCode)) return true;
	if (vector === VECTOR.DB) {
		noteDebugException(cpu, details);
		// DR7.GD is a fault like others, whose frame has RF set.
		if ((details & DR6.BD) !== 0) cpu.write32(L.RFLAGS, cpu.read32(L.RFLAGS) | FLAG.RF);
	}
	// CR2 belongs to the delivery, not to the fault: a VM exit leaves it alone (SDM 28.1).
	if (vector === VECTOR.PF) cpu.write64(L.CR2, cpu.read64(L.FAULT_LINEAR));
	return deliverEvent(cpu, vector, "exception", errorCode, 0);
}

/** The gate under way, the offset in it, and where its handler is to return to, in halves. */
const gate = new Uint32Array(4);
const target = new Uint32Array(2);
const returnTo = new Uint32Array(2);

/**
 * Reads quadwords of a table that a segment register names: the IDT, or a TSS.
 * @param segment L.IDTR or L.TR
 * @param offset in bytes
 * @param into takes them; `count` doublewords
 * @returns false with a fault noted
 */
function readTable(cpu: Cpu, segment: number, offset: number, into: Uint32Array, count: number): boolean {
	const base = segmentAt(segment) + L.SEG_BASE;
	const low = cpu.read32(base) + offset;
	const high = cpu.read32(base + 4) + (low > 0xffffffff ? 1 : 0);
	return readWords(cpu, low >>> 0, high >>> 0, into, count, IMPLICIT);
}

/** One delivery. @returns false with a fault noted and nothing changed */
function attempt(
	cpu: Cpu,
	vector: number,
	type: EventType,
	errorCode: number | null,
	length: number,
): boolean {
	if (!isProtectedMode(cpu)) return attemptReal(cpu, vector, length);
	const external = type === "software" ? 0 : 1;
	const error = (vector << 3) | 2 | external;
	const long = isLongMode(cpu);
	const gateBytes = long ? 16 : 8;
	if (vector * gateBytes + gateBytes - 1 > segmentLimit(cpu, L.IDTR)) return refuse(cpu, VECTOR.GP, error);
	if (!readTable(cpu, L.IDTR, vector * gateBytes, gate, gateBytes >> 2)) return false;
	const high = gate[1]!;
	const gateType = (high >>> 8) & 0x1f;
	// 64-bit and 32-bit interrupt and trap gates; 16-bit and task gates are not implemented.
	if (gateType !== 0xe && gateType !== 0xf) return refuse(cpu, VECTOR.GP, error);
	const level = cpl(cpu);
	if (type === "software" && ((high >>> 13) & 3) < level) return refuse(cpu, VECTOR.GP, error);
	if ((high & 0x8000) === 0) return refuse(cpu, VECTOR.NP, error);
	target[0] = (high & 0xffff0000) | (gate[0]! & 0xffff);
	target[1] = long ? gate[2]! : 0;

	const selector = gate[0]! >>> 16;
	if (isNull(selector)) return refuse(cpu, VECTOR.GP, external);
	const code = readDescriptor(cpu, selector, VECTOR.GP, external);
	if (code === null) return false;
	const wrongMode = long && (code.attributes & ATTR.L) === 0;
	if (!isCodeSegment(cpu, code) || code.dpl > level || wrongMode) {
		return refuse(cpu, VECTOR.GP, selectorError(selector) | external);
	}
	if ((code.attributes & ATTR.P) === 0) return refuse(cpu, VECTOR.NP, selectorError(selector) | external);

	const returnLow = cpu.read32(L.RIP) + (type === "software" || type === "privileged" ? length : 0);
	returnTo[0] = returnLow;
	returnTo[1] = cpu.read32(L.RIP + 4) + (returnLow > 0xffffffff ? 1 : 0);
	let flags = readRflags(cpu);
	// Faults return with RF set, so that an instruction breakpoint does not fire again (SDM 18.3.1.1).
	const savedFlags = type === "exception" && vector !== VECTOR.DB ? flags | FLAG.RF : flags;
	const newLevel = isConforming(code) ? level : code.dpl;
	const done = long
		? enter64(cpu, code, newLevel, high & 7, savedFlags, errorCode, external)
		: enter32(cpu, code, newLevel, savedFlags, errorCode, external);
	if (!done) return false;

	flags &= ~(FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM);
	if (gateType === 0xe) flags &= ~FLAG.IF;
	finishDelivery(cpu, vector, type, flags);
	return true;
}

function refuse(cpu: Cpu, vector: number, errorCode: number): false {
	raise(cpu, vector, errorCode);
	return false;
}

function finishDelivery(cpu: Cpu, vector: number, type: EventType, flags: number): void {
	writeRflags(cpu, flags);
	let state = cpu.read32(L.INTERRUPTIBILITY) & ~(BLOCKING.sti | BLOCKING.movSs);
	if (type === "hardware" && vector === VECTOR.NMI) state |= BLOCKING.nmi;
	cpu.write32(L.INTERRUPTIBILITY, state);
	cpu.write32(L.ACTIVITY, 0);
}

/** Linear address that the handler is to return to. */
function linearReturn(cpu: Cpu): bigint {
	const rip = fromHalves(returnTo[0]!, returnTo[1]!);
	return is64Bit(cpu) ? rip : BigInt.asUintN(32, segmentBase(cpu, L.CS) + rip);
}

/** The frame under way, in halves: error code, RIP, CS, RFLAGS, RSP, SS. */
const frame = new Uint32Array(12);
/** A stack pointer from a TSS, in halves. */
const stackPointer = new Uint32Array(2);

/**
 * Reads the stack pointer of a 64-bit gate's handler into `stackPointer`.
 * @param inner the handler's privilege level is another
 * @returns false with a fault noted
 */
function readStackPointer(
	cpu: Cpu,
	newLevel: number,
	inner: boolean,
	ist: number,
	external: number,
): boolean {
	if (ist === 0 && !inner) {
		stackPointer[0] = cpu.read32(L.GPR + L.RSP * 8);
		stackPointer[1] = cpu.read32(L.GPR + L.RSP * 8 + 4);
		return true;
	}
	// IST1 lies at offset 36, RSP0 at 4 (SDM figure 9-11).
	const at = ist !== 0 ? 28 + 8 * ist : 4 + 8 * newLevel;
	if (at + 7 <= segmentLimit(cpu, L.TR)) return readTable(cpu, L.TR, at, stackPointer, 2);
	return refuse(cpu, VECTOR.TS, selectorError(segmentSelector(cpu, L.TR)) | external);
}

/** Builds the frame of a 64-bit gate and enters its handler (SDM 7.14). */
function enter64(
	cpu: Cpu,
	code: Descriptor,
	newLevel: number,
	ist: number,
	flags: number,
	errorCode: number | null,
	external: number,
): boolean {
	const inner = newLevel !== cpl(cpu);
	if (!readStackPointer(cpu, newLevel, inner, ist, external)) return false;
	if (!isCanonicalHigh(cpu, target[1]!)) return refuse(cpu, VECTOR.GP, external);
	const bytes = errorCode === null ? 40 : 48;
	const below = (stackPointer[0]! & ~15) >>> 0;
	const low = (below - bytes) >>> 0;
	const high = (stackPointer[1]! - (below < bytes ? 1 : 0)) >>> 0;
	if (!isCanonicalHigh(cpu, high) || !isCanonicalHigh(cpu, stackPointer[1]!))
		return refuse(cpu, VECTOR.SS, external);
	const access = newLevel === 3 ? PF.user : 0;
	if (!probeWords(cpu, low, high, bytes, access | PF.write)) return false;
	const lip = isCetOn(cpu) ? linearReturn(cpu) : 0n;
	const shadow = checkEventEntry(cpu, newLevel, ist, segmentSelector(cpu, L.CS), lip);
	if (shadow === null) return false;
	frame[0] = errorCode ?? 0;
	frame[2] = returnTo[0]!;
	frame[3] = returnTo[1]!;
	frame[4] = segmentSelector(cpu, L.CS);
	frame[6] = flags;
	frame[8] = cpu.read32(L.GPR + L.RSP * 8);
	frame[9] = cpu.read32(L.GPR + L.RSP * 8 + 4);
	frame[10] = segmentSelector(cpu, L.SS);
	if (!writeWords(cpu, low, high, frame, errorCode === null ? 2 : 0, access)) return false;
	loadFromDescriptor(cpu, L.CS, (code.selector & ~3) | newLevel, code);
	if (faulted(cpu)) return false;
	finishEventEntry(cpu, newLevel, shadow);
	if (inner) loadNull(cpu, L.SS, newLevel, newLevel);
	cpu.write32(L.GPR + L.RSP * 8, low);
	cpu.write32(L.GPR + L.RSP * 8 + 4, high);
	enterAt(cpu);
	return true;
}

/** Sets RIP to the gate's offset. */
function enterAt(cpu: Cpu): void {
	cpu.write32(L.RIP, target[0]!);
	cpu.write32(L.RIP + 4, target[1]!);
}

/** Builds the frame of a 32-bit gate and enters its handler, on the stack of the TSS for an inner level (SDM 7.12). */
function enter32(
	cpu: Cpu,
	code: Descriptor,
	newLevel: number,
	flags: number,
	errorCode: number | null,
	external: number,
): boolean {
	const inner = newLevel !== cpl(cpu);
	const values = errorCode === null ? [] : [BigInt(errorCode >>> 0)];
	values.push(BigInt(returnTo[0]!), BigInt(segmentSelector(cpu, L.CS)), BigInt(flags >>> 0));
	let stackBase = segmentBase(cpu, L.SS);
	let stack = cpu.gpr(L.RSP) & 0xffffffffn;
	let segment: Descriptor | null = null;
	if (inner) {
		const at = segmentBase(cpu, L.TR) + BigInt(4 + 8 * newLevel);
		const tr = selectorError(segmentSelector(cpu, L.TR)) | external;
		if (4 + 8 * newLevel + 5 > segmentLimit(cpu, L.TR)) return refuse(cpu, VECTOR.TS, tr);
		values.push(stack, BigInt(segmentSelector(cpu, L.SS)));
		stack = readLinear(cpu, at, 4, IMPLICIT);
		if (faulted(cpu)) return false;
		const selector = Number(readLinear(cpu, at + 4n, 2, IMPLICIT));
		if (faulted(cpu)) return false;
		segment = readDescriptor(cpu, selector, VECTOR.TS, external);
		if (segment === null) return false;
		const wrong = (selector & 3) !== newLevel || segment.dpl !== newLevel || (segment.type & 0x1a) !== 0x12;
		if (wrong) return refuse(cpu, VECTOR.TS, selectorError(selector) | external);
		if ((segment.attributes & ATTR.P) === 0)
			return refuse(cpu, VECTOR.SS, selectorError(selector) | external);
		stackBase =
			BigInt((segment.low >>> 16) | ((segment.high & 0xff) << 16) | (segment.high & 0xff000000)) &
			0xffffffffn;
	}
	const bytes = values.length * 4;
	const top = BigInt.asUintN(32, stack - BigInt(bytes));
	const linear = (stackBase + top) & 0xffffffffn;
	const access = newLevel === 3 ? PF.user : 0;
	if (!probeLinear(cpu, linear, bytes, access | PF.write)) return false;
	const shadow = checkEventEntry(cpu, newLevel, 0, segmentSelector(cpu, L.CS), linearReturn(cpu));
	if (shadow === null) return false;
	for (const [at, value] of values.entries()) writeLinear(cpu, linear + BigInt(at * 4), 4, value, access);
	if (faulted(cpu)) return false;
	loadFromDescriptor(cpu, L.CS, (code.selector & ~3) | newLevel, code);
	if (faulted(cpu)) return false;
	finishEventEntry(cpu, newLevel, shadow);
	if (segment !== null) loadFromDescriptor(cpu, L.SS, segment.selector, segment);
	cpu.setGpr(L.RSP, top);
	enterAt(cpu);
	return true;
}

/** Real mode: the vector table holds far pointers, the frame is FLAGS, CS and IP (SDM Vol. 3B, 21.1.4). */
function attemptReal(cpu: Cpu, vector: number, length: number): boolean {
	if (vector * 4 + 3 > segmentLimit(cpu, L.IDTR)) return refuse(cpu, VECTOR.GP, vector * 8 + 2);
	const entry = Number(readLinear(cpu, segmentBase(cpu, L.IDTR) + BigInt(vector * 4), 4, IMPLICIT));
	if (faulted(cpu)) return false;
	const sp = cpu.gpr(L.RSP);
	const top = (sp - 6n) & 0xffffn;
	const base = segmentBase(cpu, L.SS);
	const rip = cpu.read64(L.RIP) + BigInt(length);
	const flags = readRflags(cpu);
	writeLinear(cpu, base + top, 2, rip & 0xffffn, 0);
	writeLinear(cpu, base + top + 2n, 2, BigInt(segmentSelector(cpu, L.CS)), 0);
	writeLinear(cpu, base + top + 4n, 2, BigInt(flags & 0xffff), 0);
	if (faulted(cpu)) return false;
	cpu.setGpr(L.RSP, (sp & ~0xffffn) | top);
	const selector = entry >>> 16;
	loadRealSegment(cpu, L.CS, selector);
	cpu.write64(L.RIP, BigInt(entry & 0xffff));
	finishDelivery(cpu, vector, "exception", flags & ~(FLAG.IF | FLAG.TF | FLAG.AC));
	return true;
}
