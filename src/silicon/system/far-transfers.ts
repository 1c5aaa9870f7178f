/** Far JMP, CALL and RET, IRET, and the fast system calls (SDM Vol. 2; Vol. 3A, 6.8). */
import { isCetOn } from "../cpu/cet.ts";
import { EFER } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { GP0, raise, UD, VECTOR } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { BLOCKING, cpl, is64Bit, isLongMode, isProtectedMode } from "../cpu/modes.ts";
import { isCanonical } from "../cpu/msr.ts";
import { FLAG, readRflags, writeRflags } from "../cpu/rflags.ts";
import {
	ATTR,
	descriptorBase,
	descriptorLimit,
	segmentBase,
	segmentLimit,
	segmentSelector,
	setSegment32,
} from "../cpu/segments.ts";
import {
	checkFarBranch,
	checkFarReturn,
	finishFarBranch,
	finishFarReturn,
	type ShadowReturn,
	UNCHANGED,
	shadowSystemCall,
	shadowSystemReturn,
} from "../cet/far-transfers.ts";
import { explicitAccess, faulted, knownRange, readLinear } from "../paging/access.ts";
import { Code, Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME, type Outcome } from "../translate/services.ts";
import { trapAfterSystemCall } from "./debug.ts";
import {
	type Descriptor,
	dropInnerSegments,
	isCodeSegment,
	isConforming,
	isNull,
	loadFromDescriptor,
	loadRealSegment,
	loadStackSegment,
	readDescriptor,
	selectorError,
} from "./descriptors.ts";
import {
	fail,
	failWith,
	type Handler,
	intercepted,
	memoryOperand,
	nextRip,
	peek,
	privileged,
	push,
	setStackPointer,
} from "./operands.ts";

const isAmd = (cpu: Cpu) => cpu.model.vendorString === "AuthenticAMD";

/** RFLAGS bits that IRET and SYSRET can change at all. */
const FLAGS_LOADABLE = 0x3f7fd7;

/** Reads and checks the code descriptor of a far JMP or CALL. @returns null with a fault noted */
function targetOf(cpu: Cpu, selector: number): Descriptor | null {
	if (isNull(selector)) {
		raise(cpu, VECTOR.GP, 0);
		return null;
	}
	const found = readDescriptor(cpu, selector);
	if (found === null) return null;
	const level = cpl(cpu);
	const allowed = isConforming(found) ? found.dpl <= level : (selector & 3) <= level && found.dpl === level;
	// Gates and TSSs as targets are not implemented; they fault like any other non-code descriptor.
	if (!isCodeSegment(cpu, found) || !allowed) {
		raise(cpu, VECTOR.GP, selectorError(selector));
		return null;
	}
	return present(cpu, found) ? found : null;
}

function present(cpu: Cpu, found: Descriptor): boolean {
	if ((found.attributes & ATTR.P) !== 0) return true;
	raise(cpu, VECTOR.NP, selectorError(found.selector));
	return false;
}

/** Whether a descriptor is that of 64-bit code. */
function isLongCode(cpu: Cpu, found: Descriptor): boolean {
	return isLongMode(cpu) && (found.attributes & ATTR.L) !== 0;
}

/** Whether an offset is one that the code segment can execute; notes #GP(0) if not. */
function offsetFits(cpu: Cpu, found: Descriptor, offset: bigint): boolean {
	if (
		isLongCode(cpu, found)
			? isCanonical(offset, cpu)
			: offset <= BigInt(descriptorLimit(found.low, found.high))
	)
		return true;
	raise(cpu, VECTOR.GP, 0);
	return false;
}

/** Notes #GP(0) if a near branch may not lead to an offset in CS: not canonical, or beyond the limit. */
export function checkBranch(cpu: Cpu, target: bigint): void {
	const fits = is64Bit(cpu) ? isCanonical(target, cpu) : target <= BigInt(segmentLimit(cpu, L.CS));
	if (!fits) raise(cpu, VECTOR.GP, 0);
}

/** The far pointer that an instruction names, directly or in memory. @returns null with a fault noted */
function farPointer(cpu: Cpu, insn: Insn): { selector: number; offset: bigint } | null {
	const operand = insn.operands[0];
	if (operand?.kind === "far") return operand;
	const bytes = farBytes(insn);
	const linear = memoryOperand(cpu, insn, bytes + 2);
	if (faulted(cpu)) return null;
	const offset = readLinear(cpu, linear, bytes, explicitAccess(cpu));
	if (faulted(cpu)) return null;
	const selector = Number(readLinear(cpu, linear + BigInt(bytes), 2, explicitAccess(cpu)));
	return faulted(cpu) ? null : { selector, offset };
}

/** Offset size of a far JMP or CALL by its encoding. */
function farBytes(insn: Insn): number {
	const name = Code[insn.code]!;
	return name.endsWith("1664") ? 8 : name.endsWith("1632") ? 4 : 2;
}

const jumpFar: Handler = (cpu, insn) => transferFar(cpu, insn, false);
const callFar: Handler = (cpu, insn) => transferFar(cpu, insn, true);

function transferFar(cpu: Cpu, insn: Insn, call: boolean): Outcome {
	const pointer = farPointer(cpu, insn);
	if (pointer === null) return OUTCOME.fault;
	const { selector, offset } = pointer;
	const cs = segmentSelector(cpu, L.CS);
	const values = [BigInt(cs), nextRip(insn)];
	if (!isProtectedMode(cpu)) {
		if (call) push(cpu, farBytes(insn), ...values);
		if (faulted(cpu)) return OUTCOME.fault;
		loadRealSegment(cpu, L.CS, selector);
		cpu.write64(L.RIP, offset);
		return OUTCOME.jumped;
	}
	const found = targetOf(cpu, selector);
	if (found === null || !offsetFits(cpu, found, offset)) return OUTCOME.fault;
	if (!checkFarBranch(cpu, isLongCode(cpu, found), call)) return OUTCOME.fault;
	const lip = linearReturn(cpu, insn);
	if (call) push(cpu, farBytes(insn), ...values);
	if (faulted(cpu)) return OUTCOME.fault;
	loadFromDescriptor(cpu, L.CS, (selector & ~3) | cpl(cpu), found);
	if (faulted(cpu)) return OUTCOME.fault;
	cpu.write64(L.RIP, offset);
	finishFarBranch(cpu, call ? { cs: BigInt(cs), lip } : null);
	return OUTCOME.jumped;
}

/** Linear address of the following instruction. */
function linearReturn(cpu: Cpu, insn: Insn): bigint {
	if (is64Bit(cpu)) return nextRip(insn);
	return BigInt.asUintN(32, segmentBase(cpu, L.CS) + nextRip(insn));
}

/** What a return to an offset in a code segment does to shadow stacks. @returns null with a fault noted */
function shadowReturn(cpu: Cpu, found: Descriptor, rip: bigint, iret: boolean): ShadowReturn | null {
	if (!isCetOn(cpu)) return UNCHANGED;
	const long = isLongCode(cpu, found);
	const lip = long ? rip : BigInt.asUintN(32, BigInt(descriptorBase(found.low, found.high)) + rip);
	return checkFarReturn(cpu, { selector: found.selector, lip, long }, iret);
}

/** Encodings of RETF and IRET by the size of the values that they pop, if that is not 2. */
const POP_BYTES = new Map<number, number>([
	[Code.Retfq, 8],
	[Code.Retfq_imm16, 8],
	[Code.Iretq, 8],
	[Code.Retfd, 4],
	[Code.Retfd_imm16, 4],
	[Code.Iretd, 4],
]);

function popBytes(insn: Insn): number {
	return POP_BYTES.get(insn.code) ?? 2;
}

/** Checks the code segment that RETF or IRET returns to. @returns null with a fault noted */
function returnTarget(cpu: Cpu, selector: number): Descriptor | null {
	if (isNull(selector)) {
		raise(cpu, VECTOR.GP, 0);
		return null;
	}
	const found = readDescriptor(cpu, selector);
	if (found === null) return null;
	const rpl = selector & 3;
	const allowed = rpl >= cpl(cpu) && (isConforming(found) ? found.dpl <= rpl : found.dpl === rpl);
	if (!isCodeSegment(cpu, found) || !allowed) {
		raise(cpu, VECTOR.GP, selectorError(selector));
		return null;
	}
	return present(cpu, found) ? found : null;
}

const returnFar: Handler = (cpu, insn) => {
	const bytes = popBytes(insn);
	const extra = insn.operands[0]?.kind === "immediate" ? Number(insn.operands[0].value) : 0;
	const rip = peek(cpu, bytes, 0);
	if (faulted(cpu)) return OUTCOME.fault;
	const selector = Number(peek(cpu, bytes, bytes) & 0xffffn);
	if (faulted(cpu)) return OUTCOME.fault;
	const above = cpu.gpr(L.RSP) + BigInt(2 * bytes + extra);
	if (!isProtectedMode(cpu)) {
		loadRealSegment(cpu, L.CS, selector);
		cpu.write64(L.RIP, rip);
		setStackPointer(cpu, above);
		return OUTCOME.jumped;
	}
	const found = returnTarget(cpu, selector);
	if (found === null || !offsetFits(cpu, found, rip)) return OUTCOME.fault;
	const level = selector & 3;
	if (level === cpl(cpu)) {
		const shadow = shadowReturn(cpu, found, rip, false);
		if (shadow === null) return OUTCOME.fault;
		// The stack pointer first: its size follows the old code segment's mode.
		setStackPointer(cpu, above);
		loadFromDescriptor(cpu, L.CS, selector, found);
		if (faulted(cpu)) return OUTCOME.fault;
		cpu.write64(L.RIP, rip);
		finishFarReturn(cpu, shadow);
		return OUTCOME.jumped;
	}
	const stack = peek(cpu, bytes, 2 * bytes + extra);
	if (faulted(cpu)) return OUTCOME.fault;
	const stackSelector = Number(peek(cpu, bytes, 3 * bytes + extra) & 0xffffn);
	if (faulted(cpu)) return OUTCOME.fault;
	return enterOuter(cpu, found, rip, stackSelector, stack + BigInt(extra), false);
};

/** Ends a return to an outer privilege level: SS and RSP from the stack, CS, and inner segments dropped. */
function enterOuter(
	cpu: Cpu,
	found: Descriptor,
	rip: bigint,
	stackSelector: number,
	stack: bigint,
	iret: boolean,
): Outcome {
	const level = found.selector & 3;
	const shadow = shadowReturn(cpu, found, rip, iret);
	if (shadow === null || !loadOuterStack(cpu, found, stackSelector, level)) return OUTCOME.fault;
	loadFromDescriptor(cpu, L.CS, found.selector, found);
	if (faulted(cpu)) return OUTCOME.fault;
	setStackPointer(cpu, stack);
	cpu.write64(L.RIP, rip);
	finishFarReturn(cpu, shadow);
	dropInnerSegments(cpu, level);
	return OUTCOME.jumped;
}

/** SS of a return. It may be null only when returning to 64-bit code below level 3. */
function loadOuterStack(cpu: Cpu, code: Descriptor, selector: number, level: number): boolean {
	const to64 = isLongMode(cpu) && (code.attributes & ATTR.L) !== 0;
	if (isNull(selector) && !to64) {
		raise(cpu, VECTOR.GP, 0);
		return false;
	}
	return loadStackSegment(cpu, selector, level);
}

/** What an IRET pops: RIP, CS, RFLAGS, RSP, SS. */
const frame64 = new BigUint64Array(5);
const frame = new Uint32Array(frame64.buffer);

/**
 * Reads values of an IRET's frame from the stack, without moving it.
 * @param bytes of each
 * @param from index of the first, and `to` behind the last
 * @returns false with a fault noted
 */
function peekFrame(cpu: Cpu, bytes: number, from: number, to: number): boolean {
	const low = cpu.read32(L.GPR + L.RSP * 8) + 8 * from;
	if (bytes === 8 && low <= 0xffffffff && is64Bit(cpu)) {
		const high = cpu.read32(L.GPR + L.RSP * 8 + 4);
		const at = knownRange(cpu, low, high, 8 * (to - from), explicitAccess(cpu));
		if (at >= 0) {
			const { view } = cpu.memory;
			for (let half = 0; half < 2 * (to - from); half++)
				frame[2 * from + half] = view.getUint32(at + 4 * half, true);
			return true;
		}
	}
	for (let index = from; index < to; index++) {
		frame64[index] = peek(cpu, bytes, index * bytes);
		if (faulted(cpu)) return false;
	}
	return true;
}

/** Ends blocking by NMI, or virtual-NMI blocking (SDM Vol. 3C, 26.3). */
function unblockNmis(cpu: Cpu): void {
	const blocking = cpu.read32(L.INTERRUPTIBILITY);
	if ((blocking & BLOCKING.nmi) === 0 || cpu.guest?.iretKeepsNmisBlocked === true) return;
	cpu.write32(L.INTERRUPTIBILITY, blocking & ~BLOCKING.nmi);
	cpu.nmiUnblockedByIret = true;
}

/** IRET, IRETD and IRETQ without task switches and virtual-8086 mode. */
const interruptReturn: Handler = (cpu, insn) => {
	if (intercepted(cpu, insn, INTERCEPT.iret)) return OUTCOME.stop;
	// Intel's does so even when it faults (SDM Vol. 3A, 7.7.1), AMD's when it has completed (APM Vol. 2, 15.21.10).
	if (!isAmd(cpu)) unblockNmis(cpu);
	const bytes = popBytes(insn);
	const flagsNow = readRflags(cpu);
	const protectedMode = isProtectedMode(cpu);
	if (protectedMode && (flagsNow & FLAG.NT) !== 0) return fail(cpu, GP0);
	if (!peekFrame(cpu, bytes, 0, 3)) return OUTCOME.fault;
	const rip = frame64[0]!;
	const selector = frame[2]! & 0xffff;
	const popped = frame[4]!;
	const oldLevel = cpl(cpu);
	let outcome: Outcome;
	if (!protectedMode) {
		loadRealSegment(cpu, L.CS, selector);
		cpu.write64(L.RIP, rip);
		setStackPointer(cpu, cpu.gpr(L.RSP) + BigInt(3 * bytes));
		outcome = OUTCOME.jumped;
	} else {
		if ((popped & FLAG.VM) !== 0 && !isLongMode(cpu)) return fail(cpu, GP0);
		const found = returnTarget(cpu, selector);
		if (found === null || !offsetFits(cpu, found, rip)) return OUTCOME.fault;
		// 64-bit mode always pops RSP and SS.
		if ((selector & 3) !== oldLevel || is64Bit(cpu)) {
			if (!peekFrame(cpu, bytes, 3, 5)) return OUTCOME.fault;
			outcome = enterOuter(cpu, found, rip, frame[8]! & 0xffff, frame64[3]!, true);
		} else {
			const shadow = shadowReturn(cpu, found, rip, true);
			if (shadow === null) return OUTCOME.fault;
			setStackPointer(cpu, cpu.gpr(L.RSP) + BigInt(3 * bytes));
			loadFromDescriptor(cpu, L.CS, selector, found);
			cpu.write64(L.RIP, rip);
			outcome = faulted(cpu) ? OUTCOME.fault : OUTCOME.jumped;
			if (outcome === OUTCOME.jumped) finishFarReturn(cpu, shadow);
		}
	}
	if (outcome === OUTCOME.fault) return outcome;
	// IOPL changes at level 0 only, IF where IOPL allows, and 16-bit IRET leaves the upper half.
	let loadable = FLAGS_LOADABLE;
	if (oldLevel !== 0) loadable &= ~FLAG.IOPL;
	if (oldLevel > ((flagsNow >>> 12) & 3)) loadable &= ~FLAG.IF;
	if (bytes === 2) loadable &= 0xffff;
	writeRflags(cpu, (flagsNow & ~loadable) | (popped & loadable));
	unblockNmis(cpu);
	cpu.nmiUnblockedByIret = false;
	return outcome;
};

// ---- fast system calls -----------------------------------------------------------------------------

/** Flat segments as SYSCALL and SYSENTER load them, whatever the GDT says: code 64-bit, code 32-bit, data. */
const FLAT_CODE_64 = 0xa09b;
const FLAT_CODE_32 = 0xc09b;
const FLAT_DATA = 0xc093;

function setFlat(cpu: Cpu, segment: number, selector: number, attributes: number, level: number): void {
	setSegment32(cpu, segment, (selector & 0xfffc) | level, 0, 0xffffffff, attributes | (level << 5));
}

/** Whether SYSCALL and SYSRET are there: on Intel in 64-bit mode alone, on AMD in all (SDM Vol. 2B; APM Vol. 3). */
function hasSystemCalls(cpu: Cpu): boolean {
	return (cpu.read32(L.EFER) & EFER.SCE) !== 0 && (is64Bit(cpu) || isAmd(cpu));
}

const syscall: Handler = (cpu, insn) => {
	if (!hasSystemCalls(cpu)) return fail(cpu, UD);
	const long = isLongMode(cpu);
	const target = is64Bit(cpu) ? cpu.read64(L.LSTAR) : cpu.read64(L.CSTAR);
	const flags = readRflags(cpu);
	cpu.setGpr(L.RCX, nextRip(insn));
	if (long) cpu.setGpr(11, BigInt(flags & ~FLAG.RF));
	const star = cpu.read32(L.STAR + 4) & 0xffff;
	shadowSystemCall(cpu);
	setFlat(cpu, L.CS, star, long ? FLAT_CODE_64 : FLAT_CODE_32, 0);
	setFlat(cpu, L.SS, (star & 0xfffc) + 8, FLAT_DATA, 0);
	// Legacy mode has no mask, and its target is in STAR.
	writeRflags(cpu, flags & ~FLAG.RF & ~(long ? cpu.read32(L.SFMASK) : FLAG.VM | FLAG.IF));
	cpu.write64(L.RIP, long ? target : BigInt(cpu.read32(L.STAR)));
	return OUTCOME.jumped;
};

const sysret: Handler = (cpu, insn) => {
	if (!hasSystemCalls(cpu)) return fail(cpu, UD);
	if (!isProtectedMode(cpu) || !privileged(cpu)) return fail(cpu, GP0);
	// Outside of 64-bit mode there is no R11 to take RFLAGS from.
	const flags = is64Bit(cpu) ? Number(cpu.gpr(11) & 0x3c7fd7n) : readRflags(cpu) | FLAG.IF;
	const to64 = insn.code === Code.Sysretq;
	const target = to64 ? cpu.gpr(L.RCX) : cpu.gpr(L.RCX) & 0xffffffffn;
	// Intel checks RCX before it leaves level 0; AMD faults afterwards, at level 3.
	if (cpu.model.vendorString === "GenuineIntel" && !isCanonical(target, cpu)) return fail(cpu, GP0);
	const star = cpu.read32(L.STAR + 4) >>> 16;
	writeRflags(cpu, flags);
	setFlat(cpu, L.CS, to64 ? star + 16 : star, to64 ? FLAT_CODE_64 : FLAT_CODE_32, 3);
	setFlat(cpu, L.SS, star + 8, FLAT_DATA, 3);
	cpu.write64(L.RIP, target);
	shadowSystemReturn(cpu);
	trapAfterSystemCall(cpu);
	return OUTCOME.jumped;
};

const sysenter: Handler = (cpu) => {
	const cs = cpu.read32(L.SYSENTER_CS) & 0xfffc;
	if (!isProtectedMode(cpu) || cs === 0) return fail(cpu, GP0);
	const long = isLongMode(cpu);
	if (long && isAmd(cpu)) return fail(cpu, UD);
	writeRflags(cpu, readRflags(cpu) & ~(FLAG.VM | FLAG.IF));
	shadowSystemCall(cpu);
	setFlat(cpu, L.CS, cs, long ? FLAT_CODE_64 : FLAT_CODE_32, 0);
	setFlat(cpu, L.SS, cs + 8, FLAT_DATA, 0);
	const mask = long ? 64 : 32;
	cpu.setGpr(L.RSP, BigInt.asUintN(mask, cpu.read64(L.SYSENTER_ESP)));
	cpu.write64(L.RIP, BigInt.asUintN(mask, cpu.read64(L.SYSENTER_EIP)));
	return OUTCOME.jumped;
};

const sysexit: Handler = (cpu, insn) => {
	if (isLongMode(cpu) && isAmd(cpu)) return fail(cpu, UD);
	const cs = cpu.read32(L.SYSENTER_CS) & 0xfffc;
	if (!isProtectedMode(cpu) || cs === 0 || !privileged(cpu)) return fail(cpu, GP0);
	const to64 = insn.code === Code.Sysexitq;
	const rip = cpu.gpr(L.RDX);
	const rsp = cpu.gpr(L.RCX);
	if (to64 && (!isCanonical(rip, cpu) || !isCanonical(rsp, cpu))) return failWith(cpu, VECTOR.GP, 0);
	setFlat(cpu, L.CS, cs + (to64 ? 32 : 16), to64 ? FLAT_CODE_64 : FLAT_CODE_32, 3);
	setFlat(cpu, L.SS, cs + (to64 ? 40 : 24), FLAT_DATA, 3);
	cpu.setGpr(L.RSP, to64 ? rsp : rsp & 0xffffffffn);
	cpu.write64(L.RIP, to64 ? rip : rip & 0xffffffffn);
	shadowSystemReturn(cpu);
	return OUTCOME.jumped;
};

/** Handlers by iced-x86 `Code`: the mnemonics have near forms too. */
export const farCodeHandlers: readonly (readonly [number, Handler])[] = [
	...[Code.Jmp_ptr1616, Code.Jmp_ptr1632, Code.Jmp_m1616, Code.Jmp_m1632, Code.Jmp_m1664].map(
		(code) => [code, jumpFar] as const,
	),
	...[Code.Call_ptr1616, Code.Call_ptr1632, Code.Call_m1616, Code.Call_m1632, Code.Call_m1664].map(
		(code) => [code, callFar] as const,
	),
];

/** Handlers by iced-x86 `Mnemonic`. */
export const farHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Retf, returnFar],
	[Mnemonic.Iret, interruptReturn],
	[Mnemonic.Iretd, interruptReturn],
	[Mnemonic.Iretq, interruptReturn],
	[Mnemonic.Syscall, syscall],
	[Mnemonic.Sysret, sysret],
	[Mnemonic.Sysretq, sysret],
	[Mnemonic.Sysenter, sysenter],
	[Mnemonic.Sysexit, sysexit],
	[Mnemonic.Sysexitq, sysexit],
];
