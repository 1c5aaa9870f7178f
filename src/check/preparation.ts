/**
 * A check's machine before its run begins: a second vCPU is up, and what KVM and the processor make at first use is made.
 */
import { type GuestParameters, longModeState } from "../guests/boot.ts";
import type { Machine } from "../kvm/api/kvm.ts";
import { boot } from "../kvm/api/vmm-boot.ts";
import { APIC, APIC_TIMER } from "../kvm/irqchip/apic-registers.ts";
import { kernelIrqchip } from "../kvm/irqchip/irqchip.ts";
import { writeApicRegister } from "../kvm/irqchip/lapic-access.ts";
import { loadHere } from "../kvm/vcpu.ts";
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { SvmGuestMode } from "../silicon/svm/guest-mode.ts";
import { VmxGuestMode } from "../silicon/vmx/guest-mode.ts";
import { decodeCode, scriptExecutor } from "./guest/executor.ts";
import { SCRIPT_TIMER_VECTOR, type Script } from "./guest/script.ts";

/** IA32_APIC_BASE of a boot processor in x2APIC mode. */
const X2APIC_BASE = 0xfee0_0d00;
const APIC_BASE_BSP = 1 << 8;
/** The translator of each processor, behind the executors that were put before it. */
const translators = new WeakMap<Cpu, (cpu: Cpu) => void>();

/**
 * The second vCPU as an operating system that is up has it: no INIT, no SIPI.
 * @returns whether its vcpu_load has dropped the CPU's translations
 */
export function bootSecond({ vm }: Machine, script: Script, parameters: GuestParameters): boolean {
	const vcpu = vm.vcpus[1]!;
	let flushed = false;
	vcpu.ledger = {
		wrote: () => {},
		flushedTlb: () => {
			flushed = true;
		},
	};
	const { helpers } = vm.tree;
	const { image, secondEntry, stacks } = script;
	const state = longModeState({ ...image, entry: secondEntry }, parameters);
	loadHere(vcpu);
	boot(vcpu, { ...state, regs: { ...state.regs, rsp: BigInt(stacks[1]!.endGpa) } });
	helpers.kvm_arch_vcpu_put(vcpu);
	return flushed;
}

/** Things that KVM and the processor make when they first need them are made now: all runs begin with them. */
export function makeWhatFirstUseMakes({ vm, vcpu: first }: Machine): void {
	kernelIrqchip(vm);
	for (const vcpu of vm.vcpus) {
		const { cpu, kernel } = vcpu;
		if (vcpu.vmx !== null) vcpu.vmx.vmcs.guestMode = new VmxGuestMode(cpu, vcpu.vmx.vmcs);
		if (vcpu.tdx !== null) vcpu.tdx.td.vmcs.guestMode = new VmxGuestMode(cpu, vcpu.tdx.td.vmcs);
		if (vcpu.svm !== null) vcpu.svm.vmcb.guestMode = new SvmGuestMode(cpu, vcpu.svm.vmcb);
		// The other task has run on this CPU before.
		kernel.schedule();
		if (vm.vendor === "tdx") return;
		// KVM_SET_LAPIC: the guest's timer and IPIs go through x2APIC MSRs.
		const apic = vcpu.apic!;
		apic.setBase(X2APIC_BASE - (vcpu.id === 0 ? 0 : APIC_BASE_BSP));
		writeApicRegister(apic, APIC.SPIV, 0x1ff);
		writeApicRegister(apic, APIC.LVTT, APIC_TIMER.TSCDEADLINE | SCRIPT_TIMER_VECTOR);
	}
	vm.mmu.pageFault(first, 0, true, false);
}

/**
 * Has a processor execute a check's guest.
 * @param translated as any guest's code; otherwise its instructions are carried out by the script's executor
 */
export function executeScript(cpu: Cpu, script: Script, translated: boolean): void {
	const translator = translators.get(cpu) ?? cpu.execute;
	translators.set(cpu, translator);
	if (translated) {
		cpu.execute = translator;
		return;
	}
	const { image } = script;
	const code = image.segments
		.filter(({ gpa }) => image.protocol !== "td" || gpa >= script.base)
		.map(({ gpa, bytes }) => ({ base: gpa, bytes }));
	cpu.execute = scriptExecutor(decodeCode(code), translator);
}
