/** Cycles of guest instructions by mnemonic, from a CPU model's classes. */
import type { CpuModel, GuestCostClass } from "../models/model.ts";
import { Code, isFar, Mnemonic as M, Register } from "./decode.ts";
import type { Insn } from "./insn.ts";

// biome-ignore format: one row a class
const CLASSES: readonly [GuestCostClass, readonly number[]][] = [
	["multiply", [M.Mul, M.Imul, M.Mulx]],
	["divide", [M.Div, M.Idiv]],
	["rdtsc", [M.Rdtsc, M.Rdtscp]],
	["serializing", [M.Cpuid, M.Wrmsr, M.Invlpg, M.Invd, M.Wbinvd, M.Lgdt, M.Lidt, M.Ltr, M.Lldt, M.Xsetbv]],
	["far", [M.Iret, M.Iretd, M.Iretq, M.Retf, M.Int, M.Int3, M.Syscall, M.Sysret, M.Sysretq, M.Sysenter, M.Sysexit]],
];

/** MOV to a control register but CR8, and to a debug register: serializing (SDM Vol. 3A, 10.3). */
const SERIALIZING_MOVES = new Set<number>([
	Code.Mov_cr_r32,
	Code.Mov_cr_r64,
	Code.Mov_dr_r32,
	Code.Mov_dr_r64,
]);

const classes = new Map<number, GuestCostClass>();
for (const [name, mnemonics] of CLASSES) for (const mnemonic of mnemonics) classes.set(mnemonic, name);

/**
 * Rounds to 1/64 of a cycle: sums of such numbers are exact in a double, so that cycles do not depend on how
 * code was cut into blocks.
 */
function exact(cycles: number): number {
	return Math.round(cycles * 64) / 64;
}

/** Near branches and ENDBRANCH cost the same where control-flow enforcement has the system side carry them out. */
function isNearBranch(operands: Insn["operands"], code: number, mnemonic: number): boolean {
	if (mnemonic === M.Endbr32 || mnemonic === M.Endbr64 || mnemonic === M.Ret) return true;
	return (mnemonic === M.Call || mnemonic === M.Jmp) && !isFar(operands, code);
}

/** Costs of a model, by mnemonic. */
export class GuestCosts {
	private readonly byMnemonic = new Map<number, number>();
	private readonly simple: number;
	private readonly system: number;
	private readonly serializing: number;

	constructor(model: CpuModel) {
		const costs = model.guestCosts;
		this.simple = exact(costs.simple.cycles);
		this.system = exact(costs.system.cycles);
		this.serializing = exact(costs.serializing.cycles);
		for (const [mnemonic, name] of classes) this.byMnemonic.set(mnemonic, exact(costs[name].cycles));
		// Translated, but for the cost no simple instruction.
		this.byMnemonic.set(M.Pause, this.system);
	}
	/** Cycles of a translated instruction. */
	translated(mnemonic: number): number {
		return this.byMnemonic.get(mnemonic) ?? this.simple;
	}
	/** Cycles of an instruction that the system side carries out. */
	untranslated({ code, mnemonic, operands }: Insn): number {
		if (SERIALIZING_MOVES.has(code)) {
			const [to] = operands;
			if (to?.kind === "register" && to.register !== Register.CR8) return this.serializing;
		}
		if (isNearBranch(operands, code, mnemonic)) return this.simple;
		return this.byMnemonic.get(mnemonic) ?? this.system;
	}
}
