/** Checks on VM-execution, VM-exit and VM-entry control fields (SDM Vol. 3C, 27.2.1). A failure is VMfailValid(7). */
import { hasCet } from "../../cpu/cet.ts";
import type { Cpu } from "../../cpu/cpu.ts";
import {
	ALLOWED1,
	CPU_BASED,
	DEFAULT1,
	ENTRY_CONTROL,
	EXIT_CONTROL,
	INTR_INFO,
	INTR_TYPE,
	PIN,
	SECONDARY,
} from "../controls.ts";
import { O } from "../fields.ts";
import type { Vmcs } from "../vmcs.ts";

/** @returns the check that failed, by SDM section; null if all hold */
export function checkControls(cpu: Cpu, vmcs: Vmcs): string | null {
	const field = (offset: number) => vmcs.u32[offset >> 2]!;
	const pin = field(O.PIN_BASED_VM_EXEC_CONTROL);
	const primary = field(O.CPU_BASED_VM_EXEC_CONTROL);
	const secondary = (primary & CPU_BASED.secondaryControls) === 0 ? 0 : field(O.SECONDARY_VM_EXEC_CONTROL);
	const exit = field(O.VM_EXIT_CONTROLS);
	const entry = field(O.VM_ENTRY_CONTROLS);
	if ((pin & DEFAULT1.pin) !== DEFAULT1.pin) return "27.2.1.1: reserved bits of the pin-based controls";
	// Bits 15, 16 (CR3 exiting) and 1, 4-6, 8, 13, 14, 26: the former two may be 0 (TRUE controls).
	const primaryFixed = DEFAULT1.cpu & ~(CPU_BASED.cr3LoadExiting | CPU_BASED.cr3StoreExiting);
	if ((primary & primaryFixed) !== primaryFixed)
		return "27.2.1.1: reserved bits of the primary processor-based controls";
	const exitFixed = DEFAULT1.exit & ~EXIT_CONTROL.saveDebugControls;
	if ((exit & exitFixed) !== exitFixed) return "27.2.1.2: reserved bits of the VM-exit controls";
	const entryFixed = DEFAULT1.entry & ~4;
	if ((entry & entryFixed) !== entryFixed) return "27.2.1.3: reserved bits of the VM-entry controls";
	const unknown =
		(pin & ~ALLOWED1.pin) |
		(primary & ~ALLOWED1.cpu) |
		(secondary & ~ALLOWED1.secondary) |
		(exit & ~ALLOWED1.exit);
	if (unknown !== 0 || (entry & ~ALLOWED1.entry) !== 0) return "27.2.1: a control that this processor lacks";
	const cet = (exit & EXIT_CONTROL.loadCetState) | (entry & ENTRY_CONTROL.loadCetState);
	if (cet !== 0 && !hasCet(cpu.model.features)) return "27.2.1: a control that this processor lacks";
	if (field(O.CR3_TARGET_COUNT) > 4) return "27.2.1.1: CR3-target count above 4";
	const address = (offset: number, align: bigint) => {
		const value = vmcs.u64[offset >> 3]!;
		return (value & (align - 1n)) === 0n && value >> BigInt(cpu.model.features.physicalAddressBits) === 0n;
	};
	if (
		(primary & CPU_BASED.useIoBitmaps) !== 0 &&
		!(address(O.IO_BITMAP_A, 4096n) && address(O.IO_BITMAP_B, 4096n))
	) {
		return "27.2.1.1: I/O-bitmap addresses";
	}
	if ((primary & CPU_BASED.useMsrBitmaps) !== 0 && !address(O.MSR_BITMAP, 4096n))
		return "27.2.1.1: MSR-bitmap address";
	if ((primary & CPU_BASED.tprShadow) !== 0) {
		if (!address(O.VIRTUAL_APIC_PAGE_ADDR, 4096n)) return "27.2.1.1: virtual-APIC address";
		if (field(O.TPR_THRESHOLD) >>> 4 !== 0) return "27.2.1.1: reserved bits of the TPR threshold";
		const vtpr =
			cpu.memory.u8[cpu.memory.ramBase + Number(vmcs.u64[O.VIRTUAL_APIC_PAGE_ADDR >> 3]!) + 0x80] ?? 0;
		const delivers = (secondary & SECONDARY.virtualInterruptDelivery) !== 0;
		if (!delivers && field(O.TPR_THRESHOLD) > vtpr >> 4)
			return "27.2.1.1: TPR threshold above the virtual TPR";
	}
	const apicFail = checkApicVirtualization(pin, primary, secondary, exit);
	if (apicFail !== null) return apicFail;
	if ((pin & PIN.postedInterrupts) !== 0) {
		if (field(O.POSTED_INTR_NV) > 0xff) return "27.2.1.1: posted-interrupt notification vector above 255";
		if (!address(O.POSTED_INTR_DESC_ADDR, 64n)) return "27.2.1.1: posted-interrupt descriptor address";
	}
	if ((pin & PIN.nmiExiting) === 0 && (pin & PIN.virtualNmis) !== 0)
		return "27.2.1.1: virtual NMIs without NMI exiting";
	if ((pin & PIN.virtualNmis) === 0 && (primary & CPU_BASED.nmiWindowExiting) !== 0) {
		return "27.2.1.1: NMI-window exiting without virtual NMIs";
	}
	if ((secondary & SECONDARY.ept) !== 0) {
		const eptp = vmcs.u64[O.EPT_POINTER >> 3]!;
		const type = Number(eptp & 7n);
		if ((type !== 0 && type !== 6) || (eptp & 0x38n) !== 0x18n || (eptp & 0xf80n) !== 0n) {
			return "27.2.1.1: EPT memory type, page-walk length or reserved bits of EPTP";
		}
		if (eptp >> BigInt(cpu.model.features.physicalAddressBits) !== 0n)
			return "27.2.1.1: EPTP beyond physical addresses";
	} else if ((secondary & SECONDARY.unrestrictedGuest) !== 0)
		return "27.2.1.1: unrestricted guest without EPT";
	if ((secondary & SECONDARY.vpid) !== 0 && (field(O.VIRTUAL_PROCESSOR_ID) & 0xffff) === 0)
		return "27.2.1.1: VPID 0";
	if ((pin & PIN.preemptionTimer) === 0 && (exit & EXIT_CONTROL.savePreemptionTimer) !== 0) {
		return "27.2.1.2: save of the preemption timer without the timer";
	}
	for (const [count, area] of [
		[O.VM_EXIT_MSR_STORE_COUNT, O.VM_EXIT_MSR_STORE_ADDR],
		[O.VM_EXIT_MSR_LOAD_COUNT, O.VM_EXIT_MSR_LOAD_ADDR],
		[O.VM_ENTRY_MSR_LOAD_COUNT, O.VM_ENTRY_MSR_LOAD_ADDR],
	] as const) {
		if (field(count) !== 0 && !address(area, 16n)) return "27.2.1: address of an MSR area";
	}
	return null;
}

/** What the controls of APIC virtualization need of each other (SDM 27.2.1.1). */
function checkApicVirtualization(
	pin: number,
	primary: number,
	secondary: number,
	exit: number,
): string | null {
	const virtualized =
		SECONDARY.virtualizeX2apicMode |
		SECONDARY.apicRegisterVirtualization |
		SECONDARY.virtualInterruptDelivery;
	if ((primary & CPU_BASED.tprShadow) === 0 && (secondary & virtualized) !== 0)
		return "27.2.1.1: APIC virtualization without the TPR shadow";
	const delivers = (secondary & SECONDARY.virtualInterruptDelivery) !== 0;
	if (delivers && (pin & PIN.externalInterruptExiting) === 0)
		return "27.2.1.1: virtual-interrupt delivery without external-interrupt exiting";
	if ((pin & PIN.postedInterrupts) === 0) return null;
	if (!delivers || (exit & EXIT_CONTROL.acknowledgeInterrupt) === 0)
		return "27.2.1.1: posted interrupts without virtual-interrupt delivery or acknowledgement at VM exit";
	return null;
}

/** Checks on the event to be injected (SDM 27.2.1.3). @returns the failed check, or null */
export function checkEvent(vmcs: Vmcs): string | null {
	const info = vmcs.u32[O.VM_ENTRY_INTR_INFO_FIELD >> 2]!;
	if ((info & INTR_INFO.valid) === 0) return null;
	const type = (info >>> 8) & 7;
	const vector = info & 0xff;
	const hasError = (info & INTR_INFO.errorCode) !== 0;
	if ((info & 0x7fff_f000) !== 0) return "27.2.1.3: reserved bits of the interruption information";
	if (type === 1) return "27.2.1.3: reserved interruption type";
	if (type === INTR_TYPE.nmi && vector !== 2) return "27.2.1.3: NMI with a vector other than 2";
	if (type === INTR_TYPE.hardwareException && vector > 31)
		return "27.2.1.3: hardware exception with a vector above 31";
	if (type === INTR_TYPE.other && vector !== 0) return "27.2.1.3: other event with a vector";
	const protectedMode = (vmcs.u32[O.GUEST_CR0 >> 2]! & 1) !== 0;
	const pushesError = vector === 8 || (vector >= 10 && vector <= 14) || vector === 17 || vector === 21;
	if (hasError !== (protectedMode && type === INTR_TYPE.hardwareException && pushesError)) {
		return "27.2.1.3: deliver-error-code does not fit the event";
	}
	if (hasError && vmcs.u32[O.VM_ENTRY_EXCEPTION_ERROR_CODE >> 2]! >>> 16 !== 0) {
		return "27.2.1.3: reserved bits of the exception error code";
	}
	const length = vmcs.u32[O.VM_ENTRY_INSTRUCTION_LEN >> 2]!;
	if (type >= INTR_TYPE.softwareInterrupt && type <= INTR_TYPE.softwareException && length > 15) {
		return "27.2.1.3: instruction length above 15";
	}
	return null;
}
