/**
 * Ops of which a profile shows several functions. One figure stands for all of them; it is divided by their
 * instructions, counted roughly from the C and the assembly of v6.18, since nothing tells how the misses among them fall. The
 * part of the function that the op itself belongs to is the op's cost (silicon/models/common-costs.ts); the
 * others are here, and the sum is the figure.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { symbol } from "../silicon/cpu/symbols.ts";

/** A function and its instructions. */
type Part = readonly [name: string, file: string, instructions: number];

/** One figure and what it is divided over. */
interface Figure {
	/** Cycles of all together. */
	readonly cycles: number;
	/** Of the function that the op belongs to. */
	readonly own: Part;
	readonly parts: readonly Part[];
}

// biome-ignore format: tables
const FIGURES = {
	/** context_switch() and what __schedule() does around it; the order of a microsecond. */
	switch_to: {
		cycles: 1500,
		own: ["__switch_to", "arch/x86/kernel/process_64.c", 110],
		parts: [
			["update_rq_clock",    "kernel/sched/core.c",           30],
			["update_curr",        "kernel/sched/fair.c",           80],
			["update_load_avg",    "kernel/sched/fair.c",           90],
			["__schedule",         "kernel/sched/core.c",           220],
			["__switch_to_asm",    "arch/x86/entry/entry_64.S",     20],
			["finish_task_switch", "kernel/sched/core.c",           70],
		],
	},
	/** An interrupt's entry, its handler's frame, and the way back; the order of a microsecond. */
	irq_handler: {
		cycles: 1000,
		own: ["asm_sysvec", "arch/x86/entry/entry_64.S: delivery, 15 PUSHes, 15 POPs, IRET", 120],
		parts: [
			["irqentry_enter",     "kernel/entry/common.c",         30],
			["irq_enter_rcu",      "kernel/softirq.c",              40],
			["irq_exit_rcu",       "kernel/softirq.c",              60],
			["irqentry_exit",      "kernel/entry/common.c",         50],
		],
	},
	/** To user space and back by SYSRET and SYSCALL. */
	user_transition: {
		cycles: 250,
		own: ["entry_SYSCALL_64", "arch/x86/entry/entry_64.S: SYSCALL, SYSRET, two SWAPGS, PUSHes and POPs", 70],
		parts: [
			["do_syscall_64",      "arch/x86/entry/syscall_64.c",   60],
			["__x64_sys_ioctl",    "fs/ioctl.c",                    40],
		],
	},
} as const satisfies Readonly<Record<string, Figure>>;

/** An op of which a profile shows several functions. */
export type SharedOp = keyof typeof FIGURES;

/** Cycles of an instruction of kernel code by which parts are turned into plain code. */
const CODE_CYCLES = 0.4;

/** A part that is run as plain code. */
interface CodePart {
	readonly symbolId: number;
	/** Plain instructions that take as long as its share. */
	readonly instructions: number;
}

const instructionsOf = ({ own, parts }: Figure) => parts.reduce((sum, [, , count]) => sum + count, own[2]);

function partsOf(figure: Figure): ReadonlyMap<string, CodePart> {
	const each = figure.cycles / instructionsOf(figure) / CODE_CYCLES;
	return new Map(
		figure.parts.map(([name, , count]) => [
			name,
			{ symbolId: symbol(name), instructions: Math.round(count * each) },
		]),
	);
}

/** Ops that are divided. */
export const SHARED_OPS = Object.keys(FIGURES) as readonly SharedOp[];

/** What is left for the op itself, in cycles. */
export function ownCycles(op: SharedOp): number {
	const parts = [...partsOf(FIGURES[op]).values()];
	return FIGURES[op].cycles - CODE_CYCLES * parts.reduce((sum, { instructions }) => sum + instructions, 0);
}

/** The table, for docs and tests: cycles, names of the parts, and instructions, first of the op's own function. */
export const FIGURE_CYCLES = Object.fromEntries(
	SHARED_OPS.map((op) => {
		const { cycles, own, parts } = FIGURES[op];
		return [
			op,
			{
				cycles,
				parts: parts.map(([name]) => name),
				instructions: [own[2], ...parts.map(([, , count]) => count)],
			},
		];
	}),
) as unknown as Readonly<
	Record<
		SharedOp,
		{ readonly cycles: number; readonly parts: readonly PartName[]; readonly instructions: readonly number[] }
	>
>;

const PARTS = new Map(SHARED_OPS.flatMap((op) => [...partsOf(FIGURES[op])]));

/** Names of the parts. */
export type PartName = (typeof FIGURES)[SharedOp]["parts"][number][0];

/** Runs a part. */
export function runPart(cpu: Cpu, name: PartName): void {
	const { symbolId, instructions } = PARTS.get(name)!;
	cpu.enter(symbolId);
	cpu.codeOfFigure(instructions);
	cpu.leave();
}

/** Of a switch of tasks, what runs before __switch_to(). */
export const BEFORE_SWITCH = [
	"__schedule",
	"update_rq_clock",
	"update_curr",
	"update_load_avg",
	"__switch_to_asm",
] as const;
