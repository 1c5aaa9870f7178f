/**
 * Queued locks between CPUs (kernel/locking/qspinlock.c, qrwlock.c, v6.18), as discrete events: whoever asks waits in
 * virtual time until those before him have released it. Waiters are served in the order in which they came.
 *
 * The work under a lock is done at once by its holder, whose clock then stands at the release; so a later CPU finds out
 * at its own time how long it has to spin. Callers ask in the order of time (`Cpu.horizon`).
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { symbol } from "../silicon/cpu/symbols.ts";
import { OP } from "../silicon/ops.ts";

const SPIN_SLOWPATH = symbol("queued_spin_lock_slowpath");
const READ_SLOWPATH = symbol("queued_read_lock_slowpath");
const WRITE_SLOWPATH = symbol("queued_write_lock_slowpath");
/** Plain instructions of a slow path besides its spinning. Assumed. */
const SLOWPATH_INSTRUCTIONS = 40;

/** How much time CPUs spent spinning, and how often. */
export interface LockStat {
	acquired: number;
	contended: number;
	spunCycles: number;
}

/** Spins until a time: PAUSE in a loop on a line of the cache that another CPU will write, which then has to come over. */
function spin(cpu: Cpu, untilCycles: number): void {
	cpu.code(SLOWPATH_INSTRUCTIONS);
	while (cpu.cycles < untilCycles) cpu.op(OP.pause);
	cpu.op(OP.cacheline_transfer);
}

/** An rwlock_t: one writer or several readers; those who have to wait queue on a spinlock, and its holder is next. */
export class QueuedRwLock {
	readonly stat: LockStat = { acquired: 0, contended: 0, spunCycles: 0 };
	/** When the last writer, the last reader, and the last holder of the queue's spinlock are gone, in cycles. */
	private writerGone = 0;
	private readersGone = 0;
	private queueGone = 0;

	/** write_lock(). */
	writeLock(cpu: Cpu): void {
		this.acquire(cpu, WRITE_SLOWPATH, () => Math.max(this.writerGone, this.readersGone));
	}

	/** write_unlock(). */
	writeUnlock(cpu: Cpu): void {
		cpu.code(2);
		this.writerGone = Math.max(this.writerGone, cpu.cycles);
	}

	/** read_lock(): waits for a writer, and behind one who waits. */
	readLock(cpu: Cpu): void {
		this.acquire(cpu, READ_SLOWPATH, () => this.writerGone);
	}

	/** read_unlock(). */
	readUnlock(cpu: Cpu): void {
		cpu.op(OP.lock_rmw);
		this.readersGone = Math.max(this.readersGone, cpu.cycles);
	}

	private acquire(cpu: Cpu, slowpath: number, freeAt: () => number): void {
		const { stat } = this;
		cpu.op(OP.lock_rmw);
		stat.acquired++;
		const start = cpu.cycles;
		if (freeAt() <= start && this.queueGone <= start) return;
		stat.contended++;
		cpu.enter(slowpath);
		cpu.op(OP.lock_rmw);
		if (this.queueGone > cpu.cycles) {
			cpu.enter(SPIN_SLOWPATH);
			spin(cpu, this.queueGone);
			cpu.leave();
		}
		if (freeAt() > cpu.cycles) spin(cpu, freeAt());
		this.queueGone = cpu.cycles;
		cpu.leave();
		stat.spunCycles += cpu.cycles - start;
	}
}
