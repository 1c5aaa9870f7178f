/**
 * Compiled regions: the table that the core calls through, what their code names by id, and how much of it there is.
 * Several regions share a module, because V8 takes longer to make a module than to compile what is in it.
 */
import type { MachineMemory } from "../machine.ts";
import type { CpuModel } from "../models/model.ts";
import { encodeModule, type FunctionBody } from "../wasm/builder.ts";
import type { Ids } from "./block-emitter.ts";
import type { Region } from "./code-cache.ts";
import { type Core, makeCore, REGION_IMPORTS, type SlowPaths, TYPES } from "./core.ts";
import { GuestCosts } from "./costs.ts";
import { Emitter } from "./emitter.ts";
import type { Site } from "./exits.ts";
import type { Insn } from "./insn.ts";
import { type Microcode, microcodeOf } from "./microcode.ts";
import type { Mode } from "./mode.ts";
import type { Block } from "./region.ts";
import { isString } from "./strings.ts";
import { emitRegion } from "./structure.ts";

/** Entries after which a cold region is made again, bigger. */
const HOT_ENTRIES = 256;
const TABLE_GROWTH = 4096;
/** What is kept before all of it is thrown away, as an estimate of the host's memory. */
const HOST_BYTES_MAX = 768 << 20;
/** Host memory for a module, and for a byte of its code, as V8 of Node 20 takes it: compiled code, tables, the module itself. */
const HOST_BYTES_OF_MODULE = 20_000;
const HOST_BYTES_OF_CODE = 6;

/** Counters of what the translator did. */
export interface TranslatorStats {
	/** Regions compiled at first sight, and again because they were hot. */
	coldRegions: number;
	hotRegions: number;
	/** WebAssembly modules that they are in. */
	modules: number;
	/** Regions used again after their page was written or the machine was reset, without compiling. */
	revalidated: number;
	/** Pages whose regions were dropped because a store hit them. */
	droppedPages: number;
	/** Times that all code was thrown away because there was too much of it. */
	evictions: number;
	/** Instructions in compiled regions, and bytes of WebAssembly. */
	instructions: number;
	bytes: number;
}

/** An instruction that ends regions because it is not translated. */
export interface Untranslated {
	readonly insn: Insn;
	readonly microcode: Microcode | undefined;
	readonly cycles: number;
}

/** A region that was found, before it is compiled. */
export interface Found {
	readonly region: Region;
	readonly blocks: readonly Block[];
}

/** Hears of every module, before it is compiled. Tests validate and print them. */
export type ModuleObserver = (bytes: Uint8Array<ArrayBuffer>) => void;

export class CodeStore {
	readonly core: Core;
	readonly stats: TranslatorStats = {
		coldRegions: 0,
		hotRegions: 0,
		modules: 0,
		revalidated: 0,
		droppedPages: 0,
		evictions: 0,
		instructions: 0,
		bytes: 0,
	};
	onModule: ModuleObserver | null = null;
	/** Host memory after which code is thrown away. */
	hostBytesMax = HOST_BYTES_MAX;
	private hostBytes = 0;
	private readonly table = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_GROWTH });
	private readonly costs: GuestCosts;
	private readonly imports: WebAssembly.Imports;
	private readonly ids: Ids;
	/** Regions by slot of the table. */
	private readonly regions: Region[] = [];
	/** What `untranslatedIn` tells, by slot. */
	private readonly alone: number[] = [];
	private readonly sites: Site[] = [];
	private readonly systemInsns: Untranslated[] = [];

	/** @param slow what compiled code calls @param model whose guestCosts are charged */
	constructor({ memory }: MachineMemory, model: CpuModel, slow: SlowPaths) {
		this.costs = new GuestCosts(model);
		this.core = makeCore(memory, this.table, slow);
		this.imports = { m: { memory, helper: this.core.helper } };
		this.ids = {
			site: (site) => this.sites.push(site) - 1,
			system: (insn) => this.untranslatedId(insn),
		};
	}

	/** Id of the one instruction that the region in a slot of the table is, if that is not translated; else -1. */
	untranslatedIn(slot: number): number {
		return this.alone[slot]!;
	}
	/** The region in a slot of the table, if it is in use. @param slot any number */
	regionAt(slot: number): Region | undefined {
		return this.regions[slot];
	}
	/** The place that can fault behind an id. */
	site(id: number): Site {
		return this.sites[id]!;
	}
	/** The instruction that is not translated behind an id. */
	untranslated(id: number): Untranslated {
		return this.systemInsns[id]!;
	}

	private untranslatedId(insn: Insn): number {
		const microcode = microcodeOf(insn);
		const cycles =
			microcode === undefined
				? this.costs.untranslated(insn)
				: isString(insn)
					? 0
					: this.costs.translated(insn.mnemonic);
		return this.systemInsns.push({ insn, microcode, cycles }) - 1;
	}

	/** Host memory of what is kept, in bytes: an estimate. */
	get bytesKept(): number {
		return this.hostBytes;
	}
	/** More is kept than should be. */
	get isFull(): boolean {
		return this.hostBytes > this.hostBytesMax;
	}

	/** Throws everything away. No id or slot from before may be used again. */
	clear(): void {
		for (let slot = 0; slot < this.regions.length; slot++) this.table.set(slot, null);
		this.regions.length = 0;
		this.alone.length = 0;
		this.sites.length = 0;
		this.systemInsns.length = 0;
		this.hostBytes = 0;
		this.stats.evictions++;
	}

	/** Compiles regions into one module, and puts them into the table. */
	compile(found: readonly Found[], mode: Mode): void {
		const globals: number[] = [];
		const functions = found.map(({ region, blocks }, at): FunctionBody => {
			const counter = region.hot ? -1 : globals.push(HOT_ENTRIES) - 1;
			const emitter = new Emitter(mode, this.ids);
			const parts = emitRegion(emitter, blocks, (mnemonic) => this.costs.translated(mnemonic), counter);
			for (const block of blocks) this.stats.instructions += block.insns.length;
			return { type: 0, locals: emitter.locals, parts, exportName: `r${at}` };
		});
		const bytes = encodeModule({ types: TYPES, imports: REGION_IMPORTS, globals, functions });
		this.onModule?.(bytes);
		const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), this.imports);
		for (const [at, { region, blocks }] of found.entries()) {
			region.slot = this.regions.push(region) - 1;
			const { ending, insns } = blocks[0]!;
			// Compiled all the same, so that other regions can go on to it; the dispatcher needs no code for it.
			const alone = ending === "system" && insns.length === 1;
			this.alone.push(alone ? this.untranslatedId(insns[0]!) : -1);
			if (region.slot >= this.table.length) this.table.grow(TABLE_GROWTH);
			this.table.set(region.slot, exports[`r${at}`]);
			if (region.hot) this.stats.hotRegions++;
			else this.stats.coldRegions++;
		}
		this.stats.modules++;
		this.stats.bytes += bytes.length;
		this.hostBytes += HOST_BYTES_OF_MODULE + HOST_BYTES_OF_CODE * bytes.length;
	}
}
