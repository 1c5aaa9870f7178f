/** PCMPxSTRx of the reference, in the words of SDM Vol. 2B, 4.1. */
import { type Instruction, Mnemonic } from "iced-x86";
import type { Operation, Reference } from "../state.ts";
import { bytesOf, fromNumber, immediate, isVex, join, split, splitSigned } from "./lanes.ts";

/** Number of valid elements. */
function validCount(
	r: Reference,
	i: Instruction,
	elements: bigint[],
	register: number,
	explicit: boolean,
): number {
	if (!explicit) {
		const zero = elements.indexOf(0n);
		return zero === -1 ? elements.length : zero;
	}
	const wide = Mnemonic[i.mnemonic]!.endsWith("64");
	const value = BigInt.asIntN(wide ? 64 : 32, r.regs[register]!);
	const absolute = value < 0n ? -value : value;
	return absolute > BigInt(elements.length) ? elements.length : Number(absolute);
}

const compare =
	(explicit: boolean, toMask: boolean): Operation =>
	(r, i) => {
		const control = immediate(i);
		const size = control & 1 ? 2 : 1;
		const cutter = control & 2 ? splitSigned : split;
		const y = cutter(bytesOf(r, i, 1), size);
		const x = cutter(bytesOf(r, i, 0), size);
		const [xs, ys] = [validCount(r, i, x, 0, explicit), validCount(r, i, y, 2, explicit)];
		const count = x.length;
		// BoolRes[i][j]: element i of the first against element j of the second, with the overrides for invalid ones.
		const kind = (control >> 2) & 3;
		const holds = (a: number, b: number): boolean => {
			const [validA, validB] = [a < xs, b < ys];
			if (validA && validB) {
				if (kind !== 1) return x[a] === y[b];
				return a % 2 === 0 ? x[a]! <= y[b]! : x[a]! >= y[b]!;
			}
			if (!validA && !validB) return kind >= 2;
			if (!validA) return kind === 3;
			return false;
		};
		const result1: boolean[] = [];
		const all = Array.from({ length: count }, (_, at) => at);
		for (const j of all) {
			if (kind === 0) result1.push(all.some((a) => holds(a, j)));
			else if (kind === 1) result1.push(all.some((a) => a % 2 === 0 && holds(a, j) && holds(a + 1, j)));
			else if (kind === 2) result1.push(holds(j, j));
			else result1.push(all.slice(0, count - j).every((a) => holds(a, j + a)));
		}
		const polarity = (control >> 4) & 3;
		const result2 = result1.map((value, at) =>
			polarity === 1 || (polarity === 3 && at < ys) ? !value : value,
		);
		r.set({ CF: result2.includes(true), ZF: ys < count, SF: xs < count, OF: result2[0]!, AF: 0, PF: 0 });
		if (!toMask) {
			const found = control & 0x40 ? result2.lastIndexOf(true) : result2.indexOf(true);
			r.put(1, 4, BigInt(found === -1 ? count : found));
			return;
		}
		const bits = result2.reduce((sum, value, at) => sum | (value ? 1n << BigInt(at) : 0n), 0n);
		const expanded = join(
			result2.map((value) => (value ? -1n : 0n)),
			size,
		);
		if (isVex(i)) r.vectors.fill(0, 0, 32);
		r.vectors.set(control & 0x40 ? expanded : fromNumber(bits, 16), 0);
	};

/** By name. */
// biome-ignore format: one row an instruction
export const STRING_COMPARE: readonly (readonly [string, Operation])[] = [
	["pcmpistri", compare(false, false)], ["pcmpistrm", compare(false, true)],
	["pcmpestri", compare(true, false)], ["pcmpestrm", compare(true, true)],
	["pcmpestri64", compare(true, false)], ["pcmpestrm64", compare(true, true)],
];
