/**
 * Runs a workload under the profiler: what `reenter top`, `stat`, `script`, `record` and `trace` begin with.
 *
 *     const recording = record({ workload: findWorkload("invd"), tree, vendor, model });
 *     reportRows(recording.calls, { inlined: inlinedSymbols(tree, "kernel") });
 */
import { programImage } from "../guests/program-image.ts";
import { createMachine, type Machine } from "../kvm/api/kvm.ts";
import { guestRamBytesFor, hostRamBytesFor, Vmm, type VmmResult } from "../kvm/api/vmm.ts";
import { type Stacks, compileTree } from "../kvm/flow/compile.ts";
import type { Tree } from "../kvm/flow/flow.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { type Cpu, PENDING } from "../silicon/cpu/cpu.ts";
import type { OpObserver } from "../silicon/cpu/observers.ts";
import { FirstLevelCache } from "../silicon/cpu/first-level.ts";
import { exitBehindStores } from "../silicon/cpu/store-buffer.ts";
import type { CallTreeData } from "./call-tree.ts";
import { ProfileError } from "./errors.ts";
import {
	DEFAULT_PERIOD_CYCLES,
	type OpCycles,
	Profiler,
	chargesAll,
	type ProfilerOptions,
} from "./profiler.ts";
import type { Workload } from "./workloads/workload.ts";

/** Host memory for second-level tables of small pages, and more CPUs. */
const TABLES_BYTES = 2 << 20;

/** What is run and how it is watched. */
export interface RecordOptions extends ProfilerOptions {
	readonly workload: Workload;
	readonly tree: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
	/** Default: the workload's. */
	readonly vcpus?: number;
	/** The guest's iterations; default: the workload's. */
	readonly iterations?: number;
	/** How several CPUs take turns. Default 1. */
	readonly seed?: number;
	/** False runs without watching: what the guest is like by itself. */
	readonly profile?: boolean;
	/** Sees the machine before it runs: tracers attach here. */
	readonly onMachine?: (machine: Machine) => void;
}

/** A profile of one run. */
export interface Recording {
	readonly workload: string;
	readonly tree: string;
	readonly vendor: Vendor;
	readonly cpu: string;
	/** Cycles a second. */
	readonly hz: number;
	readonly vcpus: number;
	readonly iterations: number;
	readonly seed: number;
	readonly periodCycles: number;
	/** Cycles that each physical CPU has counted, running or idle. */
	readonly cyclesByCpu: readonly number[];
	readonly exits: number;
	readonly calls: CallTreeData;
	readonly ops: readonly OpCycles[];
	/** What the guest printed. */
	readonly console: string;
}

/** Raises an NMI where the counter overflowed: it arrives as any other, and costs what it costs. */
function raiseNmi(cpu: Cpu): void {
	cpu.pending |= PENDING.nmi;
}

/** Keeps a call stack, and does nothing. */
const NOBODY: OpObserver = { onOp: () => {} };

/** First-level caches that guests throw things out of. They go by the call stack, also when nobody else looks at it. */
function coolCaches(cpu: Cpu): void {
	cpu.firstLevel = new FirstLevelCache();
	cpu.observer = NOBODY;
}

/** Makes the machine of a workload, with its guest loaded. */
function boot(options: RecordOptions): { readonly machine: Machine; readonly vmm: Vmm } {
	const { workload, tree, vendor, model } = options;
	if (!workload.vendors.includes(vendor)) {
		throw new ProfileError(`${workload.name} runs on ${workload.vendors.join(" and ")}, not on ${vendor}`);
	}
	const vcpus = options.vcpus ?? workload.vcpus;
	const cpus = vcpus + (workload.moreCpus ?? 0);
	const { guest } = workload;
	const { image, ...loaded } = typeof guest === "string" ? { image: programImage(guest) } : guest;
	const guestRamBytes = Math.max(guestRamBytesFor(image), workload.guestRamBytes ?? 0);
	const profiled = options.profile !== false;
	const evicts = workload.evicts === true;
	const kept: Stacks = profiled || evicts ? "sampled" : "none";
	const stacks = profiled && chargesAll(options) ? "observed" : kept;
	const machine = createMachine({
		model,
		vendor,
		tree: compileTree(tree, vendor, false, stacks),
		ramBytes: hostRamBytesFor(guestRamBytes) + TABLES_BYTES,
		vcpus,
		cpus,
		smp: { seed: options.seed ?? 1 },
		kernel: { ...workload.kernel, hostPebs: profiled && workload.perfTop === true },
	});
	if (evicts) for (const { cpu } of machine.processors) coolCaches(cpu);
	if (workload.streams === true) for (const { cpu } of machine.processors) exitBehindStores(cpu);
	const vmm = new Vmm(machine, { guestRamBytes, hugePages: workload.hugePages ?? true });
	vmm.load(image, {
		...loaded,
		parameters: {
			...workload.parameters,
			iterations: options.iterations ?? workload.iterations,
			cpus: vcpus,
		},
	});
	workload.start?.(machine);
	return { machine, vmm };
}

/** One run under way: `top` looks at it between steps. */
export interface Session {
	readonly machine: Machine;
	readonly vmm: Vmm;
	readonly profiler: Profiler;
	/** The profile so far. */
	recording(): Recording;
}

/**
 * Makes a machine that is watched; the caller runs it.
 * @throws ProfileError if the workload does not run on this vendor
 */
export function startSession(options: RecordOptions): Session {
	const { machine, vmm } = boot(options);
	const profiler = new Profiler(options);
	profiler.raiseNmi = raiseNmi;
	const start = machine.processors.map(({ cpu }) => cpu.cycles);
	if (options.profile !== false) profiler.attach(machine.processors.map(({ cpu }) => cpu));
	options.onMachine?.(machine);
	const { workload, tree, vendor, model } = options;
	const recording = (): Recording => ({
		workload: workload.name,
		tree: tree.name,
		vendor,
		cpu: model.name,
		hz: model.tscHz,
		vcpus: machine.vm.vcpus.length,
		iterations: options.iterations ?? workload.iterations,
		seed: options.seed ?? 1,
		periodCycles: options.periodCycles ?? DEFAULT_PERIOD_CYCLES,
		cyclesByCpu: machine.processors.map(({ cpu }, at) => cpu.cycles - start[at]!),
		exits: machine.vm.vcpus.reduce((sum, { stat }) => sum + stat.exits, 0),
		calls: profiler.data(),
		ops: profiler.opCycles(),
		console: vmm.consoleText,
	});
	return { machine, vmm, profiler, recording };
}

/**
 * Runs a workload to its end.
 * @throws ProfileError if it does not run on this vendor, or does not end well
 */
export function record(options: RecordOptions): Recording {
	const session = startSession(options);
	const result = session.vmm.run();
	const isWell = result.kind === "power-off" || (result.kind === "exit" && result.code === 0);
	if (!isWell) {
		throw new ProfileError(
			`${options.workload.name} on ${options.tree.name} ended by ${endText(result)}: ${session.vmm.consoleText.trim()}`,
		);
	}
	const recording = session.recording();
	session.profiler.detach();
	return recording;
}

/** How a run ended, in a few words. */
export function endText(result: VmmResult): string {
	if (result.kind === "exit") return `exit code ${result.code}`;
	return "message" in result ? `${result.kind} (${result.message})` : result.kind;
}
