/**
 * The search: every placement of up to k events at every op of one guest under one configuration, each state once.
 *
 * It goes by the number of events. A run without events is a chain of blocks: a block ends behind each node of the tree
 * that did an op. From the state at the start of each block the block is run again with one more event at each of its
 * ops, and then on to the end, or to a state that was seen before: what would follow is then known. The chains of one
 * pass are what the next puts its event into. So the first schedule that shows something has the fewest events, and
 * of those its events are the earliest.
 *
 * States are compared by a hash of all that influences the future (snapshot.ts), events that are owed among it. A state
 * behind a violation is unlike one without; no more events are put behind a violation.
 */
import { EVENTS, type EventRow, eventRow } from "../events.ts";
import type { RunSetup, Subject } from "../subject.ts";
import type { EventKind, Failure, Injection } from "../types.ts";
import {
	type Block,
	type Noted,
	firstNoted,
	isRepeated,
	lastNoted,
	passesAgain,
	readsBefore,
} from "./block.ts";
import { empty } from "./containers.ts";
import { type Rig, rigFor } from "./rig.ts";
import { type TableWords, UnsavedTables } from "./rules.ts";
import type { Snapshot, Snapshotter } from "./snapshot.ts";
import { StateSet } from "./state-set.ts";

/** What one search is asked. */
export interface SearchOptions {
	readonly setup: RunSetup;
	readonly eventsMax: number;
	readonly kinds: readonly EventKind[];
	/** Words of KVM's tables that are saved besides those that a run without events changes. */
	readonly tables?: readonly TableWords[];
	/** Stop at the first violation. */
	readonly stopAtFirst?: boolean;
	/** Leave pruning out: every schedule is run to its end. For tests. */
	readonly exhaustive?: boolean;
	/** Try events whose handlers leave nothing behind (events.ts `passes`) at every op all the same. For tests. */
	readonly allPassing?: boolean;
}

/** A failure and the least schedule that showed it. */
export interface Found {
	readonly failure: Failure;
	readonly schedule: readonly Injection[];
}

/** What a search, or a share of it, saw. What all shares do alike counts for the first one. */
export interface SearchResult {
	/** By property, the least schedule each. */
	readonly found: readonly Found[];
	/** Schedules that were run: one for each placement of events behind a state that was new. */
	readonly schedules: number;
	/** States that were told apart. */
	readonly states: number;
	/** Runs that ended at a state that was seen before. */
	readonly pruned: number;
	/** Ops, VM exits of the run without events. */
	readonly ops: number;
	readonly exits: number;
	readonly exitCounts: Readonly<Record<string, number>>;
	/** By kind and phase: subject.ts `arrivals`. */
	readonly arrivals: Float64Array;
	readonly fastpathReentries: number;
	/** Ops that were done, by op. */
	readonly opCounts: Float64Array;
}

/** A chain that a pass found: its last event's place in the chain before, and how long it is. */
interface Branch {
	readonly block: number;
	readonly event: Injection;
	/** Blocks that are its own, the one with the event among them. */
	readonly length: number;
	readonly children: Branch[];
}

const order = new Map<EventKind, number>(EVENTS.map(({ kind }, index) => [kind, index]));

/** What the passes before the last one left. */
interface Prepared {
	readonly root: readonly Block[];
	readonly branches: Branch[];
	readonly quiet: Pick<SearchResult, "ops" | "exits" | "exitCounts">;
	readonly seen: StateSet;
	readonly found: ReadonlyMap<string, Found>;
	readonly counts: Counts;
}

/** What grows while a search goes on. */
interface Counts {
	readonly schedules: number;
	readonly states: number;
	readonly pruned: number;
	readonly fastpathReentries: number;
	readonly arrivals: Float64Array;
	readonly opCounts: Float64Array;
}

/** Searches one tree, vendor, guest and configuration. One at a time on a thread: they share the hardware. */
export class Search {
	private readonly options: SearchOptions;
	private readonly rig: Rig;
	private readonly subject: Subject;
	private readonly states: Snapshotter;
	private readonly rows: readonly EventRow[];
	private seen = new StateSet();
	/** States of the chain that is being run, for livelocks: two words each. */
	private readonly chain: number[] = [];
	private found = new Map<string, Found>();
	private prepared: Prepared | null = null;
	private stopped = false;
	private schedules = 0;
	private pruned = 0;
	private history: readonly Injection[] = [];

	constructor(options: SearchOptions) {
		this.options = options;
		this.rig = rigFor(options.setup, options.tables ?? []);
		this.subject = this.rig.subject;
		this.states = this.rig.states;
		const { configuration } = options.setup;
		this.rows = EVENTS.filter(
			({ kind, existsIn }) => options.kinds.includes(kind) && (existsIn?.(configuration) ?? true),
		);
		this.subject.onFailure = (failure) => this.note(failure);
	}

	/**
	 * Searches a share: of the schedules with the most events those whose first event is in it. All shares together find
	 * what one search finds, and each property's least schedule is the least of theirs: what a share prunes is behind a
	 * lesser schedule of its own.
	 * @param part from 0 @param parts how many there are
	 */
	share(
		part: number,
		parts: number,
		onProgress: (done: number, schedules: number, states: number) => void = () => {},
	): SearchResult {
		this.prepared ??= this.prepare();
		const { root, branches, quiet, seen, found, counts } = this.prepared;
		this.seen = seen.copy();
		this.found = new Map(found);
		this.restart(counts);
		const { eventsMax } = this.options;
		if (eventsMax > 0) {
			const items = eventsMax === 1 ? root.length : branches.length;
			const [from, to] = [part, part + 1].map((at) => Math.floor((items * at) / parts)) as [number, number];
			for (let at = from; at < to && !this.stopped; at++) {
				if (eventsMax === 1) this.branch(at, root[at]!, branches, []);
				else this.inBranch(eventsMax, root, branches[at]!, []);
				onProgress((at + 1 - from) / (to - from), this.schedules, this.seen.size);
			}
		}
		this.rig.assertTables();
		const now = this.counts();
		const total = part === 0 ? now : difference(now, counts);
		const nothing = { ops: 0, exits: 0, exitCounts: {} };
		return { found: [...this.found.values()], ...total, ...(part === 0 ? quiet : nothing) };
	}

	/** Gives the hardware back. */
	end(): void {
		for (const { start } of this.prepared?.root ?? []) this.states.release(start);
		this.prepared = null;
		this.subject.detach();
	}

	/** All passes but the last. */
	private prepare(): Prepared {
		const { subject, options } = this;
		this.schedules = 1;
		const root = this.follow([], true);
		const quiet = { ops: subject.ops, exits: subject.ledger.exits, exitCounts: subject.exitCounts() };
		const branches: Branch[] = [];
		for (let events = 1; events < options.eventsMax; events++) this.pass(events, root, branches, []);
		return { root, branches, quiet, seen: this.seen, found: this.found, counts: this.counts() };
	}

	private counts(): Counts {
		const { subject, schedules, seen, pruned } = this;
		const { fastpathReentries, arrivals, opCounts } = subject;
		return {
			schedules,
			states: seen.size,
			pruned,
			fastpathReentries,
			arrivals: arrivals.slice(),
			opCounts: opCounts.slice(),
		};
	}

	private restart({ schedules, pruned, fastpathReentries, arrivals, opCounts }: Counts): void {
		this.schedules = schedules;
		this.pruned = pruned;
		this.subject.fastpathReentries = fastpathReentries;
		this.subject.arrivals.set(arrivals);
		this.subject.opCounts.set(opCounts);
	}

	private note(failure: Failure): void {
		if (this.found.has(failure.property)) return;
		this.found.set(failure.property, { failure, schedule: this.history });
		if (this.options.stopAtFirst === true && failure.degree === "violation") this.stopped = true;
	}

	// ---- chains ------------------------------------------------------------------------------------------

	/**
	 * Runs on from where the subject is, to the end or to a state that was seen.
	 * @param keep save each block's start
	 * @returns the blocks, empty unless kept
	 */
	private follow(prefix: readonly Injection[], keep: boolean): Block[] {
		const { subject, states } = this;
		const blocks: Block[] = [];
		subject.noting = keep;
		empty(this.chain);
		let goesOn = true;
		let events = prefix;
		while (goesOn) {
			const start = keep && !subject.ledger.violated ? states.save() : null;
			const opsBefore = subject.ops;
			goesOn = this.block(events);
			const noted = lastNoted(blocks.at(-1));
			if (start !== null) blocks.push(this.blockOf(start, opsBefore, events, noted));
			events = [];
			if (goesOn && this.isKnown()) goesOn = false;
		}
		return blocks;
	}

	private block(events: readonly Injection[]): boolean {
		const { subject } = this;
		empty(subject.entries);
		empty(subject.guestEntries);
		empty(subject.opNotes);
		empty(subject.opSurroundings);
		subject.setSchedule(events);
		this.states.moved();
		return subject.runBlock();
	}

	private blockOf(start: Snapshot, opsBefore: number, prefix: readonly Injection[], noted: Noted): Block {
		const { ops, entries, guestEntries, opNotes, opSurroundings } = this.subject;
		return {
			start,
			opsBefore,
			prefix,
			opsAfter: ops,
			entries: entries.slice(),
			guestEntries: guestEntries.slice(),
			notes: [noted.note, ...opNotes],
			surroundings: [noted.surroundings, ...opSurroundings],
		};
	}

	/** Whether the state was seen; notes it. */
	private isKnown(): boolean {
		const { states, subject, chain, seen } = this;
		states.hash(subject.debts());
		const { high, low } = states;
		const isExhaustive = this.options.exhaustive === true;
		// Where nothing is pruned, what was seen is what the chain itself has passed.
		if (isExhaustive && chain.length === 0) seen.clear();
		const isNew = seen.add(high, low);
		if ((!isNew && (isExhaustive || this.isInChain(high, low))) || chain.length === 2 * CHAIN_MAX) {
			subject.livelock();
			states.moved();
			return true;
		}
		chain.push(high, low);
		if (!isNew) this.pruned++;
		return !isNew;
	}

	private isInChain(high: number, low: number): boolean {
		const { chain } = this;
		for (let at = 0; at < chain.length; at += 2) if (chain[at] === high && chain[at + 1] === low) return true;
		return false;
	}

	/** Goes back to the start of a block. */
	private rewind(block: Block): void {
		this.states.restore(block.start);
		this.subject.ops = block.opsBefore;
	}

	// ---- passes ------------------------------------------------------------------------------------------

	/**
	 * Puts one more event into every block of every chain that has all but one of them.
	 * @param events of a schedule in this pass
	 * @param chain blocks of the chain that `history` leads to
	 * @param branches of that chain; filled when it is this pass that finds them
	 */
	private pass(
		events: number,
		chain: readonly Block[],
		branches: Branch[],
		history: readonly Injection[],
	): void {
		if (history.length === events - 1) {
			for (const [at, block] of chain.entries()) this.branch(at, block, branches, history);
			return;
		}
		for (const branch of branches) {
			if (this.stopped) return;
			this.inBranch(events, chain, branch, history);
		}
	}

	/** The same for the chains behind one branch. */
	private inBranch(
		events: number,
		chain: readonly Block[],
		branch: Branch,
		history: readonly Injection[],
	): void {
		const from = chain[branch.block]!;
		const path = [...history, branch.event];
		const blocks = this.retrace(from, branch, path);
		this.pass(events, blocks, branch.children, path);
		for (const block of blocks) if (block.start !== from.start) this.states.release(block.start);
	}

	/** Runs a chain again that a pass before found, and keeps its blocks. */
	private retrace(from: Block, branch: Branch, path: readonly Injection[]): Block[] {
		const { states, subject } = this;
		this.history = path;
		const blocks: Block[] = [];
		subject.noting = true;
		this.rewind(from);
		// What came before its first op is as it was when the chain before was run.
		subject.noteReads(readsBefore(from));
		let events: readonly Injection[] = [...from.prefix, branch.event];
		for (let at = 0; at < branch.length; at++) {
			const start = at === 0 ? from.start : states.save();
			const opsBefore = subject.ops;
			this.block(events);
			const noted = at === 0 ? firstNoted(from) : lastNoted(blocks.at(-1));
			blocks.push(this.blockOf(start, opsBefore, events, noted));
			events = [];
		}
		return blocks;
	}

	/** Every event at every op of a block, behind those that it has. */
	private branch(at: number, block: Block, branches: Branch[], history: readonly Injection[]): void {
		const last = block.prefix.at(-1);
		const first = last === undefined ? block.opsBefore + 1 : last.at;
		const isLast = history.length + 1 === this.options.eventsMax;
		for (let op = first; op <= block.opsAfter; op++) {
			const isEntry = block.entries.includes(op);
			const entersGuest = block.guestEntries.includes(op);
			if (this.stopped) return;
			for (const row of this.rows) {
				const { kind, places } = row;
				if (
					places.includes(isEntry && places.includes("entry") ? "entry" : "host") &&
					!this.isSpared(row, block, op, first, isLast)
				)
					this.try(at, block, { event: kind, at: op }, last, branches, history);
			}
			if (!entersGuest) continue;
			for (const { kind, places } of this.rows) {
				if (places.includes("guest"))
					this.try(at, block, { event: kind, at: op, inGuest: true }, last, branches, history);
			}
		}
	}

	/** Whether an event does at an op of a block what it did at the op before, and need not be tried there again. */
	private isSpared(row: EventRow, block: Block, op: number, first: number, isLast: boolean): boolean {
		const { exhaustive, allPassing } = this.options;
		if (exhaustive === true) return false;
		return (
			isRepeated(row, block, op) || (isLast && allPassing !== true && passesAgain(row, block, op, first))
		);
	}

	private try(
		at: number,
		block: Block,
		event: Injection,
		last: Injection | undefined,
		branches: Branch[],
		history: readonly Injection[],
	): void {
		// Events at one place are tried in one order.
		if (last !== undefined && last.at === event.at && !isBehind(last, event)) return;
		const { subject } = this;
		this.rewind(block);
		this.history = [...history, event];
		subject.noting = false;
		empty(this.chain);
		let goesOn = this.block([...block.prefix, event]);
		if (subject.stale) return;
		this.schedules++;
		// Further events go into blocks that begin before a violation.
		let length = subject.ledger.violated ? 0 : 1;
		while (goesOn && !this.isKnown()) {
			if (!subject.ledger.violated) length++;
			goesOn = this.block([]);
		}
		// Nothing is put behind the events of the last pass.
		if (length > 0 && history.length + 1 < this.options.eventsMax)
			branches.push({ block: at, event, length, children: [] });
	}
}

/** States of a run, beyond which it is taken for endless: the longest without a bug has some thousands. */
const CHAIN_MAX = 20_000;

/** Whether an event at the same op comes behind another one in the order of schedules. */
function isBehind(first: Injection, second: Injection): boolean {
	const guest = (second.inGuest === true ? 1 : 0) - (first.inGuest === true ? 1 : 0);
	if (guest !== 0) return guest > 0;
	const later = order.get(second.event)! - order.get(first.event)!;
	return later > 0 || (later === 0 && eventRow(first.event).repeats === true);
}

const less = (a: Float64Array, b: Float64Array) => a.map((value, at) => value - b[at]!);

function difference(all: Counts, before: Counts): Counts {
	return {
		schedules: all.schedules - before.schedules,
		states: all.states - before.states,
		pruned: all.pruned - before.pruned,
		fastpathReentries: all.fastpathReentries - before.fastpathReentries,
		arrivals: less(all.arrivals, before.arrivals),
		opCounts: less(all.opCounts, before.opCounts),
	};
}

/** Searches all of one tree, vendor, guest and configuration. */
export function search(options: SearchOptions): SearchResult {
	return withTables((tables) => {
		const whole = new Search({ ...options, tables });
		try {
			return whole.share(0, 1);
		} finally {
			whole.end();
		}
	});
}

/** Searches again for as long as runs change tables that were not saved. @param run is given those that earlier ones changed */
export function withTables(run: (tables: readonly TableWords[]) => SearchResult): SearchResult {
	for (let tables: readonly TableWords[] = []; ; ) {
		try {
			return run(tables);
		} catch (error) {
			if (!(error instanceof UnsavedTables)) throw error;
			tables = [...tables, ...error.tables];
		}
	}
}
