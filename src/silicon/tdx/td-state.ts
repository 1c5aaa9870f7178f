/**
 * The processor's state that VM entry does not switch, as TDH.VP.ENTER switches it: the TD's own values in, and on
 * the way out not the host's, but the module's (TDX Module Base Architecture, "CPU State Preservation Following a
 * Successful TD Entry and a TD Exit").
 */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import type { XsaveImage } from "../xsave/image.ts";
import { xrstorsFrom } from "../xsave/restore.ts";
import { xsavesTo } from "../xsave/save.ts";
import { TDX_MODULE_USER_RETURN_MSRS, TDX_PRESERVED_DEBUGCTL } from "./module.ts";
import type { TdVcpu } from "./td.ts";

/** Fields of the state block with a value of the TD's and one that a TD exit leaves: field, TD's initial value, left. */
const PRIVATE_FIELDS: readonly (readonly [field: number, initial: bigint, left: bigint])[] = [
	[L.XCR0, 1n, 0n],
	[L.XSS, 0n, 0n],
	[L.PKRU, 0n, 0n],
	[L.XFD, 0n, 0n],
	[L.XFD_ERR, 0n, 0n],
	[L.KERNEL_GS_BASE, 0n, 0n],
	[L.CR2, 0n, 0n],
	[L.DR0, 0n, 0n],
	[L.DR0 + 8, 0n, 0n],
	[L.DR0 + 16, 0n, 0n],
	[L.DR0 + 24, 0n, 0n],
	[L.DR6, 0xffff_0ff0n, 0xffff_0ff0n],
	...TDX_MODULE_USER_RETURN_MSRS.map(({ field, value }) => [field, 0n, value] as const),
];
const AT = { xcr0: 0, xss: 1, pkru: 2 } as const;

/** The values of a new vCPU. */
export function initialPrivateFields(): BigUint64Array {
	return BigUint64Array.from(PRIVATE_FIELDS, ([, initial]) => initial);
}

/** XCR0 and IA32_XSS with all of XFAM, XFD off: what the module runs XSAVES and XRSTORS with, and leaves behind. */
function enableXfam(cpu: Cpu, vcpu: TdVcpu): void {
	const { features } = cpu.model;
	cpu.writeNumber(L.XCR0, vcpu.xfam & features.xcr0);
	cpu.writeNumber(L.XSS, vcpu.xfam & features.xss);
	cpu.writeNumber(L.XFD, 0);
}

function restore(cpu: Cpu, vcpu: TdVcpu, image: XsaveImage): void {
	const fault = xrstorsFrom(cpu, image, vcpu.xfam);
	if (fault !== null)
		throw new Error("the TDX module's XRSTORS of a TD's state faulted: XFAM was checked at TDH.MNG.INIT");
}

/** The TD's extended state and registers become the processor's. */
export function loadTdState(cpu: Cpu, vcpu: TdVcpu): void {
	enableXfam(cpu, vcpu);
	restore(cpu, vcpu, vcpu.image);
	for (let at = 0; at < PRIVATE_FIELDS.length; at++) cpu.write64(PRIVATE_FIELDS[at]![0], vcpu.fields[at]!);
}

/** The TD's extended state and registers are put away; the processor keeps what the module leaves to the VMM. */
export function saveTdState(cpu: Cpu, vcpu: TdVcpu): void {
	for (let at = 0; at < PRIVATE_FIELDS.length; at++) vcpu.fields[at] = cpu.read64(PRIVATE_FIELDS[at]![0]);
	enableXfam(cpu, vcpu);
	xsavesTo(cpu, vcpu.image, vcpu.xfam);
	restore(cpu, vcpu, vcpu.initialImage);
	for (let at = AT.pkru; at < PRIVATE_FIELDS.length; at++)
		cpu.write64(PRIVATE_FIELDS[at]![0], PRIVATE_FIELDS[at]![2]);
	cpu.write32(L.DR7, 0x400);
	cpu.write32(L.DEBUGCTL, cpu.read32(L.DEBUGCTL) & TDX_PRESERVED_DEBUGCTL);
}

/** The TD's own XCR0, IA32_XSS and PKRU while it does not run. For checks and tests. */
export function tdExtendedState(vcpu: TdVcpu): {
	readonly xcr0: number;
	readonly xss: number;
	readonly pkru: number;
} {
	return {
		xcr0: Number(vcpu.fields[AT.xcr0]!),
		xss: Number(vcpu.fields[AT.xss]!),
		pkru: Number(vcpu.fields[AT.pkru]!),
	};
}
