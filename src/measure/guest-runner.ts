/**
 * A VM on the real KVM in which this project's guest programs run their iterations, and the time of each run from
 * outside: KVM_RUN to the write to the exit port. A guest's own RDTSC may be emulated, so it is not relied on.
 */
import { DevVcpuThread } from "../devkvm/thread.ts";
import type { DevKvm } from "../devkvm/system.ts";
import type { DevVcpu } from "../devkvm/vcpu.ts";
import type { DevMemory, DevVm } from "../devkvm/vm.ts";
import { type GuestParameters, longModeState } from "../guests/boot.ts";
import { loadImage } from "../guests/load.ts";
import { findProgram, programBytes } from "../guests/programs.ts";
import { type Xcr, KvmError } from "../uapi/api.ts";
import { KVM_MP_STATE } from "../uapi/constants.ts";
import { type VcpuExit, describeExit } from "../uapi/exit.ts";
import type { KvmSregs } from "../uapi/structs.ts";
import type { Clock } from "./types.ts";

const RAM_BYTES = 64 << 20;
const EXIT_PORT = 0xf4;
const COM1_LSR = 0x3fd;
const LSR_TRANSMITTER_EMPTY = 0x20;
/** A guest that has not ended by then will not. */
const TRIAL_TIMEOUT_MS = 3000;

/** Why a guest cannot be measured here; one line. */
export class CannotMeasure extends Error {
	override readonly name = "CannotMeasure";
}

/** Registers that are set from outside before a run, as the VMM of the mails' benchmark did. */
export interface OuterState {
	/** Bits set in CR4 by KVM_SET_SREGS. */
	readonly cr4?: bigint;
	/** By KVM_SET_XCRS. */
	readonly xcr0?: bigint;
	/** By KVM_SET_MSRS. */
	readonly xss?: bigint;
	/** By KVM_SET_XSAVE. */
	readonly pkru?: number;
}

const MSR_XSS = 0xda0;
const XSTATE_BV = 512;
const XFEATURE_PKRU = 1n << 9n;

export class GuestRunner {
	private readonly kvm: DevKvm;
	private readonly clock: Clock;
	private readonly vm: DevVm;
	private readonly memory: DevMemory;
	private readonly vcpu: DevVcpu;
	private readonly resetSregs: KvmSregs;
	private readonly resetXsave: Uint8Array;

	/**
	 * Makes a VM with in-kernel interrupt controllers and a vCPU that has all the CPUID that KVM offers.
	 * @throws KvmError
	 */
	constructor(kvm: DevKvm, clock: Clock) {
		this.kvm = kvm;
		this.clock = clock;
		this.vm = kvm.createVm();
		this.vm.createIrqchip();
		this.memory = this.vm.addMemory({ slot: 0, gpa: 0, bytes: RAM_BYTES });
		this.vcpu = this.vm.createVcpu(0);
		this.vcpu.setCpuid2(kvm.supportedCpuid());
		this.resetSregs = this.vcpu.getSregs();
		this.resetXsave = this.vcpu.getXsave();
	}

	/** Cycles of the time stamp counter in a second. */
	get tscHz(): number {
		return this.vcpu.getTscKhz() * 1000;
	}

	/** Puts a program at its start. @throws KvmError when KVM refuses a register */
	private boot(name: string, parameters: GuestParameters, outer: OuterState): void {
		const program = findProgram(name);
		if (program === undefined) throw new CannotMeasure(`no guest program "${name}"`);
		const state = longModeState(loadImage(programBytes(program)), { ...parameters, quiet: true });
		for (const { gpa, bytes } of state.memory) this.memory.bytes.set(bytes, gpa);
		const { vcpu } = this;
		vcpu.setMpState(KVM_MP_STATE.RUNNABLE);
		vcpu.setXsave(this.xsaveArea(outer));
		vcpu.setSregs({ ...this.resetSregs, ...state.sregs, cr4: state.sregs.cr4 | (outer.cr4 ?? 0n) });
		vcpu.setRegs(state.regs);
		const xcrs: Xcr[] = [{ xcr: 0, value: outer.xcr0 ?? 1n }];
		vcpu.setXcrs(xcrs);
		if (outer.xss !== undefined) vcpu.setMsrs([{ index: MSR_XSS, data: outer.xss }]);
	}

	/** The XSAVE area at reset, with PKRU where CPUID says it lies. */
	private xsaveArea({ pkru }: OuterState): Uint8Array {
		if (pkru === undefined) return this.resetXsave;
		const leaf = this.kvm.supportedCpuid().find((entry) => entry.function === 0xd && entry.index === 9);
		if (leaf === undefined || leaf.eax === 0) throw new CannotMeasure("this KVM offers its guests no PKRU");
		const area = this.resetXsave.slice();
		const view = new DataView(area.buffer);
		view.setBigUint64(XSTATE_BV, view.getBigUint64(XSTATE_BV, true) | XFEATURE_PKRU, true);
		view.setUint32(leaf.ebx, pkru, true);
		return area;
	}

	/** Answers an exit. @returns true when the guest has ended well; @throws CannotMeasure when it has not */
	private serve(exit: VcpuExit): boolean {
		if (exit.reason === "io") {
			if (exit.write && exit.port === EXIT_PORT) {
				if (exit.data[0] === 0) return true;
				throw new CannotMeasure(`the guest ended with code ${exit.data[0]}`);
			}
			if (!exit.write) exit.data.fill(exit.port === COM1_LSR ? LSR_TRANSMITTER_EMPTY : 0);
			return false;
		}
		if (exit.reason === "mmio") {
			if (!exit.write) exit.data.fill(0);
			return false;
		}
		throw new CannotMeasure(`the guest ended by ${describeExit(exit)}`);
	}

	/**
	 * Runs a program once in a thread that can be stopped, to see whether it ends here.
	 * @throws CannotMeasure if it does not
	 */
	async trial(name: string, parameters: GuestParameters, outer: OuterState): Promise<void> {
		try {
			this.boot(name, parameters, outer);
		} catch (error) {
			if (error instanceof KvmError) throw new CannotMeasure(error.message);
			throw error;
		}
		const thread = await DevVcpuThread.start(this.vcpu);
		const alarm = thread.kickAfter(TRIAL_TIMEOUT_MS);
		try {
			for (;;) {
				const exit = await thread.run();
				if (alarm.rang) throw new CannotMeasure(`the guest did not end within ${TRIAL_TIMEOUT_MS} ms`);
				if (this.serve(exit)) return;
			}
		} finally {
			alarm.cancel();
			await thread.stop();
		}
	}

	/**
	 * Runs a program in this thread.
	 * @param wall by the clock on the wall, for guests that wait; otherwise by the thread's CPU time
	 * @returns nanoseconds from the first KVM_RUN to the end
	 * @throws CannotMeasure if it ends otherwise than well; KvmError
	 */
	time(name: string, parameters: GuestParameters, outer: OuterState = {}, wall = false): number {
		this.boot(name, parameters, outer);
		if (name === "page-fault") this.vm.discardFrom(this.memory, FIRST_FAULTING_BYTE);
		const now = wall ? () => this.clock.now() : () => this.kvm.threadCpuNs();
		const start = now();
		while (!this.serve(this.vcpu.run()));
		return now() - start;
	}

	/** Closes the VM. */
	close(): void {
		this.vm.close();
	}
}

/** Where page-fault's pages begin (guests/page-fault.c). */
const FIRST_FAULTING_BYTE = 0x400000;
