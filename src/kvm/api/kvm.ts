/**
 * A machine with KVM on it: one physical CPU under a kernel, one VM with one vCPU, and KVM_RUN.
 *
 *     const machine = createMachine({ model: turin, vendor: "svm", tree: findTree("series-v2") });
 *     machine.run();
 */
import { FpState, kernelFeatures } from "../../host/fpu.ts";
import { INIT_PKRU, Kernel, type KernelOptions } from "../../host/kernel.ts";
import { LocalApic } from "../../silicon/apic/local-apic.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { resetCpu } from "../../silicon/cpu/modes.ts";
import { MachineMemory } from "../../silicon/machine.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import { createProcessor } from "../../silicon/processor.ts";
import { type CompiledTree, compileTree } from "../flow/compile.ts";
import { FlowError } from "../flow/errors.ts";
import type { Tree } from "../flow/flow.ts";
import { Lapic } from "../irqchip/lapic.ts";
import { Mmu } from "../mmu/mmu.ts";
import { VCPU_MODE } from "../requests.ts";
import { svmOps } from "../svm/ops.ts";
import { tdxOps } from "../tdx/ops.ts";
import { Vcpu } from "../vcpu.ts";
import { Vm } from "../vm.ts";
import { vmxOps } from "../vmx/ops.ts";

/** Bytes of host memory when none are asked for. */
const DEFAULT_RAM_BYTES = 16 << 20;

/** Host physical memory below this is the kernel's own. */
const FIRST_FREE_HPA = 0x1000;

export interface MachineOptions {
	readonly model: CpuModel;
	readonly vendor: Vendor;
	readonly tree: Tree | CompiledTree;
	/** Host physical memory, a multiple of 64 KiB. */
	readonly ramBytes?: number;
	/** In-kernel local APIC. Default true. */
	readonly irqchip?: boolean;
	readonly kernel?: KernelOptions;
	/** A silicon to use again: its memory and what was translated from it. */
	readonly silicon?: Silicon;
}

/** The hardware of a machine: kept while the software on it is made anew. */
export interface Silicon {
	readonly memory: MachineMemory;
	readonly cpu: Cpu;
	readonly apic: LocalApic;
}

/** One machine. */
export interface Machine extends Silicon {
	readonly kernel: Kernel;
	readonly vm: Vm;
	readonly vcpu: Vcpu;
}

/**
 * Makes the hardware.
 * @param ramBytes host physical memory
 */
export function createSilicon(model: CpuModel, ramBytes = DEFAULT_RAM_BYTES): Silicon {
	const memory = new MachineMemory(1, ramBytes);
	const cpu = createProcessor(memory, model);
	return { memory, cpu, apic: new LocalApic(cpu) };
}

/**
 * Boots a kernel on the hardware and creates a VM with one vCPU.
 * @throws FlowError if the model has no such vendor, or the tree does not compile
 */
export function createMachine(options: MachineOptions): Machine {
	const { model, vendor } = options;
	if (!model.vendors.includes(vendor)) {
		throw new FlowError(`${model.name} has no ${vendor}; it has ${model.vendors.join(" and ")}`);
	}
	const silicon = options.silicon ?? createSilicon(model, options.ramBytes);
	const { cpu, memory, apic } = silicon;
	resetCpu(cpu);
	apic.reset();
	const kernel = new Kernel(cpu, apic, options.kernel);
	bootKernel(cpu, kernel);
	const tree = "ioctlRun" in options.tree ? options.tree : compileTree(options.tree, vendor);
	const ops = vendor === "svm" ? svmOps : vendor === "tdx" ? tdxOps : vmxOps;
	const vm = new Vm(
		kernel,
		ops,
		(made) => new Mmu(made),
		{ vendor, tree, irqchip: options.irqchip ?? true },
		FIRST_FREE_HPA,
	);
	const vcpu = createVcpu(vm);
	return { memory, cpu, apic, kernel, vm, vcpu };
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
	cpu.write32(L.PKRU, INIT_PKRU);
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

/** KVM_CREATE_VCPU. */
function createVcpu(vm: Vm): Vcpu {
	const { kernel } = vm;
	const vcpu = new Vcpu(vm, kernel, vm.vcpus.length);
	vm.vcpus.push(vcpu);
	vcpu.guestFpu = new FpState(kernelFeatures(kernel.xcr0, kernel.xss));
	vcpu.guestStateProtected = vm.vendor === "tdx";
	vm.ops.vcpuCreate(vcpu);
	if (vm.irqchip) vcpu.apic = new Lapic(vcpu);
	vcpu.mode = VCPU_MODE.OUTSIDE_GUEST_MODE;
	return vcpu;
}

/**
 * ioctl(KVM_RUN): from user space into the kernel, the run loop, and back to user space.
 * @returns 0, or a negative errno; `vcpu.run` says why it returned
 */
export function kvmRun(vcpu: Vcpu): number {
	const { kernel, cpu } = vcpu;
	const result = vcpu.vm.tree.ioctlRun(vcpu);
	kernel.returnToUser(kernel.current);
	cpu.poll();
	return result;
}
