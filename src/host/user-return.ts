/**
 * MSRs that only matter to user space (virt/kvm/kvm_main.c, arch/x86/kvm/x86.c: kvm_set_user_return_msr(), v6.18): they
 * change when a guest wants them and change back on the way to user space, not at each exit.
 */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";

/** MSRs that user space relies on, the same for all tasks of a CPU: SYSCALL's, and TSC_AUX, which has its number. */
export interface UserMsrs {
	readonly star: bigint;
	readonly lstar: bigint;
	readonly sfmask: bigint;
	readonly tscAux: bigint;
}

/** Those of CPU 0. */
export const USER_MSRS: UserMsrs = {
	star: 0x0023_0010_0000_0000n,
	lstar: 0xffff_ffff_8180_0000n,
	sfmask: 0x0025_7fd5n,
	tscAux: 0n,
};

/** struct kvm_user_return_msrs: the host's value, and the one that the processor is taken to have. */
interface Noted {
	readonly host: bigint;
	current: bigint;
}

/** A register and a value for it. */
export interface UserReturnMsr {
	/** Field of the state block. */
	readonly field: number;
	readonly value: bigint;
}

/** The user-return MSRs of one CPU, by field of the state block. */
export class UserReturnMsrs {
	private readonly cpu: Cpu;
	private readonly noted = new Map<number, Noted>();

	constructor(cpu: Cpu) {
		this.cpu = cpu;
	}

	/** kvm_user_return_msr_cpu_online(): what the registers hold now is the host's. */
	online(fields: readonly number[]): void {
		for (const field of fields) {
			const host = this.cpu.read64(field);
			this.noted.set(field, { host, current: host });
		}
	}

	/** A register that was not there at `online`: the host's value is the one before a guest first wants it. */
	private entry(field: number): Noted {
		let noted = this.noted.get(field);
		if (noted === undefined) {
			const host = this.cpu.read64(field);
			noted = { host, current: host };
			this.noted.set(field, noted);
		}
		return noted;
	}

	/**
	 * kvm_set_user_return_msr(). Goes by what was noted, not by the register: a write that this does not hear of leaves
	 * it wrong.
	 */
	set(msrs: readonly UserReturnMsr[]): void {
		for (const { field, value } of msrs) this.write(field, this.entry(field), value);
	}

	/** kvm_user_return_msr_update_cache(): somebody else is taken to have written the registers. */
	updateCache(msrs: readonly UserReturnMsr[]): void {
		for (const { field, value } of msrs) this.entry(field).current = value;
	}

	/** kvm_on_user_return(). */
	restore(): void {
		for (const [field, noted] of this.noted) this.write(field, noted, noted.host);
	}

	private write(field: number, noted: Noted, value: bigint): void {
		if (noted.current === value) return;
		this.cpu.op(OP.wrmsr);
		this.cpu.write64(field, value);
		noted.current = value;
	}
}
