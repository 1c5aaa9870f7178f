/** Runs what native.c ran, and says where the software machine did something else. */
import { Mnemonic } from "iced-x86";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { readRflags, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { decode } from "../../../src/silicon/translate/decode.ts";
import type { Insn } from "../../../src/silicon/translate/insn.ts";
import { BareMachine, RAM_BYTES } from "../translate/bare-machine.ts";
import { bitnessOf, CLASS_EXACT_FAULTS, codeBase, MODE, modeOf } from "./modes.ts";
import { CODE, WINDOW, WINDOW_BYTES } from "./places.ts";
import { CaseState, CLASS_X, FLAGS, type Record, REGION_BYTES, X_WORDS } from "./state.ts";

const HLT = 0xf4;
const HAS = { flags: 1 << 16, memory: 1 << 17, x: 1 << 18, fault: 1 << 19 } as const;
/** iced-x86's RflagsBits OF SF ZF AF CF PF, as RFLAGS bits. */
const ICED = [0x800, 0x80, 0x40, 0x10, 1, 4] as const;

/** Results within 1 ulp; their C1 says how the last, unknown bits were rounded. */
const TRANSCENDENTAL = new Set<number>([
	Mnemonic.F2xm1,
	Mnemonic.Fyl2x,
	Mnemonic.Fyl2xp1,
	Mnemonic.Fptan,
	Mnemonic.Fpatan,
	Mnemonic.Fsin,
	Mnemonic.Fcos,
	Mnemonic.Fsincos,
]);
const C1 = 1n << 25n;

/** OF is undefined unless the count is 1 (SDM Vol. 2B, RCL/RCR/ROL/ROR), which iced-x86 knows of immediates up to the operand size only. */
const ROTATES_THROUGH = new Set<number>([Mnemonic.Rcl, Mnemonic.Rcr]);

const POPS_ALL = new Set<number>([Mnemonic.Popa, Mnemonic.Popad]);

/** Results that the manuals leave undefined: BSWAP of 16 bits, SHLD and SHRD of 16 bits, whose count may exceed them (SDM Vol. 2). */
function hasUndefinedResult(insn: Insn): boolean {
	const bytes = insn.operandBytes;
	const { mnemonic } = insn;
	return (
		bytes === 2 && (mnemonic === Mnemonic.Bswap || mnemonic === Mnemonic.Shld || mnemonic === Mnemonic.Shrd)
	);
}

/** Largest exponent field of ST(0) for which the result is defined (SDM Vol. 2A, F2XM1 and FYL2XP1). */
const DEFINED_BELOW = new Map<number, number>([
	[Mnemonic.F2xm1, 0x3fff],
	[Mnemonic.Fyl2xp1, 0x3ffd],
]);

/** The instructions of a record, one behind the other. */
function instructionsOf(record: Record): Insn[] {
	const mode = modeOf(record.classes);
	const found: Insn[] = [];
	for (let at = 0; at < record.bytes.length; ) {
		const rip = BigInt(CODE - codeBase(mode) + at);
		const insn = decode(record.bytes.subarray(at), rip, bitnessOf(mode));
		found.push(insn);
		if (insn.mnemonic === Mnemonic.INVALID) break;
		at += insn.length;
	}
	return found;
}

/** One disagreement. */
export interface Difference {
	readonly mnemonic: string;
	readonly text: string;
}

function undefinedFlags(iced: number): number {
	let flags = 0;
	for (const [at, flag] of ICED.entries()) if ((iced & (1 << at)) !== 0) flags |= flag;
	return flags;
}

/** A fault of a record of CLASS_EXACT_FAULTS. */
export interface CaseFault {
	/** Where it is said to be: bytes behind the code's begin. */
	readonly at: number;
	readonly error: number;
	/** Of #PF. */
	readonly cr2: bigint;
}

/** What carries cases out. Code lies at CODE, and nothing is in reach but it and the window. */
export interface CaseMachine {
	/** Puts a record's instruction at CODE. */
	begin(record: Record): void;
	fillWindow(bytes: Uint8Array): void;
	/** Runs one case from its state. @returns the vector of the exception that it raised, or -1 */
	run(record: Record, state: CaseState): number;
	/** After a run that raised an exception, of a record of CLASS_EXACT_FAULTS. */
	fault?(record: Record): CaseFault;
	// After a run:
	gpr(index: number): bigint;
	flags(): number;
	/** The record's region in 64-bit words. */
	region(record: Record): BigUint64Array;
	/** A word of the extended state, as native.c counts them. */
	x(at: number): bigint;
}

/** The translator. */
class SoftwareMachine implements CaseMachine {
	private readonly machine = new BareMachine();

	constructor() {
		const { machine } = this;
		for (let page = 0; page < RAM_BYTES >> 12; page++) {
			const at = page << 12;
			if (at !== CODE && (at < WINDOW || at >= WINDOW + WINDOW_BYTES)) machine.absent.add(page);
		}
		machine.cpu.write32(L.CR0, 0x80000031);
		machine.cpu.write32(L.CR4, CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.OSXSAVE | CR4.PAE);
		machine.cpu.write32(L.XCR0, 7);
		machine.cpu.write32(L.XSTATE + 24, 0x1f80);
	}
	begin(record: Record): void {
		const { machine } = this;
		const page = new Uint8Array(4096).fill(HLT);
		page.set(record.bytes);
		if (machine.memory.codePages[CODE >> 12] !== 0) machine.translator.dropPage(CODE >> 12);
		machine.poke(CODE, page);
	}
	fillWindow(bytes: Uint8Array): void {
		this.machine.poke(WINDOW, bytes);
	}
	run(record: Record, state: CaseState): number {
		const { cpu, memory } = this.machine;
		for (let index = 0; index < 16; index++) cpu.setGpr(index, state.gpr[index]!);
		writeRflags(cpu, state.flags);
		memory.u64.set(state.memory, (memory.ramBase + record.region) >> 3);
		if ((record.classes & CLASS_X) !== 0) this.loadX(state.x);
		this.machine.run(CODE);
		return this.machine.fault?.vector ?? -1;
	}
	private loadX(x: BigUint64Array): void {
		const { cpu } = this.machine;
		cpu.write64(L.XSTATE, x[0]!);
		cpu.write32(L.XSTATE + 24, Number(x[1]!));
		for (let at = 0; at < 16; at++) cpu.write64(L.XSTATE + 32 + 8 * at, x[2 + at]!);
		for (let at = 0; at < 16; at++) {
			cpu.write64(L.XSTATE + 160 + 16 * at, x[18 + 4 * at]!);
			cpu.write64(L.XSTATE + 168 + 16 * at, x[19 + 4 * at]!);
			cpu.write64(L.XSTATE + 576 + 16 * at, x[20 + 4 * at]!);
			cpu.write64(L.XSTATE + 584 + 16 * at, x[21 + 4 * at]!);
		}
	}
	gpr(index: number): bigint {
		return this.machine.cpu.gpr(index);
	}
	flags(): number {
		return readRflags(this.machine.cpu);
	}
	region(record: Record): BigUint64Array {
		const { memory } = this.machine;
		const first = (memory.ramBase + record.region) >> 3;
		return memory.u64.subarray(first, first + REGION_BYTES / 8);
	}
	x(at: number): bigint {
		const { cpu } = this.machine;
		if (at === 0) return cpu.read64(L.XSTATE) & 0xffffffffffn;
		if (at === 1) return BigInt(cpu.read32(L.XSTATE + 24));
		if (at < 18) return cpu.read64(L.XSTATE + 32 + 8 * (at - 2));
		const word = at - 18;
		return cpu.read64(L.XSTATE + ((word & 2) !== 0 ? 576 : 160) + 16 * (word >> 2) + 8 * (word & 1));
	}
}

/** Reads the results of native.c in their order. */
export class Comparer {
	cases = 0;
	/** Records whose results the manual leaves open: run, not compared. */
	undefinedRecords = 0;
	private readonly state = new CaseState();
	private readonly wantX = new BigUint64Array(X_WORDS);
	private readonly wantMemory = new BigUint64Array(REGION_BYTES / 8);
	private readonly view: DataView;
	private at = 0;

	private readonly machine: CaseMachine;

	/** @param results of native.c @param machine that is to do the same */
	constructor(results: Uint8Array, machine: CaseMachine = new SoftwareMachine()) {
		this.view = new DataView(results.buffer, results.byteOffset, results.length);
		this.machine = machine;
	}

	/**
	 * Compares the cases of one record.
	 * @param step one of so many is run; the others are only passed over
	 * @returns at most `limit` differences
	 */
	run(record: Record, seed: number, number: number, cases: number, limit = 3, step = 1): Difference[] {
		const { machine } = this;
		machine.begin(record);
		const window = new Uint8Array(WINDOW_BYTES);
		for (let at = 0; at < WINDOW_BYTES; at++) window[at] = (at * 167 + (at >> 8) * 59) & 0xff;
		machine.fillWindow(window);
		const [insn, ...others] = instructionsOf(record);
		if (insn === undefined) throw new RangeError(`record ${number} has no instruction`);
		if (hasUndefinedResult(insn)) this.undefinedRecords++;
		let ignored = ROTATES_THROUGH.has(insn.mnemonic) ? 0x800 : 0;
		for (const { flagsUndefined } of [insn, ...others]) ignored |= undefinedFlags(flagsUndefined);
		const found: Difference[] = [];
		for (let at = 0; at < cases; at++) {
			this.state.make(record, seed, number, at);
			const runs = at % step === 0;
			const wrong = this.one(record, insn.mnemonic, ignored, runs);
			if (runs) this.cases++;
			if (
				wrong.length === 0 ||
				found.length >= limit ||
				hasUndefinedResult(insn) ||
				!this.isDefined(insn.mnemonic)
			)
				continue;
			const hex = Buffer.from(record.bytes).toString("hex");
			const text = `${hex} record ${number} case ${at}: ${wrong.slice(0, 4).join("; ")} [${this.show(record)}]`;
			found.push({ mnemonic: Mnemonic[insn.mnemonic]!, text });
		}
		return found;
	}

	/** Whether the manual says what the instruction does with this ST(0). */
	private isDefined(mnemonic: number): boolean {
		const limit = DEFINED_BELOW.get(mnemonic);
		if (limit === undefined) return true;
		const { x } = this.state;
		const field = Number(x[3 + 2 * (Number(x[0]! >> 27n) & 7)]! & 0x7fffn);
		return field < limit || field === 0x7fff;
	}

	private show({ classes }: Record): string {
		const { x, flags } = this.state;
		const hex = (value: bigint) => value.toString(16);
		if ((classes & 1) === 0) return `flags ${flags.toString(16)}`;
		const top = Number(x[0]! >> 27n) & 7;
		const st = [0, 1].map((i) => (top + i) & 7).map((r) => `${hex(x[3 + 2 * r]!)}:${hex(x[2 + 2 * r]!)}`);
		return `fcw fsw ftw ${hex(x[0]!)} st ${st.join(" ")} m ${hex(this.state.memory[8]!)}`;
	}

	private u8(): number {
		return this.view.getUint8(this.at++);
	}
	private u64(): bigint {
		this.at += 8;
		return this.view.getBigUint64(this.at - 8, true);
	}
	private changes(before: BigUint64Array, into: BigUint64Array): void {
		into.set(before);
		for (let count = this.u8(); count > 0; count--) {
			const at = this.u8();
			into[at] = this.u64();
		}
	}

	/** Runs and compares one case. */
	private one(record: Record, mnemonic: number, ignored: number, runs: boolean): string[] {
		const { machine, state, view } = this;
		const nearly = TRANSCENDENTAL.has(mnemonic);
		const mask = view.getUint32(this.at, true);
		this.at += 4;
		let vector = -1;
		let fault: CaseFault | null = null;
		if ((mask & HAS.fault) !== 0) {
			vector = this.u8();
			const at = this.u8();
			if ((record.classes & CLASS_EXACT_FAULTS) !== 0) {
				const error = this.u8() | (this.u8() << 8);
				fault = { at, error, cr2: vector === 14 ? this.u64() : 0n };
			} else if (vector === 14) this.at += 9;
		}
		const long = modeOf(record.classes) === MODE.long;
		const gotVector = runs ? machine.run(record, state) : -1;
		const wrong: string[] = [];
		const expect = (name: string, got: bigint | number, want: bigint | number): void => {
			if (runs && got !== want) wrong.push(`${name} got ${got.toString(16)} want ${want.toString(16)}`);
		};
		expect("vector", gotVector, vector);
		if (fault !== null && runs && gotVector === vector) {
			const got = machine.fault!(record);
			expect("fault's RIP", got.at, fault.at);
			expect("error code", got.error, fault.error);
			if (vector === 14) expect("CR2", got.cr2, fault.cr2);
		}
		for (let index = 0; index < 16; index++) {
			const want = (mask & (1 << index)) !== 0 ? this.u64() : state.gpr[index]!;
			// A POPA that faults has popped some on a Zen 4; that it is restarted makes up for it.
			const got = vector >= 0 && POPS_ALL.has(mnemonic) ? want : machine.gpr(index);
			// Outside of 64-bit mode the upper halves are undefined.
			expect(`r${index}`, long ? got : BigInt.asUintN(32, got), want);
		}
		let flags = state.flags & FLAGS;
		if ((mask & HAS.flags) !== 0) {
			flags = view.getUint16(this.at, true);
			this.at += 2;
		}
		expect("flags", machine.flags() & FLAGS & ~ignored, flags & ~ignored);
		if ((mask & HAS.memory) !== 0) this.changes(state.memory, this.wantMemory);
		else this.wantMemory.set(state.memory);
		// What ENTER had pushed when it faulted is nowhere defined.
		if (vector >= 0 && mnemonic === Mnemonic.Enter) return wrong;
		const memory = machine.region(record);
		for (let word = 0; word < REGION_BYTES / 8; word++) {
			expect(`memory+${8 * word}`, memory[word]!, this.wantMemory[word]!);
		}
		if ((mask & HAS.x) !== 0) this.changes(state.x, this.wantX);
		else this.wantX.set(state.x);
		if ((record.classes & CLASS_X) === 0) return wrong;
		for (let at = 0; at < X_WORDS; at++) {
			let [got, want] = [machine.x(at), this.wantX[at]!];
			if (nearly && at === 0) [got, want] = [got & ~C1, want & ~C1];
			const distance = got - want;
			if (nearly && at >= 2 && at < 18 && (at & 1) === 0 && (distance === 1n || distance === -1n)) continue;
			expect(`x${at}`, got, want);
		}
		return wrong;
	}
}
