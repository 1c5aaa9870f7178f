/**
 * A machine with KVM on it: physical CPUs under a kernel, one VM with its vCPUs, and KVM_RUN. With one of each,
 * KVM_RUN is a call; with more, each vCPU has a thread, and `machine.smp` interleaves them (host/smp.ts).
 *
 *     const machine = createMachine({ model: turin, vendor: "svm", tree: findTree("series-v2") });
 *     machine.run();
 */
import { FN, runFunction } from "../../host/functions.ts";
import type { KernelOptions } from "../../host/kernel-options.ts";
import { Kernel } from "../../host/kernel.ts";
import { HostPages } from "../../host/pages.ts";
import { Smp, type SmpOptions } from "../../host/smp.ts";
import { Task } from "../../host/task.ts";
import { Thread } from "../../host/thread.ts";
import { LocalApic } from "../../silicon/apic/local-apic.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { resetCpu } from "../../silicon/cpu/modes.ts";
import { MachineMemory } from "../../silicon/machine.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import { createProcessor } from "../../silicon/processor.ts";
import { type CompiledTree, compileTree } from "../flow/compile.ts";
import { installCustomOps } from "../flow/custom-op.ts";
import { FlowError } from "../flow/errors.ts";
import type { Tree } from "../flow/flow.ts";
import { kvmVcpuReset } from "../emulate/reset.ts";
import { Lapic } from "../irqchip/lapic.ts";
import { Mmu } from "../mmu/mmu.ts";
import { MP_STATE, VCPU_MODE } from "../requests.ts";
import { svmOps } from "../svm/ops.ts";
import { tdxOps } from "../tdx/ops.ts";
import { Vcpu } from "../vcpu.ts";
import { Vm, type VmOptions } from "../vm.ts";
import { vmxOps } from "../vmx/ops.ts";

/** Bytes of host memory when none are asked for. */
const DEFAULT_RAM_BYTES = 16 << 20;

/** Plain instructions of kvm_vcpu_ioctl() around KVM_RUN. Assumed. */
const IOCTL_INSTRUCTIONS = 40;

/** Host physical memory below this is the kernel's own. */
export const FIRST_FREE_HPA = 0x1000;

export interface MachineOptions {
	readonly model: CpuModel;
	readonly vendor: Vendor;
	readonly tree: Tree | CompiledTree;
	/** Host physical memory, a multiple of 64 KiB. */
	readonly ramBytes?: number;
	/** In-kernel local APIC. Default true. */
	readonly irqchip?: boolean;
	/** In-kernel timer. Default: as `irqchip`. */
	readonly pit?: boolean;
	readonly kernel?: KernelOptions;
	/** A silicon to use again: its memory and what was translated from it. */
	readonly silicon?: Silicon;
	/** Physical CPUs. Default: those of `silicon`, or else as many as vCPUs. */
	readonly cpus?: number;
	/** Default 1. The first starts at the guest's entry, the others wait for INIT and SIPI. */
	readonly vcpus?: number;
	/** How several CPUs take turns. */
	readonly smp?: SmpOptions;
}

/** A physical CPU. */
export interface Processor {
	readonly cpu: Cpu;
	readonly apic: LocalApic;
}

/** The hardware of a machine: kept while the software on it is made anew. */
export interface Silicon {
	readonly memory: MachineMemory;
	readonly processors: readonly Processor[];
	/** The first processor. */
	readonly cpu: Cpu;
	readonly apic: LocalApic;
}

/** One machine. */
export interface Machine extends Silicon {
	/** The kernel's state for each CPU. */
	readonly kernels: readonly Kernel[];
	/** The first CPU's. */
	readonly kernel: Kernel;
	/** Null for one CPU with one vCPU. */
	readonly smp: Smp | null;
	readonly vm: Vm;
	/** The first vCPU; all are in `vm.vcpus`. */
	readonly vcpu: Vcpu;
}

/**
 * Makes the hardware.
 * @param ramBytes host physical memory
 * @param cpus physical CPUs
 */
export function createSilicon(model: CpuModel, ramBytes = DEFAULT_RAM_BYTES, cpus = 1): Silicon {
	// One more for KVM's emulator.
	const memory = new MachineMemory(cpus + 1, ramBytes);
	const processors: Processor[] = [];
	for (let index = 0; index < cpus; index++) {
		const cpu = createProcessor(memory, model, index);
		processors.push({ cpu, apic: new LocalApic(cpu) });
	}
	return { memory, processors, ...processors[0]! };
}

/**
 * Boots a kernel on the hardware and creates a VM with its vCPUs.
 * @throws FlowError if the model has no such vendor, the tree does not compile, or a TD shall have several vCPUs
 */
export function createMachine(options: MachineOptions): Machine {
	const { model, vendor } = options;
	const vcpus = options.vcpus ?? 1;
	if (!model.vendors.includes(vendor)) {
		throw new FlowError(`${model.name} has no ${vendor}; it has ${model.vendors.join(" and ")}`);
	}
	if (vendor === "tdx" && vcpus > 1) throw new FlowError("a TD has one vCPU here");
	const silicon = options.silicon ?? createSilicon(model, options.ramBytes, options.cpus ?? vcpus);
	const kernels = silicon.processors.map((processor) => bootProcessor(processor, options.kernel));
	const kernel = kernels[0]!;
	const several = vcpus > 1 || kernels.length > 1;
	const smp = several ? new Smp(kernels, options.smp) : null;
	const tree = "ioctlRun" in options.tree ? options.tree : compileTree(options.tree, vendor);
	for (const { cpu } of silicon.processors) {
		installCustomOps(cpu, tree.tree);
		cpu.randomSeed = options.smp?.seed ?? 1;
	}
	const vm = createVm(kernel, vendor, tree, new HostPages(silicon.memory, FIRST_FREE_HPA), {
		irqchip: options.irqchip ?? true,
		...(options.pit === undefined ? {} : { pit: options.pit }),
	});
	for (let id = 0; id < vcpus; id++) createVcpu(vm, kernels[id % kernels.length]!, id);
	return { ...silicon, kernels, kernel, smp, vm, vcpu: vm.vcpus[0]! };
}

/**
 * KVM_CREATE_VM.
 * @param pages the host's memory
 */
export function createVm(
	kernel: Kernel,
	vendor: Vendor,
	tree: CompiledTree,
	pages: HostPages,
	devices: Pick<VmOptions, "irqchip" | "pit">,
): Vm {
	const ops = vendor === "svm" ? svmOps : vendor === "tdx" ? tdxOps : vmxOps;
	return new Vm(kernel, ops, (made) => new Mmu(made), { vendor, tree, ...devices }, pages);
}

/** Boots a kernel on a processor. */
export function bootProcessor({ cpu, apic }: Processor, options?: KernelOptions): Kernel {
	resetCpu(cpu);
	apic.reset();
	const kernel = new Kernel(cpu, apic, options);
	bootKernel(cpu, kernel);
	return kernel;
}

/** What a booted kernel leaves in the registers: paging on, interrupts on, its XCR0 and IA32_XSS, a user task's PKRU. */
function bootKernel(cpu: Cpu, kernel: Kernel): void {
	const { features } = cpu.model;
	cpu.write64(L.CR0, 0x8005_0033n);
	// PAE PGE MCE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE SMEP SMAP, VMXE on Intel, PKE.
	const vmxe = isIntel(cpu) ? 1n << 13n : 0n;
	cpu.write64(L.CR4, 0x3706e0n | vmxe | (features.pku ? 1n << 22n : 0n));
	cpu.write64(L.EFER, cpu.model.vendorString === "AuthenticAMD" ? 0x1d01n : 0xd01n);
	cpu.writeNumber(L.XCR0, kernel.xcr0);
	cpu.writeNumber(L.XSS, kernel.xss);
	cpu.write32(L.PKRU, kernel.userPkru);
	cpu.write64(L.RFLAGS, 2n);
	cpu.interruptFlag = true;
	cpu.gif = true;
	kernel.specCtrl = isIntel(cpu) ? 1 : 0;
	kernel.bootRegisters();
	kernel.armTimer();
}

/** Intel kernels run with enhanced IBRS, which is SPEC_CTRL.IBRS kept set; AMD's automatic IBRS is in EFER. */
function isIntel(cpu: Cpu): boolean {
	return cpu.model.vendorString === "GenuineIntel";
}

/** KVM_CREATE_VCPU. @param id of the vCPU, its APIC id */
export function createVcpu(vm: Vm, kernel: Kernel, id: number): Vcpu {
	const vcpu = new Vcpu(vm, kernel, id);
	vm.vcpus.push(vcpu);
	vcpu.guestStateProtected = vm.vendor === "tdx";
	vm.ops.vcpuCreate(vcpu);
	if (vm.irqchip) vcpu.apic = new Lapic(vcpu);
	vm.ops.vcpuMemEncInit?.(vcpu);
	vcpu.mode = VCPU_MODE.OUTSIDE_GUEST_MODE;
	if (vcpu.id > 0) {
		kvmVcpuReset(vcpu, false);
		vcpu.mpState = MP_STATE.UNINITIALIZED;
	}
	return vcpu;
}

const KVM_VCPU_IOCTL = symbol("kvm_vcpu_ioctl");

/** ksys_ioctl() down to kvm_vcpu_ioctl(): the file, of which other threads have the descriptor too, and vcpu->mutex. */
function enterIoctl(cpu: Cpu): void {
	runFunction(cpu, FN.fdget);
	cpu.enter(KVM_VCPU_IOCTL);
	cpu.code(IOCTL_INSTRUCTIONS);
	runFunction(cpu, FN.mutex_lock);
}

function leaveIoctl(cpu: Cpu): void {
	runFunction(cpu, FN.mutex_unlock);
	cpu.leave();
	runFunction(cpu, FN.fput);
}

/**
 * ioctl(KVM_RUN): from user space into the kernel, the run loop, and back to user space.
 * @returns 0, or a negative errno; `vcpu.run` says why it returned
 */
export function kvmRun(vcpu: Vcpu): number {
	const { kernel, cpu } = vcpu;
	enterIoctl(cpu);
	const result = vcpu.vm.tree.ioctlRun(vcpu);
	traceUserspaceExit(vcpu, result);
	leaveIoctl(cpu);
	kernel.returnToUser(kernel.current);
	cpu.poll();
	serveMutexWaiters(vcpu);
	return result;
}

/** trace_kvm_userspace_exit(). */
function traceUserspaceExit(vcpu: Vcpu, result: number): void {
	vcpu.tracer?.tracepoint?.(vcpu, "kvm_userspace_exit", { reason: vcpu.run.exitReason, result });
}

/** The same as a thread does it, who may come back on another CPU. */
export function* kvmRunThread(vcpu: Vcpu): Generator<void, number> {
	enterIoctl(vcpu.cpu);
	const result = yield* vcpu.vm.tree.ioctlRunThread()(vcpu);
	traceUserspaceExit(vcpu, result);
	leaveIoctl(vcpu.cpu);
	vcpu.kernel.returnToUser(vcpu.kernel.current);
	vcpu.cpu.poll();
	serveMutexWaiters(vcpu);
	return result;
}

/**
 * KVM_RUN has let go of vcpu->mutex: the thread that waits for it with an ioctl runs, as the other task of the CPU, while
 * this one is in user space.
 */
export function serveMutexWaiters(vcpu: Vcpu): void {
	const { kernel, mutexWaiters } = vcpu;
	if (mutexWaiters.length === 0) return;
	for (const ioctl of mutexWaiters.splice(0)) kernel.otherSyscalls.push(() => ioctl(vcpu));
	kernel.schedule();
}

/**
 * Starts a vCPU's thread on the CPU that the vCPU is on.
 * @param body what the thread does in user space, around kvmRunThread()
 */
export function startVcpuThread(machine: Machine, vcpu: Vcpu, body: Generator<void, void>): Thread {
	const { smp, kernels } = machine;
	const { kernel } = vcpu;
	if (smp === null) throw new FlowError("a machine with one CPU and one vCPU has no threads");
	const task =
		vcpu.id < kernels.length
			? kernel.vcpuTask
			: new Task(`vcpu ${vcpu.id}`, vcpu.guestFpu.features, kernel.userPkru);
	const thread = new Thread(task, kernel, body, (to) => {
		vcpu.kernel = to;
		vcpu.cpu = to.cpu;
	});
	vcpu.thread = thread;
	smp.start(thread);
	return thread;
}
