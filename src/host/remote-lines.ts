/** Lines of the cache that another CPU writes at a rate of its own, so that a CPU which reads them has to fetch them again. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";

export class RemoteLines {
	private readonly cpu: Cpu;
	private readonly hz: number;
	private readonly lines: number;
	/** How often they had been written when this CPU read them last. */
	private seen = 0;

	/**
	 * @param cpu that reads them
	 * @param hz at which another CPU writes them; 0: never
	 * @param lines how many are read
	 */
	constructor(cpu: Cpu, hz: number, lines: number) {
		this.cpu = cpu;
		this.hz = hz;
		this.lines = lines;
	}

	/** Reads them. */
	read(): void {
		const { cpu } = this;
		const written = Math.floor((cpu.cycles * this.hz) / cpu.model.tscHz);
		if (written === this.seen) return;
		this.seen = written;
		for (let line = 0; line < this.lines; line++) cpu.op(OP.cacheline_transfer);
	}
}

/**
 * tk_core, of which ktime_get_update_offsets_now() reads three lines that update_wall_time() writes at each tick of the CPU that
 * keeps time: the sequence counter with tkr_mono, clock_was_set_seq, next_leap_ktime (include/linux/timekeeper_internal.h).
 * @param tickHz CONFIG_HZ
 */
export const timekeeper = (cpu: Cpu, tickHz: number) => new RemoteLines(cpu, tickHz, 3);

/** jiffies_till_first_fqs and jiffies_till_next_fqs for HZ above 500. */
const TICKS_OF_FQS = 3;

/**
 * The line of a CPU's rcu_data in which rcu_note_context_switch() looks for rcu_urgent_qs. The thread of the grace periods keeps
 * watching_snap there, and writes it when it looks at the CPU: rcu_gp_fqs() (kernel/rcu/tree.h).
 * @param tickHz CONFIG_HZ
 */
export const rcuData = (cpu: Cpu, tickHz: number) => new RemoteLines(cpu, tickHz / TICKS_OF_FQS, 1);
