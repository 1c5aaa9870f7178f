/**
 * Cycles an exit, from real guest code that ran through the run loop.
 *
 * The guest runs twice, with N and 2 N iterations; the difference, divided by N exits, is free of what
 * booting and printing cost.
 */
import {
	type Configuration,
	DEFAULT_CONFIGURATION,
	type Factor,
	applyConfiguration,
	guestParameters,
	kernelOptions,
} from "../check/configuration.ts";
import { programImage } from "../guests/program-image.ts";
import { findProgram, PROGRAMS } from "../guests/programs.ts";
import { createMachine, createSilicon } from "../kvm/api/kvm.ts";
import { Vmm } from "../kvm/api/vmm.ts";
import { compileTree } from "../kvm/flow/compile.ts";
import { opCost } from "../kvm/flow/custom-op.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import { hint } from "../kvm/flow/patch.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { OP_SLOTS, opName } from "../silicon/ops.ts";
import { ReviewError } from "./errors.ts";
import type { CostResult } from "./types.ts";

/** Iterations of the shorter run. */
const ITERATIONS = 200;

/** What the guest is given; each defaults to the case that the mails measured: OSXSAVE set, XCR0 and XSS differ. */
export interface CostOptions {
	readonly guest: string;
	readonly tree: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
	/** CR4.OSXSAVE. Default true. */
	readonly osxsave?: boolean;
	/** CR4.PKE, with `pkru`. Default false. */
	readonly pke?: boolean;
	/** The guest's PKRU. Default: all ones but the two low bits, as in patch 4's mail. */
	readonly pkru?: number;
	/** The guest's XCR0. Default 1: x87 only, what a CPU has at reset. */
	readonly xcr0?: number;
	/** The guest's IA32_XSS. Default 0. */
	readonly xss?: number;
	/** Factors of the check's configurations that are set; each changes what it names and nothing else. */
	readonly factors?: Partial<Configuration>;
}

/** Factors that change what an exit of these guests costs. */
export const COST_FACTORS = [
	"osxsave",
	"xcr0",
	"xss",
	"pke",
	"pkru",
	"debugctl",
	"breakpoints",
	"nrips",
	"pmu",
] as const satisfies readonly Factor[];

/** What the guest is told, but for its iterations. */
function parametersOf(options: CostOptions) {
	const { factors = {}, model, vendor } = options;
	const own = guestParameters({ ...DEFAULT_CONFIGURATION, ...factors }, model, vendor);
	return {
		osxsave: factors.osxsave === undefined ? (options.osxsave ?? true) : own.osxsave === true,
		xcr0: factors.xcr0 === undefined ? (options.xcr0 ?? 0) : own.xcr0!,
		xss: factors.xss === undefined ? (options.xss ?? 0) : own.xss!,
		pke: factors.pke === undefined ? (options.pke ?? false) : own.pke === true,
		pkru: factors.pkru === undefined ? (options.pkru ?? PKRU_OF_THE_MAIL) : own.pkru!,
	};
}

/** All keys denied but key 0: the PKRU of the mail of patch 4. */
const PKRU_OF_THE_MAIL = 0xffff_fffc;

interface Totals {
	readonly cycles: number;
	readonly ops: Float64Array;
}

/**
 * Measures one guest on one tree.
 * @throws ReviewError if there is no such guest, it does not run on this vendor, or it does not end well
 */
export function measureCost(options: CostOptions): CostResult {
	const { guest, tree, vendor, model } = options;
	const program = findProgram(guest);
	if (program === undefined) {
		const names = PROGRAMS.map(({ name }) => name);
		throw new ReviewError(`no guest program "${guest}"${hint(guest, names)}; there are ${names.join(", ")}`);
	}
	if (!program.vendors.includes(vendor)) {
		throw new ReviewError(`guest ${guest} runs on ${program.vendors.join(" and ")}, not on ${vendor}`);
	}
	const compiled = compileTree(tree, vendor);
	const silicon = createSilicon(model);
	const configuration = { ...DEFAULT_CONFIGURATION, ...options.factors };
	const run = (iterations: number): Totals => {
		const kernel = kernelOptions(configuration);
		const machine = createMachine({ model, vendor, tree: compiled, silicon, kernel });
		const { cpu } = machine;
		applyConfiguration(machine, configuration);
		const vmm = new Vmm(machine);
		vmm.load(programImage(guest), {
			parameters: { iterations, ...parametersOf(options) },
		});
		cpu.opCounts.fill(0);
		const startCycles = cpu.cycles;
		const result = vmm.run();
		if (result.kind !== "exit" || result.code !== 0) {
			const given = options.xcr0 !== undefined || options.xss !== undefined;
			const why = given ? ": XSETBV or WRMSR does not take the mask" : "";
			throw new ReviewError(`guest ${guest} on ${tree.name} ended by ${describe(result)}${why}`);
		}
		return { cycles: cpu.cycles - startCycles, ops: cpu.opCounts.slice() };
	};
	const { fastpath, kernel, user } = program.exitsPerIteration ?? { fastpath: 0, kernel: 0, user: 0 };
	const exits = Math.max(1, fastpath + kernel + user) * ITERATIONS;
	run(ITERATIONS);
	const short = run(ITERATIONS);
	const long = run(2 * ITERATIONS);
	const cyclesPerExit = (long.cycles - short.cycles) / exits;
	const opsPerExit: Record<string, number> = {};
	const cyclesByOrigin = { published: 0, calibrated: 0, assumed: 0, measured: 0, guest: cyclesPerExit };
	let plusMinus = 0;
	for (let op = 0; op < OP_SLOTS; op++) {
		const count = (long.ops[op]! - short.ops[op]!) / exits;
		if (count === 0) continue;
		const name = opName(op);
		opsPerExit[name] = round(count);
		const cost = opCost(tree, model, name);
		cyclesByOrigin[cost.origin] += count * cost.cycles;
		cyclesByOrigin.guest -= count * cost.cycles;
		plusMinus += Math.abs(count) * (cost.plusMinus ?? 0);
	}
	return {
		guest,
		tree: tree.name,
		vendor,
		...(tree.loadedModule === undefined ? {} : { module: tree.loadedModule }),
		cpu: model.name,
		cyclesPerExit: round(cyclesPerExit),
		exits,
		plusMinus: round(plusMinus),
		opsPerExit,
		cyclesByOrigin: {
			published: round(cyclesByOrigin.published),
			calibrated: round(cyclesByOrigin.calibrated),
			assumed: round(cyclesByOrigin.assumed),
			measured: round(cyclesByOrigin.measured),
			guest: round(cyclesByOrigin.guest),
		},
	};
}

function describe(result: ReturnType<Vmm["run"]>): string {
	if (result.kind === "exit") return `exit code ${result.code}`;
	return "message" in result ? `${result.kind}: ${result.message}` : result.kind;
}

/** Two decimals: more would be noise of the division. */
function round(value: number): number {
	return Math.round(value * 100) / 100;
}
