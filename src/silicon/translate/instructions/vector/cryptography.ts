/** AES-NI, VAES, PCLMULQDQ, SHA-NI, and the sums of MPSADBW and PHMINPOSUW (SDM Vol. 1, 5.10, 5.12, 5.16 and 12.13). */
import type { Emitter } from "../../emitter.ts";
import { halves, type Vector } from "../../vector-memory.ts";
import { immediateOf } from "./moves.ts";
import type { Row } from "./named.ts";
import { registerVector, source, sources } from "./operands.ts";
import { byOperation } from "./operations.ts";

const countHalves = (_: Emitter, result: Vector) => halves(result).length;
const immediateAndHalves = (e: Emitter, result: Vector) => immediateOf(e) | (halves(result).length << 8);
const noImmediate = () => 0;
const one = (e: Emitter): Vector[] => [source(e, 1)];
/** SHA256RNDS2 takes the message from XMM0. */
const withXmm0 = (e: Emitter): Vector[] => [...sources(e), registerVector(e, 0, 16)];

/** By name. */
// biome-ignore format: one row an instruction
export const CRYPTOGRAPHY: readonly Row[] = [
	["AESENC", byOperation("aesenc", sources, countHalves)],
	["AESENCLAST", byOperation("aesenclast", sources, countHalves)],
	["AESDEC", byOperation("aesdec", sources, countHalves)],
	["AESDECLAST", byOperation("aesdeclast", sources, countHalves)],
	["AESIMC", byOperation("aesimc", one, noImmediate)],
	["AESKEYGENASSIST", byOperation("aeskeygenassist", one, (e) => immediateOf(e))],
	["PCLMULQDQ", byOperation("pclmulqdq", sources, immediateAndHalves)],
	["SHA1RNDS4", byOperation("sha1rnds4", sources, (e) => immediateOf(e))],
	["SHA1NEXTE", byOperation("sha1nexte", sources, noImmediate)],
	["SHA1MSG1", byOperation("sha1msg1", sources, noImmediate)],
	["SHA1MSG2", byOperation("sha1msg2", sources, noImmediate)],
	["SHA256RNDS2", byOperation("sha256rnds2", withXmm0, noImmediate)],
	["SHA256MSG1", byOperation("sha256msg1", sources, noImmediate)],
	["SHA256MSG2", byOperation("sha256msg2", sources, noImmediate)],
	["MPSADBW", byOperation("mpsadbw", sources, immediateAndHalves)],
	["PHMINPOSUW", byOperation("phminposuw", one, noImmediate)],
];
