/** What the check says of a mutant. */
import { conclude } from "../../src/check/conclude.ts";
import {
	type Configuration,
	DEFAULT_CONFIGURATION,
	configurationName,
	pairConfigurations,
} from "../../src/check/configuration.ts";
import { kindsOn } from "../../src/check/plan.ts";
import { HOST_INVARIANT } from "../../src/check/properties/properties.ts";
import { runSchedule } from "../../src/check/run.ts";
import { scheduleText } from "../../src/check/schedule.ts";
import { Search, type SearchResult } from "../../src/check/search/search.ts";
import type { CheckOptions } from "../../src/check/types.ts";
import { type Node, type Tree, walk } from "../../src/kvm/flow/flow.ts";
import { HostInvariant } from "../../src/host/errors.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { applyPatchFile } from "../../src/kvm/patch/patch-file.ts";
import type { CpuModel, Vendor } from "../../src/silicon/models/model.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { type Coverage, watchTree } from "./coverage.ts";
import { type Mutant, mutantsOf } from "./mutations.ts";

/** How a mutant was caught; null: it was not. */
export interface Caught {
	/** The property, or `vacuous` and what is not reached any more. */
	readonly by: string;
	/** Events that it took. */
	readonly events: number;
	readonly configuration: string;
	readonly schedule: string;
}

export interface Judgement {
	readonly caught: Caught | null;
	/** No run of these bounds comes to the node that was changed. */
	readonly unreached: boolean;
}

/**
 * How close a survivor is looked at. `quick`: no events in the set of configurations that covers all pairs, then one in the
 * default one. `close`: one in that set too, and then two in the default one.
 */
export type Effort = "quick" | "close";

/** Events of a run when a survivor is looked at closely. */
const EVENTS_MAX = 2;

/** Judges the mutants of one tree on one vendor. */
export class Judge {
	private readonly tree: Tree;
	private readonly vendor: Vendor;
	private readonly model: CpuModel;
	private readonly configurations: readonly Configuration[];
	/** By number of events. */
	private readonly coverages = [
		new Map<Configuration, Coverage>(),
		new Map<Configuration, Coverage>(),
	] as const;

	constructor(tree: Tree, vendor: Vendor) {
		this.tree = tree;
		this.vendor = vendor;
		this.model = defaultModel(vendor);
		this.configurations = pairConfigurations(vendor, this.model, {
			mceHandler: DEFAULT_CONFIGURATION.mceHandler,
		});
	}

	/** The tree's mutants, of the flows that any run comes into. */
	mutants(): readonly Mutant[] {
		const entered = new Set<string>();
		for (const configuration of this.configurations) {
			const coverage = this.coverage(configuration, 0);
			for (const { name, body } of this.tree.flows.values())
				if ([...walk(body)].some((node) => coverage.get(node)!.ran)) entered.add(name);
		}
		return mutantsOf(this.tree, this.vendor, (flow) => entered.has(flow));
	}

	/** The mutated tree. @throws FlowError if the patch does not apply */
	mutate(mutant: Mutant): Tree {
		return applyPatchFile({ document: mutant.document, locate: () => "mutant" }, this.tree, []);
	}

	/** What up to so many events reach in a configuration. */
	private coverage(configuration: Configuration, events: 0 | 1): Coverage {
		const known = this.coverages[events].get(configuration);
		if (known !== undefined) return known;
		const { tree, coverage } = watchTree(this.tree);
		const { found } = this.search(tree, configuration, events, false);
		const wrong = found.find(({ failure }) => failure.degree === "violation");
		if (wrong !== undefined)
			throw new Error(`${this.tree.name} is not known good on ${this.vendor}: ${wrong.failure.property}`);
		this.coverages[events].set(configuration, coverage);
		return coverage;
	}

	private search(
		tree: Tree,
		configuration: Configuration,
		eventsMax: number,
		stopAtFirst: boolean,
	): SearchResult {
		const setup = { program: linkTree(tree, this.vendor), model: this.model, configuration };
		const search = new Search({ setup, eventsMax, kinds: kindsOn(this.vendor), stopAtFirst });
		try {
			return search.share(0, 1);
		} finally {
			search.end();
		}
	}

	/** Whether a run in this configuration can tell a mutant from its tree. */
	private matters(
		{ mutation, node, document }: Mutant,
		configuration: Configuration,
		events: 0 | 1,
	): boolean {
		const coverage = this.coverage(configuration, events);
		const reached = coverage.get(node)!;
		if (mutation === "always") return reached.failed;
		if (mutation === "never") return reached.held;
		if (reached.ran) return true;
		const [edit] = document.edits!;
		if (!("move" in edit!)) return false;
		const anchor = ("before" in edit ? edit.before : edit.after)!.replace(/#\d+$/, "");
		return [...walk(this.tree.flows.get(edit.to)!.body)].some(
			(one: Node) => one.name === anchor && coverage.get(one)!.ran,
		);
	}

	/** Runs the check of a mutant until something is wrong: what takes least comes first. */
	judge(mutant: Mutant, effort: Effort): Judgement {
		const tree = this.mutate(mutant);
		let unreached = true;
		for (const [configuration, events] of this.scopes(effort)) {
			const matters =
				events === EVENTS_MAX
					? !unreached
					: configuration === this.configurations[0] && events === 1
						? this.isReached(mutant, configuration)
						: this.matters(mutant, configuration, events as 0 | 1);
			if (!matters) continue;
			unreached = false;
			const caught = this.attempt(tree, configuration, events);
			if (caught !== null) return { caught, unreached };
		}
		return { caught: null, unreached };
	}

	/** A tree that breaks a rule of the kernel's before its guest begins is caught by that. */
	private attempt(tree: Tree, configuration: Configuration, events: number): Caught | null {
		try {
			return events === 0 ? this.run(tree, configuration) : this.try(tree, configuration, events);
		} catch (error) {
			if (!(error instanceof HostInvariant)) throw error;
			return { by: HOST_INVARIANT, events: 0, configuration: configurationName(configuration), schedule: "" };
		}
	}

	private scopes(effort: Effort): readonly (readonly [Configuration, number])[] {
		const [first, ...others] = this.configurations as [Configuration, ...Configuration[]];
		const quick = [...this.configurations.map((one) => [one, 0] as const), [first, 1] as const];
		return effort === "quick"
			? quick
			: [...quick, ...others.map((one) => [one, 1] as const), [first, EVENTS_MAX] as const];
	}

	/** One run without events. */
	private run(tree: Tree, configuration: Configuration): Caught | null {
		const setup = { program: linkTree(tree, this.vendor), model: this.model, configuration };
		const wrong = runSchedule(setup, []).failures.find(({ degree }) => degree === "violation");
		if (wrong === undefined) return null;
		const name = configurationName(configuration);
		return { by: wrong.property, events: 0, configuration: name, schedule: "" };
	}

	/** In the default configuration a guard counts as soon as it is asked: asking may have effects. */
	private isReached(mutant: Mutant, first: Configuration): boolean {
		return this.coverage(first, 1).get(mutant.node)!.ran || this.matters(mutant, first, 1);
	}

	private try(tree: Tree, configuration: Configuration, eventsMax: number): Caught | null {
		const result = this.search(tree, configuration, eventsMax, true);
		const name = configurationName(configuration);
		const wrong = result.found.find(({ failure }) => failure.degree === "violation");
		if (wrong !== undefined) {
			const { failure, schedule } = wrong;
			return {
				by: failure.property,
				events: schedule.length,
				configuration: name,
				schedule: scheduleText(schedule),
			};
		}
		if (name !== "default" || eventsMax === 0) return null;
		const missed = this.missed(tree, configuration, eventsMax, result);
		return missed === undefined
			? null
			: { by: `vacuous: ${missed}`, events: eventsMax, configuration: name, schedule: "" };
	}

	/** What a complete search had to reach and did not. */
	private missed(
		tree: Tree,
		configuration: Configuration,
		eventsMax: number,
		result: SearchResult,
	): string | undefined {
		const { vendor, model } = this;
		const options: CheckOptions = {
			tree,
			base: tree,
			vendor,
			model,
			mceHandler: configuration.mceHandler,
			configuration,
			eventsMax,
		};
		const job = { configuration, eventsMax, part: 0, parts: 1 };
		const { sometimes } = conclude(options, [{ job, result }]);
		return Object.entries(sometimes).find(([, count]) => count === 0)?.[0];
	}
}
