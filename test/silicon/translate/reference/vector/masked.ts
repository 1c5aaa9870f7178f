/** Masked moves and gathers of the reference (SDM Vol. 2). */
import { type Instruction, OpKind, Register, RegisterExt } from "iced-x86";
import { cut, type Operation, type Reference } from "../state.ts";
import { bytesOf, join, numberOf, putBytes, split } from "./lanes.ts";

const isSet = (mask: bigint, size: number) => mask >> BigInt(size * 8 - 1) === 1n;

/** VMASKMOVPS and its like: elements whose mask is clear are not touched. */
const maskedMove =
	(size: number): Operation =>
	(r, i) => {
		const masks = split(bytesOf(r, i, 1), size);
		const base = r.linear(i);
		if (i.opKind(0) === OpKind.Memory) {
			writeMasked(r, base, size, masks, split(bytesOf(r, i, 2), size));
			return;
		}
		const lanes = masks.map((mask, at) =>
			isSet(mask, size) ? r.memory.read(base + BigInt(at * size), size) : 0n,
		);
		putBytes(r, i, 0, join(lanes, size));
	};

/** All of them or, with a fault, none. */
function writeMasked(r: Reference, base: bigint, size: number, masks: bigint[], values: bigint[]): void {
	for (const [at, mask] of masks.entries()) {
		if (isSet(mask, size)) r.memory.write(base + BigInt(at * size), size, values[at]!);
	}
}

const maskmovdqu: Operation = (r, i) => {
	const bytes = i.opKind(0) === OpKind.MemorySegRDI ? 8 : i.opKind(0) === OpKind.MemorySegEDI ? 4 : 2;
	const base = r.linearIn(i.memorySegment - Register.ES, cut(r.regs[7]!, bytes * 8));
	writeMasked(r, base, 1, split(bytesOf(r, i, 2), 1), split(bytesOf(r, i, 1), 1));
};

/** Address of an element, with its index sign-extended. */
function elementAddress(r: Reference, i: Instruction, index: bigint): bigint {
	const bytes = i.memoryBase === Register.None ? i.memoryDisplSize : RegisterExt.size(i.memoryBase);
	const base = i.memoryBase === Register.None ? 0n : r.register(i.memoryBase);
	const offset = base + index * BigInt(i.memoryIndexScale) + i.memoryDisplacement;
	return r.linearIn(i.memorySegment - Register.ES, cut(offset, bytes * 8));
}

/** VGATHERDPS and its like: what was loaded before a fault stays, with its mask cleared. */
const gather =
	(indexSize: number, size: number): Operation =>
	(r, i) => {
		const indexNumber = RegisterExt.number(i.memoryIndex);
		const indexBytes = r.vectors.slice(indexNumber * 32, indexNumber * 32 + RegisterExt.size(i.memoryIndex));
		const indices = split(indexBytes, indexSize).map((index) => BigInt.asIntN(indexSize * 8, index));
		const lanes = split(bytesOf(r, i, 0), size);
		const masks = split(bytesOf(r, i, 2), size);
		const count = Math.min(indices.length, lanes.length);
		const keep = () => {
			for (const [operand, values] of [
				[0, lanes],
				[2, masks],
			] as const) {
				r.vectors.set(join(values, size), numberOf(i, operand) * 32);
			}
			r.checkpoint();
		};
		const ones = (1n << BigInt(size * 8)) - 1n;
		for (let at = 0; at < count; at++) masks[at] = isSet(masks[at]!, size) ? ones : 0n;
		for (let at = 0; at < count; at++) {
			keep();
			if (masks[at] === 0n) continue;
			lanes[at] = r.memory.read(elementAddress(r, i, indices[at]!), size);
			masks[at] = 0n;
		}
		putBytes(
			r,
			i,
			0,
			join(
				lanes.map((lane, at) => (at < count ? lane : 0n)),
				size,
			),
		);
		putBytes(r, i, 2, new Uint8Array(r.size(i, 2)));
	};

/** By name. */
// biome-ignore format: one row an instruction
export const MASKED: readonly (readonly [string, Operation])[] = [
	["maskmovps", maskedMove(4)], ["maskmovpd", maskedMove(8)], ["pmaskmovd", maskedMove(4)], ["pmaskmovq", maskedMove(8)],
	["maskmovdqu", maskmovdqu],
	["pgatherdd", gather(4, 4)], ["pgatherdq", gather(4, 8)], ["pgatherqd", gather(8, 4)], ["pgatherqq", gather(8, 8)],
	["gatherdps", gather(4, 4)], ["gatherdpd", gather(4, 8)], ["gatherqps", gather(8, 4)], ["gatherqpd", gather(8, 8)],
];
