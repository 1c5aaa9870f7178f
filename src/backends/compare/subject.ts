/** One of the two machines that are compared: a VM with one vCPU in a thread, which guest after guest begins anew on. */
import type { Segment } from "../../guests/image.ts";
import type { GuestMemory, KvmSystem, KvmVcpu, KvmVm, VcpuThread } from "../../uapi/api.ts";
import type { VcpuExit } from "../../uapi/exit.ts";
import type { KvmCpuidEntry2, KvmRegs, KvmSregs } from "../../uapi/structs.ts";

/** Time on the wall, which only ends what would not end by itself. */
export interface Alarms {
	/** Calls back after some time, unless it is cancelled before. @returns cancels */
	after(milliseconds: number, ring: () => void): () => void;
}

/** State with which a guest begins. */
export interface Start {
	readonly memory: readonly Segment[];
	readonly regs: KvmRegs;
	sregs(reset: KvmSregs): KvmSregs;
}

interface Parts {
	readonly vm: KvmVm;
	readonly memory: GuestMemory;
	readonly vcpu: KvmVcpu;
	readonly thread: VcpuThread;
	readonly reset: {
		readonly sregs: KvmSregs;
		readonly xsave: Uint8Array;
		readonly events: ReturnType<KvmVcpu["getVcpuEvents"]>;
		readonly debugregs: ReturnType<KvmVcpu["getDebugregs"]>;
	};
}

/** What a vCPU has around it. */
export interface BoardOptions {
	readonly ramBytes: number;
	/** Interrupt controllers in KVM. Then HLT does not come back. */
	readonly irqchip: boolean;
	/** A KVM_RUN that has not come back by then is ended. */
	readonly timeoutMs: number;
}

export class Subject {
	readonly name: string;
	private readonly kvm: KvmSystem;
	private readonly cpuid: readonly KvmCpuidEntry2[];
	private readonly alarms: Alarms;
	private readonly board: BoardOptions;
	private parts: Parts | null = null;

	constructor(
		name: string,
		kvm: KvmSystem,
		cpuid: readonly KvmCpuidEntry2[],
		alarms: Alarms,
		board: BoardOptions,
	) {
		this.name = name;
		this.kvm = kvm;
		this.cpuid = cpuid;
		this.alarms = alarms;
		this.board = board;
	}

	get vcpu(): KvmVcpu {
		return this.parts!.vcpu;
	}
	get memory(): GuestMemory {
		return this.parts!.memory;
	}

	private async make(): Promise<Parts> {
		const vm = this.kvm.createVm();
		if (this.board.irqchip) vm.createIrqchip();
		const memory = vm.addMemory({ slot: 0, gpa: 0, bytes: this.board.ramBytes });
		const vcpu = vm.createVcpu(0);
		vcpu.setCpuid2(this.cpuid);
		const reset = {
			sregs: vcpu.getSregs(),
			xsave: vcpu.getXsave(),
			events: vcpu.getVcpuEvents(),
			debugregs: vcpu.getDebugregs(),
		};
		return { vm, memory, vcpu, thread: await vcpu.startThread(), reset };
	}

	/** A guest begins. @throws KvmError when the machine refuses a register */
	async begin(start: Start): Promise<void> {
		this.parts ??= await this.make();
		const { memory, vcpu, reset } = this.parts;
		memory.write(0, new Uint8Array(this.board.ramBytes));
		for (const { gpa, bytes } of start.memory) memory.write(gpa, bytes);
		vcpu.setXsave(reset.xsave);
		vcpu.setXcrs([{ xcr: 0, value: 1n }]);
		vcpu.setDebugregs(reset.debugregs);
		vcpu.setMsrs(RESET_MSRS.map(([index, data]) => ({ index, data })));
		vcpu.setSregs(start.sregs(reset.sregs));
		vcpu.setRegs(start.regs);
		vcpu.setVcpuEvents(reset.events);
	}

	/** One KVM_RUN. @returns one line if it had to be stopped */
	async run(): Promise<VcpuExit | string> {
		const { thread } = this.parts!;
		let rang = false;
		const cancel = this.alarms.after(this.board.timeoutMs, () => {
			rang = true;
			thread.kick();
		});
		const exit = await thread.run();
		cancel();
		return rang && exit.reason === "intr" ? `no exit within ${this.board.timeoutMs} ms` : exit;
	}

	/** KVM_RUN with immediate_exit: completes the access that was answered, and enters the guest no more. */
	async complete(): Promise<VcpuExit> {
		const { thread, vcpu } = this.parts!;
		vcpu.setImmediateExit(true);
		const exit = await thread.run();
		vcpu.setImmediateExit(false);
		return exit;
	}

	/** The VM is closed; the next guest gets a new one. */
	async discard(): Promise<void> {
		if (this.parts === null) return;
		const { thread, vm } = this.parts;
		this.parts = null;
		await thread.stop();
		vm.close();
	}
}

/** MSRs that guests write, at reset. */
const RESET_MSRS: readonly (readonly [index: number, data: bigint])[] = [
	[0x174, 0n],
	[0x175, 0n],
	[0x176, 0n],
	[0xc000_0081, 0n],
	[0xc000_0082, 0n],
	[0xc000_0084, 0n],
	[0xc000_0102, 0n],
	[0x277, 0x0007_0406_0007_0406n],
];
