import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { PENDING } from "../../../src/silicon/cpu/cpu.ts";
import {
	CPU_BASED,
	ENTRY_CONTROL,
	ENTRY_FAILURE,
	EXIT_CONTROL,
	EXIT_REASON,
	PIN,
	SECONDARY,
} from "../../../src/silicon/vmx/controls.ts";
import { VMX_RESULT, vmlaunch, vmresume } from "../../../src/silicon/vmx/entry.ts";
import { VMCS_FIELDS, type VmcsFieldName } from "../../../src/silicon/vmx/fields.ts";
import { type Vmcs, vmclear, vmread, VmcsFieldError, vmwrite } from "../../../src/silicon/vmx/vmcs.ts";
import { AT } from "../machine-code.ts";
import {
	ASM,
	adjust,
	enterVmx,
	field,
	HOST_AT,
	HOST_RIP,
	interceptInterrupts,
	program,
	vmxExit,
	vmxGuest,
} from "../guest-machine.ts";

describe("VMREAD and VMWRITE (SDM 31.3)", () => {
	it("give back what was written, cut to the field's width, for every field that can be written", () => {
		const { cpu, control } = vmxGuest();
		fc.assert(
			fc.property(
				fc.constantFrom(...VMCS_FIELDS),
				fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
				(one, value) => {
					const isExitInformation = ((one.encoding >> 10) & 3) === 1;
					if (isExitInformation) {
						expect(() => vmwrite(cpu, control, one.encoding, value)).toThrow(VmcsFieldError);
						expect(control.instructionError).toBe(13);
					} else {
						vmwrite(cpu, control, one.encoding, value);
						expect(vmread(cpu, control, one.encoding)).toBe(BigInt.asUintN(one.bytes * 8, value));
					}
				},
			),
			{ seed: 31, numRuns: 1000 },
		);
	});

	it("fail with error 12 for an encoding that no field has", () => {
		const { cpu, control } = vmxGuest();
		for (const encoding of [0x7ffe, 0x0808 + 0x400 + 0x40, 0x6402]) {
			expect(() => vmread(cpu, control, encoding)).toThrow(VmcsFieldError);
			expect(control.instructionError).toBe(12);
		}
	});
});

describe("the launch state (SDM 25.11.3)", () => {
	it("VMLAUNCH needs it clear, VMRESUME launched, VMCLEAR clears it", () => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		program(cpu);
		expect(vmresume(cpu, control)).toBe(VMX_RESULT.failValid);
		expect(control.instructionError).toBe(5);
		expect(vmlaunch(cpu, control)).toBe(VMX_RESULT.exit);
		expect(vmlaunch(cpu, control)).toBe(VMX_RESULT.failValid);
		expect(control.instructionError).toBe(4);
		expect(vmresume(cpu, control)).toBe(VMX_RESULT.exit);
		vmclear(cpu, control);
		expect(vmresume(cpu, control)).toBe(VMX_RESULT.failValid);
		expect(vmlaunch(cpu, control)).toBe(VMX_RESULT.exit);
	});

	it("stays clear when the entry fails", () => {
		const { cpu, control } = vmxGuest();
		control.set("GUEST_RFLAGS", 0);
		expect(vmlaunch(cpu, control)).toBe(VMX_RESULT.exit);
		control.set("GUEST_RFLAGS", 2);
		expect(vmlaunch(cpu, control)).toBe(VMX_RESULT.exit);
		expect(field(control, "VM_EXIT_REASON")).toBe(EXIT_REASON.hlt);
	});
});

/** With 57 bits, which the model has. */
const NON_CANONICAL = 1n << 56n;
const BEYOND = 1n << 52n;
const UNUSABLE = 0x10000;
type Change = (vmcs: Vmcs) => void;
const set =
	(name: VmcsFieldName, value: bigint | number): Change =>
	(vmcs) =>
		vmcs.set(name, value);
const turn =
	(name: VmcsFieldName, on: number, off = 0): Change =>
	(vmcs) =>
		adjust(vmcs, name, on, off);
const all =
	(...changes: readonly Change[]): Change =>
	(vmcs) => {
		for (const change of changes) change(vmcs);
	};
const inject = (info: number): Change => set("VM_ENTRY_INTR_INFO_FIELD", info >>> 0);
const VALID = 0x80000000;
const LOAD_GUEST_CET = turn("VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadCetState);
const LOAD_HOST_CET = turn("VM_EXIT_CONTROLS", EXIT_CONTROL.loadCetState);
const LOAD_GUEST_COUNTERS = turn("VM_ENTRY_CONTROLS", ENTRY_CONTROL.loadPerfGlobalCtrl);
const LOAD_HOST_COUNTERS = turn("VM_EXIT_CONTROLS", EXIT_CONTROL.loadPerfGlobalCtrl);

/** One corruption of a valid VMCS each, by the section of the SDM that forbids it. */
// biome-ignore format: a table
const CONTROLS: readonly (readonly [string, Change])[] = [
	["27.2.1.1 pin default1", turn("PIN_BASED_VM_EXEC_CONTROL", 0, 2)],
	["27.2.1.1 pin unknown", turn("PIN_BASED_VM_EXEC_CONTROL", 1 << 8)],
	["27.2.1.1 posted interrupts are not implemented", turn("PIN_BASED_VM_EXEC_CONTROL", PIN.postedInterrupts)],
	["27.2.1.1 primary default1", turn("CPU_BASED_VM_EXEC_CONTROL", 0, 1 << 26)],
	["27.2.1.1 monitor trap flag is not implemented", turn("CPU_BASED_VM_EXEC_CONTROL", 1 << 27)],
	["27.2.1.1 secondary unknown", turn("SECONDARY_VM_EXEC_CONTROL", 1 << 30)],
	["27.2.1.1 CR3 targets", set("CR3_TARGET_COUNT", 5)],
	["27.2.1.1 I/O bitmap alignment", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useIoBitmaps), set("IO_BITMAP_A", 0x110001))],
	["27.2.1.1 I/O bitmap B width", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useIoBitmaps), set("IO_BITMAP_B", BEYOND))],
	["27.2.1.1 MSR bitmap", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useMsrBitmaps), set("MSR_BITMAP", 0x800))],
	["27.2.1.1 virtual-APIC page", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow), set("VIRTUAL_APIC_PAGE_ADDR", 8))],
	["27.2.1.1 TPR threshold bits 31:4", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow), set("TPR_THRESHOLD", 0x10))],
	["27.2.1.1 TPR threshold above VTPR", all(turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow), set("TPR_THRESHOLD", 3))],
	["27.2.1.1 virtual NMIs alone", turn("PIN_BASED_VM_EXEC_CONTROL", PIN.virtualNmis)],
	["27.2.1.1 NMI window alone", turn("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.nmiWindowExiting)],
	["27.2.1.1 VPID 0", set("VIRTUAL_PROCESSOR_ID", 0)],
	["27.2.1.1 EPTP memory type", set("EPT_POINTER", HOST_AT.root | 0x1a)],
	["27.2.1.1 EPTP walk length", set("EPT_POINTER", HOST_AT.root | 0x0e)],
	["27.2.1.1 EPTP reserved", set("EPT_POINTER", HOST_AT.root | 0x11e)],
	["27.2.1.1 EPTP width", set("EPT_POINTER", BEYOND | 0x1en)],
	["27.2.1.1 unrestricted guest without EPT", turn("SECONDARY_VM_EXEC_CONTROL", SECONDARY.unrestrictedGuest, SECONDARY.ept)],
	["27.2.1.2 exit default1", turn("VM_EXIT_CONTROLS", 0, 1)],
	["27.2.1.2 exit unknown", turn("VM_EXIT_CONTROLS", 1 << 30)],
	["27.2.1.2 timer saved but not active", turn("VM_EXIT_CONTROLS", 1 << 22)],
	["27.2.1.2 exit MSR area alignment", all(set("VM_EXIT_MSR_LOAD_COUNT", 1), set("VM_EXIT_MSR_LOAD_ADDR", 8))],
	["27.2.1.3 entry default1", turn("VM_ENTRY_CONTROLS", 0, 1)],
	["27.2.1.3 entry unknown", turn("VM_ENTRY_CONTROLS", 1 << 21)],
	["27.2.1.3 entry MSR area width", all(set("VM_ENTRY_MSR_LOAD_COUNT", 1), set("VM_ENTRY_MSR_LOAD_ADDR", BEYOND))],
	["27.2.1.3 event type 1", inject(VALID | (1 << 8) | 3)],
	["27.2.1.3 NMI vector", inject(VALID | (2 << 8) | 3)],
	["27.2.1.3 exception vector", inject(VALID | (3 << 8) | 32)],
	["27.2.1.3 other event vector", inject(VALID | (7 << 8) | 1)],
	["27.2.1.3 #GP without its error code", inject(VALID | (3 << 8) | 13)],
	["27.2.1.3 #UD with an error code", inject(VALID | (1 << 11) | (3 << 8) | 6)],
	["27.2.1.3 interrupt with an error code", all(set("GUEST_RFLAGS", 0x202), inject(VALID | (1 << 11) | 13))],
	["27.2.1.3 reserved bits", inject(VALID | (1 << 12) | (3 << 8) | 6)],
	["27.2.1.3 error code above 15 bits", all(inject(VALID | (1 << 11) | (3 << 8) | 13), set("VM_ENTRY_EXCEPTION_ERROR_CODE", 0x10000))],
	["27.2.1.3 instruction length", all(inject(VALID | (4 << 8) | 0x80), set("VM_ENTRY_INSTRUCTION_LEN", 16))],
];

// biome-ignore format: a table
const HOST: readonly (readonly [string, Change])[] = [
	["27.2.2 CR0.NE", set("HOST_CR0", 0x80050013)],
	["27.2.2 CR0.PG", set("HOST_CR0", 0x50033)],
	["27.2.2 CR4.VMXE", set("HOST_CR4", 0x20)],
	["27.2.2 CR4 unknown", set("HOST_CR4", 0x80002020)],
	["27.2.2 CR3 width", set("HOST_CR3", BEYOND)],
	["27.2.2 SYSENTER_ESP", set("HOST_IA32_SYSENTER_ESP", NON_CANONICAL)],
	["27.2.2 SYSENTER_EIP", set("HOST_IA32_SYSENTER_EIP", NON_CANONICAL)],
	["27.2.2 PAT", set("HOST_IA32_PAT", 0x02n)],
	["27.2.2 PERF_GLOBAL_CTRL reserved", all(LOAD_HOST_COUNTERS, set("HOST_IA32_PERF_GLOBAL_CTRL", 0x100))],
	["27.2.2 EFER.LMA", set("HOST_IA32_EFER", 0x901)],
	["27.2.2 EFER reserved", set("HOST_IA32_EFER", 0xd03)],
	["27.2.2 EFER reserved above 32 bits", set("HOST_IA32_EFER", 0x1_0000_0d01n)],
	["27.2.2 CR4.CET without CR0.WP", all(set("HOST_CR0", 0x80040033), set("HOST_CR4", 0x80_2020))],
	["27.2.2 S_CET reserved", all(LOAD_HOST_CET, set("HOST_S_CET", 0x40))],
	["27.2.2 S_CET not canonical", all(LOAD_HOST_CET, set("HOST_S_CET", NON_CANONICAL))],
	["27.2.2 SSP no multiple of 4", all(LOAD_HOST_CET, set("HOST_SSP", 2))],
	["27.2.2 interrupt SSP table", all(LOAD_HOST_CET, set("HOST_INTR_SSP_TABLE", NON_CANONICAL))],
	["27.2.3 CS RPL", set("HOST_CS_SELECTOR", 0x13)],
	["27.2.3 TR TI", set("HOST_TR_SELECTOR", 0x44)],
	["27.2.3 CS 0", set("HOST_CS_SELECTOR", 0)],
	["27.2.3 TR 0", set("HOST_TR_SELECTOR", 0)],
	["27.2.3 FS base", set("HOST_FS_BASE", NON_CANONICAL)],
	["27.2.3 GDTR base", set("HOST_GDTR_BASE", NON_CANONICAL)],
	["27.2.3 TR base", set("HOST_TR_BASE", NON_CANONICAL)],
	["27.2.2 32-bit host", turn("VM_EXIT_CONTROLS", 0, 1 << 9)],
	["27.2.4 PAE", set("HOST_CR4", 0x2000)],
	["27.2.4 RIP", set("HOST_RIP", NON_CANONICAL)],
];

// biome-ignore format: a table
const GUEST: readonly (readonly [string, Change])[] = [
	["27.3.1.1 CR0.NE", turn("GUEST_CR0", 0, 0x20)],
	["27.3.1.1 CR0.PG", turn("GUEST_CR0", 0, 1 << 31)],
	["27.3.1.1 CR0 above 32 bits", set("GUEST_CR0", 0x1_8001_0031n)],
	["27.3.1.1 CR4.VMXE", turn("GUEST_CR4", 0, 1 << 13)],
	["27.3.1.1 CR4 unknown", turn("GUEST_CR4", 1 << 31)],
	["27.3.1.1 CR4.PAE in IA-32e mode", turn("GUEST_CR4", 0, 1 << 5)],
	["27.3.1.1 CR3 width", set("GUEST_CR3", BEYOND)],
	["27.3.1.1 DR7 above 32 bits", set("GUEST_DR7", 1n << 32n)],
	["27.3.1.1 DEBUGCTL reserved", set("GUEST_IA32_DEBUGCTL", 1n << 40n)],
	["27.3.1.1 SYSENTER_ESP", set("GUEST_SYSENTER_ESP", NON_CANONICAL)],
	["27.3.1.1 PAT", set("GUEST_IA32_PAT", 0x0300n)],
	["27.3.1.1 PERF_GLOBAL_CTRL reserved", all(LOAD_GUEST_COUNTERS, set("GUEST_IA32_PERF_GLOBAL_CTRL", 1n << 36n))],
	["27.3.1.1 EFER reserved", turn("GUEST_IA32_EFER", 2)],
	["27.3.1.1 EFER reserved above 32 bits", set("GUEST_IA32_EFER", 0x1_0000_0d01n)],
	["27.3.1.1 EFER.LMA", turn("GUEST_IA32_EFER", 0, 1 << 10)],
	["27.3.1.1 EFER.LME", turn("GUEST_IA32_EFER", 0, 1 << 8)],
	["27.3.1.1 CR4.CET without CR0.WP", all(turn("GUEST_CR0", 0, 1 << 16), turn("GUEST_CR4", 1 << 23))],
	["27.3.1.1 S_CET reserved", all(LOAD_GUEST_CET, set("GUEST_S_CET", 0x200))],
	["27.3.1.1 S_CET SUPPRESS and TRACKER", all(LOAD_GUEST_CET, set("GUEST_S_CET", 0xc04))],
	["27.3.1.1 SSP no multiple of 4", all(LOAD_GUEST_CET, set("GUEST_SSP", 1))],
	["27.3.1.1 SSP not canonical", all(LOAD_GUEST_CET, set("GUEST_SSP", NON_CANONICAL))],
	["27.3.1.1 interrupt SSP table", all(LOAD_GUEST_CET, set("GUEST_INTR_SSP_TABLE", NON_CANONICAL))],
	["27.3.1.2 TR TI", set("GUEST_TR_SELECTOR", 0x2c)],
	["27.3.1.2 LDTR TI", set("GUEST_LDTR_SELECTOR", 4)],
	["27.3.1.2 RPL of SS against CS", set("GUEST_SS_SELECTOR", 0x13)],
	["27.3.1.2 FS base", set("GUEST_FS_BASE", NON_CANONICAL)],
	["27.3.1.2 TR base", set("GUEST_TR_BASE", NON_CANONICAL)],
	["27.3.1.2 LDTR base", set("GUEST_LDTR_BASE", NON_CANONICAL)],
	["27.3.1.2 CS base above 32 bits", set("GUEST_CS_BASE", 1n << 32n)],
	["27.3.1.2 CS is data", set("GUEST_CS_AR_BYTES", 0xa093)],
	["27.3.1.2 CS unusable", turn("GUEST_CS_AR_BYTES", UNUSABLE)],
	["27.3.1.2 CS not present", set("GUEST_CS_AR_BYTES", 0xa01b)],
	["27.3.1.2 CS L and D", set("GUEST_CS_AR_BYTES", 0xe09b)],
	["27.3.1.2 CS DPL", set("GUEST_CS_AR_BYTES", 0xa0fb)],
	["27.3.1.2 SS type", set("GUEST_SS_AR_BYTES", 0xc091)],
	["27.3.1.2 SS DPL", set("GUEST_SS_AR_BYTES", 0xc0f3)],
	["27.3.1.2 DS not accessed", set("GUEST_DS_AR_BYTES", 0x92)],
	["27.3.1.2 ES execute-only code", set("GUEST_ES_AR_BYTES", 0x99)],
	["27.3.1.2 DS DPL below RPL", set("GUEST_DS_SELECTOR", 3)],
	["27.3.1.2 reserved rights", set("GUEST_DS_AR_BYTES", 0x193)],
	["27.3.1.2 G against the limit", set("GUEST_DS_LIMIT", 0x100000)],
	["27.3.1.2 TR available", set("GUEST_TR_AR_BYTES", 0x89)],
	["27.3.1.2 TR unusable", turn("GUEST_TR_AR_BYTES", UNUSABLE)],
	["27.3.1.2 LDTR type", set("GUEST_LDTR_AR_BYTES", 0x83)],
	["27.3.1.3 GDTR limit", set("GUEST_GDTR_LIMIT", 0x10000)],
	["27.3.1.3 IDTR base", set("GUEST_IDTR_BASE", NON_CANONICAL)],
	["27.3.1.4 RIP", set("GUEST_RIP", NON_CANONICAL)],
	["27.3.1.4 RFLAGS bit 1", set("GUEST_RFLAGS", 0)],
	["27.3.1.4 RFLAGS bit 15", set("GUEST_RFLAGS", 0x8002)],
	["27.3.1.4 RFLAGS.VM in IA-32e mode", set("GUEST_RFLAGS", 0x20002)],
	["27.3.1.4 interrupt with IF 0", inject(VALID | 0x40)],
	["27.3.1.5 activity state", set("GUEST_ACTIVITY_STATE", 4)],
	["27.3.1.5 HLT under STI", all(set("GUEST_RFLAGS", 0x202), set("GUEST_ACTIVITY_STATE", 1), set("GUEST_INTERRUPTIBILITY_INFO", 1))],
	["27.3.1.5 interruptibility reserved", set("GUEST_INTERRUPTIBILITY_INFO", 0x20)],
	["27.3.1.5 STI and MOV SS", all(set("GUEST_RFLAGS", 0x202), set("GUEST_INTERRUPTIBILITY_INFO", 3))],
	["27.3.1.5 STI with IF 0", set("GUEST_INTERRUPTIBILITY_INFO", 1)],
	["27.3.1.5 interrupt under MOV SS", all(set("GUEST_RFLAGS", 0x202), set("GUEST_INTERRUPTIBILITY_INFO", 2), inject(VALID | 0x40))],
	["27.3.1.5 NMI under MOV SS", all(set("GUEST_INTERRUPTIBILITY_INFO", 2), inject(VALID | (2 << 8) | 2))],
	["27.3.1.5 NMI under virtual-NMI blocking", all(interceptInterrupts, set("GUEST_INTERRUPTIBILITY_INFO", 8), inject(VALID | (2 << 8) | 2))],
	["27.3.1.5 link pointer", set("VMCS_LINK_POINTER", 0x1000)],
];

describe("the checks of VM entry", () => {
	it("let the VMCS pass that every corruption starts from", () => {
		expect(vmxExit(vmxGuest()).reason).toBe(EXIT_REASON.hlt);
	});

	for (const [error, table] of [
		[7, CONTROLS],
		[8, HOST],
	] as const) {
		it.each(table)(`VMfailValid(${error}): %s`, (section, change) => {
			const guest = vmxGuest();
			const { cpu, control } = guest;
			change(control);
			const before = cpu.memory.u8.slice(cpu.base, cpu.base + L.CYCLES);
			expect(enterVmx(guest), control.failedCheck ?? "passed").toBe(VMX_RESULT.failValid);
			expect(control.instructionError).toBe(error);
			expect(control.failedCheck).toContain(section.slice(0, 6));
			expect(cpu.memory.u8.slice(cpu.base, cpu.base + L.CYCLES)).toEqual(before);
		});
	}

	it.each(GUEST)("exit reason 33 with the host's state loaded: %s", (section, change) => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		change(control);
		expect(enterVmx(guest)).toBe(VMX_RESULT.exit);
		expect(field(control, "VM_EXIT_REASON"), control.failedCheck ?? "passed").toBe(
			(EXIT_REASON.invalidGuestState | ENTRY_FAILURE) >>> 0,
		);
		expect(control.failedCheck).toContain(section.split(" ")[0]);
		expect(cpu.read64(L.RIP)).toBe(HOST_RIP);
		expect(cpu.guest).toBeNull();
	});

	it("a PDPTE of PAE paging with reserved bits fails the entry with qualification 2, but not without PAE paging or P (SDM 27.3.1.6)", () => {
		const pae = all(
			turn("VM_ENTRY_CONTROLS", 0, ENTRY_CONTROL.ia32eModeGuest),
			set("GUEST_IA32_EFER", 0),
			set("GUEST_CS_AR_BYTES", 0xc09b),
		);
		for (const [entry, paged, reason] of [
			[3, true, (EXIT_REASON.invalidGuestState | ENTRY_FAILURE) >>> 0],
			[(1n << 62n) | 1n, true, (EXIT_REASON.invalidGuestState | ENTRY_FAILURE) >>> 0],
			[2, true, EXIT_REASON.tripleFault],
			[3, false, EXIT_REASON.hlt],
		] as const) {
			const guest = vmxGuest();
			program(guest.cpu);
			if (paged) pae(guest.control);
			guest.control.set("GUEST_PDPTR3", entry);
			expect(enterVmx(guest)).toBe(VMX_RESULT.exit);
			expect(field(guest.control, "VM_EXIT_REASON"), guest.control.failedCheck ?? "").toBe(reason);
			if (reason >= 2 ** 31) expect(guest.control.get("EXIT_QUALIFICATION")).toBe(2n);
		}
	});

	it("controls go before the host's state, and that before the guest's (SDM 27.1)", () => {
		const pick = <T>(table: readonly (readonly [string, T])[]) =>
			fc.constantFrom(...table.map(([, change]) => change));
		fc.assert(
			fc.property(
				pick(CONTROLS.slice(0, 6)),
				pick(HOST.slice(0, 8)),
				pick(GUEST.slice(0, 10)),
				(controls, host, state) => {
					const three = vmxGuest();
					state(three.control);
					host(three.control);
					enterVmx(three);
					expect(three.control.instructionError).toBe(8);
					controls(three.control);
					enterVmx(three);
					expect(three.control.instructionError).toBe(7);
				},
			),
			{ seed: 27, numRuns: 15 },
		);
	});

	it("a check that failed is made again: the same VMCS fails twice, and passes when mended", () => {
		const guest = vmxGuest();
		guest.control.set("GUEST_RFLAGS", 0);
		for (let n = 0; n < 2; n++) {
			enterVmx(guest);
			expect(field(guest.control, "VM_EXIT_REASON")).toBe(0x80000021);
		}
		guest.control.set("GUEST_RFLAGS", 2);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
	});
});

describe("IA32_PERF_GLOBAL_CTRL (SDM 27.3.2.1, 28.5.1)", () => {
	const HOSTS = 0x2_0000_0001n;
	const GUESTS = 0x4n;

	it.each([
		["neither control: it stays as it is, whatever the fields say", [], HOSTS],
		["the entry's: the guest's, which the exit leaves", [LOAD_GUEST_COUNTERS], GUESTS],
		["the exit's: the host's", [LOAD_GUEST_COUNTERS, LOAD_HOST_COUNTERS], 0x1n],
	] as const)("with %s", (_title, controls, loaded) => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		cpu.write64(L.PERF_GLOBAL_CTRL, HOSTS);
		control.set("GUEST_IA32_PERF_GLOBAL_CTRL", GUESTS);
		control.set("HOST_IA32_PERF_GLOBAL_CTRL", 0x1n);
		for (const change of controls) change(control);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(cpu.read64(L.PERF_GLOBAL_CTRL)).toBe(loaded);
	});

	it("is the host's again behind a VM entry that failed", () => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		control.set("HOST_IA32_PERF_GLOBAL_CTRL", HOSTS);
		LOAD_HOST_COUNTERS(control);
		control.set("GUEST_RFLAGS", 0);
		expect(enterVmx(guest)).toBe(VMX_RESULT.exit);
		expect(cpu.read64(L.PERF_GLOBAL_CTRL)).toBe(HOSTS);
	});
});

describe("MSR areas (SDM 27.4, 28.4, 28.6)", () => {
	const LSTAR = 0xc0000082;
	const entry = (guest: ReturnType<typeof vmxGuest>, at: number, msr: number, value: bigint) => {
		const { view, ramBase } = guest.cpu.memory;
		view.setUint32(ramBase + at, msr, true);
		view.setUint32(ramBase + at + 4, 0, true);
		view.setBigUint64(ramBase + at + 8, value, true);
	};

	it("entry loads the guest's, exit stores them and loads the host's", () => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		const [load, store, host] = [HOST_AT.area, HOST_AT.area + 16, HOST_AT.area + 32];
		for (const [kind, at] of [
			["VM_ENTRY_MSR_LOAD", load],
			["VM_EXIT_MSR_STORE", store],
			["VM_EXIT_MSR_LOAD", host],
		] as const) {
			control.set(`${kind}_COUNT`, 1);
			control.set(`${kind}_ADDR`, at);
		}
		entry(guest, load, LSTAR, 0x111n);
		entry(guest, store, LSTAR, 0n);
		entry(guest, host, LSTAR, 0x333n);
		program(cpu);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(cpu.memory.view.getBigUint64(cpu.memory.ramBase + store + 8, true)).toBe(0x111n);
		expect(cpu.read64(L.LSTAR)).toBe(0x333n);
	});

	it("a value that WRMSR would refuse, or the FS base, fails the entry with reason 34 and the entry's number", () => {
		for (const [msr, value] of [
			[LSTAR, NON_CANONICAL],
			[0xc0000100, 0n],
			[0x80f, 0n],
			[0xdead, 0n],
		] as const) {
			const guest = vmxGuest();
			guest.control.set("VM_ENTRY_MSR_LOAD_COUNT", 2);
			guest.control.set("VM_ENTRY_MSR_LOAD_ADDR", HOST_AT.area);
			entry(guest, HOST_AT.area, LSTAR, 0x1000n);
			entry(guest, HOST_AT.area + 16, msr, value);
			enterVmx(guest);
			expect(field(guest.control, "VM_EXIT_REASON")).toBe(0x80000022);
			expect(field(guest.control, "EXIT_QUALIFICATION")).toBe(2);
			expect(guest.cpu.read64(L.RIP)).toBe(HOST_RIP);
			expect(guest.control.launched).toBe(false);
		}
	});
});

describe("a machine check during VM entry (SDM 27.9)", () => {
	it("fails the entry with reason 41: the guest runs nothing, the host's state is loaded", () => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		program(cpu, ASM.cpuid);
		cpu.machineCheckDuringEntry = true;
		cpu.pending |= PENDING.machineCheck;
		enterVmx(guest);
		expect(field(control, "VM_EXIT_REASON")).toBe(
			(EXIT_REASON.machineCheckDuringEntry | ENTRY_FAILURE) >>> 0,
		);
		expect(control.get("GUEST_RIP")).toBe(BigInt(AT.code));
		expect(cpu.read64(L.RIP)).toBe(HOST_RIP);
		expect(cpu.read32(L.MCG_STATUS) & 4).toBe(4);
		expect(cpu.pending & PENDING.machineCheck).toBe(0);
		cpu.write32(L.MCG_STATUS, 0);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.cpuid);
	});

	it("belongs to the host when the entry never began", () => {
		const guest = vmxGuest();
		const { cpu, control } = guest;
		control.set("HOST_RIP", NON_CANONICAL);
		cpu.machineCheckDuringEntry = true;
		cpu.pending |= PENDING.machineCheck;
		expect(enterVmx(guest)).toBe(VMX_RESULT.failValid);
		expect(cpu.machineCheckDuringEntry).toBe(false);
		expect(cpu.pending & PENDING.machineCheck).toBe(PENDING.machineCheck);
	});
});
