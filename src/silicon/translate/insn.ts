/** A decoded instruction as a plain object, so that nothing of the decoder's own memory is kept. */

/** One operand. Registers are iced-x86 `Register` values. */
export type Operand =
	| { readonly kind: "register"; readonly register: number; readonly bytes: number }
	| { readonly kind: "immediate"; readonly value: bigint; readonly bytes: number }
	| { readonly kind: "memory"; readonly bytes: number }
	/** Target of a near branch: a linear offset within CS. */
	| { readonly kind: "near"; readonly target: bigint }
	| { readonly kind: "far"; readonly selector: number; readonly offset: bigint };

/** One decoded instruction. */
export interface Insn {
	/** Offset within CS at which it lies. */
	readonly rip: bigint;
	readonly length: number;
	/** iced-x86 `Code`: one encoding of one instruction. */
	readonly code: number;
	/** iced-x86 `Mnemonic`. */
	readonly mnemonic: number;
	readonly operands: readonly Operand[];
	/** Effective operand size in bytes, where the encoding does not say: 2, 4 or 8. */
	readonly operandBytes: number;
	/** Address size in bytes: 2, 4 or 8. */
	readonly addressBytes: number;
	/** The memory operand, if there is one. Base and index are iced-x86 `Register` values, 0 for none. */
	readonly base: number;
	readonly index: number;
	readonly scale: number;
	/** Displacement, sign-extended; for RIP-relative operands the absolute offset (base = 0 then). */
	readonly displacement: bigint;
	/** Index of the segment register used (layout.ts ES…GS). */
	readonly segment: number;
	readonly lock: boolean;
	/** REP/REPE prefix. */
	readonly rep: boolean;
	readonly repne: boolean;
	/** An indirect near JMP or CALL with the prefix 3EH, which exempts it from tracking. */
	readonly noTrack: boolean;
	/** RFLAGS bits read and written, as iced-x86 `RflagsBits`. */
	readonly flagsRead: number;
	readonly flagsWritten: number;
	readonly flagsUndefined: number;
	/** 16, 32 or 64. */
	readonly bitness: number;
	/** x87: bits 2:0 of the opcode and the ModRM byte, as the FOP register has them. 0 for all others. */
	readonly x87Opcode: number;
}
