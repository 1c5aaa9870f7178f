/**
 * A processor that runs machine code in a guest: physical memory one to one through EPT or nested tables, the long
 * mode of machine-code.ts inside, HLT as the last instruction of every program.
 */
import { LocalApic } from "../../src/silicon/apic/local-apic.ts";
import { CR4 } from "../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../src/silicon/cpu/cpu.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { resetCpu } from "../../src/silicon/cpu/modes.ts";
import { MachineMemory } from "../../src/silicon/machine.ts";
import { emeraldRapids } from "../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../src/silicon/models/turin.ts";
import { createProcessor } from "../../src/silicon/processor.ts";
import { vmrun } from "../../src/silicon/svm/instructions.ts";
import { Vmcb } from "../../src/silicon/svm/vmcb.ts";
import {
	CPU_BASED,
	DEFAULT1,
	ENTRY_CONTROL,
	EXIT_CONTROL,
	PIN,
	SECONDARY,
} from "../../src/silicon/vmx/controls.ts";
import { vmlaunch, vmresume } from "../../src/silicon/vmx/entry.ts";
import { GUEST_RSP_OFFSET, type VmcsFieldName } from "../../src/silicon/vmx/fields.ts";
import { Vmcs } from "../../src/silicon/vmx/vmcs.ts";
import { AT, enterLongMode, poke64, RAM, setGate } from "./machine-code.ts";

/** Behind what the guest uses: second-level tables, bitmaps, virtual-APIC page. */
export const HOST_AT = {
	root: 0x100000,
	ioA: 0x110000,
	ioB: 0x111000,
	msr: 0x112000,
	virtualApic: 0x114000,
	area: 0x115000,
} as const;

/** Host RIP: not executed, but it shows that the host's state was loaded. */
export const HOST_RIP = 0xffff800000001000n;

// biome-ignore format: machine code with its assembly
export const ASM = {
	cpuid: [0x0f, 0xa2], invd: [0x0f, 0x08], wbinvd: [0x0f, 0x09], hlt: [0xf4], rdmsr: [0x0f, 0x32], wrmsr: [0x0f, 0x30],
	rdtsc: [0x0f, 0x31], rdtscp: [0x0f, 0x01, 0xf9], xgetbv: [0x0f, 0x01, 0xd0], xsetbv: [0x0f, 0x01, 0xd1],
	rdpkru: [0x0f, 0x01, 0xee], clts: [0x0f, 0x06], lmswAx: [0x0f, 0x01, 0xf0],
	movCr0Rax: [0x0f, 0x22, 0xc0], movRaxCr0: [0x0f, 0x20, 0xc0], movCr3Rax: [0x0f, 0x22, 0xd8], movRaxCr3: [0x0f, 0x20, 0xd8],
	movCr4Rax: [0x0f, 0x22, 0xe0], movRaxCr4: [0x0f, 0x20, 0xe0], movCr8Rax: [0x44, 0x0f, 0x22, 0xc0], movRaxCr8: [0x44, 0x0f, 0x20, 0xc0],
	movDr7Rax: [0x0f, 0x23, 0xf8], movRaxDr6: [0x0f, 0x21, 0xf0], invlpgRax: [0x0f, 0x01, 0x38], rdpmc: [0x0f, 0x33],
	monitor: [0x0f, 0x01, 0xc8], mwait: [0x0f, 0x01, 0xc9], pause: [0xf3, 0x90], vmcall: [0x0f, 0x01, 0xc1], vmmcall: [0x0f, 0x01, 0xd9],
	vmlaunch: [0x0f, 0x01, 0xc2], vmrunRax: [0x0f, 0x01, 0xd8], clgi: [0x0f, 0x01, 0xdd], rdrandRax: [0x48, 0x0f, 0xc7, 0xf0],
	rdseedRax: [0x48, 0x0f, 0xc7, 0xf8], lgdtRax: [0x0f, 0x01, 0x10], strAx: [0x66, 0x0f, 0x00, 0xc8],
	outDxAl: [0xee], outDxEax: [0xef], inEaxDx: [0xed], inAl60: [0xe4, 0x60], repOutsb: [0xf3, 0x6e], insd: [0x6d],
	int3: [0xcc], int80: [0xcd, 0x80], int1: [0xf1], ud2: [0x0f, 0x0b], cli: [0xfa], sti: [0xfb], popfq: [0x9d], iretq: [0x48, 0xcf], nop: [0x90],
	movRaxMemRbx: [0x48, 0x8b, 0x03], movMemRbxRax: [0x48, 0x89, 0x03], incRsi: [0x48, 0xff, 0xc6], jmpSelf: [0xeb, 0xfe],
	jmpRbx: [0xff, 0xe3], movSsAx: [0x8e, 0xd0], pushImm: (value: number) => [0x68, value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24],
} as const;

export interface Guest<Control> {
	readonly cpu: Cpu;
	readonly apic: LocalApic;
	readonly control: Control;
}

/** Puts machine code at a physical address. */
export function program(cpu: Cpu, ...parts: readonly (readonly number[])[]): void {
	programAt(cpu, AT.code, ...parts);
}

export function programAt(cpu: Cpu, address: number, ...parts: readonly (readonly number[])[]): void {
	const { memory } = cpu;
	if (memory.codePages[address >> 12] !== 0) memory.onCodeWrite(address >> 12);
	memory.u8.set([...parts.flat(), ...ASM.hlt], memory.ramBase + address);
}

/** A 4-KiB entry of the second level: rights in bits 2:0. */
export function mapPage(cpu: Cpu, page: number, entry: bigint): void {
	poke64(cpu, HOST_AT.root + 3 * 4096 + page * 8, entry);
}

function buildSecondLevel(cpu: Cpu): void {
	for (let level = 0; level < 3; level++)
		poke64(cpu, HOST_AT.root + level * 4096, BigInt(HOST_AT.root + (level + 1) * 4096) | 7n);
	for (let page = 0; page < 256; page++) mapPage(cpu, page, BigInt(page * 4096) | 0x37n);
}

/** One machine a vendor, since making one takes long: a new guest ends the one before. */
const machines = new Map<"vmx" | "svm", Cpu>();

/** The same machine without a guest: long mode at CPL 0, a handler of one HLT behind each gate. */
export function bareMachine(vendor: "vmx" | "svm"): { cpu: Cpu; apic: LocalApic } {
	let cpu = machines.get(vendor);
	if (cpu === undefined) {
		cpu = createProcessor(new MachineMemory(1, RAM), vendor === "vmx" ? emeraldRapids : turin);
		machines.set(vendor, cpu);
	}
	const { memory } = cpu;
	for (let page = memory.codePages.indexOf(1); page >= 0; page = memory.codePages.indexOf(1, page + 1))
		memory.onCodeWrite(page);
	memory.u8.fill(0, memory.ramBase);
	resetCpu(cpu);
	cpu.cycles = 0;
	cpu.machineCheckDuringEntry = false;
	cpu.observer = null;
	cpu.vectors = null;
	cpu.onDeadline = (one) => {
		one.deadline = Number.POSITIVE_INFINITY;
	};
	const apic = new LocalApic(cpu);
	cpu.apic = apic;
	enterLongMode(cpu);
	buildSecondLevel(cpu);
	for (let vector = 0; vector < 256; vector++) setGate(cpu, vector, AT.handler + vector * 16, 0xe, 3);
	for (let vector = 0; vector < 256; vector++)
		memory.u8[memory.ramBase + AT.handler + vector * 16] = ASM.hlt[0];
	return { cpu, apic };
}

/** A VMX guest that passes all checks of VM entry; it has EPT, exits for HLT and takes its own interrupts. */
export function vmxGuest(): Guest<Vmcs> {
	const { cpu, apic } = bareMachine("vmx");
	const vmcs = new Vmcs();
	cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.VMXE);
	const { memory, base } = cpu;
	vmcs.guestArea.set(memory.u8.subarray(base + L.SWITCHED, base + L.SWITCHED_END));
	vmcs.u64[GUEST_RSP_OFFSET >> 3] = BigInt(AT.stack);
	const set = (name: VmcsFieldName, value: bigint | number) => vmcs.set(name, value);
	set("PIN_BASED_VM_EXEC_CONTROL", DEFAULT1.pin);
	const primary = DEFAULT1.cpu & ~(CPU_BASED.cr3LoadExiting | CPU_BASED.cr3StoreExiting);
	set("CPU_BASED_VM_EXEC_CONTROL", (primary | CPU_BASED.hltExiting | CPU_BASED.secondaryControls) >>> 0);
	set(
		"SECONDARY_VM_EXEC_CONTROL",
		SECONDARY.ept | SECONDARY.vpid | SECONDARY.rdtscp | SECONDARY.xsaves | SECONDARY.invpcid,
	);
	set(
		"VM_EXIT_CONTROLS",
		DEFAULT1.exit |
			EXIT_CONTROL.hostAddressSpaceSize |
			EXIT_CONTROL.saveEfer |
			EXIT_CONTROL.loadEfer |
			EXIT_CONTROL.savePat |
			EXIT_CONTROL.loadPat,
	);
	set(
		"VM_ENTRY_CONTROLS",
		DEFAULT1.entry | ENTRY_CONTROL.ia32eModeGuest | ENTRY_CONTROL.loadEfer | ENTRY_CONTROL.loadPat,
	);
	set("VIRTUAL_PROCESSOR_ID", 1);
	set("EPT_POINTER", HOST_AT.root | 0x1e);
	set("IO_BITMAP_A", HOST_AT.ioA);
	set("IO_BITMAP_B", HOST_AT.ioB);
	set("MSR_BITMAP", HOST_AT.msr);
	set("VIRTUAL_APIC_PAGE_ADDR", HOST_AT.virtualApic);
	set("CR0_READ_SHADOW", cpu.read64(L.CR0));
	set("CR4_READ_SHADOW", cpu.read64(L.CR4));
	set("HOST_CR0", 0x80050033);
	set("HOST_CR3", 0x5000);
	set("HOST_CR4", CR4.PAE | CR4.VMXE | CR4.OSXSAVE);
	set("HOST_IA32_EFER", 0xd01);
	set("HOST_IA32_PAT", 0x0007040600070406n);
	set("HOST_CS_SELECTOR", 0x10);
	set("HOST_SS_SELECTOR", 0x18);
	set("HOST_TR_SELECTOR", 0x40);
	set("HOST_RIP", HOST_RIP);
	set("HOST_RSP", 0xffff800000002000n);
	return { cpu, apic, control: vmcs };
}

/** Sets and clears bits of a control field. */
export function adjust(vmcs: Vmcs, name: VmcsFieldName, on: number, off = 0): void {
	vmcs.set(name, ((Number(vmcs.get(name)) & ~off) | on) >>> 0);
}

/** External-interrupt and NMI exiting, as a hypervisor wants them. */
export function interceptInterrupts(vmcs: Vmcs): void {
	adjust(vmcs, "PIN_BASED_VM_EXEC_CONTROL", PIN.externalInterruptExiting | PIN.nmiExiting | PIN.virtualNmis);
}

/** Enters; 0 means an exit. */
export function enterVmx({ cpu, control }: Guest<Vmcs>): number {
	return control.launched ? vmresume(cpu, control) : vmlaunch(cpu, control);
}

/** A field as a number. */
export const field = (vmcs: Vmcs, name: VmcsFieldName): number => Number(vmcs.get(name));

/** What an exit recorded, for comparisons. */
export function vmxExit(guest: Guest<Vmcs>): { reason: number; qualification: bigint; length: number } {
	const result = enterVmx(guest);
	if (result !== 0) throw new Error(`VMfail ${guest.control.instructionError}: ${guest.control.failedCheck}`);
	const { control } = guest;
	return {
		reason: field(control, "VM_EXIT_REASON"),
		qualification: control.get("EXIT_QUALIFICATION"),
		length: field(control, "VM_EXIT_INSTRUCTION_LEN"),
	};
}

/** An SVM guest that passes all checks of VMRUN; it has nested paging and exits for HLT, INTR, NMI and SHUTDOWN. */
export function svmGuest(): Guest<Vmcb> {
	const { cpu, apic } = bareMachine("svm");
	const vmcb = new Vmcb();
	const { memory, base } = cpu;
	cpu.write32(L.EFER, cpu.read32(L.EFER) | 0x1000);
	vmcb.switched.set(memory.u8.subarray(base + L.SWITCHED, base + L.VMLOADED));
	vmcb.rsp = BigInt(AT.stack);
	vmcb.asid = 1;
	vmcb.nestedCr3 = HOST_AT.root;
	vmcb.intercept("vmrun", "hlt", "intr", "nmi", "shutdown");
	vmcb.vIntrMasking = true;
	cpu.write64(L.RIP, HOST_RIP);
	cpu.setGpr(L.RSP, 0xffff800000002000n);
	return { cpu, apic, control: vmcb };
}

export function svmExit({ cpu, control }: Guest<Vmcb>): number {
	vmrun(cpu, control);
	return control.exitCode;
}
