/**
 * Another CPU of the host: where a thread that was switched out goes on (configuration `cpu=changes`). A check has one
 * processor, which stands for two in turn: at a switch of tasks what belongs to a CPU is exchanged. Registers and kernel data
 * that a task takes along are no part of it.
 *
 * The other CPU is unlike the first in all of it, so that a vCPU which goes on with what it noted of the first one shows.
 * Another task has run there. Interrupts that arrive during the exchange are the new CPU's: it might have been hit as well.
 */
import { AddressSpaces } from "../host/address-space.ts";
import { HwBreakpoints } from "../host/hw-breakpoint.ts";
import type { Kernel } from "../host/kernel.ts";
import { PerfCpu } from "../host/perf.ts";
import { UserReturnMsrs } from "../host/user-return.ts";
import * as L from "../silicon/cpu/layout.ts";
import { segmentAt } from "../silicon/cpu/segments.ts";
import type { Vmcs } from "../silicon/vmx/vmcs.ts";

const GS_BASE = segmentAt(L.GS) + L.SEG_BASE;

/** Registers that neither a switch of tasks nor a VM entry and exit loads anew. */
const REGISTERS = [
	...[0, 1, 2, 3].map((n) => L.DR0 + 8 * n),
	L.DR6,
	L.DR7,
	L.CR3,
	L.CR4,
	L.DEBUGCTL,
	L.PERF_GLOBAL_CTRL,
	L.SPEC_CTRL,
	L.STAR,
	L.LSTAR,
	L.SFMASK,
	L.TSC_AUX,
	GS_BASE,
] as const;

/** Per-CPU data of the kernel. */
const PER_CPU = [
	"addressSpaces",
	"breakpoints",
	"userReturn",
	"userMsrs",
	"gsBase",
	"perf",
	"specCtrl",
	"ibpbExitToUser",
] as const satisfies readonly (keyof Kernel)[];
type PerCpu = Pick<Kernel, (typeof PER_CPU)[number]>;

/** Per-CPU data of CPU n lies n times as far behind that of CPU 0. */
const PER_CPU_STRIDE = 0x4_0000n;
/** IA32_SPEC_CTRL.STIBP: the task that was there wants it. */
const STIBP = 2;

/** The CPU that the processor does not stand for now: the contents of its registers, and the kernel's data of it. */
export class OtherCpu {
	private readonly kernel: Kernel;
	private readonly registers: bigint[];
	private readonly data: PerCpu;
	private number: number;
	private currentVmcs: Vmcs | null = null;
	private guestBranches = false;

	/**
	 * @param number of the CPU: nobody else's
	 * @param perf what perf does there, unlike here
	 */
	constructor(kernel: Kernel, number: number, perf: Pick<PerfCpu, "debugctl" | "globalCtrl">) {
		const { cpu } = kernel;
		this.kernel = kernel;
		this.number = number;
		this.registers = REGISTERS.map((field) => cpu.read64(field));
		this.data = {
			addressSpaces: new AddressSpaces(cpu, kernel.otherTask.mm),
			breakpoints: new HwBreakpoints(cpu),
			userReturn: new UserReturnMsrs(cpu),
			userMsrs: { ...kernel.userMsrs, tscAux: BigInt(number) },
			gsBase: kernel.gsBase + BigInt(number) * PER_CPU_STRIDE,
			perf: Object.assign(new PerfCpu(cpu), perf),
			specCtrl: STIBP,
			ibpbExitToUser: false,
		};
	}

	/** Boots it, and has it do something. @param setUp run while the processor stands for it */
	boot(setUp: (kernel: Kernel) => void): void {
		this.exchange();
		const { kernel } = this;
		const { cpu, addressSpaces } = kernel;
		addressSpaces.boot();
		addressSpaces.toggleCr4Pce();
		cpu.write64(GS_BASE, kernel.gsBase);
		cpu.writeNumber(L.DEBUGCTL, kernel.perf.debugctl);
		cpu.writeNumber(L.PERF_GLOBAL_CTRL, kernel.perf.globalCtrl);
		cpu.write64(L.SPEC_CTRL, BigInt(kernel.specCtrl));
		cpu.write64(L.TSC_AUX, kernel.userMsrs.tscAux);
		kernel.userReturn.online([L.STAR, L.LSTAR, L.SFMASK, L.TSC_AUX]);
		setUp(kernel);
		this.exchange();
	}

	/** The processor becomes this CPU, and this becomes the one that it was. */
	exchange(): void {
		const { kernel, registers, data } = this;
		const { cpu } = kernel;
		for (const [at, field] of REGISTERS.entries()) {
			const value = cpu.read64(field);
			cpu.write64(field, registers[at]!);
			registers[at] = value;
		}
		const here = Object.fromEntries(PER_CPU.map((name) => [name, kernel[name]])) as unknown as PerCpu;
		Object.assign(kernel, data);
		Object.assign(data, here);
		[cpu.number, this.number] = [this.number, cpu.number];
		[cpu.guestBranches, this.guestBranches] = [this.guestBranches, cpu.guestBranches];
		const current = this.currentVmcs;
		this.currentVmcs = cpu.currentVmcs as Vmcs | null;
		// What was cleared meanwhile is no longer current there.
		cpu.currentVmcs = current?.activeOn === cpu.number ? current : null;
	}
}
