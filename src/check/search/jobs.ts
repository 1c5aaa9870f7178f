/** Does the jobs of a check, one after the other, on one thread's machine. */
import { linkTree } from "../../kvm/flow/program.ts";
import { configurationName } from "../configuration.ts";
import { type Job, kindsOf } from "../plan.ts";
import type { CheckOptions } from "../types.ts";
import type { TableWords } from "./rules.ts";
import { Search, type SearchResult, withTables } from "./search.ts";

/** Told how far a job is, from 0 to 1, and what it has seen so far. */
export type JobProgress = (done: number, schedules: number, states: number) => void;

/** What jobs of one search have in common. */
const searchOf = ({ configuration, eventsMax }: Job) => `${configurationName(configuration)} ${eventsMax}`;

/** Keeps the search of the job before: shares of one search have all but their last pass in common. */
export class JobRunner {
	private readonly options: CheckOptions;
	private readonly program: ReturnType<typeof linkTree>;
	private last: { readonly job: Job; readonly search: Search } | null = null;

	constructor(options: CheckOptions) {
		this.options = options;
		this.program = linkTree(options.tree, options.vendor);
	}

	/** Runs a job. Only one runner at a time may have jobs on a thread: they share the hardware. */
	run(job: Job, onProgress: JobProgress = () => {}): SearchResult {
		const known = this.last !== null && searchOf(this.last.job) === searchOf(job) ? this.last : null;
		return withTables((tables) => {
			const search = tables.length === 0 && known !== null ? known.search : this.begin(job, tables);
			return search.share(job.part, job.parts, onProgress);
		});
	}

	private begin(job: Job, tables: readonly TableWords[]): Search {
		this.end();
		const { model, guest = "script" } = this.options;
		const { configuration, eventsMax } = job;
		const setup = { program: this.program, model, configuration, guest };
		const search = new Search({ setup, eventsMax, kinds: kindsOf(this.options), tables });
		this.last = { job, search };
		return search;
	}

	/** Gives the hardware back. */
	end(): void {
		this.last?.search.end();
		this.last = null;
	}
}
