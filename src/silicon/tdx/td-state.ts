/**
 * The processor's state that VM entry does not switch, as TDH.VP.ENTER switches it: the TD's own values in, and on
 * the way out not the host's, but the module's (TDX Module Base Architecture, "CPU State Preservation Following a
 * Successful TD Entry and a TD Exit").
 */
import { XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import type { XsaveImage } from "../xsave/image.ts";
import { copyWords } from "../xsave/registers.ts";
import { xrstorsFrom } from "../xsave/restore.ts";
import { xsavesTo } from "../xsave/save.ts";
import { TDX_MODULE_USER_RETURN_MSRS, TDX_PRESERVED_DEBUGCTL } from "./module.ts";
import type { TdVcpu } from "./td.ts";

/** What is left in a field by a TD exit, if not a value: all of XFAM, or what the VMM had. */
const XFAM = -1;
const VMM = -2;
/** What the VMM had, or 0 when XFAM has AMX and the module had to switch it. */
const XFAM_TILES = -3;
const XTILES = XFEATURE.xtilecfg | XFEATURE.xtiledata;

/** Registers of which a TD has its own: field of the state block, a new TD's value, what a TD exit leaves. */
const PRIVATE_FIELDS: readonly (readonly [field: number, initial: number, left: number])[] = [
	[L.XCR0, 1, XFAM],
	[L.XSS, 0, XFAM],
	[L.PKRU, 0, 0],
	[L.XFD, 0, XFAM_TILES],
	[L.XFD_ERR, 0, XFAM_TILES],
	[L.SPEC_CTRL, 0, VMM],
	[L.KERNEL_GS_BASE, 0, 0],
	[L.CR2, 0, 0],
	[L.DR0, 0, 0],
	[L.DR0 + 8, 0, 0],
	[L.DR0 + 16, 0, 0],
	[L.DR0 + 24, 0, 0],
	[L.DR6, 0xffff_0ff0, 0xffff_0ff0],
	...TDX_MODULE_USER_RETURN_MSRS.map(({ field, value }) => [field, 0, Number(value)] as const),
];
const AT = { xcr0: 0, xss: 1, pkru: 2 } as const;
const DR7_FIXED_1 = 0x400;

/** The values of a new vCPU, two words each. */
export function initialPrivateFields(): Uint32Array {
	return Uint32Array.from(PRIVATE_FIELDS.flatMap(([, initial]) => [initial, 0]));
}

/** XCR0 and IA32_XSS with all of XFAM, XFD off: what the module runs XSAVES and XRSTORS with. */
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
	const { fields } = vcpu;
	if (vcpu.inVmcall) storeXmm(cpu, vcpu);
	vcpu.hostXfd = cpu.xfd;
	vcpu.hostXfdErr = cpu.read32(L.XFD_ERR);
	enableXfam(cpu, vcpu);
	restore(cpu, vcpu, vcpu.image);
	if (vcpu.inVmcall) loadXmm(cpu, vcpu);
	vcpu.hostSpecCtrl = cpu.read32(L.SPEC_CTRL);
	for (let at = 0; at < PRIVATE_FIELDS.length; at++) {
		const field = PRIVATE_FIELDS[at]![0];
		cpu.write32(field, fields[2 * at]!);
		cpu.write32(field + 4, fields[2 * at + 1]!);
	}
}

/** The TD's extended state and registers are put away; the processor keeps what the module leaves to the VMM. */
export function saveTdState(cpu: Cpu, vcpu: TdVcpu): void {
	const { fields } = vcpu;
	for (let at = 0; at < PRIVATE_FIELDS.length; at++) {
		const field = PRIVATE_FIELDS[at]![0];
		fields[2 * at] = cpu.read32(field);
		fields[2 * at + 1] = cpu.read32(field + 4);
	}
	if (vcpu.inVmcall) storeXmm(cpu, vcpu);
	enableXfam(cpu, vcpu);
	xsavesTo(cpu, vcpu.image, vcpu.xfam);
	restore(cpu, vcpu, vcpu.td.initialImage);
	if (vcpu.inVmcall) loadXmm(cpu, vcpu);
	for (let at = 0; at < PRIVATE_FIELDS.length; at++) {
		const [field, , left] = PRIVATE_FIELDS[at]!;
		if (left !== XFAM) cpu.writeNumber(field, leftBehind(vcpu, field, left));
	}
	cpu.write32(L.DR7, DR7_FIXED_1);
	cpu.write32(L.DEBUGCTL, cpu.read32(L.DEBUGCTL) & TDX_PRESERVED_DEBUGCTL);
}

/** The value that a TD exit leaves in a register that is not XFAM's. */
function leftBehind(vcpu: TdVcpu, field: number, left: number): number {
	if (left === VMM) return vcpu.hostSpecCtrl;
	if (left !== XFAM_TILES) return left;
	if ((vcpu.xfam & XTILES) !== 0) return 0;
	return field === L.XFD ? vcpu.hostXfd : vcpu.hostXfdErr;
}

/** XMM0 in the register file, as a word index in `cpu.u32`. */
const xmmAt = (cpu: Cpu) => (cpu.base + L.XSTATE + 160) >> 2;

/** Notes the processor's XMM registers for the other side of a TDG.VP.VMCALL. */
function storeXmm(cpu: Cpu, vcpu: TdVcpu): void {
	if (vcpu.vmcallMask >>> 16 !== 0) copyWords(cpu.u32, xmmAt(cpu), vcpu.xmm, 0, vcpu.xmm.length);
}

/** Puts those that the call exposes into the processor. */
function loadXmm(cpu: Cpu, vcpu: TdVcpu): void {
	const select = vcpu.vmcallMask >>> 16;
	if (select === 0) return;
	for (let n = 0; n < 16; n++)
		if ((select & (1 << n)) !== 0) copyWords(vcpu.xmm, 4 * n, cpu.u32, xmmAt(cpu) + 4 * n, 4);
	cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | XFEATURE.sse);
}

/** The TD's own XCR0, IA32_XSS and PKRU while it does not run. For checks and tests. */
export function tdExtendedState(vcpu: TdVcpu): {
	readonly xcr0: number;
	readonly xss: number;
	readonly pkru: number;
} {
	return {
		xcr0: vcpu.fields[2 * AT.xcr0]!,
		xss: vcpu.fields[2 * AT.xss]!,
		pkru: vcpu.fields[2 * AT.pkru]!,
	};
}
