/** Guests by the thousand on two machines; what differs is told apart from what is known, and reduced. */
import type { KvmSystem } from "../../uapi/api.ts";
import type { KvmCpuidEntry2, KvmRegs } from "../../uapi/structs.ts";
import { makeRandom } from "../../host/random.ts";
import { type Explanation, type KnownDifference, knownDifference } from "../gaps.ts";
import { type GeneratedGuest, generateGuest, guestEnd, guestMemory, listing } from "./generate.ts";
import { type Comparison, type Difference, type Guest, lockstep } from "./lockstep.ts";
import {
	END_VECTOR,
	GPR_NAMES,
	NO_REGS,
	RAM_BYTES,
	RESUME_GPA,
	VECTOR_PORT,
	initialSregs,
	stackTop,
} from "./machine.ts";
import { minimise } from "./minimise.ts";
import { type Alarms, type Start, Subject } from "./subject.ts";

/** A machine to compare. */
export interface Side {
	/** `soft:svm`, `dev`. */
	readonly name: string;
	/** Vendor module: of the software machine the one that it models. */
	readonly module: string;
	readonly kvm: KvmSystem;
}

export interface CompareOptions {
	readonly left: Side;
	readonly right: Side;
	readonly seed: number;
	/** Guests that are generated. */
	readonly count: number;
	/** The first of them: to try one again. */
	readonly first?: number;
	readonly alarms: Alarms;
	readonly onProgress?: (done: number, total: number) => void;
}

/** A difference that no row of the table explains. */
export interface FoundDifference {
	readonly guest: string;
	/** How many guests differ in the same way; this is the first. */
	readonly guests: number;
	/** Of the reduced guest. */
	readonly difference: Difference;
	/** The reduced guest, one line a piece. */
	readonly listing: readonly string[];
	readonly pieces: number;
}

/** A known difference that was met. */
export interface KnownReport {
	readonly module: string;
	readonly reason: string;
	/** Guests that had it in them; the rest of each was compared. */
	readonly guests: number;
	/** Pieces and ways through the modes that it concerns, as far as met. */
	readonly pieces: readonly string[];
}

export interface CompareReport {
	readonly left: string;
	readonly right: string;
	readonly modules: readonly [left: string, right: string];
	readonly seed: number;
	readonly guests: number;
	/** Guests whose states were equal at all exits. */
	readonly equal: number;
	/** States that were compared. */
	readonly states: number;
	/** What was left out because it is known to differ. */
	readonly known: readonly KnownReport[];
	readonly found: readonly FoundDifference[];
}

// ---- CPUID that both have ------------------------------------------------------------------------------

/** Leaves of feature bits; all other leaves are the left machine's. */
const FEATURE_LEAVES = new Set([
	1, 6, 7, 0xd, 0x8000_0001, 0x8000_0007, 0x8000_0008, 0x8000_0021, 0x4000_0001,
]);

const key = ({ function: leaf, index }: KvmCpuidEntry2) => `${leaf}.${index}`;

/** What both machines offer, in the left one's table. */
export function commonCpuid(
	left: readonly KvmCpuidEntry2[],
	right: readonly KvmCpuidEntry2[],
): KvmCpuidEntry2[] {
	const others = new Map(right.map((entry) => [key(entry), entry]));
	return left.map((entry) => {
		if (!FEATURE_LEAVES.has(entry.function)) return entry;
		const other = others.get(key(entry));
		const and = (register: "eax" | "ebx" | "ecx" | "edx") =>
			(entry[register] & (other?.[register] ?? 0)) >>> 0;
		// EAX of leaves 1 and 80000001H is a signature; EBX of leaf 1 has ids.
		if (entry.function === 1) return { ...entry, ecx: and("ecx"), edx: and("edx") };
		if (entry.function === 0x8000_0001) return { ...entry, ecx: and("ecx"), edx: and("edx") };
		if (entry.function === 0x8000_0008) return { ...entry, ebx: and("ebx") };
		if (entry.function === 0xd && entry.index > 1)
			return other === undefined ? { ...entry, eax: 0, ebx: 0, ecx: 0 } : entry;
		return { ...entry, eax: and("eax"), ebx: and("ebx"), ecx: and("ecx"), edx: and("edx") };
	});
}

/** Level 3 runs with interrupts on, as it does everywhere; none come. */
const RFLAGS_IF = 0x202n;
const LEAF_1_ECX_XSAVE = 1 << 26;

// ---- one guest -----------------------------------------------------------------------------------------

function initialRegs(guest: GeneratedGuest): KvmRegs {
	const { mode } = guest.sections[0]!;
	const random = makeRandom(guest.dataSeed + 1);
	const regs: Record<string, bigint> = { ...NO_REGS };
	for (const name of GPR_NAMES) {
		const half = () => BigInt(Math.floor(random() * 2 ** 32));
		regs[name] = mode.bits === 64 ? (half() << 32n) | half() : half();
	}
	return {
		...(regs as unknown as KvmRegs),
		rip: startOf(guest),
		rsp: stackTop(mode),
		rflags: mode.cpl === 3 ? RFLAGS_IF : 2n,
	};
}

function startOf({ sections }: GeneratedGuest): bigint {
	const { mode } = sections[0]!;
	return BigInt(mode.codeBase === 0 ? codeStart(mode.section) : 0);
}

const codeStart = (section: number) => 0x10000 + section * 0x4000;

function startState(guest: GeneratedGuest, xsave: boolean): Start {
	const { mode } = guest.sections[0]!;
	return {
		memory: guestMemory(guest),
		regs: initialRegs(guest),
		sregs: (reset) => initialSregs(mode, reset, { xsave }),
	};
}

/** How a machine may stop that is no guest's doing: it tells enough by itself. */
const STOPS = ["internal-error", "fail-entry", "shutdown", "no exit", "KVM_"];

/** The emulator of kvm_pvm is slow; what does not come back by then never will. */
const BOARD = { ramBytes: RAM_BYTES, irqchip: false, timeoutMs: 2000 };
/** What a guest of level 3 does last, with RESUME 0. */
const LEVEL_3_END = `out 0x${VECTOR_PORT.toString(16)} 1 ${END_VECTOR.toString(16).padStart(2, "0")}`;

function asGuest(guest: GeneratedGuest, xsave: boolean): Guest {
	const end = guestEnd(guest);
	const isUser = guest.sections.at(-1)!.mode.cpl === 3;
	return {
		start: startState(guest, xsave),
		ramBytes: RAM_BYTES,
		isOver: (events, { vcpu, memory }) => {
			const last = events.at(-1);
			if (isUser) return last === LEVEL_3_END && memory.read(RESUME_GPA, 4).every((byte) => byte === 0);
			return last === "hlt" && vcpu.getSregs().cs.base + vcpu.getRegs().rip === end;
		},
	};
}

/** What makes two differences the same: what each did, and the first field. */
function kindOf({ left, right, fields }: Difference): string {
	const stopped = [left, right].map((said) => STOPS.some((stop) => said.startsWith(stop)));
	const kind = (said: string) => said.split(" ").slice(0, 2).join(" ");
	if (stopped[0] !== stopped[1]) return stopped[0] === true ? `${kind(left)}|` : `|${kind(right)}`;
	const field = fields[0]?.field ?? "";
	return `${kind(left)}|${kind(right)}|${field.startsWith("memory") ? "memory" : field}`;
}

const pieces = ({ sections }: GeneratedGuest) => sections.reduce((sum, { atoms }) => sum + atoms.length, 0);

/**
 * Compares two machines.
 * @throws KvmError if one of them cannot make a VM
 */
export async function compareBackends(options: CompareOptions): Promise<CompareReport> {
	const { left, right, seed, count, alarms } = options;
	const cpuid = commonCpuid(left.kvm.supportedCpuid(), right.kvm.supportedCpuid());
	const xsave = cpuid.some((entry) => entry.function === 1 && (entry.ecx & LEAF_1_ECX_XSAVE) !== 0);
	const [a, b] = [left, right].map((side) => new Subject(side.name, side.kvm, cpuid, alarms, BOARD)) as [
		Subject,
		Subject,
	];
	const modules = [left.module, right.module] as const;
	const run = (guest: GeneratedGuest): Promise<Comparison> => lockstep(a, b, asGuest(guest, xsave));
	const gaps = new Gaps();
	const found = new Map<string, FoundDifference>();
	let equal = 0;
	let states = 0;
	const first = options.first ?? 0;
	for (let number = first; number < first + count; number++) {
		const whole = generateGuest(seed, number);
		for (let guest: GeneratedGuest | null = gaps.without(whole); guest !== null; ) {
			const { compared, difference } = await run(guest);
			states += compared;
			if (difference === null) {
				equal++;
				break;
			}
			const short = await explain(guest, difference, run, modules);
			if (short.known !== null) guest = gaps.learn(guest, short.guest, short.known);
			else {
				const one = pieces(short.guest) === 1 ? names(short.guest)[0]! : "";
				const kind = `${kindOf(short.difference)} ${one}`;
				const before = found.get(kind);
				const made = {
					guest: whole.name,
					guests: 1,
					difference: short.difference,
					listing: listing(short.guest),
					pieces: pieces(short.guest),
				};
				found.set(kind, before === undefined ? made : { ...before, guests: before.guests + 1 });
				break;
			}
		}
		options.onProgress?.(number - first + 1, count);
	}
	await Promise.all([a.discard(), b.discard()]);
	return {
		left: left.name,
		right: right.name,
		modules,
		seed,
		guests: count,
		equal,
		states,
		known: gaps.report(),
		found: [...found.values()],
	};
}

/** Mode and kind of each piece. */
const names = ({ sections }: GeneratedGuest): string[] =>
	sections.flatMap(({ mode, atoms }) => atoms.map(({ name }) => `${mode.name}: ${name}`));

/** The shortest guest that has a difference, and the row that explains it. */
interface Explained {
	readonly guest: GeneratedGuest;
	readonly difference: Difference;
	readonly known: Explanation | null;
}

async function explain(
	guest: GeneratedGuest,
	difference: Difference,
	run: (guest: GeneratedGuest) => Promise<Comparison>,
	modules: readonly [string, string],
): Promise<Explained> {
	const wanted = kindOf(difference);
	let last = difference;
	const short = await minimise(guest, async (candidate) => {
		const { difference: now } = await run(candidate);
		if (now === null || kindOf(now) !== wanted) return false;
		last = now;
		return true;
	});
	const modes = short.sections.map(({ mode }) => mode.name);
	const known = knownDifference({ difference: last, pieces: names(short), modes, modules });
	return { guest: short, difference: last, known };
}

/** What was learned of known differences: pieces, or whole ways through the modes, that are left out from then on. */
class Gaps {
	private readonly pieces = new Map<string, KnownDifference>();
	private readonly routes = new Map<string, KnownDifference>();
	private readonly guests = new Map<KnownDifference, number>();

	private count(row: KnownDifference): void {
		this.guests.set(row, (this.guests.get(row) ?? 0) + 1);
	}

	/** The guest without what is known not to be equal; null if nothing of it can be compared. */
	without(guest: GeneratedGuest): GeneratedGuest | null {
		const route = this.routes.get(routeOf(guest));
		if (route !== undefined) {
			this.count(route);
			return null;
		}
		const rows = new Set<KnownDifference>();
		const sections = guest.sections.map((section) => ({
			...section,
			atoms: section.atoms.filter(({ name }) => {
				const row = this.pieces.get(`${section.mode.name}: ${name}`);
				if (row !== undefined) rows.add(row);
				return row === undefined;
			}),
		}));
		for (const row of rows) this.count(row);
		return { ...guest, sections };
	}

	/** A known difference was met. @param short the shortest guest that has it @returns the guest without it */
	learn(
		guest: GeneratedGuest,
		short: GeneratedGuest,
		{ row, pieces: blamed }: Explanation,
	): GeneratedGuest | null {
		this.count(row);
		const involved = names(short);
		if (involved.length === 0) {
			this.routes.set(routeOf(guest), row);
			return null;
		}
		for (const piece of blamed) this.pieces.set(piece, row);
		const gone = new Set(blamed.length > 0 ? blamed : involved);
		const sections = guest.sections.map((section) => ({
			...section,
			atoms: section.atoms.filter(({ name }) => !gone.has(`${section.mode.name}: ${name}`)),
		}));
		return { ...guest, sections };
	}

	report(): KnownReport[] {
		return [...this.guests].map(([row, guests]) => ({
			module: row.module,
			reason: row.reason,
			guests,
			pieces: [...this.pieces, ...this.routes].filter(([, of]) => of === row).map(([name]) => name),
		}));
	}
}

const routeOf = ({ sections }: GeneratedGuest): string => sections.map(({ mode }) => mode.name).join(" > ");
