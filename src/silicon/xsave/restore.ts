/** XRSTOR and XRSTORS with their checks (SDM Vol. 1, 13.8, 13.12 and 13.14). */
import { XFEATURE, xinuse } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { type Fault, GP0, NM } from "../cpu/fault.ts";
import { isCetValue, isShadowStackPointer } from "../cpu/msr.ts";
import * as L from "../cpu/layout.ts";
import {
	STATE_COMPONENTS,
	type StateComponent,
	standardOffset,
	XSAVE_FIXED_BYTES,
} from "../cpu/state-components.ts";
import type { XsaveImage } from "./image.ts";
import { CET_U, copyStack, copyWords, registersOf } from "./registers.ts";
import { control, setControl } from "../x87/state.ts";
import { MXCSR_INIT, MXCSR_MASK } from "./save.ts";

const MXCSR_AT = 24 >> 2;
const FCW_INIT = 0x37f;

/** Whether header bytes from word `first` to the header's end are 0. */
function headerIsZero(image: XsaveImage, first: number): boolean {
	for (let at = first; at < 144; at++) if (image.words[at] !== 0) return false;
	return true;
}

/** Header checks of the compacted format. @param allowed XCR0, or XCR0 | IA32_XSS for XRSTORS */
function checkCompacted(image: XsaveImage, allowed: number): boolean {
	if ((image.words[131]! & 0x7fffffff) !== 0 || image.words[129] !== 0) return false;
	if ((image.xcompBv & ~allowed) !== 0) return false;
	if ((image.xstateBv & ~image.xcompBv) !== 0) return false;
	return headerIsZero(image, 132);
}

/** Header checks of the standard format: XSTATE_BV within XCR0, bytes 23:8 zero (13.8.1). */
function checkStandard(image: XsaveImage, xcr0: number): boolean {
	if (image.words[129] !== 0 || (image.xstateBv & ~xcr0) !== 0) return false;
	for (let at = 130; at < 134; at++) if (image.words[at] !== 0) return false;
	return true;
}

/** #NM, with IA32_XFD_ERR set, if a component that XFD disables would be loaded with other than its initial state. */
function checkXfd(cpu: Cpu, loaded: number): boolean {
	const disabled = loaded & cpu.xfd;
	if (disabled === 0) return true;
	cpu.write32(L.XFD_ERR, cpu.read32(L.XFD_ERR) | disabled);
	return false;
}

/**
 * XRSTOR, in whichever format the image has.
 * @param rfbm requested components: EDX:EAX AND XCR0
 * @returns #GP(0) for a bad header or reserved MXCSR bits, #NM for XFD, or null; then nothing was restored
 */
export function xrstorFrom(cpu: Cpu, image: XsaveImage, rfbm: number): Fault | null {
	const xcr0 = cpu.xcr0;
	if (image.compacted ? !checkCompacted(image, xcr0) : !checkStandard(image, xcr0)) return GP0;
	return restore(cpu, image, rfbm, image.compacted);
}

/**
 * XRSTORS. The #GP for an image with components outside XCR0 | IA32_XSS is what a context switch runs into
 * when the guest's XCR0 is still loaded.
 * @param rfbm requested components: EDX:EAX AND (XCR0 | IA32_XSS)
 * @returns #GP(0) for the standard format, a bad header, reserved MXCSR bits, or a value that an MSR of CET does not take;
 *   #NM for XFD; or null
 */
export function xrstorsFrom(cpu: Cpu, image: XsaveImage, rfbm: number): Fault | null {
	if (!image.compacted || !checkCompacted(image, cpu.xcr0 | cpu.xss)) return GP0;
	return restore(cpu, image, rfbm, true);
}

const CET_COMPONENTS = XFEATURE.cetUser | XFEATURE.cetSupervisor;

/** Byte offsets in the image under way, by component. */
const offsets = new Int32Array(32);

/** Finds where the components of an image lie: in the compacted format behind each other (SDM Vol. 1, 13.4.3). */
function findComponents(cpu: Cpu, image: XsaveImage, compacted: boolean): void {
	let at = XSAVE_FIXED_BYTES;
	for (const component of STATE_COMPONENTS) {
		if (!compacted)
			offsets[component.index] = component.supervisor ? 0 : standardOffset(cpu.model, component);
		else if ((image.xcompBv & (1 << component.index)) !== 0) {
			if (component.aligned) at = (at + 63) & ~63;
			offsets[component.index] = at;
			at += component.bytes;
		}
	}
}

/** Whether WRMSR would take the MSRs that components of CET are loaded into (SDM Vol. 1, 13.5.8 and 13.5.9). */
function checkCet(cpu: Cpu, image: XsaveImage, loaded: number): boolean {
	for (const component of STATE_COMPONENTS) {
		if ((loaded & CET_COMPONENTS & (1 << component.index)) === 0) continue;
		for (let number = 0; number < component.bytes >> 3; number++) {
			const word = (offsets[component.index]! >> 2) + 2 * number;
			const value = (BigInt(image.words[word + 1]!) << 32n) | BigInt(image.words[word]!);
			const control = component.index === CET_U && number === 0;
			if (!(control ? isCetValue(value, cpu) : isShadowStackPointer(value, cpu))) return false;
		}
	}
	return true;
}

function restore(cpu: Cpu, image: XsaveImage, rfbm: number, compacted: boolean): Fault | null {
	const loaded = image.xstateBv & rfbm;
	// The standard format loads MXCSR with SSE or AVX, whatever XSTATE_BV says; the compacted one with SSE only.
	const loadMxcsr = compacted ? (loaded & XFEATURE.sse) !== 0 : (rfbm & (XFEATURE.sse | XFEATURE.avx)) !== 0;
	if (loadMxcsr && (image.words[MXCSR_AT]! & ~MXCSR_MASK) !== 0) return GP0;
	if (!checkXfd(cpu, loaded)) return NM;
	findComponents(cpu, image, compacted);
	if ((loaded & CET_COMPONENTS) !== 0 && !checkCet(cpu, image, loaded)) return GP0;

	const registers = (cpu.base + L.XSTATE) >> 2;
	if ((rfbm & XFEATURE.x87) !== 0) restoreX87(cpu, image, (loaded & XFEATURE.x87) !== 0);
	if ((rfbm & XFEATURE.sse) !== 0) {
		if ((loaded & XFEATURE.sse) !== 0) copyWords(image.words, 40, cpu.u32, registers + 40, 64);
		else if ((xinuse(cpu) & XFEATURE.sse) !== 0) cpu.u32.fill(0, registers + 40, registers + 104);
	}
	if (loadMxcsr) cpu.u32[registers + MXCSR_AT] = image.words[MXCSR_AT]!;
	else if ((rfbm & XFEATURE.sse) !== 0) cpu.u32[registers + MXCSR_AT] = MXCSR_INIT;

	const inUse = xinuse(cpu);
	for (const component of STATE_COMPONENTS) {
		const bit = 1 << component.index;
		if ((rfbm & bit) === 0) continue;
		if ((loaded & bit) !== 0) loadComponent(cpu, component, image, offsets[component.index]!);
		else if ((inUse & bit) !== 0) initComponent(cpu, component);
	}
	cpu.write32(L.XINUSE, (cpu.read32(L.XINUSE) & ~rfbm) | (loaded & ~OWN_REGISTERS));
	return null;
}

/** Components whose use is judged by their registers, not by the XINUSE field. */
const OWN_REGISTERS = XFEATURE.pkru | XFEATURE.pasid | XFEATURE.cetUser | XFEATURE.cetSupervisor;

/** Loads x87 state. ES and B follow from the flags and masks. */
export function loadX87(cpu: Cpu, image: XsaveImage): void {
	copyWords(image.words, 0, cpu.u32, (cpu.base + L.XSTATE) >> 2, 6);
	copyStack(cpu, image.words, true);
	setControl(cpu, control(cpu));
}

function restoreX87(cpu: Cpu, image: XsaveImage, load: boolean): void {
	if (load) {
		loadX87(cpu, image);
		return;
	}
	if ((xinuse(cpu) & XFEATURE.x87) === 0) return;
	const registers = (cpu.base + L.XSTATE) >> 2;
	cpu.u32.fill(0, registers, registers + 6);
	cpu.u32.fill(0, registers + 8, registers + 40);
	cpu.u32[registers] = FCW_INIT;
}

function loadComponent(cpu: Cpu, component: StateComponent, image: XsaveImage, from: number): void {
	if (component.index === CET_U) {
		copyWords(image.words, from >> 2, cpu.u32, (cpu.base + L.U_CET) >> 2, 2);
		copyWords(image.words, (from >> 2) + 2, cpu.u32, (cpu.base + L.PL3_SSP) >> 2, 2);
		return;
	}
	copyWords(image.words, from >> 2, cpu.u32, registersOf(cpu, component), component.bytes >> 2);
}

function initComponent(cpu: Cpu, component: StateComponent): void {
	if (component.index === CET_U) {
		cpu.write64(L.U_CET, 0n);
		cpu.write64(L.PL3_SSP, 0n);
		return;
	}
	const at = registersOf(cpu, component);
	cpu.u32.fill(0, at, at + (component.bytes >> 2));
}
