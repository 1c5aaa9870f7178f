import { describe, expect, it } from "vitest";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { raise, raisePageFault, VECTOR } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { cpl } from "../../../src/silicon/cpu/modes.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { setSegment } from "../../../src/silicon/cpu/segments.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { deliverEvent, deliverFault, makesDoubleFault } from "../../../src/silicon/system/exceptions.ts";
import { OUTCOME } from "../../../src/silicon/translate/services.ts";
import {
	AT,
	hypervisor,
	longModeCpu,
	peek64,
	poke64,
	SELECTOR,
	setGate,
	setLevel,
	step,
	takeFault,
} from "../machine-code.ts";

/** The words on the stack, from its top up. */
function frame(cpu: Cpu, count: number): bigint[] {
	const top = Number(cpu.gpr(L.RSP));
	return Array.from({ length: count }, (_, at) => peek64(cpu, top + at * 8));
}

describe("delivery through 64-bit gates", () => {
	it("pushes SS, RSP, RFLAGS, CS, RIP and the error code on an aligned stack", () => {
		const cpu = longModeCpu();
		cpu.setGpr(L.RSP, BigInt(AT.stack + 5));
		cpu.write32(L.RFLAGS, 2 | FLAG.IF);
		setGate(cpu, 13, AT.handler);
		raise(cpu, VECTOR.GP, 0x18);
		expect(deliverFault(cpu)).toBe(false);
		expect(cpu.gpr(L.RSP)).toBe(BigInt(AT.stack - 48));
		expect(frame(cpu, 6)).toEqual([
			0x18n,
			BigInt(AT.code),
			8n,
			BigInt(2 | FLAG.IF | FLAG.RF),
			BigInt(AT.stack + 5),
			16n,
		]);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler));
		expect(cpu.read32(L.RFLAGS) & FLAG.IF).toBe(0);
		expect(cpu.read32(L.FAULT)).toBe(0);
	});

	it("a trap gate leaves IF set", () => {
		const cpu = longModeCpu();
		cpu.write32(L.RFLAGS, 2 | FLAG.IF);
		setGate(cpu, 0x80, AT.handler, 0xf, 3);
		deliverEvent(cpu, 0x80, "software", null, 2);
		expect(cpu.read32(L.RFLAGS) & FLAG.IF).toBe(FLAG.IF);
		expect(frame(cpu, 1)).toEqual([BigInt(AT.code + 2)]);
	});

	it("switches to RSP0 of the TSS from user code, and to the IST stack when the gate names one", () => {
		for (const [ist, stack] of [
			[0, AT.kernelStack],
			[1, AT.istStack],
		] as const) {
			const cpu = longModeCpu();
			setLevel(cpu, 3);
			setGate(cpu, 14, AT.handler, 0xe, 0, ist);
			raisePageFault(cpu, 0xdead000, 0, 4);
			expect(deliverFault(cpu)).toBe(false);
			expect(cpl(cpu)).toBe(0);
			expect(cpu.read64(L.CR2)).toBe(0xdead000n);
			expect(cpu.gpr(L.RSP)).toBe(BigInt(stack - 48));
			expect(frame(cpu, 6)).toEqual([
				4n,
				BigInt(AT.code),
				BigInt(SELECTOR.userCode),
				BigInt(2 | FLAG.RF),
				BigInt(AT.stack),
				BigInt(SELECTOR.userData),
			]);
		}
	});

	it("uses the IST at level 0 too", () => {
		const cpu = longModeCpu();
		setGate(cpu, 2, AT.handler, 0xe, 0, 1);
		deliverEvent(cpu, 2, "hardware", null, 0);
		expect(cpu.gpr(L.RSP)).toBe(BigInt(AT.istStack - 40));
		expect(cpu.read32(L.INTERRUPTIBILITY) & 8).toBe(8);
		// IRET ends the blocking of NMIs.
		expect(step(cpu, [0x48, 0xcf])).toBe(OUTCOME.jumped);
		expect(cpu.read32(L.INTERRUPTIBILITY) & 8).toBe(0);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.code));
	});

	it("an IRET that faults has unblocked NMIs on Intel's processors alone", () => {
		for (const [model, blocked] of [
			[emeraldRapids, 0],
			[turin, 8],
		] as const) {
			const cpu = longModeCpu(model);
			cpu.write32(L.INTERRUPTIBILITY, 8);
			expect(step(cpu, [0x48, 0xcf])).toBe(OUTCOME.fault);
			expect(takeFault(cpu)).toEqual({ vector: 13, errorCode: 0 });
			expect(cpu.read32(L.INTERRUPTIBILITY)).toBe(blocked);
		}
	});

	it("INT n needs DPL ≥ CPL, faults and interrupts do not", () => {
		const cpu = longModeCpu();
		setLevel(cpu, 3);
		setGate(cpu, 13, AT.handler);
		setGate(cpu, 0x40, AT.handler + 0x100);
		deliverEvent(cpu, 0x40, "software", null, 2);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler));
		expect(frame(cpu, 2)).toEqual([BigInt(0x40 * 8 + 2), BigInt(AT.code)]);
		setLevel(cpu, 3);
		deliverEvent(cpu, 0x40, "hardware", null, 0);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler + 0x100));
	});
});

describe("faults during delivery", () => {
	it("follow SDM table 7-5", () => {
		const contributory = [VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP];
		for (const first of [...contributory, VECTOR.PF, VECTOR.UD, VECTOR.DB, VECTOR.NM]) {
			for (const second of [...contributory, VECTOR.PF, VECTOR.UD, VECTOR.AC]) {
				const isContributory = (vector: number) => contributory.some((one) => one === vector);
				const double =
					(isContributory(first) && isContributory(second)) ||
					(first === VECTOR.PF && (second === VECTOR.PF || isContributory(second)));
				expect(makesDoubleFault(first, second), `${first} then ${second}`).toBe(double);
			}
		}
	});

	it("#GP without a gate becomes #DF, with error code 0", () => {
		const cpu = longModeCpu();
		setGate(cpu, 8, AT.handler);
		raise(cpu, VECTOR.GP, 0);
		expect(deliverFault(cpu)).toBe(false);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler));
		expect(frame(cpu, 2)).toEqual([0n, BigInt(AT.code)]);
	});

	it("#UD without a gate is followed by #NP or #GP, serially", () => {
		const cpu = longModeCpu();
		setGate(cpu, 13, AT.handler);
		raise(cpu, VECTOR.UD);
		deliverFault(cpu);
		expect(frame(cpu, 1)).toEqual([BigInt(6 * 8 + 3)]);
	});

	it("a stack that is not mapped gives a page fault, then a double fault on its IST stack", () => {
		const cpu = longModeCpu();
		cpu.setGpr(L.RSP, 0x1f000n);
		poke64(cpu, AT.table + 0x1e * 8, 0n);
		setGate(cpu, 14, AT.handler);
		setGate(cpu, 8, AT.handler + 0x80, 0xe, 0, 1);
		raisePageFault(cpu, 0x1234, 0, 2);
		expect(deliverFault(cpu)).toBe(false);
		expect(cpu.read64(L.RIP)).toBe(BigInt(AT.handler + 0x80));
		// CR2 is that of the second fault: the stack write.
		expect(cpu.read64(L.CR2) >> 12n).toBe(0x1en);
	});

	it("the third fault shuts a bare machine down and leaves a guest by a triple-fault exit", () => {
		const cpu = longModeCpu();
		setSegment(cpu, L.IDTR, 0, 0n, 0, 0);
		raise(cpu, VECTOR.UD);
		expect(deliverFault(cpu)).toBe(true);
		expect(cpu.halted).toBe("shutdown");

		const guest = longModeCpu();
		setSegment(guest, L.IDTR, 0, 0n, 0, 0);
		let exits = 0;
		guest.guest = hypervisor({
			tripleFault: (cpu) => {
				exits++;
				cpu.guest = null;
			},
		});
		raise(guest, VECTOR.UD);
		expect(deliverFault(guest)).toBe(true);
		expect(exits).toBe(1);
		expect(guest.read64(L.RIP)).toBe(BigInt(AT.code));
	});

	it("a failed delivery changes neither the stack pointer nor the segments", () => {
		const cpu = longModeCpu();
		poke64(cpu, AT.table + ((AT.stack >> 12) - 1) * 8, 0n);
		setLevel(cpu, 0);
		setGate(cpu, 3, AT.handler);
		const seen: bigint[] = [];
		cpu.guest = hypervisor({
			exception: (inner, vector) => {
				seen.push(
					BigInt(vector),
					BigInt(inner.read32(L.VECTORING_INFO)),
					inner.gpr(L.RSP),
					inner.read64(L.RIP),
				);
				inner.guest = null;
				return true;
			},
		});
		expect(deliverEvent(cpu, 3, "software", null, 1)).toBe(true);
		// The exit is a page fault; the IDT-vectoring information names the software exception.
		expect(seen).toEqual([14n, 0x80000603n, BigInt(AT.stack), BigInt(AT.code)]);
		expect(cpu.read32(L.VECTORING_INFO)).toBe(0);
	});
});

describe("a hypervisor that intercepts the exception", () => {
	it("sees the address in the state block, and CR2 stays", () => {
		const cpu = longModeCpu();
		cpu.write64(L.CR2, 0x77n);
		let address = 0n;
		cpu.guest = hypervisor({
			exception: (inner) => {
				address = inner.read64(L.FAULT_LINEAR);
				inner.guest = null;
				return true;
			},
		});
		raisePageFault(cpu, 0x5000, 0, 0);
		expect(deliverFault(cpu)).toBe(true);
		expect([address, cpu.read64(L.CR2)]).toEqual([0x5000n, 0x77n]);
	});
});

describe("delivery through 32-bit gates", () => {
	/** 32-bit protected mode without paging, at CPL 0 or 3. */
	function protectedCpu(level: 0 | 3): Cpu {
		const cpu = longModeCpu();
		cpu.write64(L.CR0, 0x11n);
		cpu.write32(L.EFER, 0);
		cpu.write32(L.CR4, 0);
		const dpl = level << 5;
		setSegment(cpu, L.CS, 0x38 | level, 0n, 0xffffffff, 0xc09b | dpl);
		setSegment(cpu, L.SS, 0x18 | level, 0n, 0xffffffff, 0xc093 | dpl);
		poke64(
			cpu,
			AT.idt + 14 * 8,
			0x00008e0000380000n | BigInt(AT.handler & 0xffff) | (BigInt(AT.handler >>> 16) << 48n),
		);
		// TSS: ESP0 at 4, SS0 at 8.
		poke64(cpu, AT.tss + 4, BigInt(AT.kernelStack) | (0x10n << 32n));
		return cpu;
	}

	it("pushes EFLAGS, CS, EIP and the error code on the same stack", () => {
		const cpu = protectedCpu(0);
		raisePageFault(cpu, 0x123, 0, 2);
		expect(deliverFault(cpu)).toBe(false);
		expect(cpu.gpr(L.RSP)).toBe(BigInt(AT.stack - 16));
		const words = [0, 4, 8, 12].map((at) =>
			cpu.memory.view.getUint32(cpu.memory.ramBase + AT.stack - 16 + at, true),
		);
		expect(words).toEqual([2, AT.code, 0x38, 2 | FLAG.RF]);
	});

	it("takes SS0:ESP0 of the TSS from user code", () => {
		const cpu = protectedCpu(3);
		raisePageFault(cpu, 0x123, 0, 6);
		expect(deliverFault(cpu)).toBe(false);
		expect(cpu.gpr(L.RSP)).toBe(BigInt(AT.kernelStack - 24));
		expect(cpl(cpu)).toBe(0);
		// IRETD goes back.
		cpu.setGpr(L.RSP, BigInt(AT.kernelStack - 20));
		poke64(cpu, AT.gdt + 0x18, 0x00cff3000000ffffn);
		poke64(cpu, AT.gdt + 0x38, 0x00cffb000000ffffn);
		expect(step(cpu, [0xcf], 32)).toBe(OUTCOME.jumped);
		expect(cpl(cpu)).toBe(3);
		expect(cpu.gpr(L.RSP)).toBe(BigInt(AT.stack));
	});
});
