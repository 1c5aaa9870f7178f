/**
 * A region as one Wasm function. Loops become Wasm loops and joins become blocks by the dominator tree
 * (Ramsey, "Beyond Relooper", ICFP 2022). An edge into the middle of a loop is cut: it leaves the region, and
 * its target is the entry of another one.
 */
import { XFEATURE } from "../cpu/control.ts";
import * as L from "../cpu/layout.ts";
import { Code, OPCODE as O } from "../wasm/builder.ts";
import { SIMD } from "../wasm/simd.ts";
import { Mnemonic as M } from "./decode.ts";
import type { Emitter } from "./emitter.ts";
import { EXIT, STRETCH_CYCLES } from "./exits.ts";
import { pushCondition } from "./flags.ts";
import type { Insn } from "./insn.ts";
import { definitionOf, jumpCondition } from "./instructions/definitions.ts";
import { type Block, type Edge, isChecked } from "./region.ts";
import { emitTimed } from "./timed.ts";

/** Cycles of an instruction, by mnemonic. */
export type CostOf = (mnemonic: number) => number;

/** The order and dominators of a graph whose edges are all reducible. */
interface Graph {
	/** Position in reverse postorder, by block; -1 if unreachable. */
	readonly order: readonly number[];
	/** Blocks dominated immediately, by block, in reverse postorder. */
	readonly children: readonly (readonly number[])[];
	readonly isHeader: readonly boolean[];
	/** Reached forward by more than one edge. */
	readonly isJoin: readonly boolean[];
}

function reversePostorder(blocks: readonly Block[]): number[] {
	const seen = new Uint8Array(blocks.length);
	const post: number[] = [];
	const stack: [number, number][] = [[0, 0]];
	seen[0] = 1;
	while (stack.length > 0) {
		const top = stack.at(-1)!;
		const edge = blocks[top[0]]!.edges[top[1]++];
		if (edge === undefined) {
			post.push(top[0]);
			stack.pop();
		} else if (edge.block >= 0 && seen[edge.block] === 0) {
			seen[edge.block] = 1;
			stack.push([edge.block, 0]);
		}
	}
	return post.reverse();
}

/** Immediate dominators (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"). */
function dominators(
	blocks: readonly Block[],
	sequence: readonly number[],
	order: readonly number[],
): number[] {
	const idom = new Array<number>(blocks.length).fill(-1);
	const predecessors = blocks.map((): number[] => []);
	for (const from of sequence) {
		for (const edge of blocks[from]!.edges) if (edge.block >= 0) predecessors[edge.block]!.push(from);
	}
	idom[0] = 0;
	const meet = (a: number, b: number): number => {
		let left = a;
		let right = b;
		while (left !== right) {
			while (order[left]! > order[right]!) left = idom[left]!;
			while (order[right]! > order[left]!) right = idom[right]!;
		}
		return left;
	};
	for (let changed = true; changed; ) {
		changed = false;
		for (const block of sequence) {
			if (block === 0) continue;
			let best = -1;
			for (const from of predecessors[block]!) {
				if (idom[from] !== -1) best = best === -1 ? from : meet(from, best);
			}
			if (best === idom[block]) continue;
			idom[block] = best;
			changed = true;
		}
	}
	return idom;
}

function analyse(blocks: readonly Block[]): Graph {
	for (;;) {
		const sequence = reversePostorder(blocks);
		const order = new Array<number>(blocks.length).fill(-1);
		for (const [position, block] of sequence.entries()) order[block] = position;
		const idom = dominators(blocks, sequence, order);
		const dominates = (above: number, below: number): boolean => {
			let at = below;
			while (order[at]! > order[above]!) at = idom[at]!;
			return at === above;
		};
		const isHeader = blocks.map(() => false);
		const forward = blocks.map(() => 0);
		let cut = false;
		for (const from of sequence) {
			for (const edge of blocks[from]!.edges) {
				if (edge.block < 0) continue;
				if (order[edge.block]! > order[from]!) forward[edge.block]!++;
				else if (dominates(edge.block, from)) isHeader[edge.block] = true;
				else {
					edge.block = -1;
					cut = true;
				}
			}
		}
		if (cut) continue;
		const children = blocks.map((): number[] => []);
		for (const block of sequence) if (block !== 0) children[idom[block]!]!.push(block);
		return { order, children, isHeader, isJoin: forward.map((count) => count > 1) };
	}
}

/** Emits the blocks of one region. */
class Structure {
	private readonly e: Emitter;
	private readonly blocks: readonly Block[];
	private readonly graph: Graph;
	private readonly costOf: CostOf;
	private readonly loopLabels: number[] = [];
	private readonly joinLabels: number[] = [];

	constructor(e: Emitter, blocks: readonly Block[], costOf: CostOf) {
		this.e = e;
		this.blocks = blocks;
		this.costOf = costOf;
		this.graph = analyse(blocks);
	}

	/** Emits a block and all that it dominates. */
	tree(at: number): void {
		const { e, graph } = this;
		if (graph.isHeader[at] || graph.isJoin[at]) e.op = -1;
		if (graph.isHeader[at]) this.loopLabels[at] = e.code.loop();
		const joins = graph.children[at]!.filter((child) => graph.isJoin[child]);
		for (const join of joins.toReversed()) this.joinLabels[join] = e.code.block();
		this.block(at);
		for (const join of joins) {
			e.code.end();
			this.tree(join);
		}
		if (graph.isHeader[at]) e.code.end();
	}

	private block(at: number): void {
		const { e } = this;
		const block = this.blocks[at]!;
		e.blockInstructions = 0;
		e.blockCycles = 0;
		const last = block.insns.length - (block.ending === "fall" ? 0 : 1);
		for (let number = 0; number < last; number++) {
			const insn = block.insns[number]!;
			e.begin(insn);
			e.live = block.live[number]!;
			definitionOf(insn)!(e);
			this.count(insn.mnemonic);
			if (e.mayHaveModifiedCode) this.leaveIfModified(insn);
		}
		if (block.ending === "fall") {
			e.retire(e.blockInstructions, e.blockCycles);
			this.follow(at, block.edges[0]!);
			return;
		}
		const insn = block.insns[last]!;
		e.begin(insn);
		this.ending(at, block);
	}

	private count(mnemonic: number): void {
		this.e.blockInstructions++;
		this.e.blockCycles += this.costOf(mnemonic);
	}

	private leaveIfModified(insn: Insn): void {
		const { e } = this;
		const next = insn.rip + BigInt(insn.length);
		e.code.get(e.selfModified);
		e.code.if();
		e.retire(e.blockInstructions, e.blockCycles);
		e.leaveTo(next, isChecked(insn, next));
		e.code.end();
	}

	private finish(mnemonic: number): void {
		this.count(mnemonic);
		this.e.retire(this.e.blockInstructions, this.e.blockCycles);
	}

	private ending(at: number, block: Block): void {
		const { e } = this;
		const { insn } = e;
		switch (block.ending) {
			case "jump":
				this.faultIfBeyond(block.edges[0]!);
				this.finish(insn.mnemonic);
				this.follow(at, block.edges[0]!);
				return;
			case "condition": {
				if (block.edges[0]!.faults) {
					this.pushTaken();
					e.code.if();
					this.faultIfBeyond(block.edges[0]!);
					e.code.end();
					this.finish(insn.mnemonic);
					this.follow(at, block.edges[1]!);
					return;
				}
				this.finish(insn.mnemonic);
				this.pushTaken();
				const op = e.op;
				e.code.if();
				this.follow(at, block.edges[0]!);
				e.code.end();
				e.op = op;
				this.follow(at, block.edges[1]!);
				return;
			}
			case "call":
				this.call();
				return;
			case "callIndirect":
				this.pushTarget();
				e.code.set(e.rip);
				e.checkBranch(e.rip);
				this.pushReturnAddress();
				this.finish(insn.mnemonic);
				e.leaveIndirect();
				return;
			case "indirect":
				this.pushTarget();
				e.code.set(e.rip);
				e.checkBranch(e.rip);
				this.finish(insn.mnemonic);
				e.leaveIndirect();
				return;
			case "return":
				this.return();
				return;
			case "timed":
				e.retire(e.blockInstructions, e.blockCycles);
				emitTimed(e);
				e.blockInstructions = 0;
				e.blockCycles = 0;
				this.finish(insn.mnemonic);
				this.follow(at, block.edges[0]!);
				return;
			default:
				e.retire(e.blockInstructions, e.blockCycles);
				e.leaveWith((e.ids.system(insn) << 8) | EXIT.system, insn.rip);
		}
	}

	/** Leaves with the fault of a branch that leads beyond the limit of CS. */
	private faultIfBeyond(edge: Edge): void {
		const { e } = this;
		if (!edge.faults) return;
		e.code.i64(edge.rip);
		e.code.set(e.rip);
		e.checkBranch(e.rip);
	}

	/** Pushes the target of an indirect branch as i64. */
	private pushTarget(): void {
		this.e.read(0);
		this.e.widen(this.e.bytes(0));
	}

	private pushReturnAddress(): void {
		const { e } = this;
		const bytes = e.insn.operandBytes;
		const value = e.temp(bytes);
		e.constant(bytes, BigInt.asUintN(bytes * 8, e.insn.rip + BigInt(e.insn.length)));
		e.code.set(value);
		e.pushLocal(bytes, value);
	}

	private call(): void {
		const { e } = this;
		const operand = e.operand(0);
		if (operand.kind !== "near") throw new TypeError("a direct call without a target");
		e.checkTarget(operand.target);
		this.pushReturnAddress();
		this.finish(e.insn.mnemonic);
		e.leaveTo(operand.target, isChecked(e.insn, operand.target));
	}

	private return(): void {
		const { e } = this;
		const bytes = e.insn.operandBytes;
		const operand = e.insn.operands[0];
		e.peek(bytes);
		e.widen(bytes);
		e.code.set(e.rip);
		e.checkBranch(e.rip);
		e.moveStackPointer(bytes + (operand?.kind === "immediate" ? Number(operand.value) : 0));
		this.finish(e.insn.mnemonic);
		e.leaveIndirect();
	}

	/** Pushes whether a Jcc, LOOPcc or JCXZ is taken. */
	private pushTaken(): void {
		const { e } = this;
		const { mnemonic } = e.insn;
		const condition = jumpCondition(mnemonic);
		if (condition !== undefined) {
			pushCondition(e, condition);
			return;
		}
		const bytes = e.insn.addressBytes;
		const isLoop = mnemonic === M.Loop || mnemonic === M.Loope || mnemonic === M.Loopne;
		e.getIndex(L.RCX, bytes);
		if (isLoop) {
			const counter = e.temp(bytes);
			e.constant(bytes, 1);
			e.by(bytes, O.i64Sub, O.i32Sub);
			e.clean(bytes);
			e.code.tee(counter);
			e.setIndex(L.RCX, bytes);
			e.code.get(counter);
		}
		e.by(bytes, O.i64Eqz, O.i32Eqz);
		if (!isLoop) return;
		e.code.op(O.i32Eqz);
		if (mnemonic === M.Loop) return;
		pushCondition(e, mnemonic === M.Loope ? 4 : 5);
		e.code.op(O.i32And);
	}

	/** Goes where an edge leads. */
	private follow(from: number, edge: Edge): void {
		const { e, graph } = this;
		if (edge.block < 0) {
			e.leaveTo(edge.rip, edge.check);
			return;
		}
		if (edge.check) {
			e.code.get(e.cycles);
			e.code.get(e.limit);
			e.code.op(O.f64Ge);
			e.code.if();
			e.leaveWith(EXIT.boundary, edge.rip);
			e.code.end();
		}
		if (graph.order[edge.block]! <= graph.order[from]!) {
			e.settleOp();
			e.code.br(this.loopLabels[edge.block]!);
		} else if (graph.isJoin[edge.block]) {
			e.settleOp();
			e.code.br(this.joinLabels[edge.block]!);
		} else {
			// The header of a loop is reached from its end too, where other flags may be left.
			if (graph.isHeader[edge.block]) e.settleOp();
			this.tree(edge.block);
		}
	}
}

/** Loads what the body uses. Emitted last, when that is known. */
function prologue(e: Emitter, counter: number): Code {
	const code = new Code();
	if (counter >= 0) {
		code.op(O.globalGet);
		code.unsigned(counter);
		code.i32(1);
		code.op(O.i32Sub);
		code.tee(e.ccOp);
		code.op(O.globalSet);
		code.unsigned(counter);
		code.get(e.ccOp);
		code.op(O.i32Eqz);
		code.if();
		code.i32(EXIT.hot);
		code.op(O.return);
		code.end();
	}
	const load = (local: number, opcode: number, offset: number) => {
		code.get(0);
		code.access(opcode, offset);
		code.set(local);
	};
	for (let at = 0; at < 16; at++) {
		if (e.gpr[at]! >= 0) load(e.gpr[at]!, O.i64Load, L.GPR + at * 8);
	}
	const loadVector = (local: number, offset: number) => {
		if (local < 0) return;
		code.get(0);
		code.simdAccess(SIMD.v128Load, offset);
		code.set(local);
	};
	for (let at = 0; at < 16; at++) {
		loadVector(e.xmm[at]!, L.XMM + at * 16);
		loadVector(e.ymmHigh[at]!, L.YMM_HIGH + at * 16);
	}
	load(e.ccDst, O.i64Load, L.CC_DST);
	load(e.ccSrc, O.i64Load, L.CC_SRC);
	load(e.ccSrc2, O.i64Load, L.CC_SRC2);
	load(e.ccOp, O.i32Load, L.CC_OP);
	load(e.cycles, O.f64Load, L.CYCLES);
	code.get(e.cycles);
	code.f64(STRETCH_CYCLES);
	code.op(O.f64Add);
	code.get(0);
	code.access(O.f64Load, L.DEADLINE);
	code.op(O.f64Min);
	code.set(e.limit);
	return code;
}

/** Stores the vector registers that the body writes, and notes that they may be in use. See `xinuse`. */
function storeVectors(e: Emitter): void {
	const { code } = e;
	const store = (local: number, offset: number) => {
		code.get(0);
		code.get(local);
		code.simdAccess(SIMD.v128Store, offset);
	};
	for (let at = 0; at < 16; at++) {
		if ((e.xmmDirty & (1 << at)) !== 0) store(e.xmm[at]!, L.XMM + at * 16);
		if ((e.ymmHighDirty & (1 << at)) !== 0) store(e.ymmHigh[at]!, L.YMM_HIGH + at * 16);
	}
	const used = (e.xmmDirty !== 0 ? XFEATURE.sse : 0) | (e.ymmHighDirty !== 0 ? XFEATURE.avx : 0);
	if (used === 0) return;
	code.get(0);
	code.get(0);
	code.access(O.i32Load, L.XINUSE);
	code.i32(used);
	code.op(O.i32Or);
	code.access(O.i32Store, L.XINUSE);
}

/** Stores what the body changed, and returns. */
function epilogue(e: Emitter): void {
	const { code } = e;
	const store = (local: number, opcode: number, offset: number) => {
		code.get(0);
		code.get(local);
		code.access(opcode, offset);
	};
	for (let at = 0; at < 16; at++) {
		if ((e.dirty & (1 << at)) !== 0) store(e.gpr[at]!, O.i64Store, L.GPR + at * 8);
	}
	storeVectors(e);
	store(e.ccDst, O.i64Store, L.CC_DST);
	store(e.ccSrc, O.i64Store, L.CC_SRC);
	store(e.ccSrc2, O.i64Store, L.CC_SRC2);
	store(e.ccOp, O.i32Store, L.CC_OP);
	store(e.cycles, O.f64Store, L.CYCLES);
	store(e.rip, O.i64Store, L.RIP);
	code.get(0);
	code.get(0);
	code.access(O.f64Load, L.INSTRUCTIONS);
	code.get(e.retired);
	code.op(O.f64ConvertI32U);
	code.op(O.f64Add);
	code.access(O.f64Store, L.INSTRUCTIONS);
	code.get(e.exitCode);
}

/**
 * Emits a region.
 * @param counter global in which it counts its entries, to ask to be made hot; -1 for none
 * @returns the parts of the function's body
 */
export function emitRegion(e: Emitter, blocks: readonly Block[], costOf: CostOf, counter: number): Code[] {
	const { code } = e;
	e.leave = code.block();
	e.checked = code.block();
	new Structure(e, blocks, costOf).tree(0);
	code.end();
	code.get(e.cycles);
	code.get(e.limit);
	code.op(O.f64Ge);
	code.if();
	code.i32(EXIT.boundary);
	code.set(e.exitCode);
	code.end();
	code.end();
	epilogue(e);
	return [prologue(e, counter), code];
}
