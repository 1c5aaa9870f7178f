/**
 * The first-level caches of one CPU, as far as host code comes back to what a guest, or user space, has thrown out: then each
 * of its lines comes from the second level, once. What was run since is there.
 *
 * No addresses are modelled: a piece of code is known by its function and its length. Misses of data overlap with what runs
 * meanwhile, and are not counted.
 */
import type { Cpu } from "./cpu.ts";

/** Of a line that is in the second-level cache, in cycles. Assumed. */
const SECOND_LEVEL_CYCLES = 15;
const LINE_BYTES = 64;
/** Of an instruction of x86-64 code on average. Assumed. */
const INSTRUCTION_BYTES = 4;
const COLD_CYCLES = (SECOND_LEVEL_CYCLES * INSTRUCTION_BYTES) / LINE_BYTES;
/** Pieces are told apart by so many bits of their length. */
const LENGTH_BITS = 7;

export class FirstLevelCache {
	private evictions = 1;
	/** Number of the eviction behind which a piece was last run. */
	private ranBehind = new Uint32Array(2 ** 16);

	/** A guest or user space has run, whose working set is larger than these caches. */
	evict(): void {
		this.evictions++;
	}

	/** Plain instructions of the function on top of the stack are run. */
	run(cpu: Cpu, instructions: number): void {
		const symbolId = cpu.stackDepth > 0 ? cpu.stack[cpu.stackDepth - 1]! : 0;
		const piece = (symbolId << LENGTH_BITS) | (instructions & (2 ** LENGTH_BITS - 1));
		if (piece >= this.ranBehind.length) this.grow(piece);
		if (this.ranBehind[piece] === this.evictions) return;
		this.ranBehind[piece] = this.evictions;
		cpu.cycles += COLD_CYCLES * instructions;
	}

	private grow(piece: number): void {
		const wider = new Uint32Array(2 * piece);
		wider.set(this.ranBehind);
		this.ranBehind = wider;
	}
}
