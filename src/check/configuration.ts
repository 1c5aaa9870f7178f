/**
 * Configurations: what differs between the machines and guests that a check runs. One row of FACTORS a factor, with its
 * values; the first value is the one that a plain `reenter check` begins with. A new factor is a new row, and whoever
 * makes machines or guests reads it from the `Configuration`.
 *
 *     const configuration = parseConfiguration("xcr0=host,pke=off", "vmx", model);
 *     const machine = createMachine({ …, kernel: kernelOptions(configuration) });
 *     applyConfiguration(machine, configuration);
 *     vmm.load(image, { parameters: guestParameters(configuration, model, vendor) });
 */
import type { KernelOptions } from "../host/kernel-options.ts";
import { CYCLES_COUNTER } from "../host/perf.ts";
import { userPkru } from "../host/task.ts";
import type { Machine } from "../kvm/api/kvm.ts";
import { hint } from "../kvm/flow/patch.ts";
import { OtherCpu } from "./other-cpu.ts";
import type { GuestParameters } from "../guests/boot.ts";
import * as L from "../silicon/cpu/layout.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";

/** What one factor of a configuration is. */
interface FactorRow {
	readonly values: readonly [string, ...string[]];
	/** What is set by it; completes "guest XCR0: own". */
	readonly title: string;
	/** Whether the factor exists there; absent: everywhere. */
	readonly exists?: (vendor: Vendor, model: CpuModel) => boolean;
	/** A bound, not a difference: sets of configurations have its first value. */
	readonly isBound?: boolean;
	/**
	 * What few do, and nothing else depends on: sets of configurations have one more for each of its other values, in which all
	 * other factors have their first ones.
	 */
	readonly isApart?: boolean;
}

const notTd = (vendor: Vendor) => vendor !== "tdx";

/** `own`: unlike the host's, so that a swap matters; `host`: equal to it, so that a swap is left out. */
// biome-ignore format: a table reads by columns
const FACTORS = {
	osxsave:     { values: ["on", "off"],                title: "guest CR4.OSXSAVE", exists: notTd },
	xcr0:        { values: ["own", "host"],              title: "guest XCR0" },
	xss:         { values: ["own", "host"],              title: "guest IA32_XSS", exists: (vendor, model) => notTd(vendor) && model.features.xss !== 0 },
	pke:         { values: ["on", "off"],                title: "guest CR4.PKE", exists: (_vendor, model) => model.features.pku },
	pkru:        { values: ["own", "host"],              title: "guest PKRU", exists: (_vendor, model) => model.features.pku },
	xfd:         { values: ["host", "own"],              title: "guest IA32_XFD", exists: (vendor, model) => notTd(vendor) && model.features.xfd !== 0 },
	debugRegs:   { values: ["unused", "used"],           title: "guest debug registers", exists: notTd },
	msrs:        { values: ["host", "own"],              title: "guest SPEC_CTRL, DEBUGCTL, SYSCALL's registers and TSC_AUX", exists: notTd },
	debugctl:    { values: ["clear", "set"],             title: "what perf does on the host: IA32_DEBUGCTL, and on Intel a counter that excludes guests" },
	neighbour:   { values: ["none", "vm"],               title: "another VM's vCPU that was switched out in the kernel on this CPU", exists: (vendor) => vendor !== "svm" },
	breakpoints: { values: ["none", "active"],           title: "host breakpoints" },
	nrips:       { values: ["on", "off"],                title: "kvm_amd.nrips", exists: (vendor) => vendor === "svm" },
	pmu:         { values: ["off", "counting"],          title: "guest counter of instructions", exists: notTd },
	stackKey:    { values: ["0", "1"],                   title: "protection key of user space's stack", exists: (_vendor, model) => model.features.pku },
	apicv:       { values: ["off", "on", "inhibited"],   title: "kvm_intel.enable_apicv; inhibited: a debugger holds interrupts back", exists: (vendor) => vendor === "vmx" },
	instructions: { values: ["usual", "rare"],          title: "guest's instructions; rare: accesses to a device and calls in two parts, faults and single steps that KVM injects, task priority" },
	handover:    { values: ["valid", "refused"],         title: "state that user space hands over; refused: hardware does not enter with it, and user space mends it", exists: notTd, isApart: true },
	debugger:    { values: ["none", "steps"],            title: "debugger in user space; steps: it has some instructions executed one by one", exists: notTd, isApart: true },
	vcpus:       { values: ["1", "2"],                   title: "vCPUs", exists: notTd },
	cpu:         { values: ["stays", "changes"],         title: "CPU on which a thread that was switched out goes on" },
	mceHandler:  { values: ["task-work", "schedule"],    title: "#MC handler" },
	exits:       { values: ["all", "1", "2", "3", "4", "5", "6", "7"], title: "exits that the guest makes before its last ones", isBound: true },
} as const satisfies Readonly<Record<string, FactorRow>>;

/** Name of a factor. */
export type Factor = keyof typeof FACTORS;

/** One value for every factor; a factor that does not exist on the vendor or model has its first value. */
export type Configuration = { readonly [F in Factor]: (typeof FACTORS)[F]["values"][number] };

/** The factors in the order of the table. */
export const FACTOR_NAMES = Object.keys(FACTORS) as Factor[];

const rowOf = (factor: Factor): FactorRow => FACTORS[factor];

/** The values of a factor, the first one first. */
export function factorValues(factor: Factor): readonly string[] {
	return FACTORS[factor].values;
}

/** What is set by a factor; completes "guest XCR0: own". */
export function factorTitle(factor: Factor): string {
	return FACTORS[factor].title;
}

/** Every factor at its first value. */
export const DEFAULT_CONFIGURATION = Object.fromEntries(
	FACTOR_NAMES.map((factor) => [factor, FACTORS[factor].values[0]]),
) as Configuration;

/** Factors that a vendor and model have, with their values. */
export function factorsOf(
	vendor: Vendor,
	model: CpuModel,
): readonly { readonly factor: Factor; readonly values: readonly string[] }[] {
	return FACTOR_NAMES.filter((factor) => rowOf(factor).exists?.(vendor, model) ?? true).map((factor) => ({
		factor,
		values: rowOf(factor).values,
	}));
}

/** A configuration's name: the factors that are not at their first value, `xcr0=host,pke=off`; `default` if none. */
export function configurationName(configuration: Configuration): string {
	const parts = FACTOR_NAMES.filter((factor) => configuration[factor] !== rowOf(factor).values[0]).map(
		(factor) => `${factor}=${configuration[factor]}`,
	);
	return parts.length === 0 ? "default" : parts.join(",");
}

/** A factor or value that does not exist: the message names it and what there is. */
export class ConfigurationError extends Error {
	override readonly name = "ConfigurationError";
}

/**
 * Reads the factors that a configuration's name has, and no others.
 * @throws ConfigurationError for a factor or value that does not exist on the vendor and model, and for a factor named twice
 */
export function parseFactors(text: string, vendor: Vendor, model: CpuModel): Partial<Configuration> {
	const chosen: Record<string, string> = {};
	if (text === "default" || text === "") return chosen as Partial<Configuration>;
	const factors = new Map(factorsOf(vendor, model).map(({ factor, values }) => [factor as string, values]));
	for (const part of text.split(",")) {
		const [factor = "", value = ""] = part.split("=");
		const values = factors.get(factor);
		if (values === undefined) {
			const names = [...factors.keys()].join(", ");
			throw new ConfigurationError(
				`configuration "${part}": ${vendor} has no factor "${factor}"${hint(factor, [...factors.keys()])}; write default, or factor=value of ${names}`,
			);
		}
		if (!values.includes(value)) {
			throw new ConfigurationError(`configuration "${part}": ${factor} is one of ${values.join(", ")}`);
		}
		if (factor in chosen) throw new ConfigurationError(`configuration "${text}": it names ${factor} twice`);
		chosen[factor] = value;
	}
	return chosen as Partial<Configuration>;
}

/**
 * Reads a configuration's name; a factor that it does not name has its first value.
 * @throws ConfigurationError for a factor or value that does not exist on the vendor and model
 */
export function parseConfiguration(text: string, vendor: Vendor, model: CpuModel): Configuration {
	return { ...DEFAULT_CONFIGURATION, ...parseFactors(text, vendor, model) };
}

/** The factors by which sets of configurations differ: those that are no bounds, and do not stand apart. */
export function differencesOf(vendor: Vendor, model: CpuModel): ReturnType<typeof factorsOf> {
	return factorsOf(vendor, model).filter(({ factor }) => {
		const { isBound, isApart } = rowOf(factor);
		return isBound !== true && isApart !== true;
	});
}

/** The configurations of factors that stand apart: one a value. */
function apartConfigurations(
	vendor: Vendor,
	model: CpuModel,
	fixed: Partial<Configuration>,
): readonly Configuration[] {
	return factorsOf(vendor, model)
		.filter(({ factor }) => rowOf(factor).isApart === true)
		.flatMap(({ factor, values }) =>
			values.slice(1).map((value) => ({ ...DEFAULT_CONFIGURATION, ...fixed, [factor]: value })),
		);
}

/**
 * The product of all factors' values but bounds', the default first, in the order of the table; and behind it those of factors that
 * stand apart.
 */
export function allConfigurations(vendor: Vendor, model: CpuModel): readonly Configuration[] {
	let configurations: Record<string, string>[] = [{ ...DEFAULT_CONFIGURATION }];
	for (const { factor, values } of differencesOf(vendor, model)) {
		configurations = values.flatMap((value) => configurations.map((one) => ({ ...one, [factor]: value })));
	}
	return [...(configurations as unknown as Configuration[]), ...apartConfigurations(vendor, model, {})];
}

/** A value of a factor, by their numbers. */
type Choice = readonly [factor: number, value: number];

/** Pairs of values that no chosen configuration has yet. */
class WantedPairs {
	count = 0;
	private readonly stride: number;
	private readonly wanted: Uint8Array;

	/** @param values of each factor, how many */
	constructor(values: readonly number[]) {
		this.stride = Math.max(...values);
		this.wanted = new Uint8Array((values.length * this.stride) ** 2);
		for (const [a, count] of values.entries())
			for (let b = a + 1; b < values.length; b++)
				for (let x = 0; x < count; x++)
					for (let y = 0; y < values[b]!; y++) {
						this.wanted[this.at([a, x], [b, y])] = 1;
						this.count++;
					}
	}

	private at([a, x]: Choice, [b, y]: Choice): number {
		const [first, second] =
			a < b ? [a * this.stride + x, b * this.stride + y] : [b * this.stride + y, a * this.stride + x];
		return first * Math.sqrt(this.wanted.length) + second;
	}

	has(one: Choice, other: Choice): boolean {
		return this.wanted[this.at(one, other)] === 1;
	}

	/** Those of a choice with choices for other factors. */
	with(one: Choice, others: readonly Choice[]): number {
		let count = 0;
		for (const other of others) if (other[0] !== one[0] && this.has(one, other)) count++;
		return count;
	}

	/** Those of a choice with whatever others. */
	of([factor, value]: Choice): number {
		const width = Math.sqrt(this.wanted.length);
		const row = factor * this.stride + value;
		let count = 0;
		for (let at = 0; at < width; at++)
			count += this.wanted[row * width + at]! + this.wanted[at * width + row]!;
		return count;
	}

	/** Those of a configuration. */
	within(choices: readonly Choice[]): number {
		return choices.reduce((sum, one, at) => sum + this.with(one, choices.slice(at + 1)), 0);
	}

	/** All of a configuration's are there. */
	remove(choices: readonly Choice[]): void {
		for (const [at, one] of choices.entries())
			for (const other of choices.slice(at + 1)) {
				if (!this.has(one, other)) continue;
				this.wanted[this.at(one, other)] = 0;
				this.count--;
			}
	}
}

/**
 * A covering set: every pair of values of two factors occurs in at least one of its configurations. Greedy, and the
 * same each time: the default first, then whichever has the most pairs that are new. Those that are compared begin with one
 * such pair each, and take for one factor after another the value that brings the most. Behind them are those of factors that
 * stand apart.
 * @param fixed factors that keep the given value in all of them
 */
export function pairConfigurations(
	vendor: Vendor,
	model: CpuModel,
	fixed: Partial<Configuration> = {},
): readonly Configuration[] {
	const factors = differencesOf(vendor, model).map(({ factor, values }) => ({
		factor,
		values: fixed[factor] === undefined ? values : [fixed[factor]],
	}));
	const wanted = new WantedPairs(factors.map(({ values }) => values.length));
	const chosen: (readonly Choice[])[] = [];
	let next: readonly Choice[] = factors.map((_, at): Choice => [at, 0]);
	for (;;) {
		chosen.push(next);
		wanted.remove(next);
		if (wanted.count === 0) break;
		next = mostNewPairs(factors, wanted);
	}
	const pairs = chosen.map((choices) => ({
		...DEFAULT_CONFIGURATION,
		...Object.fromEntries(choices.map(([at, value]) => [factors[at]!.factor, factors[at]!.values[value]!])),
	}));
	return [...pairs, ...apartConfigurations(vendor, model, fixed)];
}

type FactorValues = readonly { readonly values: readonly string[] }[];

/** Of the configurations that begin with a pair that is wanted, the one that has the most of them. */
function mostNewPairs(factors: FactorValues, wanted: WantedPairs): readonly Choice[] {
	let best: readonly Choice[] = [];
	let most = 0;
	for (const [a, { values }] of factors.entries())
		for (let b = a + 1; b < factors.length; b++)
			for (const x of values.keys())
				for (const y of factors[b]!.values.keys()) {
					if (!wanted.has([a, x], [b, y])) continue;
					const [choices, count] = complete(factors, wanted, [a, x], [b, y]);
					if (count <= most) continue;
					best = choices;
					most = count;
				}
	return best;
}

/** @returns a configuration that begins with two given values, and how many wanted pairs it has */
function complete(
	factors: FactorValues,
	wanted: WantedPairs,
	...given: readonly [Choice, Choice]
): readonly [readonly Choice[], number] {
	const choices: Choice[] = [...given];
	for (const at of factors.keys()) {
		if (given.some(([factor]) => factor === at)) continue;
		choices.push(bestValue(factors, wanted, at, choices));
	}
	choices.sort((one, other) => one[0] - other[0]);
	let total = wanted.within(choices);
	for (let before = 0; total > before; ) {
		before = total;
		for (const at of factors.keys()) choices[at] = bestValue(factors, wanted, at, choices, choices[at]);
		total = wanted.within(choices);
	}
	return [choices, total];
}

/** The value of a factor with the most wanted pairs; @param now kept unless another has more */
function bestValue(
	factors: FactorValues,
	wanted: WantedPairs,
	at: number,
	others: readonly Choice[],
	now: Choice | null = null,
): Choice {
	const count = (choice: Choice) => 1000 * wanted.with(choice, others) + wanted.of(choice);
	let best = now ?? ([at, 0] as const);
	for (const value of factors[at]!.values.keys()) if (count([at, value]) > count(best)) best = [at, value];
	return best;
}

/**
 * A host whose perf records branches. DEBUGCTL: LBR (bit 0), FREEZE_LBRS_ON_PMI (11) and FREEZE_IN_SMM (14) on Intel; LBR and
 * bus lock detection (2) on AMD. The counter whose overflows record them: what AMD's do in a guest is a matter of their own bits.
 */
const HOST_PERF = {
	GenuineIntel: { debugctl: 0x4801, globalCtrl: CYCLES_COUNTER },
	AuthenticAMD: { debugctl: 0x5, globalCtrl: 0 },
} as const;
const NO_PERF = { debugctl: 0, globalCtrl: 0 } as const;
const NEIGHBOURS_TSC_AUX = { field: L.TSC_AUX, value: 0x55n } as const;
/** Instruction breakpoints of perf, on the first CPU and on the other one. */
const HOST_DR0 = 0xffff_ff80;
const OTHER_DR0 = 0xffff_ffc0;

/** How the kernel is booted. */
export function kernelOptions(configuration: Configuration): KernelOptions {
	const { mceHandler, nrips, stackKey, apicv } = configuration;
	const kvm = { enableApicv: apicv !== "off", ...(nrips === "on" ? {} : { nrips: false }) };
	return { mceHandler, userStackKey: Number(stackKey), kvm };
}

/** What the host's registers hold before the vCPU first runs. */
export function applyConfiguration(machine: Machine, configuration: Configuration): void {
	const { cpu, kernel, vcpu } = machine;
	vcpu.vm.apicvInhibited = configuration.apicv === "inhibited";
	vcpu.pmu.countsInstructions = configuration.pmu === "counting";
	if (configuration.debugctl === "set") {
		const { debugctl, globalCtrl } = HOST_PERF[cpu.model.vendorString];
		kernel.perf.setDebugctl(debugctl);
		if (globalCtrl !== 0) kernel.perf.setGlobalCtrl(globalCtrl);
	}
	if (configuration.breakpoints === "active") {
		kernel.breakpoints.install(0, HOST_DR0);
	}
}

/**
 * The CPU on which a thread goes on that was switched out; null if it stays where it was. To be called when the machine
 * is otherwise set up.
 */
export function otherCpuOf(machine: Machine, configuration: Configuration): OtherCpu | null {
	if (configuration.cpu === "stays") return null;
	const { kernel, cpu, processors } = machine;
	const perf = configuration.debugctl === "set" ? NO_PERF : HOST_PERF[cpu.model.vendorString];
	const other = new OtherCpu(kernel, processors.length, perf);
	other.boot(({ userReturn, breakpoints }) => {
		if (configuration.neighbour === "vm") userReturn.set([NEIGHBOURS_TSC_AUX]);
		if (configuration.breakpoints === "active") breakpoints.install(0, OTHER_DR0);
	});
	kernel.changeCpu = () => other.exchange();
	return other;
}

/**
 * What another VM's vCPU leaves behind that did not get to user space: its user-return MSRs, and the kernel's note of them.
 * The last thing before the vCPU first runs: a task that is in user space in between has its own again.
 */
export function applyNeighbour({ kernel }: Machine, { neighbour }: Configuration): void {
	if (neighbour === "none") return;
	kernel.userReturn.set([NEIGHBOURS_TSC_AUX]);
	// Its thread is what the scheduler switches to: it loads its own VMCS.
	kernel.neighbour = () => {
		kernel.cpu.currentVmcs = null;
	};
}

/** x87, SSE and AVX, without the rest of what the host has. */
const OWN_XCR0 = 7;
/** All keys but 0 denied writes, key 1 reads as well. */
const OWN_PKRU = 0xaaaa_aaac;

const XFEATURE_PKRU = 1 << 9;
const XFEATURES_XTILE = 3 << 17;
/** What a TD can have of the host's XCR0: KVM's XFAM has neither AMX nor CET. */
const TD_XCR0 = 0x2e7;

/** What the guest is told to set up. A TD's IA32_XSS is the TDX module's. */
export function guestParameters(
	configuration: Configuration,
	model: CpuModel,
	vendor: Vendor,
): GuestParameters {
	const { xss, pkru, osxsave, pke, stackKey } = configuration;
	const usesTiles = configuration.xfd === "own" && osxsave === "on" && model.features.xfd !== 0;
	const own = usesTiles ? OWN_XCR0 | XFEATURES_XTILE : OWN_XCR0;
	const host = vendor === "tdx" ? model.features.xcr0 & TD_XCR0 : model.features.xcr0;
	const xcr0 = configuration.xcr0 === "own" ? own : host;
	return {
		iterations: 1,
		osxsave: osxsave === "on",
		xcr0,
		debugRegisters: configuration.debugRegs === "used",
		msrs: configuration.msrs === "own",
		xfd: usesTiles,
		xrstorPkru: pke === "off" && osxsave === "on" && (xcr0 & XFEATURE_PKRU) !== 0,
		xss: xss === "own" ? 0 : model.features.xss,
		pke: pke === "on" && model.features.pku,
		pkru: pkru === "own" ? OWN_PKRU : userPkru(Number(stackKey)),
		quiet: true,
	};
}
