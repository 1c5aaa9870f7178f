/** Encodings for the native harness: every x87 opcode, and random instances of the integer and vector instructions. */
import { Mnemonic } from "iced-x86";
import { decode } from "../../../src/silicon/translate/decode.ts";
import { microcodeOf } from "../../../src/silicon/translate/microcode.ts";
import { definitionOf } from "../../../src/silicon/translate/instructions/definitions.ts";
import type { Insn } from "../../../src/silicon/translate/insn.ts";
import { isMmxForm, vectorDefinitionOf } from "../../../src/silicon/translate/instructions/vector/forms.ts";
import { allEncodings, Assembler, canBeMade } from "../translate/encodings.ts";
import { Random } from "../translate/random.ts";
import { bitnessOf, classOf, codeBase, dataBase, MODE } from "./modes.ts";
import { CODE, WINDOW } from "./places.ts";
import { CLASS, type Pin, type Record } from "./state.ts";

const REGION = WINDOW + 0x8000;
const RBX = 3;
const RSP = 4;

const exact = (register: number, add: bigint): Pin => ({ register, and: 0n, add });

/** Stores and loads of the environment: their pointers are not compared. */
const ENVIRONMENT = new Set<number>([Mnemonic.Fnstenv, Mnemonic.Fldenv, Mnemonic.Fnsave, Mnemonic.Frstor]);

/** All x87 opcodes: with registers, and with memory at [RBX]. */
export function x87Records(): Record[] {
	const records: Record[] = [];
	const add = (opcode: number, modrm: number): void => {
		const bytes = new Uint8Array([opcode, modrm]);
		const insn = decode(bytes, BigInt(CODE), 64);
		if (insn.mnemonic === Mnemonic.INVALID || ENVIRONMENT.has(insn.mnemonic)) return;
		records.push({
			bytes,
			classes: CLASS.x87,
			region: REGION,
			pins: [exact(RBX, BigInt(REGION + 64))],
			indices: null,
		});
	};
	for (let opcode = 0xd8; opcode <= 0xdf; opcode++) {
		for (let reg = 0; reg < 8; reg++) add(opcode, (reg << 3) | RBX);
		for (let modrm = 0xc0; modrm <= 0xff; modrm++) add(opcode, modrm);
	}
	return records;
}

/** Their flags, interrupt flag or time are the machine's own. */
const ELSEWHERE = /^(Push|Pop|Call|Jmp|Ret|Enter|Leave|Loop|J|Mov_(rm|r32|r64|Sreg).*Sreg|Xlat)/;

/** Random instances of the translated integer instructions. */
export function integerRecords(seed: number, instances: number): Record[] {
	const random = new Random(seed);
	const assembler = new Assembler(random);
	const records: Record[] = [];
	for (const encoding of allEncodings()) {
		if (!encoding.bitnesses.includes(64) || ELSEWHERE.test(encoding.name)) continue;
		for (let at = 0; at < instances; at++) {
			const target = BigInt(REGION + 64 + random.below(16));
			const surroundings = {
				bitness: 64,
				rip: BigInt(CODE),
				target,
				bases: [0n, 0n, 0n, 0n, 0n, 0n],
			} as const;
			let made: ReturnType<Assembler["make"]> = null;
			try {
				made = assembler.make(encoding, surroundings);
			} catch {
				break;
			}
			if (made === null || /\b[fg]s\b/.test(made.text)) continue;
			const insn = decode(made.bytes, BigInt(CODE), 64);
			if (
				definitionOf(insn) === undefined ||
				insn.operands.some((o) => o.kind === "register" && o.register > 68)
			)
				continue;
			const pins = [...made.pinned].map(([register, value]) => exact(register, value));
			if (made.bitOffset >= 0) pins.push({ register: made.bitOffset, and: 0x1ffn, add: 0n });
			if (made.bitOffset >= 0 && insn.operands[1]?.kind !== "register") continue;
			if (made.pinned.has(RSP)) continue;
			records.push({ bytes: made.bytes, classes: 0, region: REGION, pins, indices: null });
		}
	}
	return records;
}

/** Not of ELSEWHERE's, which code-records.ts makes, and of the processor alone. */
function isLegacy(insn: Insn): boolean {
	if (vectorDefinitionOf(insn) !== null) return false;
	if (definitionOf(insn) !== undefined) return true;
	return microcodeOf(insn) !== undefined && !/^(F|Wait)/.test(Mnemonic[insn.mnemonic]!);
}

/** An instruction of 32-bit code as one of 16-bit code: its prefixes of operand and address size the other way round. */
function in16BitCode(bytes: Uint8Array): Uint8Array {
	const prefixes = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
	const count = bytes.findIndex((byte) => !prefixes.includes(byte));
	const old = [...bytes.subarray(0, count)];
	const sizes = [0x66, 0x67].filter((size) => !old.includes(size));
	const others = old.filter((byte) => byte !== 0x66 && byte !== 0x67);
	return new Uint8Array([...sizes, ...others, ...bytes.subarray(count)]);
}

/** Random instances of the integer instructions in 32-bit code, flat and not, and in 16-bit code. */
export function legacyRecords(seed: number, instances: number): Record[] {
	const random = new Random(seed);
	const assembler = new Assembler(random);
	const records: Record[] = [];
	for (const encoding of allEncodings()) {
		if (!encoding.bitnesses.includes(32) || ELSEWHERE.test(encoding.name) || !canBeMade(encoding)) continue;
		for (const mode of [MODE.flat32, MODE.based32, MODE.code16]) {
			const base = BigInt(dataBase(mode));
			for (let at = 0; at < instances; at++) {
				const made = assembler.make(encoding, {
					bitness: 32,
					rip: BigInt(CODE - codeBase(mode)),
					target: BigInt(REGION + (random.oneIn(8) ? random.below(256) : 64 + random.below(16))),
					bases: [base, base, base, base, base, base],
				});
				if (made === null || /\b[fg]s\b/.test(made.text)) continue;
				const insn = decode(made.bytes, BigInt(CODE), 32);
				if (!isLegacy(insn) || (made.bitOffset >= 0 && insn.operands[1]?.kind !== "register")) continue;
				const bytes = mode === MODE.code16 ? in16BitCode(made.bytes) : made.bytes;
				if (decode(bytes, BigInt(CODE), bitnessOf(mode)).code !== insn.code) continue;
				const pins = [...made.pinned].map(([register, value]) => exact(register, value));
				if (made.bitOffset >= 0) pins.push({ register: made.bitOffset, and: 0x1ffn, add: 0n });
				records.push({ bytes, classes: classOf(mode), region: REGION, pins, indices: null });
			}
		}
	}
	return records;
}

/** Approximations, which hardware makes as it likes (SDM Vol. 2B, RCPPS). */
const APPROXIMATE = /^(VEX_V)?R(cp|sqrt)[ps]s_/i;
/** Where an EPYC lets its operand be misaligned and the manual does not: docs/limits.md. */
const ALIGNED = /^Sha/;

/** Random instances of the translated instructions with MMX registers, or of those with vector registers only. */
export function vectorRecords(seed: number, instances: number, mmx: boolean): Record[] {
	const random = new Random(seed);
	const assembler = new Assembler(random);
	const records: Record[] = [];
	for (const encoding of allEncodings(true)) {
		if (!encoding.bitnesses.includes(64) || APPROXIMATE.test(encoding.name)) continue;
		for (let at = 0; at < instances; at++) {
			const aligned = ALIGNED.test(encoding.name) || random.oneIn(2);
			const surroundings = {
				bitness: 64,
				rip: BigInt(CODE),
				target: BigInt(REGION + 64 + (aligned ? 0 : random.below(32))),
				bases: [0n, 0n, 0n, 0n, 0n, 0n],
			} as const;
			let made: ReturnType<Assembler["make"]> = null;
			try {
				made = assembler.make(encoding, surroundings);
			} catch {
				break;
			}
			if (made === null || /\b[fg]s\b/.test(made.text) || made.pinned.has(RSP)) continue;
			const insn = decode(made.bytes, BigInt(CODE), 64);
			if (vectorDefinitionOf(insn) === null) break;
			if (isMmxForm(insn.code) !== mmx) break;
			const pins = [...made.pinned].map(([register, value]) => exact(register, value));
			const classes = mmx ? CLASS.x87 | CLASS.vector : CLASS.vector;
			records.push({ bytes: made.bytes, classes, region: REGION, pins, indices: made.indices });
		}
	}
	return records;
}

/** The file that native.c reads. */
export function encodeRecords(records: readonly Record[]): Uint8Array {
	const bytes: number[] = [];
	const put = (value: bigint, count: number): void => {
		for (let at = 0; at < count; at++) bytes.push(Number((value >> BigInt(8 * at)) & 0xffn));
	};
	for (const { bytes: code, classes, region, pins, indices } of records) {
		// Register 16 is none.
		bytes.push(code.length, ...code, classes, indices?.register ?? 16, indices?.bytes ?? 0);
		put(BigInt(region), 4);
		bytes.push(pins.length);
		for (const { register, and, add } of pins) {
			bytes.push(register);
			put(and, 8);
			put(add, 8);
		}
	}
	return new Uint8Array(bytes);
}

/** The records of a file. */
export function decodeRecords(file: Uint8Array): Record[] {
	const view = new DataView(file.buffer, file.byteOffset, file.length);
	const records: Record[] = [];
	for (let at = 0; at < file.length; ) {
		const length = file[at]!;
		const bytes = file.slice(at + 1, at + 1 + length);
		at += 1 + length;
		const classes = file[at]!;
		const indices = file[at + 1]! < 16 ? { register: file[at + 1]!, bytes: file[at + 2]! } : null;
		const region = view.getUint32(at + 3, true);
		const count = file[at + 7]!;
		at += 8;
		const pins: Pin[] = [];
		for (let pin = 0; pin < count; pin++, at += 17) {
			pins.push({
				register: file[at]!,
				and: view.getBigUint64(at + 1, true),
				add: view.getBigUint64(at + 9, true),
			});
		}
		records.push({ bytes, classes, region, pins, indices });
	}
	return records;
}
