/** PCLMULQDQ, MPSADBW, PHMINPOSUW and CRC32 (SDM Vol. 2), on the state block. */
import * as L from "../cpu/layout.ts";
import { places } from "./float.ts";
import type { VectorOperation } from "./operation.ts";

let low = 0;
let high = 0;

/** The product of two polynomials over GF(2) of 32 bits: to `low` and `high`. */
function multiply(a: number, b: number): void {
	low = 0;
	high = 0;
	for (let at = 0; at < 32; at++) {
		if (((b >>> at) & 1) === 0) continue;
		low ^= a << at;
		if (at > 0) high ^= a >>> (32 - at);
	}
}

/** PCLMULQDQ; the instruction's immediate in bits 7:0, the number of halves above. */
const carryless: VectorOperation = (cpu, immediate) => {
	const { u32 } = cpu;
	for (let half = 0; half < immediate >> 8; half++) {
		const [first, second, , result] = places(cpu, 2).map((place) => place + half * 4);
		const a = first! + (immediate & 1) * 2;
		const b = second! + ((immediate >> 4) & 1) * 2;
		const [a0, a1, b0, b1] = [u32[a]!, u32[a + 1]!, u32[b]!, u32[b + 1]!];
		multiply(a0, b0);
		const [lowLow, lowHigh] = [low, high];
		multiply(a1, b1);
		const [highLow, highHigh] = [low, high];
		// Karatsuba: the middle from the product of the sums.
		multiply(a0 ^ a1, b0 ^ b1);
		const middleLow = low ^ lowLow ^ highLow;
		const middleHigh = high ^ lowHigh ^ highHigh;
		u32[result!] = lowLow;
		u32[result! + 1] = lowHigh ^ middleLow;
		u32[result! + 2] = highLow ^ middleHigh;
		u32[result! + 3] = highHigh;
	}
};

/** MPSADBW: the immediate in bits 7:0, three bits a half; the number of halves above. */
const sumsOfDifferences: VectorOperation = (cpu, immediate) => {
	const { u8, u16 } = cpu.memory;
	for (let half = 0; half < immediate >> 8; half++) {
		const control = (immediate >> (half * 3)) & 7;
		const a = cpu.base + L.VECTOR_A + half * 16 + ((control >> 2) & 1) * 4;
		const b = cpu.base + L.VECTOR_B + half * 16 + (control & 3) * 4;
		const result = (cpu.base + L.VECTOR_RESULT + half * 16) >> 1;
		for (let at = 0; at < 8; at++) {
			let sum = 0;
			for (let byte = 0; byte < 4; byte++) sum += Math.abs(u8[a + at + byte]! - u8[b + byte]!);
			u16[result + at] = sum;
		}
	}
};

/** PHMINPOSUW: the smallest word, and where it first stands. */
const smallestWord: VectorOperation = (cpu) => {
	const { u16 } = cpu.memory;
	const [from, , , to] = places(cpu, 1);
	let place = 0;
	for (let at = 1; at < 8; at++) if (u16[from! + at]! < u16[from! + place]!) place = at;
	const smallest = u16[from! + place]!;
	u16.fill(0, to!, to! + 8);
	u16[to!] = smallest;
	u16[to! + 1] = place;
};

/** Remainders modulo the polynomial of CRC-32C, 11EDC6F41H, its bits reversed, of each byte. */
const CASTAGNOLI = Uint32Array.from({ length: 256 }, (_, byte) => {
	let rest = byte;
	for (let bit = 0; bit < 8; bit++) rest = (rest & 1) !== 0 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
	return rest >>> 0;
});

/** CRC32: the sum so far in VECTOR_A, data in VECTOR_B; the immediate is its bytes. */
const crc32: VectorOperation = (cpu, bytes) => {
	const data = cpu.base + L.VECTOR_B;
	let sum = cpu.read32(L.VECTOR_A);
	for (let at = 0; at < bytes; at++) {
		sum = CASTAGNOLI[(sum ^ cpu.memory.u8[data + at]!) & 0xff]! ^ (sum >>> 8);
	}
	cpu.write32(L.VECTOR_RESULT, sum);
};

/** Operations by name. */
export const INTEGER: readonly (readonly [string, VectorOperation])[] = [
	["pclmulqdq", carryless],
	["mpsadbw", sumsOfDifferences],
	["phminposuw", smallestWord],
	["crc32", crc32],
];
