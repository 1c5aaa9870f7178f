/** XSAVE, XSAVEOPT, XSAVEC and XSAVES on the physical processor's state (SDM Vol. 1, 13.7 to 13.11). */
import { XFEATURE, xinuse } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import {
	STATE_COMPONENTS,
	type StateComponent,
	standardOffset,
	XSAVE_FIXED_BYTES,
} from "../cpu/state-components.ts";
import type { XsaveImage } from "./image.ts";
import { copyStack, copyWords, registersOf } from "./registers.ts";

const SSE_OR_AVX = XFEATURE.sse | XFEATURE.avx;
const MXCSR_AT = 24 >> 2;
/** FSW.ES, in the word that begins with FCW. */
const FSW_ES = 0x80 << 16;
/** MXCSR in its initial configuration. */
export const MXCSR_INIT = 0x1f80;
/** The MXCSR bits that may be set: all but DAZ's neighbours above bit 15. */
export const MXCSR_MASK = 0xffff;

/** Components that a save sees as in use. Those that XFD disables count as initial, whatever they hold (13.14). */
function savedInUse(cpu: Cpu): number {
	return xinuse(cpu) & ~cpu.xfd;
}

/** Copies x87 state: control words and pointers, then ST0-ST7 from the top of the stack. MXCSR between them is not part of it. */
export function saveX87(cpu: Cpu, image: XsaveImage): void {
	copyWords(cpu.u32, (cpu.base + L.XSTATE) >> 2, image.words, 0, 6);
	copyStack(cpu, image.words, false);
	// AMD's processors keep their pointers to themselves unless an exception is pending (APM Vol. 2, 11.4.4).
	if (cpu.model.vendorString !== "AuthenticAMD" || (image.words[0]! & FSW_ES) !== 0) return;
	image.words[1] = image.words[1]! & 0xffff;
	image.words.fill(0, 2, 6);
}

function saveXmm(cpu: Cpu, image: XsaveImage): void {
	copyWords(cpu.u32, ((cpu.base + L.XSTATE) >> 2) + 40, image.words, 40, 64);
}

function saveMxcsr(cpu: Cpu, image: XsaveImage): void {
	image.words[MXCSR_AT] = cpu.u32[((cpu.base + L.XSTATE) >> 2) + MXCSR_AT]!;
	image.words[MXCSR_AT + 1] = MXCSR_MASK;
}

function saveComponent(cpu: Cpu, component: StateComponent, image: XsaveImage, at: number): void {
	// Typed arrays drop what is written past their end, which would lose state without a word.
	if (at + component.bytes > image.bytes.length)
		throw new RangeError(`XSAVE image too small for ${component.name}`);
	copyWords(cpu.u32, registersOf(cpu, component), image.words, at >> 2, component.bytes >> 2);
}

/**
 * XSAVE and XSAVEOPT: the standard format. Both write every requested component, which XSAVEOPT may.
 * @param image receives the state
 * @param rfbm requested components (EDX:EAX AND XCR0)
 * @throws RangeError if the image is too small
 */
export function xsaveTo(cpu: Cpu, image: XsaveImage, rfbm: number): void {
	const inUse = savedInUse(cpu);
	if ((rfbm & XFEATURE.x87) !== 0) saveX87(cpu, image);
	if ((rfbm & XFEATURE.sse) !== 0) saveXmm(cpu, image);
	if ((rfbm & SSE_OR_AVX) !== 0) saveMxcsr(cpu, image);
	for (const component of STATE_COMPONENTS) {
		const bit = 1 << component.index;
		if ((rfbm & bit & ~cpu.xfd) === 0 || component.supervisor) continue;
		saveComponent(cpu, component, image, standardOffset(cpu.model, component));
	}
	image.words[128] = (image.words[128]! & ~rfbm) | (inUse & rfbm);
}

/**
 * XSAVEC, and XSAVES when `rfbm` may have supervisor components: the compacted format with the init
 * optimisation. Components that are initial are not written.
 * @param image receives the state; at least `compactedSize(rfbm)` bytes
 * @param rfbm requested components: EDX:EAX AND XCR0 for XSAVEC, AND (XCR0 | IA32_XSS) for XSAVES
 * @throws RangeError if the image is too small
 */
export function xsavesTo(cpu: Cpu, image: XsaveImage, rfbm: number): void {
	let inUse = savedInUse(cpu) & rfbm;
	const mxcsr = cpu.u32[((cpu.base + L.XSTATE) >> 2) + MXCSR_AT]!;
	if ((rfbm & XFEATURE.sse) !== 0 && mxcsr !== MXCSR_INIT) inUse |= XFEATURE.sse;
	if ((inUse & XFEATURE.x87) !== 0) saveX87(cpu, image);
	if ((inUse & XFEATURE.sse) !== 0) {
		saveXmm(cpu, image);
		saveMxcsr(cpu, image);
	}
	let at = XSAVE_FIXED_BYTES;
	for (const component of STATE_COMPONENTS) {
		const bit = 1 << component.index;
		if ((rfbm & bit) === 0) continue;
		if (component.aligned) at = (at + 63) & ~63;
		if ((inUse & bit) !== 0) saveComponent(cpu, component, image, at);
		at += component.bytes;
	}
	image.xstateBv = inUse;
	image.setCompacted(rfbm);
}
