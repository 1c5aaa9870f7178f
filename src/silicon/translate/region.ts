/**
 * Regions: the control-flow graph that is reachable from an entry point by direct branches within one page.
 */
import { decode, type HasEncoding, isFar, Mnemonic as M, RunDecoder } from "./decode.ts";
import type { Insn } from "./insn.ts";
import { canFault, definitionOf, flagsKilled, jumpCondition } from "./instructions/definitions.ts";
import { isDisabled } from "./instructions/vector/forms.ts";
import type { Mode } from "./mode.ts";
import { ALL_BITS } from "./flags.ts";

/** A way out of a block. */
export interface Edge {
	/** Offset in CS that it leads to. */
	readonly rip: bigint;
	/** Number of the block that lies there, or -1 outside of the region. */
	block: number;
	/** It leads backward or to another page, so the deadline is checked on it. Depends on the guest's code alone. */
	readonly check: boolean;
	/** A branch that leads beyond the limit of CS: it faults when it is taken. */
	readonly faults: boolean;
}

/** How a block ends. `timed`: RDTSC or PAUSE, behind which the deadline is checked, as behind what the system side does. */
export type Ending =
	| "fall"
	| "jump"
	| "condition"
	| "indirect"
	| "call"
	| "callIndirect"
	| "return"
	| "timed"
	| "system";

/** Instructions that run one after the other: entered at the first, left behind the last. */
export interface Block {
	readonly rip: bigint;
	/** All instructions, the last being the one that ends it, if any does. */
	readonly insns: readonly Insn[];
	readonly ending: Ending;
	/** For `condition` the taken one first. */
	readonly edges: readonly Edge[];
	/** For each instruction, flags that are read after it. */
	live: number[];
}

/** What a region may grow to. */
export interface Limits {
	readonly instructions: number;
	readonly blocks: number;
}

const COUNTED = new Set<number>([M.Loop, M.Loope, M.Loopne, M.Jcxz, M.Jecxz, M.Jrcxz]);

/** Whether control-flow enforcement has an instruction carried out by the system side that is translated elsewhere. */
function isEnforced(insn: Insn, mode: Mode): boolean {
	const { mnemonic } = insn;
	if (mode.shadowStack && (mnemonic === M.Call || mnemonic === M.Ret)) return true;
	if (!mode.tracked) return false;
	if (mnemonic === M.Endbr32 || mnemonic === M.Endbr64) return true;
	return (mnemonic === M.Jmp || mnemonic === M.Call) && insn.operands[0]!.kind !== "near";
}

/** RDTSC and PAUSE: what they do depends on the other processors' time, and on no memory. */
function isTimed({ mnemonic }: Insn): boolean {
	return mnemonic === M.Rdtsc || mnemonic === M.Pause;
}

/** How an instruction ends its block; "fall" if it does not. */
export function endingOf(insn: Insn, mode: Mode): Ending {
	const { mnemonic } = insn;
	if ((mode.shadowStack || mode.tracked) && isEnforced(insn, mode)) return "system";
	if (jumpCondition(mnemonic) !== undefined || COUNTED.has(mnemonic)) return "condition";
	if (mnemonic === M.Jmp || mnemonic === M.Call) {
		const operand = insn.operands[0]!;
		if (operand.kind === "near") return mnemonic === M.Jmp ? "jump" : "call";
		if (isFar(insn.operands, insn.code)) return "system";
		return mnemonic === M.Jmp ? "indirect" : "callIndirect";
	}
	if (mnemonic === M.Ret) return "return";
	if (isTimed(insn) && !mode.single) return "timed";
	return definitionOf(insn) === undefined || isDisabled(insn, mode) ? "system" : "fall";
}

/**
 * Whether the deadline is checked on the way from an instruction to the next: on the way back, since a loop may have no
 * end, and to another page, since page tables can make a straight way of 2^47 bytes.
 * @param target offset in CS
 */
export function isChecked(insn: Insn, target: bigint): boolean {
	return target <= insn.rip || target >> 12n !== insn.rip >> 12n;
}

/** Collects the blocks of a region. Block 0 is the entry. */
export class Discovery {
	private readonly page: Uint8Array;
	private readonly entryOffset: number;
	private readonly rip: bigint;
	private readonly mode: Mode;
	private readonly limits: Limits;
	private readonly insns = new Map<number, Insn>();
	private readonly leaders: number[] = [];
	private readonly decoder: RunDecoder;
	private readonly codeLimit: number;

	/**
	 * @param page the bytes of the page, cut at the limit of CS
	 * @param entryOffset offset in it of the entry
	 * @param rip offset in CS of the entry
	 * @param codeLimit of CS, or -1 where none can matter
	 * @param has which encodings the processor has; default all
	 */
	constructor(
		page: Uint8Array,
		entryOffset: number,
		rip: bigint,
		mode: Mode,
		limits: Limits,
		codeLimit = -1,
		has?: HasEncoding,
	) {
		this.codeLimit = codeLimit;
		this.page = page;
		this.entryOffset = entryOffset;
		this.rip = rip;
		this.mode = mode;
		this.limits = limits;
		this.decoder = new RunDecoder(page, rip - BigInt(entryOffset), mode.bitness, has);
	}

	/** Offset in the page of a target, or -1 if it lies elsewhere. */
	private offsetOf(rip: bigint): number {
		const distance = rip - this.rip;
		if (distance < -4096n || distance > 4096n) return -1;
		const offset = this.entryOffset + Number(distance);
		return offset >= 0 && offset < this.page.length ? offset : -1;
	}

	/** Decodes what is reachable, then cuts it into blocks. @returns null if the entry runs over the page's end */
	run(): Block[] | null {
		this.addLeader(this.entryOffset);
		for (let at = 0; at < this.leaders.length; at++) this.decodeFrom(this.leaders[at]!);
		this.decoder.free();
		if (!this.insns.has(this.entryOffset)) return null;
		const starts = this.leaders.filter((offset) => this.insns.has(offset));
		const numbers = new Map(starts.map((offset, number) => [offset, number]));
		const blocks = starts.map((offset) => this.blockFrom(offset, numbers));
		computeLiveness(blocks);
		return blocks;
	}

	private addLeader(offset: number): void {
		if (offset < 0 || this.leaders.includes(offset)) return;
		if (this.leaders.length < this.limits.blocks) this.leaders.push(offset);
	}

	private decodeFrom(start: number): void {
		let offset = start;
		while (!this.insns.has(offset) && this.insns.size < this.limits.instructions) {
			if (offset >= this.page.length) return;
			const insn = this.decoder.at(offset);
			if (insn === null) return;
			this.insns.set(offset, insn);
			offset += insn.length;
			const ending = endingOf(insn, this.mode);
			if (ending === "fall") continue;
			const target = insn.operands[0];
			if (ending === "condition" || ending === "timed") this.addLeader(offset);
			if ((ending === "condition" || ending === "jump") && target?.kind === "near") {
				this.addLeader(this.offsetOf(target.target));
			}
			return;
		}
		// Runs into code that was decoded already: it begins a block there.
		if (this.insns.has(offset)) this.addLeader(offset);
	}

	private edge(rip: bigint, numbers: ReadonlyMap<number, number>, check: boolean, branch = false): Edge {
		const faults = branch && this.codeLimit >= 0 && rip > BigInt(this.codeLimit);
		return { rip, block: numbers.get(this.offsetOf(rip)) ?? -1, check, faults };
	}

	private blockFrom(start: number, numbers: ReadonlyMap<number, number>): Block {
		const insns: Insn[] = [];
		let offset = start;
		for (;;) {
			const insn = this.insns.get(offset);
			const next = this.rip + BigInt(offset - this.entryOffset);
			if (insn === undefined || (offset !== start && numbers.has(offset))) {
				const edges = [this.edge(next, numbers, isChecked(insns.at(-1)!, next))];
				return { rip: insns[0]!.rip, insns, ending: "fall", edges, live: [] };
			}
			insns.push(insn);
			offset += insn.length;
			const ending = endingOf(insn, this.mode);
			if (ending === "fall") continue;
			return { rip: insns[0]!.rip, insns, ending, edges: this.edgesOf(insn, ending, numbers), live: [] };
		}
	}

	private edgesOf(insn: Insn, ending: Ending, numbers: ReadonlyMap<number, number>): Edge[] {
		const operand = insn.operands[0];
		if (ending === "timed") return [this.edge(insn.rip + BigInt(insn.length), numbers, true)];
		if ((ending !== "condition" && ending !== "jump") || operand?.kind !== "near") return [];
		const taken = this.edge(operand.target, numbers, isChecked(insn, operand.target), true);
		if (ending === "jump") return [taken];
		const next = insn.rip + BigInt(insn.length);
		return [taken, this.edge(next, numbers, isChecked(insn, next))];
	}
}

/** A region of one instruction that was decoded elsewhere: one that runs over a page's end, or runs alone. */
export function singleBlock(
	bytes: Uint8Array,
	rip: bigint,
	mode: Mode,
	codeLimit = -1,
	has?: HasEncoding,
): Block {
	const insn = decode(bytes, rip, mode.bitness, has);
	const ending = endingOf(insn, mode);
	const behind = rip + BigInt(insn.length);
	const next = { rip: behind, block: -1, check: isChecked(insn, behind), faults: false };
	const operand = insn.operands[0];
	let edges: Edge[] = ending === "fall" ? [next] : ending === "timed" ? [{ ...next, check: true }] : [];
	if (operand?.kind === "near" && (ending === "condition" || ending === "jump")) {
		const faults = codeLimit >= 0 && operand.target > BigInt(codeLimit);
		const taken = { rip: operand.target, block: -1, check: isChecked(insn, operand.target), faults };
		edges = ending === "jump" ? [taken] : [taken, next];
	}
	const block: Block = { rip, insns: [insn], ending, edges, live: [] };
	computeLiveness([block]);
	return block;
}

/** Where direct branches and calls lead out of a region, and where its calls return to. */
export function exitsOf(blocks: readonly Block[]): bigint[] {
	const targets: bigint[] = [];
	for (const { insns, ending, edges } of blocks) {
		for (const edge of edges) if (edge.block < 0 && !edge.faults) targets.push(edge.rip);
		if (ending !== "call" && ending !== "callIndirect") continue;
		const call = insns.at(-1)!;
		targets.push(call.rip + BigInt(call.length));
		const operand = call.operands[0];
		if (ending === "call" && operand?.kind === "near") targets.push(operand.target);
	}
	return targets;
}

/** Flags live before an instruction, from those live after it. */
function liveBefore(insn: Insn, after: number): number {
	if (canFault(insn)) return ALL_BITS;
	return (after & ~flagsKilled(insn)) | (insn.flagsRead & ALL_BITS);
}

/** Flags live after an instruction: all, if a store of its can end the region right behind it. */
function liveAfter(insn: Insn, after: number): number {
	return insn.operands[0]?.kind === "memory" ? ALL_BITS : after;
}

function blockLiveIn(block: Block, liveIn: readonly number[], record: boolean): number {
	let live = block.edges.length === 0 ? ALL_BITS : 0;
	for (const edge of block.edges) live |= edge.block < 0 || edge.check ? ALL_BITS : liveIn[edge.block]!;
	for (let at = block.insns.length - 1; at >= 0; at--) {
		const insn = block.insns[at]!;
		live = liveAfter(insn, live);
		if (record) block.live[at] = live;
		live = liveBefore(insn, live);
	}
	return live;
}

/** Fills in `live` of all blocks: a backward fixed point over the six flags. */
function computeLiveness(blocks: readonly Block[]): void {
	const liveIn = new Array<number>(blocks.length).fill(0);
	for (let changed = true; changed; ) {
		changed = false;
		for (let at = blocks.length - 1; at >= 0; at--) {
			const live = blockLiveIn(blocks[at]!, liveIn, false);
			if (live === liveIn[at]) continue;
			liveIn[at] = live;
			changed = true;
		}
	}
	for (const block of blocks) blockLiveIn(block, liveIn, true);
}
