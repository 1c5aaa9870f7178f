/** SHA-NI (SDM Vol. 2; FIPS 180-4), on the state block. Word 3 is the one that the standard names first. */
import type { Cpu } from "../cpu/cpu.ts";
import { places } from "./float.ts";
import type { VectorOperation } from "./operation.ts";

const left = (x: number, bits: number) => (x << bits) | (x >>> (32 - bits));
const right = (x: number, bits: number) => left(x, 32 - bits);

/** The four words of operands A, B and C, highest first. */
function operands(cpu: Cpu): [number[], number[], number[]] {
	const [a, b, c] = places(cpu, 2);
	const words = (from: number) => [3, 2, 1, 0].map((at) => cpu.u32[from + at]!);
	return [words(a!), words(b!), words(c!)];
}

/** Writes the result, highest word first. */
function write(cpu: Cpu, words: readonly number[]): void {
	const to = places(cpu, 2)[3]!;
	for (const [at, word] of words.entries()) cpu.u32[to + 3 - at] = word;
}

const choose = (x: number, y: number, z: number) => (x & y) ^ (~x & z);
const parity = (x: number, y: number, z: number) => x ^ y ^ z;
const majority = (x: number, y: number, z: number) => (x & y) ^ (x & z) ^ (y & z);

/** Functions and constants of SHA-1's four groups of rounds. */
const SHA1 = [
	[choose, 0x5a827999],
	[parity, 0x6ed9eba1],
	[majority, 0x8f1bbcdc],
	[parity, 0xca62c1d6],
] as const;

/** SHA1RNDS4: four rounds; E is in the first word of the message already. */
const sha1rnds4: VectorOperation = (cpu, immediate) => {
	const [state, message] = operands(cpu);
	const [mix, constant] = SHA1[immediate & 3]!;
	let [a, b, c, d] = state as [number, number, number, number];
	let e = 0;
	for (const word of message) {
		const next = (mix(b, c, d) + left(a, 5) + word + e + constant) | 0;
		[e, d, c, b, a] = [d, c, left(b, 30), a, next];
	}
	write(cpu, [a, b, c, d]);
};

const sha1nexte: VectorOperation = (cpu) => {
	const [state, message] = operands(cpu);
	write(cpu, [message[0]! + left(state[0]!, 30), message[1]!, message[2]!, message[3]!]);
};

const sha1msg1: VectorOperation = (cpu) => {
	const [a, b] = operands(cpu);
	const w = [...a, ...b];
	write(
		cpu,
		[0, 1, 2, 3].map((at) => w[at]! ^ w[at + 2]!),
	);
};

const sha1msg2: VectorOperation = (cpu) => {
	const [a, b] = operands(cpu);
	const first = left(a[0]! ^ b[1]!, 1);
	write(cpu, [first, left(a[1]! ^ b[2]!, 1), left(a[2]! ^ b[3]!, 1), left(a[3]! ^ first, 1)]);
};

const smallSigma0 = (x: number) => right(x, 7) ^ right(x, 18) ^ (x >>> 3);
const smallSigma1 = (x: number) => right(x, 17) ^ right(x, 19) ^ (x >>> 10);
const bigSigma0 = (x: number) => right(x, 2) ^ right(x, 13) ^ right(x, 22);
const bigSigma1 = (x: number) => right(x, 6) ^ right(x, 11) ^ right(x, 25);

/** SHA256RNDS2: two rounds; C holds the words of the message with their constants added. */
const sha256rnds2: VectorOperation = (cpu) => {
	const [cdgh, abef, message] = operands(cpu);
	let [a, b, e, f] = abef as [number, number, number, number];
	let [c, d, g, h] = cdgh as [number, number, number, number];
	for (const word of [message[3]!, message[2]!]) {
		const sum = (choose(e, f, g) + bigSigma1(e) + word + h) | 0;
		const next = (sum + majority(a, b, c) + bigSigma0(a)) | 0;
		[h, g, f, e, d, c, b, a] = [g, f, e, (sum + d) | 0, c, b, a, next];
	}
	write(cpu, [a, b, e, f]);
};

const sha256msg1: VectorOperation = (cpu) => {
	const [a, b] = operands(cpu);
	write(cpu, [
		a[0]! + smallSigma0(b[3]!),
		a[1]! + smallSigma0(a[0]!),
		a[2]! + smallSigma0(a[1]!),
		a[3]! + smallSigma0(a[2]!),
	]);
};

const sha256msg2: VectorOperation = (cpu) => {
	const [a, b] = operands(cpu);
	const w16 = (a[3]! + smallSigma1(b[1]!)) | 0;
	const w17 = (a[2]! + smallSigma1(b[0]!)) | 0;
	write(cpu, [a[0]! + smallSigma1(w17), a[1]! + smallSigma1(w16), w17, w16]);
};

/** Operations by name. */
// biome-ignore format: one row an operation
export const SHA: readonly (readonly [string, VectorOperation])[] = [
	["sha1rnds4", sha1rnds4], ["sha1nexte", sha1nexte], ["sha1msg1", sha1msg1], ["sha1msg2", sha1msg2],
	["sha256rnds2", sha256rnds2], ["sha256msg1", sha256msg1], ["sha256msg2", sha256msg2],
];
