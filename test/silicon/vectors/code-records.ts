/**
 * Records of code with strings, stacks, segments and branches, in the modes of modes.ts: a few instructions each, as bytes, with
 * their registers pinned so that what they touch lies in the region, or at the edge of a segment or of the window.
 */
import type { Random } from "../translate/random.ts";
import { bitnessOf, classOf, codeBase, dataBase, MODE, type Mode, SELECTORS } from "./modes.ts";
import { CODE, WINDOW, WINDOW_BYTES } from "./places.ts";
import { type Pin, type Record, REGION_BYTES } from "./state.ts";

const MIDDLE = WINDOW + 0x8000;
const END = WINDOW + WINDOW_BYTES - REGION_BYTES;
const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const ALL = (1n << 64n) - 1n;
const little = (value: number, bytes: number): number[] =>
	Array.from({ length: bytes }, (_, at) => Number((BigInt(value) >> BigInt(8 * at)) & 0xffn));

/** Selectors that a process may try to load: its own, the kernel's, null, beyond the limits. */
const TRIED = [
	0, 3, 0x10, 0x18, 0x23, 0x2b, 0x28, 0x33, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x2c, 0x37, 0x93, 0xffff,
] as const;
/** Status flags and DF; bit 1 and IF as they are. */
const POPPED_FLAGS = 0xcd5;

/** One record in the making. */
class Maker {
	readonly bytes: number[] = [];
	private readonly pins: Pin[] = [];
	region = MIDDLE;
	readonly random: Random;
	readonly mode: Mode;

	constructor(random: Random, mode: Mode) {
		this.random = random;
		this.mode = mode;
	}

	get bits(): 16 | 32 | 64 {
		return bitnessOf(this.mode);
	}
	get isLong(): boolean {
		return this.mode === MODE.long;
	}
	put(...bytes: readonly number[]): this {
		this.bytes.push(...bytes);
		return this;
	}
	/** Sets the low bits of a register; those above stay random. */
	pin(register: number, bits: number, value: number): void {
		const mask = (1n << BigInt(bits)) - 1n;
		this.pins.push({ register, and: ALL ^ mask, add: BigInt(value) & mask });
	}
	/** Leaves of the low bits of a register a random number up to a mask, plus something. */
	pinSmall(register: number, bits: number, mask: number, add: number): void {
		const above = ALL ^ ((1n << BigInt(bits)) - 1n);
		this.pins.push({ register, and: above | BigInt(mask), add: BigInt(add) });
	}
	/** Offset in the data segments of a place in the region. */
	data(at: number): number {
		return this.region + at - dataBase(this.mode);
	}
	/** Offset in CS of bytes behind the code's begin. */
	code(at: number): number {
		return CODE - codeBase(this.mode) + at;
	}
	/** Where the next byte comes to lie. */
	get here(): number {
		return this.code(this.bytes.length);
	}
	/** Somewhere in the region. */
	inside(margin: number): number {
		return margin + this.random.below(REGION_BYTES - 2 * margin);
	}
	/** Somewhere in the region; at its very edges now and then, where the limits of `based32` are. */
	somewhere(margin: number): number {
		if (this.random.oneIn(5)) return this.random.pick([-6, -2, -1, 0, 1, 250, 252, 254, 255, 257]);
		return this.inside(margin);
	}
	/** Takes the window's last bytes for the region, now and then. */
	sometimesAtEnd(): void {
		if (this.random.oneIn(5)) this.region = END;
	}
	/** Pins the stack pointer. @param bits that matter */
	stack(at: number, bits: number = this.stackBits): void {
		this.pin(RSP, bits, this.data(at));
	}
	get stackBits(): 16 | 32 | 64 {
		return this.mode === MODE.code16 ? 16 : this.isLong ? 64 : 32;
	}
	/** Puts a prefix of operand size, or not. @returns the operand size in bits of an instruction that uses the stack, or not */
	operandSize(stack: boolean): 16 | 32 | 64 {
		const other = this.random.oneIn(3);
		if (other) this.put(0x66);
		if (this.mode === MODE.code16) return other ? 32 : 16;
		return other ? 16 : stack && this.isLong ? 64 : 32;
	}
	/** MOV to the stack, above its top. The stack pointer is to be pinned in 32 bits or more. */
	poke(above: number, value: number): void {
		if (this.mode === MODE.code16) this.put(0x67, 0x66);
		if (this.isLong) this.put(0x48);
		this.put(0xc7, 0x44, 0x24, above, ...little(value, 4));
	}
	/** MOV r16, imm16. */
	load16(register: number, value: number): void {
		if (this.mode !== MODE.code16) this.put(0x66);
		this.put(0xb8 + register, ...little(value, 2));
	}
	record(): Record {
		return {
			bytes: new Uint8Array(this.bytes),
			classes: classOf(this.mode),
			region: this.region,
			pins: this.pins,
			indices: null,
		};
	}
}

type Kind = (m: Maker) => void;

// ---- strings ---------------------------------------------------------------------------------------

const STRING_OPCODES = [0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf] as const;

const strings = STRING_OPCODES.flatMap((opcode) =>
	([null, 0xf2, 0xf3] as const).map((rep): Kind => {
		return (m) => {
			const { random } = m;
			m.sometimesAtEnd();
			const size = (opcode & 1) === 0 ? 8 : m.isLong && random.oneIn(3) ? 64 : m.operandSize(false);
			// 16-bit addresses reach nothing in a flat segment.
			const otherAddress = m.mode !== MODE.flat32 && random.oneIn(4);
			const addressBits = !otherAddress ? m.bits : m.bits === 32 ? 16 : 32;
			if (otherAddress) m.put(0x67);
			if (!m.isLong && random.oneIn(4)) m.put(random.pick([0x26, 0x36, 0x3e]));
			if (rep !== null) m.put(rep);
			if (size === 64) m.put(0x48);
			m.put(opcode);
			// With REP, which of two operands faults first depends on how far the processor has read ahead: one of them is inside.
			const equal = random.oneIn(3);
			const source = equal && rep !== null ? m.inside(64) : m.somewhere(64);
			const target = equal ? source : rep === null ? m.somewhere(64) : m.inside(64);
			m.pin(RSI, addressBits, m.data(source));
			m.pin(RDI, addressBits, m.data(target));
			m.pinSmall(RCX, addressBits, Math.floor(64 / size) * 8 - 1, 0);
		};
	}),
);

// ---- the stack -------------------------------------------------------------------------------------

/** Opcodes of one byte that push or pop a register. */
const pushOrPop = (first: number): Kind => {
	return (m) => {
		m.sometimesAtEnd();
		m.operandSize(true);
		if (m.isLong && m.random.oneIn(3)) m.put(0x41);
		m.put(first + m.random.below(8));
		m.stack(m.somewhere(16));
	};
};

const pushImmediate: Kind = (m) => {
	const size = m.operandSize(true);
	const small = m.random.oneIn(2);
	m.put(small ? 0x6a : 0x68, ...little(m.random.below(0x1_0000_0000), small ? 1 : size === 16 ? 2 : 4));
	m.stack(m.somewhere(16));
};

/** PUSH and POP of memory, by [RBX]. */
const pushOrPopMemory: Kind = (m) => {
	m.operandSize(true);
	m.put(...(m.random.oneIn(2) ? [0xff, 0x30] : [0x8f, 0x00]));
	// [BX+SI] or [EAX]
	if (m.mode === MODE.code16) {
		m.pin(RBX, 16, m.data(m.somewhere(16)) - 7);
		m.pin(RSI, 16, 7);
	} else m.pin(RAX, m.bits, m.data(m.somewhere(16)));
	m.stack(m.somewhere(16));
};

/** POP with an address that is made of the stack pointer: what it is behind the POP counts (SDM Vol. 2B). */
const popByStackPointer: Kind = (m) => {
	m.operandSize(true);
	if (m.mode === MODE.code16) m.put(0x67);
	m.put(0x8f, 0x44, 0x24, m.random.below(32));
	m.stack(32 + m.random.below(128), m.isLong ? 64 : 32);
};

const pushAll: Kind = (m) => {
	m.sometimesAtEnd();
	m.operandSize(true);
	m.put(m.isLong ? 0x9c : 0x60 + m.random.below(2));
	m.stack(m.random.oneIn(3) ? m.somewhere(4) : 48 + m.random.below(128));
};

const pushFlags: Kind = (m) => {
	m.operandSize(true);
	m.put(0x9c);
	m.stack(m.somewhere(16));
};

const popFlags: Kind = (m) => {
	m.poke(0, (m.random.below(0x1000) & POPPED_FLAGS) | (m.random.oneIn(2) ? 0x3202 : 0));
	m.operandSize(true);
	m.put(0x9d);
	m.stack(32 + m.random.below(128), m.isLong ? 64 : 32);
};

const enterFrame: Kind = (m) => {
	m.operandSize(true);
	const level = m.random.oneIn(4) ? m.random.below(256) : m.random.below(4);
	m.put(0xc8, ...little(m.random.oneIn(8) ? 0xffff : m.random.below(48), 2), level);
	m.stack(m.random.oneIn(4) ? m.somewhere(4) : 140 + m.random.below(96));
	m.pin(RBP, m.stackBits, m.data(m.random.oneIn(4) ? m.somewhere(4) : 140 + m.random.below(96)));
};

const leaveFrame: Kind = (m) => {
	m.operandSize(true);
	m.put(0xc9);
	m.pin(RBP, m.stackBits, m.data(m.somewhere(8)));
};

// ---- segments --------------------------------------------------------------------------------------

/** What a segment register holds then shows in EAX. */
const show = (m: Maker, segment: number) => {
	m.operandSize(false);
	m.put(0x8c, 0xc0 | (segment << 3));
};

const moveToSegment: Kind = (m) => {
	const segment = m.random.pick([0, 2, 3]);
	m.load16(RDX, m.random.pick(TRIED));
	m.put(0x8e, 0xc0 | (segment << 3) | RDX);
	show(m, segment);
};

const popSegment: Kind = (m) => {
	if (m.isLong) return moveToSegment(m);
	const [opcode, segment] = m.random.pick([
		[0x07, 0],
		[0x17, 2],
		[0x1f, 3],
	] as const);
	m.poke(0, m.random.pick(TRIED) | 0x5a0000);
	m.operandSize(true);
	m.put(opcode);
	show(m, segment);
	m.stack(32 + m.random.below(128), 32);
};

const pushSegment: Kind = (m) => {
	m.operandSize(true);
	m.put(...(m.isLong ? [0x0f, m.random.pick([0xa0, 0xa8])] : [m.random.pick([0x06, 0x0e, 0x16, 0x1e])]));
	m.stack(m.somewhere(16));
};

const loadFarPointer: Kind = (m) => {
	if (m.isLong) return moveToSegment(m);
	const above = 16;
	// The selector lies behind the offset.
	for (const at of [2, 4]) m.poke(above + at, m.random.pick(TRIED));
	if (m.mode === MODE.code16) m.put(0x67);
	m.operandSize(false);
	m.put(...m.random.pick([[0xc4], [0xc5], [0x0f, 0xb2]]), 0x5c, 0x24, above);
	m.stack(32 + m.random.below(128), 32);
};

const askAboutSegment: Kind = (m) => {
	m.load16(RDX, m.random.pick(TRIED));
	m.operandSize(false);
	const modrm = 0xc0 | (RBX << 3) | RDX;
	m.put(
		...m.random.pick([
			[0x0f, 0x02, modrm],
			[0x0f, 0x03, modrm],
			[0x0f, 0x00, 0xe0 | RDX],
			[0x0f, 0x00, 0xe8 | RDX],
		]),
	);
};

const adjustRpl: Kind = (m) => {
	if (m.isLong) return askAboutSegment(m);
	m.put(0x63, 0xc0 | m.random.below(64));
};

const checkBounds: Kind = (m) => {
	if (m.isLong) return askAboutSegment(m);
	m.operandSize(false);
	if (m.mode === MODE.code16) {
		m.put(0x62, 0x00 | (RCX << 3) | 7);
		m.pin(RBX, 16, m.data(m.somewhere(16)));
	} else {
		m.put(0x62, 0x00 | (RCX << 3) | RBX);
		m.pin(RBX, m.bits, m.data(m.somewhere(16)));
	}
};

/** An address of 16 or 32 bits within segments that have limits: a store and a load of each size. */
const throughSegment: Kind = (m) => {
	if (m.random.oneIn(2) && !m.isLong) m.put(m.random.pick([0x26, 0x2e, 0x36, 0x3e]));
	m.operandSize(false);
	m.put(m.random.pick([0x88, 0x89, 0x8a, 0x8b, 0x01, 0x86]));
	if (m.mode === MODE.code16) {
		m.put((RCX << 3) | 7);
		m.pin(RBX, 16, m.data(m.somewhere(4)));
	} else {
		m.put((RCX << 3) | RBX);
		m.pin(RBX, m.bits, m.data(m.somewhere(4)));
	}
};

// ---- branches --------------------------------------------------------------------------------------

/** MOV CL, imm8: what a branch that is taken passes over. */
const SKIPPED = [0xb1, 0x5a] as const;

const relative = (distance: number, size: number) => little(distance, size === 16 ? 2 : 4);

/** Operand size of near branches. A 16-bit one cuts RIP, which only segments with a base survive. */
const branchSize = (m: Maker): 16 | 32 =>
	m.mode === MODE.long || m.mode === MODE.flat32 ? 32 : (m.operandSize(false) as 16 | 32);

const conditional: Kind = (m) => {
	const condition = m.random.below(16);
	if (m.random.oneIn(2)) m.put(0x70 + condition, SKIPPED.length);
	else {
		const size = branchSize(m);
		m.put(0x0f, 0x80 + condition, ...relative(SKIPPED.length, size));
	}
	m.put(...SKIPPED);
};

const counted: Kind = (m) => {
	const { random } = m;
	const other = random.oneIn(3);
	const addressBits = !other ? m.bits : m.bits === 32 ? 16 : 32;
	const opcode = 0xe0 + random.below(4);
	if (opcode === 0xe3 || random.oneIn(3)) {
		if (other) m.put(0x67);
		m.put(opcode, SKIPPED.length, ...SKIPPED);
		m.pinSmall(RCX, addressBits, 1, random.below(2));
		return;
	}
	// Backwards, some times: NOT EAX, or ADD.
	const body = random.pick([
		[0xf7, 0xd0],
		[0x01, 0xd8],
		[0x00, 0xd8],
	] as const);
	m.put(...body);
	if (other) m.put(0x67);
	m.put(opcode, other ? 0xfb : 0xfc);
	m.pinSmall(RCX, addressBits, 31, 1);
};

const jumpRelative: Kind = (m) => {
	if (m.random.oneIn(2)) m.put(0xeb, SKIPPED.length);
	else {
		const size = branchSize(m);
		m.put(0xe9, ...relative(SKIPPED.length, size));
	}
	m.put(...SKIPPED);
};

const callRelative: Kind = (m) => {
	m.sometimesAtEnd();
	const size = branchSize(m);
	m.put(0xe8, ...relative(SKIPPED.length, size), ...SKIPPED);
	m.stack(m.somewhere(16));
};

/** JMP and CALL by a register or by memory that was written before. */
const indirect: Kind = (m) => {
	const call = m.random.oneIn(2);
	const size = branchSize(m);
	const operation = call ? 2 : 4;
	if (m.random.oneIn(2)) {
		m.put(0xff, 0xc0 | (operation << 3) | RDX);
		m.pin(RDX, m.isLong ? 64 : size, m.here + SKIPPED.length);
	} else {
		// The prefix was put already: it goes to the branch.
		const prefix = m.bytes.splice(0);
		const above = 24;
		const length =
			(m.mode === MODE.code16 ? 10 : m.isLong ? 9 : 8) + prefix.length + (m.mode === MODE.code16 ? 1 : 0) + 4;
		m.poke(above, m.code(length + SKIPPED.length));
		m.put(...prefix);
		if (m.mode === MODE.code16) m.put(0x67);
		m.put(0xff, 0x44 | (operation << 3), 0x24, above);
	}
	m.put(...SKIPPED);
	m.stack(32 + m.random.below(128), m.isLong ? 64 : 32);
};

const returnNear: Kind = (m) => {
	const release = m.random.oneIn(2);
	const pokeLength = m.mode === MODE.code16 ? 10 : m.isLong ? 9 : 8;
	const maker = new Maker(m.random, m.mode);
	const size = branchSize(maker);
	const length = pokeLength + maker.bytes.length + (release ? 3 : 1);
	// Beyond the limit of CS, where it has one.
	const beyond = codeBase(m.mode) !== 0 && m.random.oneIn(12);
	const target = beyond ? 0x3000 : m.code(length + SKIPPED.length);
	m.poke(0, size === 16 ? target | 0x5a5a0000 : target);
	m.put(...maker.bytes, ...(release ? [0xc2, ...little(m.random.below(64), 2)] : [0xc3]), ...SKIPPED);
	m.stack(32 + m.random.below(128), m.isLong ? 64 : 32);
};

/** Selectors of far transfers: the own code, more often than others that fail. */
const farSelector = (m: Maker): number => {
	const own = SELECTORS[m.mode][0];
	const codes = [0x23, 0x33, 0x07, 0x17];
	return m.random.oneIn(3) ? m.random.pick(TRIED.filter((one) => !codes.includes(one | 3))) : own;
};

const farDirect: Kind = (m) => {
	if (m.isLong) return conditional(m);
	const call = m.random.oneIn(2);
	const size = branchSize(m);
	const length = 1 + (size === 16 ? 2 : 4) + 2;
	m.put(
		call ? 0x9a : 0xea,
		...little(m.here + length + SKIPPED.length, size === 16 ? 2 : 4),
		...little(farSelector(m), 2),
	);
	m.put(...SKIPPED);
	m.stack(m.somewhere(16));
};

/** RETF and IRET, from a frame that was written before. */
const farReturn: Kind = (m) => {
	const iret = m.random.oneIn(2);
	const extra = !iret && m.random.oneIn(3) ? m.random.below(32) : null;
	// 64-bit frames, but for 32-bit ones that a prefix makes of them.
	const bytes = m.isLong ? 8 : m.mode === MODE.code16 ? 2 : 4;
	const opcode = iret ? [0xcf] : extra === null ? [0xcb] : [0xca, ...little(extra, 2)];
	if (m.isLong) opcode.unshift(0x48);
	const pokes = iret ? (m.isLong ? 5 : 3) : 2;
	const pokeLength = m.mode === MODE.code16 ? 10 : m.isLong ? 9 : 8;
	const target = m.code(pokes * pokeLength + opcode.length + SKIPPED.length);
	const sp = 32 + m.random.below(96);
	m.poke(0, target);
	m.poke(bytes, farSelector(m));
	if (iret) m.poke(2 * bytes, (m.random.below(0x1000) & POPPED_FLAGS) | 0x202);
	if (pokes === 5) {
		m.poke(3 * bytes, m.data(sp + m.random.below(64)));
		m.poke(4 * bytes, m.random.oneIn(4) ? m.random.pick(TRIED) : 0x2b);
	}
	m.put(...opcode, ...SKIPPED);
	m.stack(sp, m.isLong ? 64 : 32);
};

/** INT n to gates of level 0, INT3, INTO, and what level 3 may not do. */
const trapping: Kind = (m) => {
	const vector = m.random.below(256);
	const choice: readonly (readonly number[])[] = [
		[0xcd, vector === 0x80 ? 0x81 : vector],
		[0xcc],
		m.isLong ? [0xf4] : [0xce],
		[m.random.pick([0xf4, 0xe4, 0xee, 0x6c, 0xfb, 0xfa])],
		[0x0f, m.random.pick([0x06, 0x08, 0x09, 0x30, 0x32])],
		[0x0f, 0x20 | m.random.below(4), 0xc0 | m.random.below(64)],
	];
	m.put(...m.random.pick(choice));
};

/** Translation by a table. */
const xlat: Kind = (m) => {
	m.put(0xd7);
	m.pin(RBX, m.bits, m.data(0));
};

const KINDS = {
	string: strings,
	stack: [
		pushOrPop(0x50),
		pushOrPop(0x58),
		pushImmediate,
		pushOrPopMemory,
		popByStackPointer,
		pushAll,
		pushFlags,
		popFlags,
		enterFrame,
		leaveFrame,
		xlat,
	],
	segment: [
		moveToSegment,
		popSegment,
		pushSegment,
		loadFarPointer,
		askAboutSegment,
		adjustRpl,
		checkBounds,
		throughSegment,
	],
	branch: [
		conditional,
		counted,
		jumpRelative,
		callRelative,
		indirect,
		returnNear,
		farDirect,
		farReturn,
		trapping,
	],
} as const satisfies { readonly [kind: string]: readonly Kind[] };

export type CodeKind = keyof typeof KINDS;
export const CODE_KINDS = Object.keys(KINDS) as readonly CodeKind[];

/**
 * Random records of one kind.
 * @param instances of each form, in each mode
 */
export function codeRecords(
	kind: CodeKind,
	random: Random,
	instances: number,
	modes: readonly Mode[],
): Record[] {
	const records: Record[] = [];
	for (const mode of modes) {
		for (const make of KINDS[kind]) {
			for (let at = 0; at < instances; at++) {
				const maker = new Maker(random, mode);
				make(maker);
				records.push(maker.record());
			}
		}
	}
	return records;
}
