/** Host instructions on the physical CPU's state, each through the door (`Cpu.op`). */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import * as L from "../silicon/cpu/layout.ts";
import { OP } from "../silicon/ops.ts";
import { writeXcr } from "../silicon/cpu/control.ts";
import { writeXss } from "../silicon/cpu/msr.ts";
import { hostFault } from "./fault.ts";

/** XSETBV with ECX = 0. */
export function xsetbv(cpu: Cpu, xcr0: number): void {
	cpu.op(OP.xsetbv);
	hostFault(cpu, writeXcr(cpu, 0, xcr0));
}

/** WRMSR to IA32_XSS. */
export function wrmsrXss(cpu: Cpu, xss: number): void {
	cpu.op(OP["wrmsr(ia32_xss)"]);
	hostFault(cpu, writeXss(cpu, xss));
}

/** RDPKRU. */
export function readPkru(cpu: Cpu): number {
	cpu.op(OP.rdpkru);
	return cpu.pkru;
}

/** WRPKRU. */
export function writePkru(cpu: Cpu, pkru: number): void {
	cpu.op(OP.wrpkru);
	cpu.write32(L.PKRU, pkru);
}

/** WRMSR to IA32_XFD_ERR. */
export function wrmsrXfdErr(cpu: Cpu, value: number): void {
	cpu.op(OP["wrmsr(ia32_xfd_err)"]);
	cpu.writeNumber(L.XFD_ERR, value);
}

/** RDMSR of IA32_XFD. */
export function rdmsrXfd(cpu: Cpu): number {
	cpu.op(OP["rdmsr(ia32_xfd)"]);
	return cpu.xfd;
}

/** RDMSR of IA32_DEBUGCTL. */
export function rdmsrDebugctl(cpu: Cpu): number {
	cpu.op(OP["rdmsr(ia32_debugctl)"]);
	return cpu.readNumber(L.DEBUGCTL);
}

/** WRMSR to IA32_DEBUGCTL. */
export function wrmsrDebugctl(cpu: Cpu, value: number): void {
	cpu.op(OP["wrmsr(ia32_debugctl)"]);
	cpu.writeNumber(L.DEBUGCTL, value);
}

/** RDMSR of IA32_XFD_ERR. */
export function rdmsrXfdErr(cpu: Cpu): number {
	cpu.op(OP["rdmsr(ia32_xfd_err)"]);
	return cpu.readNumber(L.XFD_ERR);
}

/** RDMSR of a register without an op of its own. @param field of the state block */
export function rdmsr(cpu: Cpu, field: number): bigint {
	cpu.op(OP.rdmsr);
	return cpu.read64(field);
}

/** WRMSR to a register without an op of its own. @param field of the state block */
export function wrmsr(cpu: Cpu, field: number, value: bigint): void {
	cpu.op(OP.wrmsr);
	cpu.write64(field, value);
}

/** RDMSR of IA32_SPEC_CTRL. */
export function rdmsrSpecCtrl(cpu: Cpu): number {
	cpu.op(OP["rdmsr(ia32_spec_ctrl)"]);
	return cpu.read32(L.SPEC_CTRL);
}

/** RET: a branch that is predicted, under whatever SPEC_CTRL the processor holds. */
export function returnFromAssembly(cpu: Cpu): void {
	cpu.op(OP.ret);
}

/** WRMSR to IA32_SPEC_CTRL. */
export function wrmsrSpecCtrl(cpu: Cpu, value: number): void {
	cpu.op(OP["wrmsr(ia32_spec_ctrl)"]);
	cpu.write32(L.SPEC_CTRL, value);
}

/** RDTSC. @returns cycles */
export function rdtsc(cpu: Cpu): number {
	cpu.op(OP.rdtsc);
	return cpu.cycles;
}

/** MOV to a debug register. @param offset layout.ts DR0 + 8n, DR6 or DR7 */
export function moveToDr(cpu: Cpu, offset: number, value: number | bigint): void {
	cpu.op(OP.mov_to_dr);
	if (typeof value === "bigint") cpu.write64(offset, value);
	else cpu.writeNumber(offset, value);
}

/** MOV from a debug register. */
export function moveFromDr(cpu: Cpu, offset: number): bigint {
	cpu.op(OP.mov_from_dr);
	return cpu.read64(offset);
}

/** WRMSR to IA32_PRED_CMD with IBPB: nothing learned before it predicts a branch behind it (SDM Vol. 1, 17.4). */
export function writeIbpb(cpu: Cpu): void {
	cpu.op(OP["wrmsr(ia32_pred_cmd)"]);
	cpu.guestBranches = false;
}
