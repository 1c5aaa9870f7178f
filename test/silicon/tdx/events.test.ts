/**
 * Events that come while a TD runs or the module does (TDX Module Base Architecture, "Interrupt handling": external
 * interrupts, NMIs and machine checks cause TD exits).
 */
import { tdhVpRdVmxip, tdhVpWrPostedInterrupts } from "../../../src/silicon/tdx/tdh-vp-fields.ts";
import { PostedInterruptDescriptor } from "../../../src/silicon/vmx/posted-interrupts.ts";
import { describe, expect, it } from "vitest";
import { type Cpu, PENDING } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { TDX_STATUS } from "../../../src/silicon/tdx/module.ts";
import { SHARED_BIT } from "../../../src/silicon/tdx/td.ts";
import { tdhVpEnter } from "../../../src/silicon/tdx/tdh-vp-enter.ts";
import { poke64 } from "../machine-code.ts";
import { CPUID, EXCEPTION, JMP_SELF, mov, R, SHARED_WINDOW, STI, TD_AT, vmcall } from "./td-code.ts";
import { enterTd, makeTd, TD_HPA, type TestTd } from "./td-machine.ts";

const VALID = 0x8000_0000;
const EXIT = { exceptionOrNmi: 0, interrupt: 1, tripleFault: 2, eptViolation: 48, tdcall: 77 } as const;
const SPIN = { program: JMP_SELF };
/** CPUID for ever: the module handles each exit, and the TD hardly runs. */
const CPUID_LOOP = { program: [0x31, 0xc0, ...CPUID, 0xeb, 0xfa] };

/** Something happens when the clock has come this far. */
function at({ cpu }: TestTd, cycles: number, what: (cpu: Cpu) => void): void {
	cpu.onDeadline = (one) => {
		one.deadline = Number.POSITIVE_INFINITY;
		what(one);
	};
	cpu.deadline = cpu.cycles + cycles;
}

/** Something happens when the TD was entered. */
function onEntry({ cpu }: TestTd, what: (cpu: Cpu) => void): void {
	cpu.observer = {
		onOp: () => {},
		onGuestEntry: (one) => {
			one.observer = null;
			what(one);
		},
	};
}

describe("an external interrupt", () => {
	const acknowledged = ({ apic, vcpu, regs }: TestTd, vector: number) => {
		expect(vcpu.exitIntrInfo).toBe((VALID | vector) >>> 0);
		expect(regs[9]).toBe(BigInt((VALID | vector) >>> 0));
		// In service: it no longer waits, and holds back one of the same priority until an EOI.
		expect(apic.highestPending()).toBe(-1);
		apic.raise(vector);
		expect(apic.highestPending()).toBe(-1);
		apic.eoi();
		expect(apic.highestPending()).toBe(vector);
	};

	it("that waits at the entry ends the run before the first instruction, IF or not", () => {
		const made = makeTd(SPIN);
		made.apic.raise(0x31);
		const before = made.cpu.instructions;
		expect(enterTd(made)).toBe(EXIT.interrupt);
		expect(made.cpu.instructions).toBe(before);
		expect(made.vcpu.vmcs.get("GUEST_RIP")).toBe(BigInt(TD_AT.reset));
		acknowledged(made, 0x31);
	});

	it("that comes while the TD runs ends its run; the vector is in service and in the interruption information", () => {
		const made = makeTd(SPIN);
		at(made, 50_000, () => made.apic.raise(0xec));
		expect(enterTd(made)).toBe(EXIT.interrupt);
		expect(made.cpu.instructions).toBeGreaterThan(100);
		acknowledged(made, 0xec);
	});

	it("that comes in a loop of exits which the module handles is not lost", () => {
		const made = makeTd(CPUID_LOOP);
		at(made, 50_000, () => made.apic.raise(0x41));
		expect(enterTd(made)).toBe(EXIT.interrupt);
		acknowledged(made, 0x41);
	});

	it("does not go through the TD's IDT", () => {
		const made = makeTd({ program: [...STI, ...JMP_SELF] });
		at(made, 50_000, () => made.apic.raise(0x41));
		expect(enterTd(made)).toBe(EXIT.interrupt);
		expect(made.vcpu.vmcs.get("GUEST_RFLAGS") & 0x200n).toBe(0x200n);
	});

	it("at a lower priority waits for the next entry", () => {
		const made = makeTd(SPIN);
		made.apic.raise(0x31);
		made.apic.raise(0x51);
		enterTd(made);
		expect(made.vcpu.exitIntrInfo & 0xff).toBe(0x51);
		made.apic.eoi();
		enterTd(made);
		expect(made.vcpu.exitIntrInfo & 0xff).toBe(0x31);
	});

	it("that is posted is the TD's: its vector waits in the virtual APIC, the notification is gone, and the TD does not exit", () => {
		const made = makeTd(SPIN);
		const posted = new PostedInterruptDescriptor(made.cpu.memory, TD_HPA.posted);
		tdhVpWrPostedInterrupts(made.vcpu, posted.hpa, 0xf2);
		expect([posted.testAndSetPir(0x41), posted.testAndSetOn()]).toEqual([false, false]);
		made.apic.raise(0xf2);
		at(made, 50_000, () => made.apic.raise(0x31));
		expect(enterTd(made)).toBe(EXIT.interrupt);
		expect(made.cpu.instructions).toBeGreaterThan(100);
		acknowledged(made, 0x31);
		expect([posted.isOn, posted.hasRequests, tdhVpRdVmxip(made.vcpu)]).toEqual([false, false, true]);
	});

	it("leaves no event behind: the TD goes on where it was", () => {
		const made = makeTd({ program: [...mov(R.rbx, 9), ...vmcall(1 << R.rbx)] });
		made.apic.raise(0x31);
		expect(enterTd(made)).toBe(EXIT.interrupt);
		made.apic.eoi();
		expect(enterTd(made)).toBe(EXIT.tdcall);
		expect(made.regs[R.rbx]).toBe(9n);
	});
});

describe("an NMI", () => {
	it("ends the run with an interruption of type NMI and leaves NMIs blocked for the VMM", () => {
		const made = makeTd(CPUID_LOOP);
		at(made, 20_000, (cpu) => {
			cpu.pending |= PENDING.nmi;
		});
		expect(enterTd(made)).toBe(EXIT.exceptionOrNmi);
		expect(made.vcpu.exitIntrInfo).toBe((VALID | (2 << 8) | 2) >>> 0);
		expect(made.cpu.nmiBlocked).toBe(true);
		expect(made.cpu.pending & PENDING.nmi).toBe(0);
	});

	it("comes before an interrupt, which waits", () => {
		const made = makeTd(SPIN);
		made.apic.raise(0x31);
		made.cpu.pending |= PENDING.nmi;
		expect(enterTd(made)).toBe(EXIT.exceptionOrNmi);
		expect(made.apic.highestPending()).toBe(0x31);
		made.cpu.nmiBlocked = false;
		expect(enterTd(made)).toBe(EXIT.interrupt);
	});
});

describe("a machine check", () => {
	it("in the TD ends the run as exception 18, and one is in progress", () => {
		const made = makeTd(SPIN);
		onEntry(made, (cpu) => {
			cpu.pending |= PENDING.machineCheck;
		});
		expect(enterTd(made)).toBe(EXIT.exceptionOrNmi);
		expect(made.vcpu.exitIntrInfo).toBe((VALID | (3 << 8) | 18) >>> 0);
		expect(made.cpu.read32(L.MCG_STATUS) & 4).toBe(4);
	});

	it("during the entry fails it: exit reason 41 with bit 31, and the VMM finds the module's state as after any exit", () => {
		const made = makeTd(SPIN);
		const { cpu, vcpu, regs } = made;
		cpu.machineCheckDuringEntry = true;
		expect(enterTd(made)).toBe((VALID | 41) >>> 0);
		expect([vcpu.exitIntrInfo, vcpu.exitQualification]).toEqual([0, 0]);
		expect(regs[9]).toBe(0n);
		expect([cpu.xcr0, cpu.xss, cpu.pkru]).toEqual([0x2e7, 0, 0]);
		expect(cpu.machineCheckDuringEntry).toBe(false);
	});

	it.each(["in the TD", "during the entry"])(
		"%s disables the TD: its status says non-recoverable, and later entries are refused with TDX_TD_FATAL",
		(where) => {
			const made = makeTd(SPIN);
			const { cpu, vcpu, regs } = made;
			if (where === "during the entry") cpu.machineCheckDuringEntry = true;
			else
				onEntry(made, (one) => {
					one.pending |= PENDING.machineCheck;
				});
			expect(tdhVpEnter(cpu, vcpu, regs)).toBe(TDX_STATUS.nonRecoverableTdNonAccessible);
			cpu.write32(L.MCG_STATUS, 0);
			const { instructions } = cpu;
			expect(tdhVpEnter(cpu, vcpu, regs)).toBe(TDX_STATUS.tdFatal);
			expect(cpu.instructions).toBe(instructions);
		},
	);
});

describe("the end of a TD", () => {
	it("a triple fault exits with reason 2 and status TDX_NON_RECOVERABLE_VCPU", () => {
		// UD2 with the IDT that a new TD has: none.
		const made = makeTd({ program: [], start32: [0x0f, 0x0b] });
		expect(tdhVpEnter(made.cpu, made.vcpu, made.regs)).toBe(TDX_STATUS.nonRecoverableVcpu);
		expect(made.vcpu.exitReason).toBe(EXIT.tripleFault);
	});
});

describe("memory", () => {
	/** MOV RAX, [RBX] and MOV [RBX], RAX. */
	const load = [0x48, 0x8b, 0x03];
	const store = [0x48, 0x89, 0x03];

	it.each([
		["read", load, 1],
		["write", store, 2],
	])(
		"a %s of private memory that was not added tells the VMM the page and the kind of access, not the address",
		(_kind, code, access) => {
			const made = makeTd({ program: [...mov(R.rbx, TD_AT.absent + 0x128), ...code] });
			expect(enterTd(made)).toBe(EXIT.eptViolation);
			expect(made.regs[8]).toBe(BigInt(TD_AT.absent));
			expect(made.regs[R.rcx]! & 0x1f87n).toBe(BigInt(access));
			expect(made.vcpu.vmcs.get("GUEST_RIP")).toBe(BigInt(TD_AT.program + 10));
		},
	);

	it("an exception whose delivery the missing page interrupted is delivered at the next entry", () => {
		// RSP into absent memory, then UD2: the frame cannot be pushed.
		const made = makeTd({ program: [...mov(R.rsp, TD_AT.absent + 0x100), 0x0f, 0x0b] });
		expect(enterTd(made)).toBe(EXIT.eptViolation);
		expect(made.vcpu.vmcs.get("VM_ENTRY_INTR_INFO_FIELD")).toBe(0x8000_0306n);
		// The VMM adds the page; here by the entry itself, since TDH.MEM.PAGE.AUG is not modelled.
		const entry = TD_HPA.tables + 2 * 4096 + ((TD_AT.absent >>> 12) & 511) * 8;
		poke64(made.cpu, entry, BigInt(TD_HPA.pages + 0x80000) | 0x37n);
		expect(enterTd(made)).toBe(EXIT.tdcall);
		expect([made.regs[12], made.regs[15], made.regs[13]]).toEqual([
			EXCEPTION,
			6n,
			BigInt(TD_AT.program + 10),
		]);
	});

	it("with the shared bit is the VMM's, through its own tables", () => {
		const made = makeTd({
			program: [...mov(R.rbx, SHARED_WINDOW + 0x10), ...load, ...[0x48, 0x89, 0xc2], ...vmcall(1 << R.rdx)],
		});
		const { cpu, td } = made;
		expect(enterTd(made)).toBe(EXIT.eptViolation);
		expect(made.regs[8]).toBe(BigInt(SHARED_BIT));
		td.sharedEptRoot = TD_HPA.sharedRoot;
		for (let level = 0; level < 3; level++) {
			const table = TD_HPA.sharedRoot + level * 4096;
			cpu.memory.u8.fill(0, cpu.memory.ramBase + table, cpu.memory.ramBase + table + 4096);
			poke64(cpu, table + (level === 0 ? 256 * 8 : 0), BigInt(table + 4096) | 7n);
		}
		const last = TD_HPA.sharedRoot + 3 * 4096;
		poke64(cpu, last, BigInt(TD_HPA.sharedRoot + 4 * 4096) | 0x37n);
		poke64(cpu, TD_HPA.sharedRoot + 4 * 4096 + 0x10, 0xfeedn);
		expect(enterTd(made)).toBe(EXIT.tdcall);
		expect(made.regs[R.rdx]).toBe(0xfeedn);
	});
});
