import { expect } from "vitest";
import { KVM_MP_STATE } from "../../../src/uapi/constants.ts";
import { gapOf } from "../../../src/backends/gaps.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

/** A real-mode IDT entry: handler at 0:offset. */
const vectorTo = (offset: number) => Uint8Array.of(offset & 0xff, offset >> 8, 0, 0);
const HANDLER = 0x2000;

onEachMachine("events", (bench) => {
	bench.states("KVM_SET_VCPU_EVENTS: what is read can be set again", () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		const events = vcpu.getVcpuEvents();
		expect(events.flags & 5).toBe(5);
		vcpu.setVcpuEvents(events);
		expect(vcpu.getVcpuEvents()).toEqual(events);
		const masked = { ...events, nmi: { ...events.nmi, masked: 1 } };
		vcpu.setVcpuEvents(masked);
		expect(vcpu.getVcpuEvents().nmi.masked).toBe(1);
	});

	bench.states("KVM_SET_VCPU_EVENTS refuses flags and exceptions that there are not", () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		const events = vcpu.getVcpuEvents();
		expect(() => vcpu.setVcpuEvents({ ...events, flags: 0x8000_0000 })).toThrow(/EINVAL/);
		const exception = { ...events.exception, injected: 1, nr: 40 };
		expect(() => vcpu.setVcpuEvents({ ...events, exception })).toThrow(/EINVAL/);
	});

	bench.states("an exception that is set as injected is delivered", () => {
		const { vcpu, memory } = realModeGuest(bench.kvm, ASM.hlt);
		memory.write(6 * 4, vectorTo(HANDLER));
		memory.write(HANDLER, Uint8Array.from([...ASM.out(0x66), ...ASM.hlt]));
		const events = vcpu.getVcpuEvents();
		vcpu.setVcpuEvents({ ...events, exception: { ...events.exception, injected: 1, nr: 6 } });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
	});

	bench.states("KVM_INTERRUPT: the vector is delivered, and RIP pushed", () => {
		const { vcpu, memory } = realModeGuest(bench.kvm, [...ASM.sti, ...ASM.nop, ...ASM.nop, ...ASM.hlt]);
		memory.write(0x21 * 4, vectorTo(HANDLER));
		memory.write(HANDLER, Uint8Array.from([...ASM.out(0x66), ...ASM.iret]));
		vcpu.setRegs({ ...vcpu.getRegs(), rflags: 0x202n });
		vcpu.interrupt(0x21);
		expect(vcpu.getVcpuEvents().interrupt).toMatchObject({ injected: 1, nr: 0x21 });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
		expect([...memory.read(0x7ffa, 2)]).toEqual([0x00, 0x10]);
		expect(vcpu.run().reason).toBe("hlt");
		expect(() => vcpu.interrupt(300)).toThrow(/KVM_INTERRUPT: EINVAL/);
	});

	bench.states(
		"request_interrupt_window: KVM_RUN comes back when the guest takes interrupts",
		() => {
			const { vcpu } = realModeGuest(bench.kvm, [
				...ASM.out(0x10),
				...ASM.sti,
				...ASM.nop,
				...ASM.nop,
				...ASM.out(0x11),
				...ASM.hlt,
			]);
			expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
			vcpu.requestInterruptWindow(true);
			expect(vcpu.run()).toEqual({ reason: "irq-window-open" });
			expect(vcpu.getRegs().rip).toBeGreaterThan(0x1002n);
			vcpu.requestInterruptWindow(false);
			expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x11 });
		},
		gapOf(bench.machine.module, "interrupt-window"),
	);

	bench.states("KVM_NMI: vector 2 is delivered, and masked until IRET", () => {
		const { vcpu, memory } = realModeGuest(bench.kvm, [...ASM.nop, ...ASM.out(0x10), ...ASM.hlt]);
		memory.write(2 * 4, vectorTo(HANDLER));
		memory.write(HANDLER, Uint8Array.from([...ASM.out(0x66), ...ASM.iret]));
		vcpu.nmi();
		expect(vcpu.getVcpuEvents().nmi.pending).toBe(1);
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
		expect(vcpu.getVcpuEvents().nmi.masked).toBe(1);
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
		expect(vcpu.getVcpuEvents().nmi.masked).toBe(0);
	});

	bench.states(
		"an IRET whose frame is not mapped in the second level yet ends masking of NMIs once it has run",
		() => {
			const { vcpu, memory } = realModeGuest(bench.kvm, [...ASM.nop, ...ASM.hlt]);
			const frame = 0x9000;
			const target = 0x3000;
			memory.write(2 * 4, vectorTo(HANDLER));
			// MOV SP, 9000H
			memory.write(HANDLER, Uint8Array.from([...ASM.out(0x66), 0xbc, 0x00, frame >> 8, ...ASM.iret]));
			memory.write(frame, Uint8Array.of(0, target >> 8, 0, 0, 2, 0));
			memory.write(target, Uint8Array.from([...ASM.nop, ...ASM.hlt]));
			vcpu.nmi();
			expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
			vcpu.nmi();
			expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
			expect(vcpu.getRegs().rsp).toBe(BigInt(frame));
			expect([...memory.read(frame, 2)]).toEqual([0, target >> 8]);
		},
		gapOf(bench.machine.module, "interrupt-window"),
	);

	bench.states("KVM_SET_MP_STATE: without a local APIC in KVM a vCPU is runnable and nothing else", () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		expect(vcpu.getMpState()).toBe(KVM_MP_STATE.RUNNABLE);
		expect(() => vcpu.setMpState(KVM_MP_STATE.HALTED)).toThrow(/KVM_SET_MP_STATE: EINVAL/);
		expect(() => vcpu.setMpState(99)).toThrow(/KVM_SET_MP_STATE: EINVAL/);
	});

	bench.states("KVM_SET_MP_STATE: with one, the first is runnable, others wait for INIT", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, ASM.hlt, { irqchip: true });
		expect(vcpu.getMpState()).toBe(KVM_MP_STATE.RUNNABLE);
		expect(vm.createVcpu(1).getMpState()).toBe(KVM_MP_STATE.UNINITIALIZED);
		vcpu.setMpState(KVM_MP_STATE.HALTED);
		expect(vcpu.getMpState()).toBe(KVM_MP_STATE.HALTED);
	});
});
