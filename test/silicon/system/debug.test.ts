/** Debug exceptions (SDM Vol. 3B, 18.2 and 18.3), as a bare processor and under VMX and SVM. */
import { describe, expect, it } from "vitest";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG, writeRflags } from "../../../src/silicon/cpu/rflags.ts";
import { contextChanged } from "../../../src/silicon/paging/tlb.ts";
import { EXIT_CODE } from "../../../src/silicon/svm/exit-codes.ts";
import { AT, peek64 } from "../machine-code.ts";
import { ASM, bareMachine, field, program, svmExit, svmGuest, vmxExit, vmxGuest } from "../guest-machine.ts";

const { nop, movMemRbxRax, movSsAx, int1, incRsi } = ASM;
const BS = 1 << 14;
const CONSTANT = 0xffff0ff0;
const REP_STOSB = [0xf3, 0xaa];
const STI = ASM.sti;

/** Runs until the handler of an event halts. @returns its vector, and what the frame and DR6 say */
function runToHandler(cpu: Cpu): { vector: number; rip: number; flags: number; dr6: number } {
	cpu.halted = "no";
	cpu.execute(cpu);
	const top = Number(cpu.gpr(L.RSP));
	return {
		vector: (Number(cpu.read64(L.RIP)) - 1 - AT.handler) / 16,
		rip: Number(peek64(cpu, top)) - AT.code,
		flags: Number(peek64(cpu, top + 16)),
		dr6: (cpu.read32(L.DR6) ^ CONSTANT) >>> 0,
	};
}

function bare(flags: number, ...parts: readonly (readonly number[])[]): Cpu {
	const { cpu } = bareMachine("vmx");
	program(cpu, ...parts);
	writeRflags(cpu, flags | 2);
	return cpu;
}

/** Enables breakpoint 0. @param kind R/W and LEN as they stand in DR7 from bit 16 on */
function setBreakpoint(cpu: Cpu, address: number, kind: number): void {
	cpu.write64(L.DR0, BigInt(address));
	cpu.write32(L.DR7, 0x402 | (kind << 16));
	contextChanged(cpu);
}
const WRITE_8 = 0b1001;
const EXECUTE = 0;

describe("a single step", () => {
	it("traps behind one instruction, with TF in the frame and clear in the handler", () => {
		const cpu = bare(FLAG.TF, nop, nop);
		expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 1, dr6: BS });
		expect(cpu.read32(L.RFLAGS) & FLAG.TF).toBe(0);
		expect(Number(peek64(cpu, Number(cpu.gpr(L.RSP)) + 16)) & FLAG.TF).toBe(FLAG.TF);
	});

	it("traps behind each element of a REP, whose RIP stays", () => {
		const cpu = bare(FLAG.TF, REP_STOSB);
		cpu.setGpr(L.RCX, 5n);
		cpu.setGpr(L.RDI, BigInt(AT.data));
		expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 0, dr6: BS });
		expect(cpu.gpr(L.RCX)).toBe(4n);
	});

	it("is held back by MOV SS and lost, and not by STI", () => {
		const blocked = bare(FLAG.TF, movSsAx, nop, nop);
		blocked.setGpr(L.RAX, 0x10n);
		expect(runToHandler(blocked)).toMatchObject({ vector: 1, rip: 3 });
		expect(runToHandler(bare(FLAG.TF, STI, nop))).toMatchObject({ vector: 1, rip: 1 });
	});

	it("does not follow INT1, whose #DB says nothing in DR6", () => {
		expect(runToHandler(bare(FLAG.TF, int1, nop))).toMatchObject({ vector: 1, rip: 1, dr6: 0 });
	});

	it("follows taken branches alone with DEBUGCTL.BTF, which the #DB clears", () => {
		const cpu = bare(FLAG.TF, nop, nop, [0xeb, 0x01], nop, nop);
		cpu.write32(L.DEBUGCTL, 2);
		expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 5, dr6: BS });
		expect(cpu.read32(L.DEBUGCTL)).toBe(0);
	});

	it("comes ahead of an interrupt that is pending", () => {
		const { cpu, apic } = bareMachine("vmx");
		program(cpu, nop, nop);
		writeRflags(cpu, FLAG.TF | FLAG.IF | 2);
		cpu.halted = "no";
		cpu.onDeadline = (one) => {
			one.deadline = Number.POSITIVE_INFINITY;
			apic.raise(0x40);
		};
		cpu.deadline = cpu.cycles;
		expect([0x40, 1]).toContain(runToHandler(cpu).vector);
	});
});

describe("breakpoints", () => {
	it("an instruction breakpoint is a fault before the instruction, unless RF is set", () => {
		const cpu = bare(0, incRsi, incRsi);
		setBreakpoint(cpu, AT.code + 3, EXECUTE);
		expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 3, dr6: 1 });
		expect(cpu.gpr(L.RSI)).toBe(1n);
		const resumed = bare(FLAG.RF, incRsi, incRsi);
		setBreakpoint(resumed, AT.code, EXECUTE);
		resumed.halted = "no";
		resumed.execute(resumed);
		expect(resumed.gpr(L.RSI)).toBe(2n);
		expect(resumed.read32(L.RFLAGS) & FLAG.RF).toBe(0);
	});

	it("a data breakpoint is a trap behind the access, by its length and kind", () => {
		for (const [address, hit] of [
			[AT.data, true],
			[AT.data + 7, true],
			[AT.data + 8, false],
		] as const) {
			const cpu = bare(0, movMemRbxRax, nop);
			cpu.setGpr(L.RBX, BigInt(AT.data));
			setBreakpoint(cpu, address, WRITE_8);
			if (hit) expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 3, dr6: 1 });
			else {
				cpu.halted = "no";
				cpu.execute(cpu);
				expect(Number(cpu.read64(L.RIP))).toBe(AT.code + 5);
			}
		}
	});

	it("DR7.GD faults at a MOV of a debug register, and is clear in the handler", () => {
		const cpu = bare(0, ASM.movRaxDr6);
		cpu.write32(L.DR7, 0x2400);
		expect(runToHandler(cpu)).toMatchObject({ vector: 1, rip: 0, dr6: 1 << 13 });
		expect(cpu.read32(L.DR7)).toBe(0x400);
	});
});

describe("an intercepted #DB", () => {
	it("VMX: the exit qualification has what DR6 would get, and DR6 stays", () => {
		const guest = vmxGuest();
		program(guest.cpu, nop, nop);
		guest.control.set("GUEST_RFLAGS", FLAG.TF | 2);
		guest.control.set("EXCEPTION_BITMAP", 2);
		expect(vmxExit(guest)).toEqual({ reason: 0, qualification: BigInt(BS), length: 0 });
		expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code + 1));
		expect((guest.cpu.read32(L.DR6) ^ CONSTANT) >>> 0).toBe(0);
	});

	it("VMX: INT1 exits as a privileged software exception, with its length, before it", () => {
		const guest = vmxGuest();
		program(guest.cpu, int1);
		guest.control.set("EXCEPTION_BITMAP", 2);
		expect(vmxExit(guest)).toEqual({ reason: 0, qualification: 0n, length: 1 });
		expect((field(guest.control, "VM_EXIT_INTR_INFO") >>> 8) & 7).toBe(5);
		expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code));
	});

	it("VMX: an exit in the shadow of MOV SS with TF set leaves the single step pending, and VM entry wants it so", () => {
		const guest = vmxGuest();
		program(guest.cpu, movSsAx, ASM.cpuid);
		guest.cpu.setGpr(L.RAX, 0x10n);
		guest.control.set("GUEST_RFLAGS", FLAG.TF | 2);
		expect(vmxExit(guest).reason).toBe(10);
		expect(field(guest.control, "GUEST_INTERRUPTIBILITY_INFO")).toBe(2);
		expect(field(guest.control, "GUEST_PENDING_DBG_EXCEPTIONS")).toBe(BS);
		guest.control.set("GUEST_PENDING_DBG_EXCEPTIONS", 0);
		expect(vmxExit(guest).reason).toBe(0x80000021);
	});

	it("VMX: a debug exception that is pending at VM entry comes before the guest's first instruction", () => {
		const guest = vmxGuest();
		program(guest.cpu, incRsi);
		guest.control.set("GUEST_PENDING_DBG_EXCEPTIONS", 1 | (1 << 12));
		guest.control.set("EXCEPTION_BITMAP", 2);
		expect(vmxExit(guest)).toMatchObject({ reason: 0, qualification: 1n });
		expect(guest.cpu.gpr(L.RSI)).toBe(0n);
	});

	it("VMX: MOV DR exits whatever DR7.GD says; SVM writes DR6 before it exits", () => {
		const vmx = vmxGuest();
		program(vmx.cpu, ASM.movRaxDr6);
		vmx.control.set("GUEST_DR7", 0x2400);
		vmx.control.set("CPU_BASED_VM_EXEC_CONTROL", field(vmx.control, "CPU_BASED_VM_EXEC_CONTROL") | (1 << 23));
		expect(vmxExit(vmx).reason).toBe(29);
		const svm = svmGuest();
		program(svm.cpu, nop, nop);
		svm.control.rflags = BigInt(FLAG.TF | 2);
		svm.control.interceptException(1, true);
		expect(svmExit(svm)).toBe(EXIT_CODE.exceptionBase + 1);
		expect((svm.control.dr6 ^ CONSTANT) >>> 0).toBe(BS);
	});
});
