/** Tasks of the host: the vCPU's thread, and another that the scheduler may switch to. */
import { XFEATURE } from "../silicon/cpu/control.ts";
import type { Mm } from "./address-space.ts";
import { FpState } from "./fpu.ts";

/** XMM1 in an XSAVE area. */
const XMM1_WORD = 176 / 4;

/** What waits for a task until it returns to user space (task work). */
export interface TaskWork {
	readonly name: string;
	run(): void;
}

/** Called when the vCPU's task is switched out and in again: kvm_preempt_ops. */
export interface PreemptNotifier {
	schedOut(): void;
	schedIn(): void;
}

/** PKRU of a new task's user space: access to key 0 only (init_pkru_value). */
export const INIT_PKRU = 0x5555_5554;

/** The same for a user space whose stacks have a key. @param stackKey 0 to 15 */
export function userPkru(stackKey: number): number {
	return (INIT_PKRU & ~(3 << (2 * stackKey))) >>> 0;
}

export class Task {
	readonly name: string;
	/** Image that belongs in the registers while this task runs: its own, or a guest's during KVM_RUN. */
	fpstate: FpState;
	/** The task's own user-space image. */
	readonly userFpstate: FpState;
	/** PKRU of the task's user space as the scheduler has saved it: `thread.pkru`. */
	pkru: number;
	/** PKRU as user space has left it. */
	userPkru: number;
	/** What user space keeps in the low half of XMM1: unlike any other task's. */
	userXmm1: number;
	/** TIF_NEED_FPU_LOAD: the registers do not hold this task's image. */
	needFpuLoad = true;
	readonly mm: Mm;
	/** What user space has as its GS base. */
	readonly userGsBase: bigint;
	/** thread.fsbase and thread.gsbase: what the scheduler, or KVM, has saved. */
	fsBase: bigint;
	gsBase: bigint;
	/** Called when this task is switched out and in: kvm_preempt_ops. */
	preemptNotifier: PreemptNotifier | null = null;
	/** TIF_NOTIFY_RESUME's list. */
	readonly taskWork: TaskWork[] = [];
	/** TIF_SIGPENDING. */
	signalPending: boolean;
	/** TIF_NEED_RESCHED. */
	needResched: boolean;

	/**
	 * @param features components of its FPU image
	 * @param pkru user-space PKRU; the kernel's default denies all keys but 0 (0x55555554)
	 * @param number tells it from other tasks: its page tables and bases follow from it
	 */
	constructor(name: string, features: number, pkru: number, number = 0) {
		this.name = name;
		this.mm = { name, pgd: 0x1000 * (number + 1) };
		this.fsBase = 0x7f00_0000_0000n + BigInt(number) * 0x1000_0000n;
		this.userGsBase = BigInt(number + 1) * 0x1000n;
		this.gsBase = this.userGsBase;
		this.userFpstate = new FpState(features);
		this.fpstate = this.userFpstate;
		this.pkru = pkru;
		this.userPkru = pkru;
		this.userXmm1 = 0x05e4_0000 + number;
		this.userFpstate.image.words[XMM1_WORD] = this.userXmm1;
		this.userFpstate.image.xstateBv = XFEATURE.sse;
		// A check watches these (watched-flags.ts): they come last, so that V8 lets them be replaced.
		this.signalPending = false;
		this.needResched = false;
	}
}
