/**
 * The counter behind `perf top`: counts a CPU's unhalted cycles, and every `periodCycles` raises an NMI whose handler
 * notes what it interrupted.
 *
 * The NMI is not taken where the counter overflows. It is recognised `skidCycles` later, between two instructions, and
 * while SVM's GIF is 0 not at all. So the work of a VM exit, which is part of no host instruction, is noted at the first
 * instruction behind it (`vmx_vmexit`), and that of a VM entry in the guest, whose first event is the NMI. Host events
 * do not count in the guest: VM entry and exit switch IA32_PERF_GLOBAL_CTRL (exclude_guest, which perf top sets).
 *
 * This form only watches: the NMI's own cycles are not spent. `Profiler` with `nmi` delivers real ones.
 */

/** How the counter is set up. */
export interface PmuOptions {
	/** Cycles from one overflow to the next. */
	readonly periodCycles: number;
	/** Cycles between the overflow and the boundary at which the NMI is recognised. */
	readonly skidCycles: number;
	/** Counts in the guest too: `perf kvm --host --guest`. */
	readonly countsGuest: boolean;
}

/** One CPU's counter. */
export class Pmu {
	/** Cycles counted. */
	counted = 0;
	/** Samples taken. */
	delivered = 0;
	private nextDue: number;
	private readonly options: PmuOptions;

	constructor(options: PmuOptions) {
		this.options = options;
		this.nextDue = options.periodCycles;
	}

	/** Cycles to count until there may be something to deliver. */
	get cyclesLeft(): number {
		const { periodCycles, skidCycles } = this.options;
		return (this.delivered + 1) * periodCycles + skidCycles - this.counted;
	}

	/**
	 * A stretch of time in one function.
	 * @param cycles its length
	 * @param inGuest it was the guest's: pending NMIs are its exit, whatever their skid
	 * @param held the NMI cannot be recognised in it: within an instruction, or with GIF = 0
	 * @returns samples that fall to this function
	 */
	advance(cycles: number, inGuest: boolean, held: boolean): number {
		if (!inGuest || this.options.countsGuest) this.counted += cycles;
		if (this.counted < this.nextDue || held) return 0;
		const { periodCycles, skidCycles } = this.options;
		const recognised = inGuest ? this.counted : this.counted - skidCycles;
		const due = Math.max(Math.floor(recognised / periodCycles), this.delivered);
		const taken = due - this.delivered;
		this.delivered = due;
		this.nextDue = (due + 1) * periodCycles;
		return taken;
	}
}
