/**
 * The series' question, asked of the running kernel from outside: when does this KVM swap XCR0, IA32_XSS and PKRU, and what
 * does a swap cost here?
 *
 * KVM swaps a register only if the guest's value differs from the host's (FACTS: "exact write conditions", x86.c,
 * kvm_load_guest_xsave_state()). So each register is set, from outside, once equal to the host's and once different, and
 * the guest runs the same exits. What a difference of the values adds is the swap's cost. An exit that the fastpath
 * handles pays it if the swap is inside the fastpath loop; one that it does not pays it in any case.
 *
 * Equal and different take turns within each round, and each round gives one difference.
 */
import type { DevKvm } from "../devkvm/system.ts";
import type { KvmCpuidEntry2 } from "../uapi/structs.ts";
import { CannotMeasure, GuestRunner, type OuterState } from "./guest-runner.ts";
import { type Summary, summarize } from "./statistics.ts";
import { type Clock, isEmulated, type Platform } from "./types.ts";

export type SwappedRegister = "XCR0" | "IA32_XSS" | "PKRU";

/** What the host's registers hold, as far as it can be told from outside. */
export interface HostValues {
	/** XCR0: what the kernel enables follows from the processor's features. */
	readonly xcr0: number;
	/** IA32_XSS: the supervisor components that a guest can be given. */
	readonly xss: number;
	/** PKRU of a Linux process: init_pkru_value. */
	readonly pkru: number;
}

export const EXIT_PATHS = [
	{ name: "fastpath", guest: "invd", title: "INVD, which KVM handles in the fastpath since v6.18" },
	{ name: "slow", guest: "cpuid", title: "CPUID, which KVM handles in vcpu_run()" },
] as const;
export type ExitPath = (typeof EXIT_PATHS)[number]["name"];

/** One register on one path. */
export interface SwapCase {
	readonly register: SwappedRegister;
	readonly path: ExitPath;
	/** Cycles an exit that different values add to equal ones; null if the case cannot run here. */
	readonly added: Summary | null;
	/** Why it cannot. */
	readonly reason: string;
}

export type SwapVerdict = "every exit" | "outside the fastpath" | "not swapped" | "cannot be told";

export interface SwapReport {
	readonly platform: Platform;
	readonly cases: readonly SwapCase[];
	readonly verdicts: readonly { readonly register: SwappedRegister; readonly verdict: SwapVerdict }[];
	/** What the verdicts together look like: the name of a built-in tree, or null. */
	readonly behavesLike: string | null;
	/** One line: what the answer rests on, or why there is none. */
	readonly explanation: string;
	readonly loopCycles: number;
}

const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
const XFEATURE_PKRU = 1 << 9;
const INIT_PKRU = 0x5555_5554;
/** All keys denied but key 0: the PKRU of the mail of patch 4. */
const PKRU_OF_THE_MAIL = 0xffff_fffc;

const leafOf = (entries: readonly KvmCpuidEntry2[], leaf: number, index: number) =>
	entries.find((entry) => entry.function === leaf && entry.index === index);

/**
 * What the host's registers hold.
 * @param entries KVM_GET_SUPPORTED_CPUID
 * @param flags of /proc/cpuinfo: what the host kernel has on
 */
export function hostValues(entries: readonly KvmCpuidEntry2[], flags: ReadonlySet<string>): HostValues {
	const xsave = leafOf(entries, 0xd, 0);
	const xss = leafOf(entries, 0xd, 1);
	const pku = flags.has("ospke") ? XFEATURE_PKRU : 0;
	return { xcr0: (xsave?.eax ?? 1) | pku, xss: xss?.ecx ?? 0, pkru: INIT_PKRU };
}

interface Pair {
	readonly register: SwappedRegister;
	readonly equal: OuterState;
	readonly different: OuterState;
}

/** The two states of each register; the other registers are the host's in both, so that nothing else is swapped. */
function pairs(host: HostValues, guestXcr0: number): Pair[] {
	const common = { cr4: CR4_OSXSAVE, xcr0: BigInt(host.xcr0 & guestXcr0), xss: BigInt(host.xss) };
	const base = host.xss === 0 ? { cr4: common.cr4, xcr0: common.xcr0 } : common;
	const pke = { ...base, cr4: CR4_OSXSAVE | CR4_PKE };
	return [
		{ register: "XCR0", equal: base, different: { ...base, xcr0: 1n } },
		{ register: "IA32_XSS", equal: common, different: { ...common, xss: 0n } },
		{
			register: "PKRU",
			equal: { ...pke, pkru: host.pkru },
			different: { ...pke, pkru: PKRU_OF_THE_MAIL },
		},
	];
}

/** Why a register cannot be asked about here, or null. */
function whyNot(
	register: SwappedRegister,
	host: HostValues,
	entries: readonly KvmCpuidEntry2[],
): string | null {
	const guestXcr0 = leafOf(entries, 0xd, 0)?.eax ?? 0;
	switch (register) {
		case "XCR0":
			if (guestXcr0 === 0) return "this KVM offers its guests no XSAVE";
			return (host.xcr0 & ~guestXcr0) === 0
				? null
				: `the host's XCR0 0x${host.xcr0.toString(16)} cannot be given to a guest, whose most is 0x${guestXcr0.toString(16)}`;
		case "IA32_XSS":
			return host.xss === 0 ? "this KVM offers its guests no supervisor state" : null;
		case "PKRU":
			return ((leafOf(entries, 7, 0)?.ecx ?? 0) & 8) === 0
				? "this KVM offers its guests no protection keys"
				: null;
		default:
			return register satisfies never;
	}
}

export interface SwapOptions {
	readonly kvm: DevKvm;
	readonly clock: Clock;
	readonly platform: Omit<Platform, "tscHz">;
	/** Flags of /proc/cpuinfo. */
	readonly flags: ReadonlySet<string>;
	readonly rounds?: number;
	readonly onProgress?: (done: number, total: number) => void;
}

const DEFAULT_ROUNDS = 100;
const ITERATIONS = 500;

/** Measures what swaps cost, and says when they happen. @throws KvmError where KVM refuses the VM itself */
export async function measureSwaps(options: SwapOptions): Promise<SwapReport> {
	const runner = new GuestRunner(options.kvm, options.clock);
	try {
		return await measureWith(runner, options);
	} finally {
		runner.close();
	}
}

interface Running {
	readonly pair: Pair;
	readonly path: (typeof EXIT_PATHS)[number];
	/** Nanoseconds an exit that different values add, one a round. */
	readonly added: number[];
}

async function measureWith(runner: GuestRunner, options: SwapOptions): Promise<SwapReport> {
	const { kvm, rounds = DEFAULT_ROUNDS } = options;
	const entries = kvm.supportedCpuid();
	const host = hostValues(entries, options.flags);
	const { tscHz } = runner;
	const cases: SwapCase[] = [];
	const running: Running[] = [];
	for (const pair of pairs(host, leafOf(entries, 0xd, 0)?.eax ?? 1)) {
		for (const path of EXIT_PATHS) {
			const reason = whyNot(pair.register, host, entries) ?? (await tryPair(runner, pair, path.guest));
			if (reason === null) running.push({ pair, path, added: [] });
			else cases.push({ register: pair.register, path: path.name, added: null, reason });
		}
	}
	const perExit = (guest: string, outer: OuterState) =>
		runner.time(guest, { iterations: ITERATIONS }, outer) / ITERATIONS;
	for (let round = 0; round < rounds; round++) {
		options.onProgress?.(round, rounds);
		for (const { pair, path, added } of running) {
			// Who goes first alternates, so that what the first leaves in the caches favours neither.
			const first = round % 2 === 0;
			const a = perExit(path.guest, first ? pair.equal : pair.different);
			const b = perExit(path.guest, first ? pair.different : pair.equal);
			added.push(first ? b - a : a - b);
		}
	}
	options.onProgress?.(rounds, rounds);
	for (const { pair, path, added } of running) {
		const cycles = added.map((ns) => (ns * tscHz) / 1e9);
		cases.push({ register: pair.register, path: path.name, added: summarize(cycles), reason: "" });
	}
	const loopCycles = (loopNs(runner) * tscHz) / 1e9;
	return { platform: { ...options.platform, tscHz }, ...conclude(cases, loopCycles), cases, loopCycles };
}

/** Iterations enough to see a loop beside a KVM_RUN, and few enough for an emulator. */
const LOOP_ITERATIONS = 5000;

/** Nanoseconds an iteration of the empty loop: what iterations add to a run without any. */
function loopNs(runner: GuestRunner): number {
	const best = (iterations: number) =>
		Math.min(...Array.from({ length: 5 }, () => runner.time("empty", { iterations })));
	return (best(LOOP_ITERATIONS) - best(0)) / LOOP_ITERATIONS;
}

/** @returns why a pair does not run, or null */
async function tryPair(
	runner: GuestRunner,
	{ equal, different }: Pair,
	guest: string,
): Promise<string | null> {
	try {
		await runner.trial(guest, { iterations: 10 }, equal);
		await runner.trial(guest, { iterations: 10 }, different);
		return null;
	} catch (error) {
		if (error instanceof CannotMeasure) return error.message;
		throw error;
	}
}

/** A swap costs tens of cycles at least; what the interval of the median does not keep clear of is not seen. */
const LEAST_CYCLES = 10;

function costs({ added }: SwapCase): boolean {
	return added !== null && added.low > LEAST_CYCLES;
}

/** When one register is swapped, from its two cases. */
export function verdictOf(cases: readonly SwapCase[], register: SwappedRegister): SwapVerdict {
	const of = (path: ExitPath) => cases.find((one) => one.register === register && one.path === path);
	const fast = of("fastpath");
	const slow = of("slow");
	if (fast?.added == null || slow?.added == null) return "cannot be told";
	if (costs(fast) && costs(slow)) return "every exit";
	if (costs(slow)) return "outside the fastpath";
	return costs(fast) ? "cannot be told" : "not swapped";
}

/**
 * What the cases together say.
 * @param loopCycles cycles an iteration of the empty loop: whether guest code is executed at all
 */
export function conclude(
	cases: readonly SwapCase[],
	loopCycles: number,
): Pick<SwapReport, "verdicts" | "behavesLike" | "explanation"> {
	const registers: readonly SwappedRegister[] = ["XCR0", "IA32_XSS", "PKRU"];
	if (isEmulated(loopCycles)) {
		return {
			verdicts: registers.map((register) => ({ register, verdict: "cannot be told" })),
			behavesLike: null,
			explanation: `this KVM emulates kernel-mode guest code (an iteration of an empty loop takes ${Math.round(loopCycles)} cycles), so its exits are not those of the hardware's`,
		};
	}
	const verdicts = registers.map((register) => ({ register, verdict: verdictOf(cases, register) }));
	const told = verdicts.filter(({ verdict }) => verdict !== "cannot be told" && verdict !== "not swapped");
	const all = (verdict: SwapVerdict) => told.length > 0 && told.every((one) => one.verdict === verdict);
	if (all("every exit")) {
		return { verdicts, behavesLike: "v6.18", explanation: "every swap that was seen happens at every exit" };
	}
	if (all("outside the fastpath")) {
		return { verdicts, behavesLike: "series-v2", explanation: "no exit of the fastpath pays for a swap" };
	}
	return {
		verdicts,
		behavesLike: null,
		explanation:
			told.length === 0
				? "no swap was seen"
				: "the registers are not swapped alike; a kernel in the middle of the series would look so",
	};
}
