/** The kernel around KVM: FPU state, the scheduler, interrupts, NMIs, the way to user space (Linux v6.18). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HostFault, HostInvariant } from "../../src/host/errors.ts";
import { HOST_VECTOR } from "../../src/host/idt.ts";
import { INIT_PKRU } from "../../src/host/task.ts";
import { writePkru, xsetbv } from "../../src/host/access.ts";
import { PENDING } from "../../src/silicon/cpu/cpu.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { OP } from "../../src/silicon/ops.ts";
import { bootHost, record, xmm0 } from "./host.ts";

describe("FPU state across a context switch (switch_fpu, switch_fpu_return)", () => {
	it("is saved when a task is switched out and back in its registers when it returns to user space", () => {
		fc.assert(
			fc.property(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), fc.nat(0xffff_ffff), (value, pkru) => {
				const { cpu, kernel } = bootHost();
				xmm0.write(cpu, value);
				writePkru(cpu, pkru);
				kernel.schedule();
				expect(kernel.current.needFpuLoad).toBe(true);
				expect(xmm0.read(cpu)).toBe(0n);
				kernel.returnToUser(kernel.current);
				expect([xmm0.read(cpu), cpu.pkru]).toEqual([value, pkru]);
				expect(kernel.current.needFpuLoad).toBe(false);
			}),
			{ seed: 1, numRuns: 20 },
		);
	});

	it("each task has its own registers and PKRU in user space, and finds them again", () => {
		const { cpu, kernel, apic } = bootHost();
		xmm0.write(cpu, 0x1111n);
		writePkru(cpu, 0);
		// What the other task has in user space is looked at by an interrupt that comes there.
		const seen: unknown[] = [];
		cpu.observer = {
			onOp: (_cpu, op) => {
				if (op === OP.user_transition && kernel.current === kernel.otherTask)
					apic.raise(HOST_VECTOR.postedInterrupt);
			},
		};
		kernel.onPostedInterrupt = () => {
			seen.push([xmm0.read(cpu), cpu.pkru]);
			xmm0.write(cpu, 0x2222n);
		};
		for (let n = 0; n < 2; n++) {
			kernel.schedule();
			kernel.returnToUser(kernel.current);
			expect([xmm0.read(cpu), cpu.pkru]).toEqual([0x1111n, 0]);
		}
		expect(seen).toEqual([
			[0n, INIT_PKRU],
			[0x2222n, INIT_PKRU],
		]);
	});

	it("is not saved again when the registers hold no task's state", () => {
		const { cpu, kernel } = bootHost();
		kernel.schedule();
		const saves = cpu.opCounts[OP.xsaves]!;
		kernel.schedule();
		expect(cpu.opCounts[OP.xsaves]! - saves).toBe(1);
	});

	it("with a guest's narrower XCR0 loaded, the switch back to user space is a #GP in XRSTORS", () => {
		const host = bootHost();
		xsetbv(host.cpu, 7);
		let stack: readonly string[] = [];
		record(host, () => {
			try {
				host.kernel.schedule();
			} catch (error) {
				expect(error).toBeInstanceOf(HostFault);
				stack = (error as HostFault).callStack;
			}
		});
		expect(stack).toEqual(["switch_fpu_return", "exit_to_user_mode_loop", "schedule"]);
	});
});

describe("kernel FPU use in an interrupt (kernel_fpu_begin)", () => {
	it("saves the interrupted task's registers first; user space has them back", () => {
		const { cpu, kernel, apic } = bootHost();
		xmm0.write(cpu, 0xabcdn);
		apic.raise(HOST_VECTOR.deviceFpu);
		cpu.poll();
		expect(kernel.current.needFpuLoad).toBe(true);
		xmm0.write(cpu, 0x9999n);
		kernel.returnToUser(kernel.current);
		expect(xmm0.read(cpu)).toBe(0xabcdn);
	});

	it("does not save what is saved already: a second interrupt would store the kernel's own registers", () => {
		const { cpu, kernel, apic } = bootHost();
		xmm0.write(cpu, 0xabcdn);
		for (let n = 0; n < 2; n++) {
			apic.raise(HOST_VECTOR.deviceFpu);
			cpu.poll();
			xmm0.write(cpu, 0x9999n);
		}
		kernel.returnToUser(kernel.current);
		expect(xmm0.read(cpu)).toBe(0xabcdn);
	});

	it("a handler that does not use it leaves the registers alone", () => {
		const { cpu, kernel, apic } = bootHost();
		apic.raise(HOST_VECTOR.device);
		cpu.poll();
		expect(kernel.current.needFpuLoad).toBe(false);
	});
});

describe("interrupts", () => {
	it("wait while the interrupt flag is off and come right behind local_irq_enable()", () => {
		const { cpu, apic, kernel } = bootHost();
		kernel.localIrqDisable();
		apic.raise(HOST_VECTOR.device);
		cpu.op(OP.rdtsc);
		expect(kernel.interruptCounts[HOST_VECTOR.device]).toBe(0);
		kernel.localIrqEnable();
		expect(kernel.interruptCounts[HOST_VECTOR.device]).toBe(1);
	});

	it("are signalled EOI: a handler that left its vector in service would hold back every one below", () => {
		const { cpu, apic, kernel } = bootHost();
		for (const vector of [HOST_VECTOR.localTimer, HOST_VECTOR.device, HOST_VECTOR.device]) {
			apic.raise(vector);
			cpu.poll();
		}
		expect(kernel.interruptCounts[HOST_VECTOR.device]).toBe(2);
		expect(cpu.opCounts[OP.apic_eoi]).toBe(3);
	});

	it("come by priority", () => {
		const host = bootHost();
		host.kernel.localIrqDisable();
		host.apic.raise(HOST_VECTOR.device);
		host.apic.raise(HOST_VECTOR.reschedule);
		const seen = record(host, () => host.kernel.localIrqEnable());
		expect(seen.filter((name) => /^(sysvec_\w+|common_interrupt)\(\)$/.test(name))).toEqual([
			"sysvec_reschedule_ipi()",
			"common_interrupt()",
		]);
	});

	it("reschedule behind themselves, unless preemption is off: then preempt_enable() does", () => {
		const { cpu, apic, kernel } = bootHost();
		const switches = () => cpu.opCounts[OP.switch_to]!;
		kernel.preemptDisable();
		kernel.reschedOnTick = true;
		apic.raise(HOST_VECTOR.localTimer);
		cpu.poll();
		expect([kernel.current.needResched, switches()]).toEqual([true, 0]);
		kernel.preemptEnable();
		expect([kernel.current.needResched, switches()]).toEqual([false, 2]);
		kernel.reschedOnTick = true;
		apic.raise(HOST_VECTOR.localTimer);
		cpu.poll();
		expect(switches()).toBe(4);
	});

	it("preempt_enable() with interrupts off does not reschedule", () => {
		const { cpu, kernel } = bootHost();
		kernel.preemptDisable();
		kernel.current.needResched = true;
		kernel.localIrqDisable();
		kernel.preemptEnable();
		expect(cpu.opCounts[OP.switch_to]).toBe(0);
	});

	it("a switch tells the preempt notifier on both sides", () => {
		const { kernel } = bootHost();
		const calls: string[] = [];
		kernel.vcpuTask.preemptNotifier = { schedOut: () => calls.push("out"), schedIn: () => calls.push("in") };
		kernel.schedule();
		expect(calls).toEqual(["out", "in"]);
	});
});

describe("what lockdep would report", () => {
	it("the interrupt flag enabled or disabled twice, and preemption enabled once too often", () => {
		const { kernel } = bootHost();
		expect(() => kernel.localIrqEnable()).toThrow(HostInvariant);
		kernel.localIrqDisable();
		expect(() => kernel.localIrqDisable()).toThrow(HostInvariant);
		expect(() => kernel.preemptEnable()).toThrow(HostInvariant);
	});
});

describe("NMIs", () => {
	it("come with interrupts off, and not inside one another", () => {
		const { cpu, kernel } = bootHost();
		kernel.localIrqDisable();
		let nested = 0;
		cpu.observer = {
			onOp: (_cpu, op) => {
				if (op !== OP.nmi_handler) return;
				nested = Math.max(nested, kernel.handlerDepth);
				if (kernel.nmis === 0) cpu.pending |= PENDING.nmi;
			},
		};
		cpu.pending |= PENDING.nmi;
		cpu.poll();
		expect([kernel.nmis, cpu.pending & PENDING.nmi]).toEqual([1, PENDING.nmi]);
		cpu.poll();
		expect([kernel.nmis, nested]).toEqual([2, 1]);
	});

	it("do not reschedule", () => {
		const { cpu, kernel } = bootHost();
		kernel.current.needResched = true;
		cpu.pending |= PENDING.nmi;
		cpu.poll();
		expect(cpu.opCounts[OP.switch_to]).toBe(0);
	});
});

describe("user-return MSRs (kvm_set_user_return_msr, kvm_on_user_return)", () => {
	const set = [
		{ field: L.LSTAR, value: 0x1000n },
		{ field: L.TSC_AUX, value: 0n },
	];

	it("change at once and are the host's again in user space", () => {
		const { cpu, kernel } = bootHost();
		cpu.write64(L.LSTAR, 0xffff_ffff_8100_0000n);
		cpu.write64(L.TSC_AUX, 3n);
		kernel.userReturn.set(set);
		expect([cpu.read64(L.LSTAR), cpu.read64(L.TSC_AUX)]).toEqual([0x1000n, 0n]);
		kernel.returnToUser(kernel.current);
		expect([cpu.read64(L.LSTAR), cpu.read64(L.TSC_AUX)]).toEqual([0xffff_ffff_8100_0000n, 3n]);
	});

	it("set twice before that come back to what the host had first", () => {
		const { cpu, kernel } = bootHost();
		cpu.write64(L.LSTAR, 0xffff_ffff_8100_0000n);
		kernel.userReturn.set(set);
		kernel.userReturn.set([{ field: L.LSTAR, value: 0x2000n }]);
		kernel.returnToUser(kernel.current);
		expect(cpu.read64(L.LSTAR)).toBe(0xffff_ffff_8100_0000n);
	});

	it("are the other task's too, when it is switched to", () => {
		const { cpu, kernel } = bootHost();
		cpu.write64(L.LSTAR, 0xffff_ffff_8100_0000n);
		kernel.userReturn.set(set);
		kernel.schedule();
		expect(cpu.read64(L.LSTAR)).toBe(0xffff_ffff_8100_0000n);
	});

	it("that are right already cost no WRMSR on the way back", () => {
		const { cpu, kernel } = bootHost();
		kernel.userReturn.set([{ field: L.TSC_AUX, value: 0n }]);
		const before = cpu.opCounts[OP.wrmsr]!;
		kernel.returnToUser(kernel.current);
		expect(cpu.opCounts[OP.wrmsr]).toBe(before);
	});
});

describe("a new task", () => {
	it("has the kernel's PKRU: access to key 0 only", () => {
		const { kernel } = bootHost();
		expect([kernel.otherTask.pkru, INIT_PKRU]).toEqual([0x5555_5554, 0x5555_5554]);
	});
});
