/**
 * At every VM entry the guest's x87, SSE, AVX and AMX state is what it left at its exit.
 *
 * VM entry and exit switch none of it. A context switch or an interrupt that uses the FPU saves it, by XSAVES under
 * whatever XCR0, IA32_XSS and IA32_XFD the processor then holds; what those switch off is lost without a word.
 *
 * Not covered: components that the guest's XFD disabled at its exit, which software must take for lost; PKRU, which
 * guest-xstate looks at; CET; TDs and SEV-ES guests.
 */
import { XFEATURE } from "../../silicon/cpu/control.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { STATE_COMPONENTS } from "../../silicon/cpu/state-components.ts";
import type { Property } from "./property.ts";

interface Area {
	readonly name: string;
	readonly bit: number;
	/** Byte ranges in the register file, and the words that are not 0 initially. */
	readonly offset: number;
	readonly bytes: number;
	readonly initial: number;
}

/** In the register file; what lies in the state block is other properties'. */
const AREAS: readonly Area[] = [
	{ name: "x87", bit: XFEATURE.x87, offset: 0, bytes: 24, initial: 0x37f },
	{ name: "x87 registers", bit: XFEATURE.x87, offset: 32, bytes: 128, initial: 0 },
	{ name: "SSE", bit: XFEATURE.sse, offset: 160, bytes: 256, initial: 0 },
	...STATE_COMPONENTS.filter(({ supervisor, index }) => !supervisor && index !== 9).map(
		({ name, index, intelOffset, bytes }) => ({
			name,
			bit: 1 << index,
			offset: intelOffset,
			bytes,
			initial: 0,
		}),
	),
];

/** 0 for an area in its initial state, in use or not. */
function digest(cpu: Cpu, { bit, offset, bytes, initial }: Area): number {
	if ((cpu.read32(L.XINUSE) & bit) === 0) return 0;
	const from = (cpu.base + L.XSTATE + offset) >> 2;
	let sum = Math.imul(cpu.u32[from]! ^ initial, 0x9e37_79b1);
	for (let at = 1; at < bytes >> 2; at++) {
		const word = cpu.u32[from + at]!;
		if (word !== 0) sum = (sum + Math.imul(word, 0x9e37_79b1 + 2 * at)) | 0;
	}
	return sum;
}

/** Word 0: components whose digests are known, as XFD let them be at the exit. Then one digest an area. */
export const guestFpu: Property = {
	name: "guest-fpu",
	title: "at VM entry x87, SSE, AVX and AMX state is the guest's",
	degree: "violation",
	words: 1 + AREAS.length,
	onGuestWrite(_context, register, value, memory) {
		// What the guest disables it gives up.
		if (register === "IA32_XFD") memory[0] = memory[0]! & ~Number(value);
	},
	onGuestExit({ machine: { cpu, vcpu } }, memory) {
		if (vcpu.guestStateProtected) return;
		memory[0] = ~cpu.xfd;
		for (const [at, area] of AREAS.entries()) memory[1 + at] = digest(cpu, area);
	},
	onGuestEntry({ machine: { cpu, vcpu } }, memory) {
		if (vcpu.guestStateProtected) return null;
		// Before its first exit the guest is owed the initial state, whose digests are 0.
		const known = (memory[0] === 0 ? -1 : memory[0]!) & ~cpu.xfd;
		for (const [at, area] of AREAS.entries()) {
			if ((known & area.bit) === 0) continue;
			if (digest(cpu, area) !== memory[1 + at])
				return `the guest's ${area.name} state is not what it left there`;
		}
		return null;
	},
};
