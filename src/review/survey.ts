/**
 * What the steps of a tree do, seen in a run: how often each was passed, what it costs, the ops that it does, and whose
 * value each lane (loaded.ts) holds behind it. The guest is the check's list of exits of all kinds; host and guest differ
 * in everything that is swapped, so that each swap shows.
 */
import { DEFAULT_CONFIGURATION, type Configuration, factorsOf } from "../check/configuration.ts";
import { Subject } from "../check/subject.ts";
import { opCost } from "../kvm/flow/custom-op.ts";
import type { Node, Tree } from "../kvm/flow/flow.ts";
import { placesOf } from "../kvm/flow/path.ts";
import { linkTree } from "../kvm/flow/program.ts";
import type { CpuModel, Vendor } from "../silicon/models/model.ts";
import { OP, OP_SLOTS, opName } from "../silicon/ops.ts";
import { LaneReader, type Loaded, lanesOf } from "./loaded.ts";

/** Ops of one step a passage, and their cycles. */
export interface StepOp {
	readonly op: string;
	/** Mean of the passages. */
	readonly count: number;
	readonly cycles: number;
}

/** One step, guard, call … of the tree. */
export interface StepSurvey {
	/** Times that it was passed. */
	readonly passages: number;
	/** Cycles a passage, what it calls left out. */
	readonly cycles: number;
	readonly ops: readonly StepOp[];
	/** A lane each: what it holds behind the step; `varies` if that differs from passage to passage. */
	readonly lanes: readonly (Loaded | "varies")[];
	/** Lanes that the step changed in some passage. */
	readonly changes: readonly string[];
}

export interface Survey {
	readonly lanes: readonly { readonly name: string; readonly title: string }[];
	/** By `PathRow.place`. What is missing was never passed. */
	readonly steps: Readonly<Record<string, StepSurvey>>;
	/** What the lanes hold while the guest runs. */
	readonly guest: readonly (Loaded | "varies")[];
	/** `PathRow.place` of the step in which the guest runs; "" if it never ran. */
	readonly guestPlace: string;
	readonly exits: number;
}

/** Values that differ between host and guest wherever the vendor and model have them. */
function distinct(vendor: Vendor, model: CpuModel, factors: Partial<Configuration>): Configuration {
	const wanted: Partial<Configuration> = { xfd: "own", debugRegs: "used" };
	const existing = factorsOf(vendor, model).map(({ factor }) => factor);
	const fitting = Object.entries(wanted).filter(([factor]) => (existing as string[]).includes(factor));
	return { ...DEFAULT_CONFIGURATION, ...(Object.fromEntries(fitting) as Partial<Configuration>), ...factors };
}

/** What is added up for a step. */
class Sums {
	passages = 0;
	readonly ops = new Float64Array(OP_SLOTS);
	lanes: (Loaded | "varies")[] | null = null;
	readonly changes = new Set<string>();
}

/** What a lane held in all passages. Where host and guest have the same, it is whose it was at other times. */
function merge(before: readonly (Loaded | "varies")[] | null, now: readonly Loaded[]): (Loaded | "varies")[] {
	return now.map((value, at) => {
		const was = before?.[at] ?? value;
		if (was === value || value === "both") return was;
		return was === "both" ? value : "varies";
	});
}

/**
 * Surveys one tree on one vendor. The run is without events, and the same each time.
 * @param factors of the configuration that are set in place of those that make host and guest unlike
 */
export function surveyTree(
	tree: Tree,
	vendor: Vendor,
	model: CpuModel,
	factors: Partial<Configuration> = {},
): Survey {
	const lanes = lanesOf(vendor, model).filter(({ isRare }) => isRare !== true);
	const sums = new Map<Node, Sums>();
	const counts = new Float64Array(OP_SLOTS);
	let last: Sums | null = null;
	let lastNode: Node | null = null;
	let enters: Node | null = null;
	let before: readonly Loaded[] = [];
	let guest: (Loaded | "varies")[] | null = null;
	const subject = new Subject(
		{ program: linkTree(tree, vendor), model, configuration: distinct(vendor, model, factors) },
		{
			onNode: ({ node }) => {
				settle();
				last = sums.get(node) ?? new Sums();
				sums.set(node, last);
				lastNode = node;
				last.passages++;
				last.ops[OP.code]! += plainInstructions(node);
			},
		},
	);
	const { machine } = subject;
	const reader = new LaneReader(machine, lanes);
	const read = () => reader.read();
	/** What was done since the node before is that node's. */
	function settle(): void {
		const now = read();
		const done = machine.cpu.opCounts;
		if (last !== null) {
			for (let op = 0; op < OP_SLOTS; op++) last.ops[op]! += done[op]! - counts[op]!;
			last.lanes = merge(last.lanes, now);
			for (const [at, { name }] of lanes.entries()) if (now[at] !== before[at]) last.changes.add(name);
		}
		counts.set(done);
		before = now;
	}
	machine.cpu.observer = {
		onOp: (cpu, op) => subject.onOp(cpu, op),
		onEnter: (cpu, symbol) => subject.onEnter(cpu, symbol),
		onLeave: (cpu, symbol) => subject.onLeave(cpu, symbol),
		onGuestEntry: (cpu) => {
			subject.onGuestEntry(cpu);
			reader.guestEntry();
			guest = merge(guest, read());
			enters = lastNode;
		},
		onGuestExit: () => {
			subject.onGuestExit();
			reader.guestExit();
		},
	};
	// A run that is stuck is not surveyed to its end.
	for (let blocks = 0; blocks < BLOCKS_MAX && subject.runBlock(); blocks++);
	settle();
	subject.detach();
	const places = placesOf(tree);
	return {
		lanes: lanes.map(({ name, title }) => ({ name, title })),
		steps: Object.fromEntries([...sums].map(([node, sum]) => [places.get(node)!, stepOf(tree, model, sum)])),
		guest: guest ?? [],
		guestPlace: enters === null ? "" : places.get(enters)!,
		exits: subject.ledger.exits,
	};
}

const BLOCKS_MAX = 20_000;

function plainInstructions(node: Node): number {
	return node.kind === "step" || node.kind === "if" ? node.instructions : 0;
}

function stepOf(tree: Tree, model: CpuModel, { passages, ops, lanes, changes }: Sums): StepSurvey {
	const listed: StepOp[] = [];
	for (let op = 0; op < OP_SLOTS; op++) {
		if (ops[op] === 0) continue;
		const name = opName(op);
		const count = ops[op]! / passages;
		listed.push({ op: name, count, cycles: count * opCost(tree, model, name).cycles });
	}
	listed.sort((a, b) => b.cycles - a.cycles);
	const cycles = listed.reduce((sum, one) => sum + one.cycles, 0);
	return { passages, cycles, ops: listed, lanes: lanes ?? [], changes: [...changes] };
}
