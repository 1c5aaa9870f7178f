/** Tries encodings on the translator and on the reference: random instances, random inputs. */
import { Mnemonic } from "iced-x86";
import { decode } from "../../../src/silicon/translate/decode.ts";
import { definitionOf } from "../../../src/silicon/translate/instructions/definitions.ts";
import { microcodeOf } from "../../../src/silicon/translate/microcode.ts";
import { CODE, Differential, type Start } from "./differential.ts";
import { Assembler, type Encoding, type Instance, type Surroundings } from "./encodings.ts";
import { Random } from "./random.ts";
import { randomMxcsr, randomVectors } from "./random-vectors.ts";
import { isVector } from "./reference/reference.ts";

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const RBP = 5;

const SHIFTS = new Set<number>([
	Mnemonic.Shl,
	Mnemonic.Sal,
	Mnemonic.Shr,
	Mnemonic.Sar,
	Mnemonic.Rol,
	Mnemonic.Ror,
	Mnemonic.Rcl,
	Mnemonic.Rcr,
	Mnemonic.Shld,
	Mnemonic.Shrd,
]);
const DIVISIONS = new Set<number>([Mnemonic.Div, Mnemonic.Idiv]);
const FRAMES = new Set<number>([Mnemonic.Enter, Mnemonic.Leave]);

/** Whether the translator, or its microcode, carries out what was assembled. */
function isOurs({ bytes }: Instance, { rip, bitness }: Surroundings): boolean {
	const insn = decode(bytes, rip, bitness);
	return definitionOf(insn) !== undefined || microcodeOf(insn) !== undefined;
}

/** One mode's translator and reference. */
export class Bench {
	readonly random: Random;
	readonly assembler: Assembler;
	readonly pair: Differential;
	readonly bases: readonly bigint[];
	readonly bitness: 32 | 64;

	private readonly instances: number;
	private readonly inputs: number;

	/** @param instances of an encoding, and inputs of each */
	constructor(bitness: 32 | 64, bases: readonly bigint[], seed: number, instances = 6, inputs = instances) {
		this.instances = instances;
		this.inputs = inputs;
		this.random = new Random(seed);
		this.assembler = new Assembler(this.random);
		this.pair = new Differential(bitness, bases);
		this.bases = bases;
		this.bitness = bitness;
	}

	/** A linear address in the window: any alignment, sometimes over a page's end, read-only, or absent in part. */
	private target(encoding: Encoding): bigint {
		const target = this.anyTarget();
		// Legacy vector instructions want their operands aligned.
		if (!isVector(encoding.mnemonic) || this.random.oneIn(4)) return target;
		return target & ~(this.random.oneIn(2) ? 31n : 15n);
	}

	private anyTarget(): bigint {
		const { random } = this;
		const { from, to } = this.pair.window;
		switch (random.below(16)) {
			case 0:
				return BigInt(to - random.pick([0x1000, 0x2000]) - random.below(16));
			case 1:
				return BigInt(to - random.below(16));
			case 2:
				return BigInt(to - 0x1800);
			case 3:
				return BigInt(from - random.below(8));
			case 4:
			case 5:
				return BigInt(((from + to) >> 1) + 0x1000 - random.below(8));
			default:
				return BigInt(((from + to) >> 1) + random.below(256));
		}
	}

	private start(instance: Instance, { mnemonic }: Encoding): Start {
		const { random } = this;
		const regs = Array.from({ length: 16 }, () => random.value());
		if (this.bitness === 32) for (let at = 0; at < 16; at++) regs[at] = at < 8 ? regs[at]! & 0xffffffffn : 0n;
		const middle = BigInt((this.pair.window.from + this.pair.window.to) >> 1);
		regs[RSP] = middle + 0x800n - this.bases[2]!;
		if (FRAMES.has(mnemonic)) regs[RBP] = middle + BigInt(random.below(0x900)) - this.bases[2]!;
		if (SHIFTS.has(mnemonic))
			regs[RCX] = (regs[RCX]! & ~0xffn) | BigInt(random.oneIn(4) ? random.below(3) : random.below(70));
		// Most quotients of random numbers do not fit.
		if (DIVISIONS.has(mnemonic) && !random.oneIn(4)) {
			regs[RDX] = random.oneIn(2)
				? 0n
				: BigInt.asUintN(this.bitness, BigInt.asIntN(this.bitness, regs[RAX]!) >> 63n);
			if (random.oneIn(2)) regs[RAX] = regs[RAX]! & 0xff7fn;
		}
		for (const [index, value] of instance.pinned) regs[index] = value;
		if (instance.bitOffset >= 0) {
			// Bits of at most 4 KiB to either side; what lies above the operand size is random.
			const offset = BigInt(random.below(0xffff) - 0x7fff);
			const above = this.bitness === 64 && random.oneIn(2) ? offset : BigInt.asUintN(32, offset);
			regs[instance.bitOffset] = BigInt.asUintN(this.bitness, above);
		}
		const flags = 0x202 | (random.next() & 0xcd5);
		if (!isVector(mnemonic)) return { regs, flags };
		return { regs, flags, vectors: randomVectors(random, instance.indices), mxcsr: randomMxcsr(random) };
	}

	/** @returns what was found wrong with an encoding, and how many instances ran */
	try(encoding: Encoding): { wrong: string[]; ran: number } {
		let ran = 0;
		for (let attempt = 0; ran < this.instances && attempt < this.instances * 8; attempt++) {
			const surroundings = {
				bitness: this.bitness,
				rip: BigInt(CODE) - this.bases[1]!,
				target: this.target(encoding),
				bases: this.bases,
			};
			const instance = this.assembler.make(encoding, surroundings);
			if (instance === null || !isOurs(instance, surroundings)) continue;
			ran++;
			this.pair.code(instance.bytes);
			for (let input = 0; input < this.inputs; input++) {
				const start = this.start(instance, encoding);
				if (
					bit64Offset(instance, this.bitness) &&
					start.regs[instance.bitOffset]! < 2n ** 63n &&
					start.regs[instance.bitOffset]! > 2n ** 31n
				)
					continue;
				const wrong = this.pair.run(start);
				if (wrong === null || wrong.length === 0) continue;
				const regs = start.regs.map((value, at) => `r${at}=${value.toString(16)}`).join(" ");
				return {
					wrong: [encoding.name, instance.text, regs, `rflags=${start.flags.toString(16)}`, ...wrong],
					ran,
				};
			}
		}
		return { wrong: [], ran };
	}
}

/** A 64-bit bit offset must be small as a whole: one of 32 bits in a 64-bit register would reach 512 MiB. */
function bit64Offset(instance: Instance, bitness: number): boolean {
	return instance.bitOffset >= 0 && bitness === 64;
}
