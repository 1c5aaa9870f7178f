/** Whether vector instructions are enabled, and the exceptions if not (SDM Vol. 2, 2.4 and 2.5; Vol. 3A, table 15-1). */
import { CR0, CR4, XFEATURE } from "./control.ts";
import type { Cpu } from "./cpu.ts";
import { type Fault, NM, UD } from "./fault.ts";
import * as L from "./layout.ts";

const SSE_AND_AVX = XFEATURE.sse | XFEATURE.avx;
const RFLAGS_VM = 1 << 17;

/** Whether SSE instructions are enabled: CR4.OSFXSR set, CR0.EM and CR0.TS clear. */
export function sseEnabled(cpu: Cpu): boolean {
	return (cpu.read32(L.CR0) & (CR0.EM | CR0.TS)) === 0 && (cpu.read32(L.CR4) & CR4.OSFXSR) !== 0;
}

/** Whether instructions encoded with VEX are enabled: CR4.OSXSAVE and XCR0[2:1] set, CR0.TS clear, protected mode. */
export function avxEnabled(cpu: Cpu): boolean {
	return (
		(cpu.read32(L.CR0) & (CR0.PE | CR0.TS)) === CR0.PE &&
		(cpu.read32(L.CR4) & CR4.OSXSAVE) !== 0 &&
		(cpu.read32(L.XCR0) & SSE_AND_AVX) === SSE_AND_AVX &&
		(cpu.read32(L.RFLAGS) & RFLAGS_VM) === 0
	);
}

/** The fault of an SSE instruction where they are not enabled, or null. #UD comes before #NM. */
export function sseFault(cpu: Cpu): Fault | null {
	const cr0 = cpu.read32(L.CR0);
	if ((cr0 & CR0.EM) !== 0 || (cpu.read32(L.CR4) & CR4.OSFXSR) === 0) return UD;
	return (cr0 & CR0.TS) !== 0 ? NM : null;
}

/** The same for an instruction encoded with VEX. */
export function avxFault(cpu: Cpu): Fault | null {
	if (avxEnabled(cpu)) return null;
	const isProtected = (cpu.read32(L.CR0) & CR0.PE) !== 0 && (cpu.read32(L.RFLAGS) & RFLAGS_VM) === 0;
	const hasState =
		(cpu.read32(L.CR4) & CR4.OSXSAVE) !== 0 && (cpu.read32(L.XCR0) & SSE_AND_AVX) === SSE_AND_AVX;
	return isProtected && hasState ? NM : UD;
}
