/**
 * What exits cost on this computer: the table of kvm-unit-tests' vmexit, made by this project's guests on the real KVM.
 *
 * Rounds are interleaved: each takes one sample of every kind, so that a slow moment of the machine falls on all of them
 * alike. A sample is a run of some hundred to some thousand exits; the loop around them is measured like the rest,
 * and taken off.
 */
import type { DevKvm } from "../devkvm/system.ts";
import { CannotMeasure, GuestRunner } from "./guest-runner.ts";
import { type Summary, summarize } from "./statistics.ts";
import type { Clock, ExitTable, MeasuredExit, Platform, SkippedExit } from "./types.ts";

interface Kind {
	/** What the table prints. */
	readonly name: string;
	/** The guest program, of src/guests/programs.ts. */
	readonly guest: string;
	readonly description: string;
	/** Iterations at most, where memory limits them. */
	readonly iterationsMax?: number;
	/** The guest waits: time on the wall is what counts, not CPU time. */
	readonly waits?: boolean;
}

// biome-ignore format: a table reads by columns
export const KINDS: readonly Kind[] = [
	{ name: "cpuid",               guest: "cpuid",             description: "CPUID, in the kernel" },
	{ name: "invd",                guest: "invd",              description: "INVD, in the fastpath since v6.18" },
	{ name: "wbinvd",              guest: "wbinvd",            description: "WBINVD, in the kernel" },
	{ name: "hlt",                 guest: "hlt",               description: "HLT until a TSC deadline of 4000 cycles: WRMSR, HLT, wake-up, interrupt, EOI", waits: true },
	{ name: "inb_from_kernel",     guest: "pio-kernel",        description: "IN from the PIC, in the kernel" },
	{ name: "outb_to_user",        guest: "pio",               description: "OUT to a port of user space's" },
	{ name: "mmio_from_user",      guest: "mmio",              description: "a read of user space's" },
	{ name: "mmio_from_kernel",    guest: "mmio-kernel",       description: "a read of the local APIC's page" },
	{ name: "rdmsr",               guest: "rdmsr",             description: "RDMSR of IA32_APIC_BASE" },
	{ name: "wrmsr_tsc_deadline",  guest: "wrmsr-tscdeadline", description: "WRMSR of IA32_TSC_DEADLINE, in the fastpath" },
	{ name: "x2apic_self_ipi",     guest: "self-ipi",          description: "WRMSR of the x2APIC ICR to itself, its interrupt and EOI" },
	{ name: "mov_cr8",             guest: "mov-cr8",           description: "MOV to CR8 and from it" },
	{ name: "page_fault",          guest: "page-fault",        description: "a write to a page that the host has given to nobody", iterationsMax: 8000 },
];

const LOOP = { name: "loop", guest: "empty", description: "the empty loop" } as const;

export interface MeasureOptions {
	readonly kvm: DevKvm;
	readonly clock: Clock;
	readonly platform: Omit<Platform, "tscHz">;
	/** Names of the table; default all. */
	readonly only?: readonly string[];
	/** Samples of each kind. */
	readonly rounds?: number;
	/** Nanoseconds that a sample shall take. */
	readonly sampleNs?: number;
	readonly onProgress?: (done: number, total: number) => void;
}

/** A kind that runs here, with the iterations that make a sample. */
interface Running {
	readonly kind: Kind;
	readonly iterations: number;
	/** Nanoseconds of a run without iterations. */
	readonly baseNs: number;
	readonly samples: number[];
}

const DEFAULT_ROUNDS = 60;
const DEFAULT_SAMPLE_NS = 2e6;
const TRIAL_ITERATIONS = 100;
const ITERATIONS_MAX = 2 ** 26;

/** Doubles the iterations until a run takes about as long as a sample shall. */
async function prepare(runner: GuestRunner, kind: Kind, sampleNs: number): Promise<Running> {
	await runner.trial(kind.guest, { iterations: TRIAL_ITERATIONS }, {});
	const time = (iterations: number) => runner.time(kind.guest, { iterations }, {}, kind.waits);
	const bases = Array.from({ length: 5 }, () => time(0));
	const most = kind.iterationsMax ?? ITERATIONS_MAX;
	let iterations = TRIAL_ITERATIONS;
	while (iterations < most && time(iterations) < sampleNs / 2) iterations = Math.min(iterations * 2, most);
	return { kind, iterations, baseNs: Math.min(...bases), samples: [] };
}

function toCycles(summary: Summary, tscHz: number, less: number): Summary {
	const cycles = (ns: number) => (ns * tscHz) / 1e9 - less;
	return {
		count: summary.count,
		median: cycles(summary.median),
		p99: cycles(summary.p99),
		min: cycles(summary.min),
		low: cycles(summary.low),
		high: cycles(summary.high),
	};
}

/**
 * Measures exits.
 * @throws KvmError where KVM refuses the VM itself; a kind that does not run here is listed as skipped
 */
export async function measureExits(options: MeasureOptions): Promise<ExitTable> {
	const runner = new GuestRunner(options.kvm, options.clock);
	try {
		return await measureWith(runner, options);
	} finally {
		runner.close();
	}
}

async function measureWith(runner: GuestRunner, options: MeasureOptions): Promise<ExitTable> {
	const { rounds = DEFAULT_ROUNDS, sampleNs = DEFAULT_SAMPLE_NS, only } = options;
	const wanted = KINDS.filter(({ name }) => only === undefined || only.includes(name));
	const loop = await prepare(runner, LOOP, sampleNs);
	const running: Running[] = [];
	const skipped: SkippedExit[] = [];
	for (const kind of wanted) {
		try {
			running.push(await prepare(runner, kind, sampleNs));
		} catch (error) {
			if (!(error instanceof CannotMeasure)) throw error;
			skipped.push({ name: kind.name, description: kind.description, reason: error.message });
		}
	}
	for (let round = 0; round < rounds; round++) {
		options.onProgress?.(round, rounds);
		for (const { kind, iterations, baseNs, samples } of [loop, ...running]) {
			samples.push((runner.time(kind.guest, { iterations }, {}, kind.waits) - baseNs) / iterations);
		}
	}
	options.onProgress?.(rounds, rounds);
	const { tscHz } = runner;
	const loopNs = summarize(loop.samples);
	const loopCycles = toCycles(loopNs, tscHz, 0);
	const exits = running.map(
		({ kind, iterations, samples }): MeasuredExit => ({
			name: kind.name,
			description: kind.description,
			cycles: toCycles(summarize(samples), tscHz, loopCycles.median),
			exitsPerSample: iterations,
		}),
	);
	return {
		platform: { ...options.platform, tscHz },
		exits,
		skipped,
		loopCycles,
		noise: (loopNs.p99 - loopNs.median) / loopNs.median,
		rounds,
	};
}
