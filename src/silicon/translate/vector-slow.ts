/** The slow paths of vector instructions: memory that the TLB does not have, and operations that Wasm does not. */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { ALIGNED, GATHER, HELPER } from "./core.ts";
import type { Services } from "./services.ts";

/** Stores 8 bytes as `SlowPaths.store` does. */
export type Store = (linear: bigint, bytes: number, value: bigint) => number;

/** Loads a vector to VECTOR_RESULT. @returns 1 with a fault noted, else 0 */
function load(cpu: Cpu, services: Services, linear: bigint, bytes: number): number {
	for (let at = 0; at < bytes; at += 8) {
		const value = services.load(cpu, BigInt.asUintN(64, linear + BigInt(at)), 8);
		if (cpu.read32(L.FAULT) !== 0) return 1;
		cpu.write64(L.VECTOR_RESULT + at, value);
	}
	return 0;
}

/** Stores the vector in VECTOR_A, all of it or nothing. @returns as `SlowPaths.store` */
function storeWhole(cpu: Cpu, services: Services, linear: bigint, bytes: number, store: Store): number {
	services.probeStore(cpu, linear, bytes);
	if (cpu.read32(L.FAULT) !== 0) return 1;
	let status = 0;
	for (let at = 0; at < bytes; at += 8) {
		const part = store(BigInt.asUintN(64, linear + BigInt(at)), 8, cpu.read64(L.VECTOR_A + at));
		if (part === 1) return 1;
		status |= part;
	}
	return status;
}

/** Whether the sign of a lane of the vector at an offset is set. */
function signOf(cpu: Cpu, offset: number, lane: number, bytes: number): boolean {
	return (cpu.memory.u8[cpu.base + offset + (lane + 1) * bytes - 1]! & 0x80) !== 0;
}

function readLane(cpu: Cpu, offset: number, bytes: number): bigint {
	const { view } = cpu.memory;
	const at = cpu.base + offset;
	if (bytes === 8) return view.getBigUint64(at, true);
	return BigInt(bytes === 4 ? view.getUint32(at, true) : view.getUint8(at));
}

function writeLane(cpu: Cpu, offset: number, bytes: number, value: bigint): void {
	if (bytes === 8) cpu.write64(offset, value);
	else cpu.write32(offset, Number(value & 0xffffffffn));
}

/** VMASKMOV from memory: lanes whose mask is clear are 0 and not looked at. @returns as `load` */
function maskedLoad(cpu: Cpu, services: Services, linear: bigint, bytes: number, lane: number): number {
	for (let at = 0; at < bytes / lane; at++) {
		let value = 0n;
		if (signOf(cpu, L.VECTOR_B, at, lane)) {
			value = services.load(cpu, BigInt.asUintN(64, linear + BigInt(at * lane)), lane);
			if (cpu.read32(L.FAULT) !== 0) return 1;
		}
		writeLane(cpu, L.VECTOR_RESULT + at * lane, lane, value);
	}
	return 0;
}

/** VMASKMOV to memory, and MASKMOVDQU: all lanes whose mask is set, or none. @returns as `SlowPaths.store` */
function maskedStore(
	cpu: Cpu,
	services: Services,
	linear: bigint,
	bytes: number,
	lane: number,
	store: Store,
): number {
	const chosen: number[] = [];
	for (let at = 0; at < bytes / lane; at++) if (signOf(cpu, L.VECTOR_B, at, lane)) chosen.push(at * lane);
	for (const at of chosen) {
		services.probeStore(cpu, BigInt.asUintN(64, linear + BigInt(at)), lane);
		if (cpu.read32(L.FAULT) !== 0) return 1;
	}
	let status = 0;
	for (const at of chosen) {
		const part = store(BigInt.asUintN(64, linear + BigInt(at)), lane, readLane(cpu, L.VECTOR_A + at, lane));
		if (part === 1) return 1;
		status |= part;
	}
	return status;
}

const ONES = 0xffffffffffffffffn;

/**
 * VGATHER: elements in order, each with its mask cleared when it is loaded, so that it goes on behind a fault (SDM
 * Vol. 2C, VGATHERDPS). @returns 1 with a fault noted, else 0
 */
function gather(cpu: Cpu, services: Services, detail: number, offset: bigint): number {
	const field = (shift: number, bits: number) => (detail >> shift) & ((1 << bits) - 1);
	const laneBytes = field(GATHER.laneBytes, 4);
	const indexBytes = field(GATHER.indexBytes, 4);
	const scale = BigInt(field(GATHER.scale, 4));
	const addressBits = field(GATHER.addressBytes, 4) * 8;
	const segmentBase = cpu.read64(L.VECTOR_SEGMENT_BASE);
	const lanes = field(GATHER.lanes, 4);
	for (let at = 0; at < lanes; at++) {
		writeLane(
			cpu,
			L.VECTOR_C + at * laneBytes,
			laneBytes,
			signOf(cpu, L.VECTOR_C, at, laneBytes) ? ONES : 0n,
		);
	}
	for (let at = 0; at < lanes; at++) {
		if (!signOf(cpu, L.VECTOR_C, at, laneBytes)) continue;
		const index = BigInt.asIntN(indexBytes * 8, readLane(cpu, L.VECTOR_B + at * indexBytes, indexBytes));
		const effective = BigInt.asUintN(addressBits, offset + index * scale);
		const linear = BigInt.asUintN(addressBits === 64 ? 64 : 32, segmentBase + effective);
		const value = services.load(cpu, linear, laneBytes);
		if (cpu.read32(L.FAULT) !== 0) return 1;
		writeLane(cpu, L.VECTOR_A + at * laneBytes, laneBytes, value);
		writeLane(cpu, L.VECTOR_C + at * laneBytes, laneBytes, 0n);
	}
	return 0;
}

/**
 * HELPER.vectorLoad and what follows it, but for `vector`.
 * @param address linear; of `gather` the offset without the index
 * @returns 0 done, 1 a fault is noted, 2 done and translated code was dropped
 */
export function vectorMemory(
	cpu: Cpu,
	services: Services,
	what: number,
	detail: number,
	address: bigint,
	store: Store,
): number {
	if (what === HELPER.gather) return gather(cpu, services, detail, address);
	const bytes = detail & (ALIGNED - 1);
	const linear = BigInt.asUintN(64, address);
	if ((detail & ALIGNED) !== 0 && (linear & BigInt(bytes - 1)) !== 0n) {
		raise(cpu, VECTOR.GP, 0);
		return 1;
	}
	switch (what) {
		case HELPER.vectorLoad:
			return load(cpu, services, linear, bytes);
		case HELPER.vectorStore:
			return storeWhole(cpu, services, linear, bytes, store);
		case HELPER.maskedLoad:
			return maskedLoad(cpu, services, linear, bytes, detail >> 16);
		default:
			return maskedStore(cpu, services, linear, bytes, detail >> 16, store);
	}
}
