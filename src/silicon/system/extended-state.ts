/** XSAVE and XRSTOR instructions, FXSAVE, and the control word of SSE (SDM Vol. 1, 10.5 and chapter 13). */
import { CR0, CR4, XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { type Fault, GP0, NM, UD } from "../cpu/fault.ts";
import { INTERCEPT } from "../cpu/intercepts.ts";
import * as L from "../cpu/layout.ts";
import { avxFault, sseFault } from "../cpu/vector-state.ts";
import { compactedSize, standardSize, XSAVE_FIXED_BYTES } from "../cpu/state-components.ts";
import {
	copyFromLinear,
	copyToLinear,
	explicitAccess,
	faulted,
	probeLinear,
	readLinear,
	writeLinear,
} from "../paging/access.ts";
import { PF } from "../paging/physical.ts";
import { contextChanged } from "../paging/tlb.ts";
import { isVex, Mnemonic } from "../translate/decode.ts";
import type { Insn } from "../translate/insn.ts";
import { OUTCOME } from "../translate/services.ts";
import { XsaveImage } from "../xsave/image.ts";
import { copyWords } from "../xsave/registers.ts";
import { loadX87, xrstorFrom, xrstorsFrom } from "../xsave/restore.ts";
import { MXCSR_MASK, saveX87, xsavesTo, xsaveTo } from "../xsave/save.ts";
import {
	advance,
	fail,
	gpr32,
	type Handler,
	intercepted,
	isUndefined,
	memoryOperand,
	privileged,
} from "./operands.ts";

/** Holds the memory operand while an instruction works on it, since its pages need not lie side by side. */
const scratch = new XsaveImage();

/** Checks common to the XSAVE family. @param supervisor XSAVES or XRSTORS @returns the fault, or null */
function checkEnabled(cpu: Cpu, supervisor: boolean): Fault | null {
	if ((cpu.read32(L.CR4) & CR4.OSXSAVE) === 0) return UD;
	if (supervisor && (!cpu.model.features.xsaves || isUndefined(cpu, INTERCEPT.xsaves))) return UD;
	if ((cpu.read32(L.CR0) & CR0.TS) !== 0) return NM;
	return supervisor && !privileged(cpu) ? GP0 : null;
}

/** Linear address of the XSAVE area, which must be a multiple of 64; on a fault it is noted. */
function areaOf(cpu: Cpu, insn: Insn, alignment: bigint, bytes: number): bigint {
	const linear = memoryOperand(cpu, insn, bytes);
	if (!faulted(cpu) && (linear & (alignment - 1n)) !== 0n) fail(cpu, GP0);
	return linear;
}

function save(form: "xsave" | "xsavec" | "xsaves"): Handler {
	return (cpu, insn) => {
		const refused = checkEnabled(cpu, form === "xsaves");
		if (refused !== null) return fail(cpu, refused);
		if (form === "xsaves" && intercepted(cpu, insn, INTERCEPT.xsaves)) return OUTCOME.stop;
		const enabled = form === "xsaves" ? cpu.xcr0 | cpu.xss : cpu.xcr0;
		const rfbm = gpr32(cpu, L.RAX) & enabled;
		const size = form === "xsave" ? standardSize(cpu.model, rfbm) : compactedSize(rfbm);
		const linear = areaOf(cpu, insn, 64n, size);
		const access = explicitAccess(cpu);
		if (faulted(cpu) || !probeLinear(cpu, linear, size, access | PF.write)) return OUTCOME.fault;
		// What the instruction leaves alone must come back as it was.
		if (!copyFromLinear(cpu, linear, scratch.bytes, size, access)) return OUTCOME.fault;
		if (form === "xsave") xsaveTo(cpu, scratch, rfbm);
		else xsavesTo(cpu, scratch, rfbm);
		copyToLinear(cpu, linear, scratch.bytes, 0, size, access);
		return OUTCOME.next;
	};
}

function restore(supervisor: boolean): Handler {
	return (cpu, insn) => {
		const refused = checkEnabled(cpu, supervisor);
		if (refused !== null) return fail(cpu, refused);
		if (supervisor && intercepted(cpu, insn, INTERCEPT.xrstors)) return OUTCOME.stop;
		const enabled = supervisor ? cpu.xcr0 | cpu.xss : cpu.xcr0;
		const rfbm = gpr32(cpu, L.RAX) & enabled;
		const linear = areaOf(cpu, insn, 64n, XSAVE_FIXED_BYTES);
		const access = explicitAccess(cpu);
		if (faulted(cpu) || !copyFromLinear(cpu, linear, scratch.bytes, XSAVE_FIXED_BYTES, access))
			return OUTCOME.fault;
		const size = scratch.compacted
			? compactedSize(scratch.xcompBv & enabled)
			: standardSize(cpu.model, rfbm & scratch.xstateBv);
		if (!copyFromLinear(cpu, linear, scratch.bytes, size, access)) return OUTCOME.fault;
		const fault = supervisor ? xrstorsFrom(cpu, scratch, rfbm) : xrstorFrom(cpu, scratch, rfbm);
		if (fault !== null) return fail(cpu, fault);
		// PKRU may have changed.
		contextChanged(cpu);
		return advance(cpu, insn);
	};
}

// ---- FXSAVE ----------------------------------------------------------------------------------------

const FXSAVE_BYTES = 512;
/** Bytes that FXSAVE writes: up to XMM15. The rest is the software's. */
const FXSAVE_WRITTEN = 416;

function x87Fault(cpu: Cpu): Fault | null {
	return (cpu.read32(L.CR0) & (CR0.EM | CR0.TS)) !== 0 ? NM : null;
}

const fxsave: Handler = (cpu, insn) => {
	const refused = x87Fault(cpu);
	if (refused !== null) return fail(cpu, refused);
	const linear = areaOf(cpu, insn, 16n, FXSAVE_BYTES);
	const access = explicitAccess(cpu);
	if (faulted(cpu) || !probeLinear(cpu, linear, FXSAVE_BYTES, access | PF.write)) return OUTCOME.fault;
	copyWords(cpu.u32, (cpu.base + L.XSTATE) >> 2, scratch.words, 0, FXSAVE_WRITTEN >> 2);
	saveX87(cpu, scratch);
	scratch.words[7] = MXCSR_MASK;
	copyToLinear(cpu, linear, scratch.bytes, 0, FXSAVE_WRITTEN, access);
	return OUTCOME.next;
};

const fxrstor: Handler = (cpu, insn) => {
	const refused = x87Fault(cpu);
	if (refused !== null) return fail(cpu, refused);
	const linear = areaOf(cpu, insn, 16n, FXSAVE_BYTES);
	if (faulted(cpu)) return OUTCOME.fault;
	if (!copyFromLinear(cpu, linear, scratch.bytes, FXSAVE_BYTES, explicitAccess(cpu))) return OUTCOME.fault;
	if ((scratch.words[6]! & ~MXCSR_MASK) !== 0) return fail(cpu, GP0);
	copyWords(scratch.words, 0, cpu.u32, (cpu.base + L.XSTATE) >> 2, FXSAVE_WRITTEN >> 2);
	loadX87(cpu, scratch);
	cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | XFEATURE.x87 | XFEATURE.sse);
	return OUTCOME.next;
};

// ---- SSE's control word ------------------------------------------------------------------------------

/** LDMXCSR and STMXCSR, with the exceptions of an SSE instruction or, with VEX, of an AVX one. */
function mxcsr(load: boolean): Handler {
	return (cpu, insn) => {
		const refused = isVex(insn.code) ? avxFault(cpu) : sseFault(cpu);
		if (refused !== null) return fail(cpu, refused);
		const linear = memoryOperand(cpu, insn, 4);
		if (faulted(cpu)) return OUTCOME.fault;
		if (!load) {
			writeLinear(cpu, linear, 4, BigInt(cpu.read32(L.MXCSR)), explicitAccess(cpu));
			return faulted(cpu) ? OUTCOME.fault : OUTCOME.next;
		}
		const value = Number(readLinear(cpu, linear, 4, explicitAccess(cpu)));
		if (faulted(cpu)) return OUTCOME.fault;
		if ((value & ~MXCSR_MASK) !== 0) return fail(cpu, GP0);
		cpu.write32(L.MXCSR, value);
		return OUTCOME.next;
	};
}

/** Handlers by iced-x86 `Mnemonic`. */
export const extendedStateHandlers: readonly (readonly [number, Handler])[] = [
	[Mnemonic.Xsave, save("xsave")],
	[Mnemonic.Xsave64, save("xsave")],
	[Mnemonic.Xsaveopt, save("xsave")],
	[Mnemonic.Xsaveopt64, save("xsave")],
	[Mnemonic.Xsavec, save("xsavec")],
	[Mnemonic.Xsavec64, save("xsavec")],
	[Mnemonic.Xsaves, save("xsaves")],
	[Mnemonic.Xsaves64, save("xsaves")],
	[Mnemonic.Xrstor, restore(false)],
	[Mnemonic.Xrstor64, restore(false)],
	[Mnemonic.Xrstors, restore(true)],
	[Mnemonic.Xrstors64, restore(true)],
	[Mnemonic.Fxsave, fxsave],
	[Mnemonic.Fxsave64, fxsave],
	[Mnemonic.Fxrstor, fxrstor],
	[Mnemonic.Fxrstor64, fxrstor],
	[Mnemonic.Ldmxcsr, mxcsr(true)],
	[Mnemonic.Stmxcsr, mxcsr(false)],
	[Mnemonic.Vldmxcsr, mxcsr(true)],
	[Mnemonic.Vstmxcsr, mxcsr(false)],
];
