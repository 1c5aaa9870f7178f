/**
 * What a VM exit waits for: the guest's stores that have retired and not yet reached the cache, since the host's state is loaded
 * behind them.
 */
import { OP } from "../ops.ts";
import type { Cpu } from "./cpu.ts";

/** Stores that wait at most: Golden Cove's store buffer. */
const STORES = 112;
/** Lines that are fetched at the same time: its fill buffers. */
const FILL_BUFFERS = 16;
/** From memory, in nanoseconds. */
const MEMORY_NS = 115;

/**
 * Each VM exit comes upon a full store buffer, as that of a guest that writes a word to page after page, each of them a miss. No
 * figure of it is published: this is the buffer's size, in turns of the lines that are fetched at once.
 */
export function exitBehindStores({ costs, model }: Cpu): void {
	const cycles = ((STORES / FILL_BUFFERS) * MEMORY_NS * model.tscHz) / 1e9;
	for (const op of [OP.vmexit, OP["#vmexit"]]) if (costs[op]! > 0) costs[op] = costs[op]! + cycles;
}
