/**
 * Random 64-bit programs that end: arithmetic on registers and memory, forward branches, counted loops, calls, pushes,
 * string instructions. R15 points into memory, R13 and R12 count loops, RSP is the stack; all others are free.
 */
import type { Random } from "./random.ts";

const FREE = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 14];
/** Bytes behind R15 that programs use. */
export const DATA_BYTES = 0x3000;

export interface ProgramOptions {
	/** Rounds of the outermost loop. */
	readonly rounds: number;
	/** Instructions in it, about. */
	readonly length: number;
	/** Leave out what the manual leaves undefined: no flag is read but what CMP, ADD, SUB, INC or DEC defines. */
	readonly defined?: boolean;
	/** Overwrite immediates of its own instructions; the value is the linear address that it is put at. */
	readonly modifiesItselfAt?: number;
}

function imm32(value: number): number[] {
	return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];
}

/** Assembles one random program. */
export class ProgramMaker {
	private readonly random: Random;
	private readonly options: ProgramOptions;
	/** Offsets of 32-bit immediates that may be overwritten while the program runs. */
	readonly patchable: number[] = [];
	/** Offsets in the body of the displacements of calls, and of the addresses of stores into code. */
	private readonly calls: number[] = [];
	private readonly modifications: number[] = [];

	constructor(random: Random, options: ProgramOptions) {
		this.random = random;
		this.options = options;
	}

	/** Its bytes; it ends in HLT. */
	make(): Uint8Array<ArrayBuffer> {
		const body: number[] = [];
		while (body.length < this.options.length * 4) this.statement(body, 0);
		const inBody = this.patchable.length;
		const leaf = this.leaf();
		// mov r13d, rounds; jmp over the leaf; leaf: …; ret; loop: body; dec r13d; jnz loop; hlt
		const head = [0x41, 0xbd, ...imm32(this.options.rounds), 0xe9, ...imm32(leaf.length)];
		const whole = [...head, ...leaf];
		for (const at of this.calls) body.splice(at, 4, ...imm32(head.length - (whole.length + at + 4)));
		for (const [index, at] of this.patchable.entries()) {
			this.patchable[index] = at + (index < inBody ? whole.length : head.length);
		}
		for (const at of this.modifications) {
			const target =
				this.patchable.length === 0
					? 0x200000
					: this.options.modifiesItselfAt! + this.random.pick(this.patchable);
			body.splice(at, 4, ...imm32(target));
		}
		whole.push(...body, 0x41, 0xff, 0xcd);
		whole.push(0x0f, 0x85, ...imm32(head.length + leaf.length - (whole.length + 6)), 0xf4);
		return new Uint8Array(whole);
	}

	private leaf(): number[] {
		const out: number[] = [];
		for (let n = 0; n < 3; n++) this.simple(out);
		out.push(0xc3);
		return out;
	}

	private register(): number {
		return this.random.pick(FREE);
	}

	/** REX, opcode and ModRM of `op r/m, r` on registers. */
	private registers(out: number[], bytes: number, opcode: readonly number[], reg: number, rm: number): void {
		if (bytes === 2) out.push(0x66);
		out.push(0x40 | (bytes === 8 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0), ...opcode);
		out.push(0xc0 | ((reg & 7) << 3) | (rm & 7));
	}
	/** The same with [R15 + disp32] as r/m. */
	private memory(out: number[], bytes: number, opcode: readonly number[], reg: number): void {
		if (bytes === 2) out.push(0x66);
		out.push(0x41 | (bytes === 8 ? 8 : 0) | (reg >= 8 ? 4 : 0), ...opcode, 0x87 | ((reg & 7) << 3));
		const at = this.random.oneIn(4)
			? 0x1000 * this.random.below(3) - this.random.below(8)
			: this.random.below(DATA_BYTES - 8);
		out.push(...imm32(Math.max(0, at)));
	}

	private simple(out: number[]): void {
		const { random } = this;
		const bytes = random.pick([1, 2, 4, 8]);
		const wide = bytes === 1 ? 0 : 1;
		const full = bytes === 1 ? 4 : bytes;
		const reg = this.register();
		const rm = this.register();
		switch (random.below(this.options.defined === true ? 9 : 17)) {
			case 0:
			case 1:
				this.registers(out, bytes, [random.pick([0x00, 0x28, 0x38]) | wide], reg, rm);
				break;
			case 2:
				this.memory(out, bytes, [random.pick([0x00, 0x28, 0x38, 0x02, 0x2a, 0x3a]) | wide], reg);
				break;
			case 3:
				this.memory(out, bytes, [random.pick([0x88, 0x8a]) | wide], reg);
				break;
			case 4:
				this.registers(out, bytes, [0xfe | wide], random.below(2), rm);
				break;
			case 5:
				this.registers(out, full, [0x0f, random.pick([0xb6, 0xb7, 0xbe, 0xbf])], reg, rm);
				break;
			case 6:
				this.registers(out, 4, [0xc7], 0, rm);
				this.patchable.push(out.length);
				out.push(...imm32(random.next()));
				break;
			case 7:
				this.registers(out, full, [0x8d], reg, rm);
				// LEA needs memory: [RAX + RCX*2 + disp32].
				out[out.length - 1] = 0x84 | ((reg & 7) << 3);
				out[out.length - 3]! &= ~1;
				out.push(0x48, ...imm32(random.next()));
				break;
			case 8:
				// push, pop
				out.push(0x50 | random.pick([0, 1, 2, 3, 6, 7]), 0x58 | random.pick([0, 1, 2, 3, 6, 7]));
				break;
			case 9:
				this.registers(out, bytes, [random.pick([0x08, 0x10, 0x18, 0x20, 0x30, 0x84]) | wide], reg, rm);
				break;
			case 10:
				this.memory(out, bytes, [random.pick([0x08, 0x10, 0x18, 0x20, 0x30, 0x86]) | wide], reg);
				break;
			case 11:
				this.registers(out, bytes, [0xc0 | wide], random.below(8), rm);
				out.push(random.below(40));
				break;
			case 12:
				this.registers(out, bytes, [0xd2 | wide], random.below(8), rm);
				break;
			case 13:
				this.registers(out, full, [0x0f, random.pick([0xaf, 0xa3, 0xab, 0xbc, 0xbd, 0xb1, 0xc1])], reg, rm);
				break;
			case 14:
				this.registers(out, bytes, [0xf6 | wide], random.pick([2, 3, 4, 5]), rm);
				break;
			case 15:
				this.memory(out, full, [0x0f, random.pick([0xb1, 0xc1, 0xbb])], reg);
				// A bit offset in a register would reach anywhere: BTC by an immediate instead.
				if (out[out.length - 6] === 0xbb) {
					out[out.length - 6] = 0xba;
					out[out.length - 5] = 0xbf;
					out.push(random.below(64));
				}
				break;
			default:
				this.registers(out, 1, [0x0f, 0x90 + random.below(16)], 0, rm);
		}
	}

	/** A statement; `depth` bounds nesting. */
	private statement(out: number[], depth: number): void {
		const { random } = this;
		if (this.options.modifiesItselfAt !== undefined && random.oneIn(6)) {
			// mov, add or mov (8 bits) of [disp32] and a register.
			const reg = random.below(4);
			const opcode = random.pick([0x89, 0x01, 0x88]);
			out.push(opcode, 0x04 | (reg << 3), 0x25, 0, 0, 0, 0);
			this.modifications.push(out.length - 4);
			return;
		}
		switch (depth > 1 ? 20 : random.below(20)) {
			case 0:
			case 1:
			case 2: {
				// Over a few statements, on some condition.
				const inner: number[] = [];
				const before = this.patchable.length;
				for (let n = random.below(3) + 1; n > 0; n--) this.simple(inner);
				if (this.options.defined === true) this.registers(out, 4, [0x39], this.register(), this.register());
				out.push(0x0f, 0x80 + random.below(16), ...imm32(inner.length));
				this.shift(before, out.length);
				out.push(...inner);
				return;
			}
			case 3: {
				// mov r12d, n; 1: …; dec r12d; jnz 1b
				const inner: number[] = [];
				const before = this.patchable.length;
				for (let n = random.below(4) + 1; n > 0; n--) this.simple(inner);
				out.push(0x41, 0xbc, ...imm32(random.below(5) + 1));
				this.shift(before, out.length);
				out.push(...inner, 0x41, 0xff, 0xcc, 0x0f, 0x85, ...imm32(-(inner.length + 9)));
				return;
			}
			case 4:
				out.push(0xe8, 0, 0, 0, 0);
				this.calls.push(out.length - 4);
				return;
			case 5:
				// lea rdi, [r15 + at]; mov ecx, n; rep stosb
				out.push(
					0x49,
					0x8d,
					0xbf,
					...imm32(random.below(0x2000)),
					0xb9,
					...imm32(random.below(200)),
					0xf3,
					0xaa,
				);
				return;
			case 6:
				// lea rsi, [r15 + at]; lea rdi, [r15 + at]; mov ecx, n; rep movsb
				out.push(
					0x49,
					0x8d,
					0xb7,
					...imm32(random.below(0x1000)),
					0x49,
					0x8d,
					0xbf,
					...imm32(random.below(0x2000)),
				);
				out.push(0xb9, ...imm32(random.below(100)), 0xf3, 0xa4);
				return;
			default:
				this.simple(out);
		}
	}

	/** Patchable places found while an inner run was made lie `by` bytes further on. */
	private shift(from: number, by: number): void {
		for (let at = from; at < this.patchable.length; at++) this.patchable[at]! += by;
	}
}
