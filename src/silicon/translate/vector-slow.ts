/** The slow paths of vector instructions: memory that the TLB does not have, and operations that Wasm does not. */
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { ALIGNED, HELPER } from "./core.ts";
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

/**
 * HELPER.vectorLoad and HELPER.vectorStore.
 * @param detail bytes, with ALIGNED if a misaligned address raises #GP
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
	const bytes = detail & (ALIGNED - 1);
	const linear = BigInt.asUintN(64, address);
	if ((detail & ALIGNED) !== 0 && (linear & BigInt(bytes - 1)) !== 0n) {
		raise(cpu, VECTOR.GP, 0);
		return 1;
	}
	if (what === HELPER.vectorLoad) return load(cpu, services, linear, bytes);
	return storeWhole(cpu, services, linear, bytes, store);
}
