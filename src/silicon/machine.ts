/**
 * The memory of one software machine: a single WebAssembly.Memory that holds, for each logical
 * processor, its state area (see cpu/layout.ts) and, behind those, host physical memory.
 *
 * Everything that translated code touches lies here, so that a load in guest code is one Wasm load.
 */
import type { FillList } from "./cpu/fill-list.ts";
import { CPU_AREA_BYTES } from "./cpu/layout.ts";

const WASM_PAGE_BYTES = 65536;

/** Host physical memory and processor state areas, with typed views over the whole. */
export class MachineMemory {
	readonly memory: WebAssembly.Memory;
	readonly u8: Uint8Array;
	readonly u16: Uint16Array;
	readonly u32: Uint32Array;
	readonly i32: Int32Array;
	readonly u64: BigUint64Array;
	readonly i64: BigInt64Array;
	readonly f64: Float64Array;
	readonly view: DataView;
	/** 1 for each 4 KiB page of host physical memory from which code was translated. */
	readonly codePages: Uint8Array;
	/** Filled TLB entries of all processors: by where a bank begins. See paging/tlb.ts. */
	readonly tlbFilled = new Map<number, FillList>();
	/** Called before a page with translated code is written; the translator drops what it made from it. */
	onCodeWrite: (hpaPage: number) => void = () => {};
	/** Byte offset in the Wasm memory at which host physical address 0 lies. */
	readonly ramBase: number;
	/** Bytes of host physical memory. */
	readonly ramBytes: number;

	/**
	 * @param cpus number of logical processors
	 * @param ramBytes bytes of host physical memory, a multiple of 64 KiB; at most 2 GiB
	 */
	constructor(cpus: number, ramBytes: number) {
		if (ramBytes % WASM_PAGE_BYTES !== 0 || ramBytes > 2 ** 31) {
			throw new RangeError(`ramBytes ${ramBytes}: want a multiple of 64 KiB, at most 2 GiB`);
		}
		this.ramBase = cpus * CPU_AREA_BYTES;
		this.ramBytes = ramBytes;
		const pages = (this.ramBase + ramBytes) / WASM_PAGE_BYTES;
		// Never grown, so the views below stay attached.
		this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
		const buffer = this.memory.buffer;
		this.u8 = new Uint8Array(buffer);
		this.u16 = new Uint16Array(buffer);
		this.u32 = new Uint32Array(buffer);
		this.i32 = new Int32Array(buffer);
		this.u64 = new BigUint64Array(buffer);
		this.i64 = new BigInt64Array(buffer);
		this.f64 = new Float64Array(buffer);
		this.view = new DataView(buffer);
		this.codePages = new Uint8Array(ramBytes / 4096);
	}
}
