import { describe, expect, it } from "vitest";
import { CR4 } from "../../../src/silicon/cpu/control.ts";
import { type Cpu, PENDING } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { CPU_BASED, EXIT_CONTROL, EXIT_REASON, PIN } from "../../../src/silicon/vmx/controls.ts";
import type { Vmcs } from "../../../src/silicon/vmx/vmcs.ts";
import { AT, peek64, poke64, setGate } from "../machine-code.ts";
import {
	ASM,
	adjust,
	field,
	type Guest,
	interceptInterrupts,
	mapPage,
	program,
	programAt,
	vmxExit,
	vmxGuest,
} from "../guest-machine.ts";

const VALID = 0x80000000;
const info = (guest: Guest<Vmcs>) => field(guest.control, "VM_EXIT_INTR_INFO");
const vectoring = (guest: Guest<Vmcs>) => field(guest.control, "IDT_VECTORING_INFO_FIELD");
const rip = (guest: Guest<Vmcs>) => Number(guest.control.get("GUEST_RIP"));
const handler = (vector: number) => AT.handler + vector * 16;

function running(code: readonly number[], change: (guest: Guest<Vmcs>) => void = () => {}): Guest<Vmcs> {
	const guest = vmxGuest();
	program(guest.cpu, code);
	change(guest);
	return guest;
}

/** Does something when the processor's clock reaches a number of cycles. */
function at(cpu: Cpu, cycles: number, act: () => void): void {
	cpu.deadline = cycles;
	cpu.onDeadline = (one) => {
		one.deadline = Number.POSITIVE_INFINITY;
		act();
	};
}

describe("exceptions (SDM 26.2)", () => {
	it("exit exactly if the bitmap says so; otherwise the guest's handler runs", () => {
		for (const on of [true, false]) {
			const guest = running(ASM.ud2, ({ control }) =>
				control.set("EXCEPTION_BITMAP", on ? 1 << 6 : 0xffff_bfbf),
			);
			expect(vmxExit(guest).reason).toBe(on ? EXIT_REASON.exceptionOrNmi : EXIT_REASON.hlt);
			if (on) expect(info(guest)).toBe(VALID + 0x306);
			expect(rip(guest)).toBe(on ? AT.code : handler(6));
		}
	});

	it("#PF also needs (error code AND mask) = match, or the reverse with the bit clear; CR2 stays, the address is the qualification", () => {
		for (const bit of [0, 1]) {
			for (const mask of [0, 1, 2, 3]) {
				for (const match of [0, 1, 2, 3]) {
					const guest = running(ASM.movMemRbxRax, ({ cpu, control }) => {
						cpu.setGpr(L.RBX, BigInt(AT.data + 0x123));
						poke64(cpu, AT.table + (AT.data >> 12) * 8, 0n);
						control.set("EXCEPTION_BITMAP", bit << 14);
						control.set("PAGE_FAULT_ERROR_CODE_MASK", mask);
						control.set("PAGE_FAULT_ERROR_CODE_MATCH", match);
					});
					const exits = ((2 & mask) === match) === (bit === 1);
					const exit = vmxExit(guest);
					expect(exit.reason).toBe(exits ? EXIT_REASON.exceptionOrNmi : EXIT_REASON.hlt);
					if (exits) {
						expect(info(guest)).toBe(VALID + 0xb0e);
						expect(field(guest.control, "VM_EXIT_INTR_ERROR_CODE")).toBe(2);
						expect(exit.qualification).toBe(BigInt(AT.data + 0x123));
					}
					expect(guest.cpu.read64(L.CR2)).toBe(exits ? 0n : BigInt(AT.data + 0x123));
				}
			}
		}
	});

	it("INT3 exits as a software exception with its length, INT n does not ask the bitmap", () => {
		const int3 = running(ASM.int3, ({ control }) => control.set("EXCEPTION_BITMAP", 1 << 3));
		expect(vmxExit(int3)).toMatchObject({ reason: EXIT_REASON.exceptionOrNmi, length: 1 });
		expect(info(int3)).toBe(VALID + 0x603);
		const intN = running([0xcd, 3], ({ control }) => control.set("EXCEPTION_BITMAP", 1 << 3));
		expect(vmxExit(intN).reason).toBe(EXIT_REASON.hlt);
		expect(rip(intN)).toBe(handler(3));
	});

	it("an exception that exits while INT n is delivered records INT n as vectoring, with its length (SDM 28.2.4)", () => {
		const guest = running(ASM.int80, ({ cpu, control }) => {
			poke64(cpu, AT.idt + 0x80 * 16, 0n);
			control.set("EXCEPTION_BITMAP", 1 << 13);
		});
		expect(vmxExit(guest)).toMatchObject({ reason: EXIT_REASON.exceptionOrNmi, length: 2 });
		expect(info(guest)).toBe(VALID + 0xb0d);
		expect(field(guest.control, "VM_EXIT_INTR_ERROR_CODE")).toBe(0x80 * 8 + 2);
		expect(vectoring(guest)).toBe(VALID + 0x480);
		expect(rip(guest)).toBe(AT.code);
	});

	it("INT1 ignores the gate's DPL and returns behind itself; its vectoring type is 5", () => {
		const plain = running(ASM.int1, ({ cpu, control }) => {
			setGate(cpu, 1, handler(1), 0xe, 0);
			poke64(cpu, AT.tss + 4, BigInt(AT.kernelStack));
			control.set("GUEST_CS_AR_BYTES", 0xa0fb);
			control.set("GUEST_CS_SELECTOR", 0x23);
			control.set("GUEST_SS_AR_BYTES", 0xc0f3);
			control.set("GUEST_SS_SELECTOR", 0x1b);
		});
		vmxExit(plain);
		expect(rip(plain)).toBe(handler(1));
		expect(peek64(plain.cpu, AT.kernelStack - 40)).toBe(BigInt(AT.code + 1));
		const missing = running(ASM.int1, ({ cpu, control }) => {
			poke64(cpu, AT.idt + 16, 0n);
			control.set("EXCEPTION_BITMAP", 1 << 13);
		});
		expect(vmxExit(missing).length).toBe(1);
		expect(vectoring(missing)).toBe(VALID + 0x501);
		expect(rip(missing)).toBe(AT.code);
	});

	it("a #DF that exits is not counted as during delivery: no vectoring information (SDM 28.2.4)", () => {
		const guest = running(ASM.movRaxMemRbx, ({ cpu, control }) => {
			cpu.setGpr(L.RBX, BigInt(AT.data));
			poke64(cpu, AT.table + (AT.data >> 12) * 8, 0n);
			poke64(cpu, AT.idt + 14 * 16, 0n);
			control.set("EXCEPTION_BITMAP", 1 << 8);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0xb08);
		expect(vectoring(guest)).toBe(0);
	});

	it("an EPT violation during delivery records the event, and the stack and RIP are those before it", () => {
		const guest = running(ASM.ud2, ({ cpu }) => mapPage(cpu, (AT.stack - 8) >> 12, 0n));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.eptViolation);
		expect(vectoring(guest)).toBe(VALID + 0x306);
		expect(rip(guest)).toBe(AT.code);
		expect(guest.control.get("GUEST_RSP")).toBe(BigInt(AT.stack));
		mapPage(guest.cpu, (AT.stack - 8) >> 12, BigInt(AT.stack - 0x1000) | 0x37n);
		guest.control.set("VM_ENTRY_INTR_INFO_FIELD", vectoring(guest));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).toBe(handler(6));
	});
});

describe("event injection (SDM 27.6)", () => {
	it.each([
		["external interrupt", 0x040, 0, 0x40, 0, null],
		["NMI", 0x202, 0, 2, 0, null],
		["hardware exception with an error code", 0xb0d, 0, 13, 0, 0x18],
		["hardware exception without", 0x306, 0, 6, 0, null],
		["software interrupt", 0x480, 2, 0x80, 2, null],
		["privileged software exception", 0x501, 1, 1, 1, null],
		["software exception", 0x603, 1, 3, 1, null],
	] as const)(
		"%s: delivered through the guest's IDT before any instruction, once, whatever the exception bitmap says",
		(_name, event, length, vector, returns, code) => {
			const guest = running(ASM.cpuid, ({ control }) => {
				control.set("GUEST_RFLAGS", 0x202);
				control.set("EXCEPTION_BITMAP", 0xffffffff);
				control.set("VM_ENTRY_INTR_INFO_FIELD", VALID + event);
				control.set("VM_ENTRY_INSTRUCTION_LEN", length);
				control.set("VM_ENTRY_EXCEPTION_ERROR_CODE", code ?? 0);
			});
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
			const { cpu, control } = guest;
			expect(rip(guest)).toBe(handler(vector));
			const frame = Number(control.get("GUEST_RSP"));
			if (code !== null) expect(peek64(cpu, frame)).toBe(BigInt(code));
			expect(peek64(cpu, frame + (code === null ? 0 : 8))).toBe(BigInt(AT.code + returns));
			expect(field(control, "VM_ENTRY_INTR_INFO_FIELD") & VALID).toBe(0);
			expect(field(control, "GUEST_INTERRUPTIBILITY_INFO")).toBe(vector === 2 ? 8 : 0);
			expect(vectoring(guest)).toBe(0);
		},
	);

	it("an injected event whose delivery faults exits with the event as vectoring", () => {
		const guest = running([], ({ cpu, control }) => {
			control.set("GUEST_RFLAGS", 0x202);
			control.set("VM_ENTRY_INTR_INFO_FIELD", VALID + 0x40);
			control.set("EXCEPTION_BITMAP", 1 << 11);
			poke64(cpu, AT.idt + 0x40 * 16, 0x0000_0e00_0008_0000n);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0xb0b);
		expect(field(guest.control, "VM_EXIT_INTR_ERROR_CODE")).toBe(0x40 * 8 + 3);
		expect(vectoring(guest)).toBe(VALID + 0x40);
	});

	it("wakes a guest that enters in the HLT state, which otherwise waits for its events (SDM 27.7.2)", () => {
		const injected = running([], ({ control }) => {
			control.set("GUEST_ACTIVITY_STATE", 1);
			control.set("GUEST_RFLAGS", 0x202);
			control.set("VM_ENTRY_INTR_INFO_FIELD", VALID + 0x40);
		});
		vmxExit(injected);
		expect(rip(injected)).toBe(handler(0x40));
		expect(field(injected.control, "GUEST_ACTIVITY_STATE")).toBe(0);
		const waiting = running(ASM.cpuid, ({ cpu, apic, control }) => {
			control.set("GUEST_ACTIVITY_STATE", 1);
			interceptInterrupts(control);
			at(cpu, cpu.cycles + 50_000, () => apic.raise(0x41));
		});
		expect(vmxExit(waiting).reason).toBe(EXIT_REASON.externalInterrupt);
		expect(waiting.cpu.cycles).toBeGreaterThanOrEqual(50_000);
		expect(rip(waiting)).toBe(AT.code);
		expect(field(waiting.control, "GUEST_ACTIVITY_STATE")).toBe(1);
	});
});

describe("external interrupts (SDM 26.2)", () => {
	it("exit whatever RFLAGS.IF says; acknowledged only with acknowledge-on-exit", () => {
		for (const flags of [2, 0x202]) {
			for (const acknowledge of [false, true]) {
				const guest = running(ASM.cpuid, ({ apic, control }) => {
					interceptInterrupts(control);
					control.set("GUEST_RFLAGS", flags);
					adjust(control, "VM_EXIT_CONTROLS", acknowledge ? EXIT_CONTROL.acknowledgeInterrupt : 0);
					apic.raise(0x55);
				});
				expect(vmxExit(guest).reason).toBe(EXIT_REASON.externalInterrupt);
				expect(rip(guest)).toBe(AT.code);
				expect(info(guest)).toBe(acknowledge ? VALID + 0x55 : 0);
				expect([guest.apic.inService(0x55), guest.apic.requested(0x55)]).toEqual([acknowledge, !acknowledge]);
				expect(guest.cpu.pending & PENDING.interrupt).toBe(acknowledge ? 0 : PENDING.interrupt);
			}
		}
	});

	it("without the control go through the guest's IDT when IF is set, and wait while it is clear", () => {
		const guest = running([...ASM.nop, ...ASM.sti, ...ASM.nop], ({ apic }) => apic.raise(0x55));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(rip(guest)).toBe(handler(0x55));
		// STI's shadow covers the NOP: the frame returns behind it.
		expect(peek64(guest.cpu, Number(guest.control.get("GUEST_RSP")))).toBe(BigInt(AT.code + 3));
		expect(guest.apic.inService(0x55)).toBe(true);
	});

	it("one that arrives while the guest loops ends the loop", () => {
		const guest = running(ASM.jmpSelf, ({ cpu, apic, control }) => {
			interceptInterrupts(control);
			at(cpu, cpu.cycles + 20_000, () => apic.raise(0x30));
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.externalInterrupt);
		expect(rip(guest)).toBe(AT.code);
	});

	it("wait out a MOV SS or STI shadow", () => {
		const guest = running([...ASM.nop, ...ASM.cpuid], ({ apic, control }) => {
			interceptInterrupts(control);
			control.set("GUEST_RFLAGS", 0x202);
			control.set("GUEST_INTERRUPTIBILITY_INFO", 1);
			apic.raise(0x30);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.externalInterrupt);
		expect(rip(guest)).toBe(AT.code + 1);
	});
});

describe("NMIs", () => {
	it("exit and leave NMIs blocked; without the control the guest takes them once, until its IRET", () => {
		const exits = running(ASM.cpuid, ({ cpu, control }) => {
			interceptInterrupts(control);
			cpu.pending |= PENDING.nmi;
		});
		expect(vmxExit(exits).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(exits)).toBe(VALID + 0x202);
		expect(exits.cpu.nmiBlocked).toBe(true);
		expect(exits.cpu.pending & PENDING.nmi).toBe(0);

		const taken = running(ASM.cpuid, ({ cpu }) => {
			cpu.pending |= PENDING.nmi;
			programAt(cpu, handler(2), ASM.vmcall, ASM.iretq);
		});
		expect(vmxExit(taken).reason).toBe(EXIT_REASON.vmcall);
		expect(field(taken.control, "GUEST_INTERRUPTIBILITY_INFO")).toBe(8);
		taken.cpu.pending |= PENDING.nmi;
		taken.control.set("GUEST_RIP", handler(2) + 3);
		expect(vmxExit(taken).reason, "the second waits for IRET").toBe(EXIT_REASON.vmcall);
		expect(peek64(taken.cpu, Number(taken.control.get("GUEST_RSP")))).toBe(BigInt(AT.code));
	});

	it("a pending NMI exits although virtual NMIs are blocked", () => {
		const guest = running(ASM.cpuid, ({ cpu, control }) => {
			interceptInterrupts(control);
			control.set("GUEST_INTERRUPTIBILITY_INFO", 8);
			cpu.pending |= PENDING.nmi;
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
	});
});

describe("an IRET that faults (SDM Vol. 3C, 26.3 and 28.2.3)", () => {
	const UNBLOCKED = 0x1000;
	const blocking = (guest: Guest<Vmcs>) => field(guest.control, "GUEST_INTERRUPTIBILITY_INFO");
	/** #GP(0), since the frame's CS is null; it exits if `exits`. */
	const faulting = (blocked: number, exits = true, change: (guest: Guest<Vmcs>) => void = () => {}) =>
		running(ASM.iretq, (guest) => {
			interceptInterrupts(guest.control);
			guest.control.set("GUEST_INTERRUPTIBILITY_INFO", blocked);
			if (exits) guest.control.set("EXCEPTION_BITMAP", 1 << 13);
			change(guest);
		});

	it("has ended virtual-NMI blocking, which its exit tells in bit 12 of the interruption information", () => {
		for (const blocked of [8, 0]) {
			const guest = faulting(blocked);
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
			expect(info(guest)).toBe(VALID + 0xb0d + (blocked === 8 ? UNBLOCKED : 0));
			expect(blocking(guest)).toBe(0);
		}
	});

	it("tells it in the qualification of an EPT violation, and not where the bit is undefined: during a delivery", () => {
		const violation = faulting(8, false, ({ cpu }) => mapPage(cpu, AT.stack >> 12, 0n));
		const { reason, qualification } = vmxExit(violation);
		expect(reason).toBe(EXIT_REASON.eptViolation);
		expect(Number(qualification) & UNBLOCKED).toBe(UNBLOCKED);
		expect(blocking(violation)).toBe(0);

		const delivery = faulting(8, false, ({ cpu }) => mapPage(cpu, AT.idt >> 12, 0n));
		expect(Number(vmxExit(delivery).qualification) & UNBLOCKED).toBe(0);
		expect(vectoring(delivery)).toBe(VALID + 0xb0d);
		expect(blocking(delivery)).toBe(0);
	});

	it("says nothing of faults behind it", () => {
		const guest = faulting(8, false, ({ cpu, control }) => {
			programAt(cpu, handler(13), ASM.ud2);
			control.set("EXCEPTION_BITMAP", 1 << 6);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0x306);
	});

	it("leaves blocking by NMI alone under NMI exiting without virtual NMIs", () => {
		const guest = faulting(8, true, ({ control }) =>
			adjust(control, "PIN_BASED_VM_EXEC_CONTROL", 0, PIN.virtualNmis),
		);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0xb0d);
		expect(blocking(guest)).toBe(8);
	});
});

describe("windows (SDM 26.2)", () => {
	const window = (control: Vmcs, bit: number) => {
		interceptInterrupts(control);
		adjust(control, "CPU_BASED_VM_EXEC_CONTROL", bit);
	};

	it("the interrupt window exits at once with IF set, behind the shadow of STI, or at POPF and IRET that set IF", () => {
		const open = running(ASM.cpuid, ({ control }) => {
			window(control, CPU_BASED.interruptWindowExiting);
			control.set("GUEST_RFLAGS", 0x202);
		});
		expect(vmxExit(open).reason).toBe(EXIT_REASON.interruptWindow);
		expect(rip(open)).toBe(AT.code);
		for (const [code, stops] of [
			[[...ASM.sti, ...ASM.nop, ...ASM.cpuid], 2],
			[[...ASM.pushImm(0x202), ...ASM.popfq, ...ASM.nop, ...ASM.cpuid], 6],
		] as const) {
			const guest = running(code, ({ control }) => window(control, CPU_BASED.interruptWindowExiting));
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.interruptWindow);
			expect(rip(guest)).toBe(AT.code + stops);
		}
	});

	it("IF that STI sets and CLI clears again in the shadow opens no window", () => {
		const guest = running([...ASM.sti, ...ASM.cli, ...ASM.cpuid], ({ control }) =>
			window(control, CPU_BASED.interruptWindowExiting),
		);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.cpuid);
	});

	it("the NMI window opens when the guest's IRET ends virtual-NMI blocking", () => {
		const guest = running(ASM.iretq, ({ cpu, control }) => {
			window(control, CPU_BASED.nmiWindowExiting);
			control.set("GUEST_INTERRUPTIBILITY_INFO", 8);
			for (const [n, value] of [AT.data, 8, 2, AT.stack, 16].entries())
				poke64(cpu, AT.stack + n * 8, BigInt(value));
			programAt(cpu, AT.data, ASM.cpuid);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.nmiWindow);
		expect(rip(guest)).toBe(AT.data);
		expect(field(guest.control, "GUEST_INTERRUPTIBILITY_INFO")).toBe(0);
	});

	it("priority at one boundary: #MC, preemption timer, NMI window, NMI, interrupt window, interrupt (SDM Vol. 3A, table 7-2)", () => {
		const guest = running(ASM.cpuid, ({ cpu, apic, control }) => {
			window(control, CPU_BASED.interruptWindowExiting | CPU_BASED.nmiWindowExiting);
			adjust(control, "PIN_BASED_VM_EXEC_CONTROL", PIN.preemptionTimer);
			control.set("EXCEPTION_BITMAP", 1 << 18);
			control.set("GUEST_RFLAGS", 0x202);
			apic.raise(0x30);
			cpu.pending |= PENDING.nmi | PENDING.machineCheck;
		});
		const { cpu, control } = guest;
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0x312);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.preemptionTimer);
		adjust(control, "PIN_BASED_VM_EXEC_CONTROL", 0, PIN.preemptionTimer);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.nmiWindow);
		adjust(control, "CPU_BASED_VM_EXEC_CONTROL", 0, CPU_BASED.nmiWindowExiting);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.exceptionOrNmi);
		expect(info(guest)).toBe(VALID + 0x202);
		cpu.nmiBlocked = false;
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.interruptWindow);
		adjust(control, "CPU_BASED_VM_EXEC_CONTROL", 0, CPU_BASED.interruptWindowExiting);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.externalInterrupt);
	});
});

describe("machine checks in the guest", () => {
	it("exit by the bitmap, or go to the guest's handler; a second in progress is a shutdown", () => {
		for (const on of [true, false]) {
			const guest = running(ASM.cpuid, ({ cpu, control }) => {
				adjust(control, "GUEST_CR4", CR4.MCE);
				control.set("EXCEPTION_BITMAP", on ? 1 << 18 : 0);
				cpu.pending |= PENDING.machineCheck;
			});
			expect(vmxExit(guest).reason).toBe(on ? EXIT_REASON.exceptionOrNmi : EXIT_REASON.hlt);
			if (!on) expect(rip(guest)).toBe(handler(18));
			expect(guest.cpu.read32(L.MCG_STATUS)).toBe(4);
			guest.cpu.pending |= PENDING.machineCheck;
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.tripleFault);
		}
	});
});

describe("the preemption timer (SDM 26.5.1)", () => {
	const timer = (guest: Guest<Vmcs>, units: number, save = false) => {
		interceptInterrupts(guest.control);
		adjust(guest.control, "PIN_BASED_VM_EXEC_CONTROL", PIN.preemptionTimer);
		adjust(guest.control, "VM_EXIT_CONTROLS", save ? EXIT_CONTROL.savePreemptionTimer : 0);
		guest.control.set("VMX_PREEMPTION_TIMER_VALUE", units);
	};

	it("0 exits before the first instruction, but behind the delivery of an injected event", () => {
		const guest = running(ASM.cpuid, (one) => timer(one, 0));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.preemptionTimer);
		expect(rip(guest)).toBe(AT.code);
		guest.control.set("VM_ENTRY_INTR_INFO_FIELD", VALID + 0x306);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.preemptionTimer);
		expect(rip(guest)).toBe(handler(6));
	});

	it("counts one unit each 32 cycles of the TSC and ends a loop", () => {
		for (const units of [10, 1000]) {
			const guest = running(ASM.jmpSelf, (one) => timer(one, units));
			const before = guest.cpu.cycles;
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.preemptionTimer);
			const passed = guest.cpu.cycles - before;
			expect(passed).toBeGreaterThanOrEqual((units - 1) * 32);
			expect(passed).toBeLessThan(units * 32 + 5000);
		}
	});

	it("is saved at an exit if the control says so, and leaves the host's deadline as it was", () => {
		for (const save of [true, false]) {
			const slow = Array.from({ length: 20 }, () => ASM.rdtsc).flat();
			const guest = running([...slow, ...ASM.cpuid], (one) => timer(one, 1e6, save));
			const { cpu, control } = guest;
			let fired = 0;
			at(cpu, cpu.cycles + 1e7, () => fired++);
			const { deadline } = cpu;
			vmxExit(guest);
			const left = field(control, "VMX_PREEMPTION_TIMER_VALUE");
			if (save) expect(left).toBeLessThan(1e6);
			else expect(left).toBe(1e6);
			expect(left).toBeGreaterThan(9e5);
			expect([cpu.deadline, fired]).toEqual([deadline, 0]);
		}
	});
});

describe("RFLAGS across exits", () => {
	it("arithmetic flags that were lazy are exact in the VMCS", () => {
		// ADD AL, AL with AL = 80h: CF, ZF, PF, OF.
		const guest = running([0xb0, 0x80, 0x00, 0xc0, ...ASM.cpuid]);
		vmxExit(guest);
		expect(field(guest.control, "GUEST_RFLAGS")).toBe(2 | FLAG.CF | FLAG.ZF | FLAG.PF | FLAG.OF);
	});
});
