import { expect } from "vitest";
import { kvmIoapicState, kvmPicState } from "../../../src/uapi/structs.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

const HANDLER = 0x2000;
const vectorTo = (offset: number) => Uint8Array.of(offset & 0xff, offset >> 8, 0, 0);
const IOAPIC = 2;
/** Registers of the local APIC's page. */
const APIC = { version: 0x30, tpr: 0x80, spiv: 0xf0, lvt0: 0x350 } as const;
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

onEachMachine("interrupt controllers", (bench) => {
	bench.states("come before the first vCPU, once, and the timer behind them, once", () => {
		const vm = bench.kvm.createVm();
		expect(() => vm.createPit2()).toThrow(/KVM_CREATE_PIT2: ENOENT/);
		vm.createIrqchip();
		expect(() => vm.createIrqchip()).toThrow(/KVM_CREATE_IRQCHIP: EEXIST/);
		vm.createPit2();
		expect(() => vm.createPit2()).toThrow(/KVM_CREATE_PIT2: EEXIST/);
		const other = bench.kvm.createVm();
		other.createVcpu(0);
		expect(() => other.createIrqchip()).toThrow(/KVM_CREATE_IRQCHIP: EINVAL/);
	});

	bench.states("are wanted by what rests on them", () => {
		const vm = bench.kvm.createVm();
		expect(() => vm.irqLine(1, true)).toThrow(/KVM_IRQ_LINE: ENXIO/);
		expect(() => vm.getIrqchip(0)).toThrow(/KVM_GET_IRQCHIP: ENXIO/);
		expect(() => vm.signalMsi(0xfee0_0000, 0x30)).toThrow(/KVM_SIGNAL_MSI: EINVAL/);
		expect(() => vm.irqfd(5)).toThrow(/KVM_IRQFD: EINVAL/);
		expect(() => vm.createVcpu(0).getLapic()).toThrow(/KVM_GET_LAPIC: EINVAL/);
	});

	bench.states("KVM_SET_IRQCHIP: the states of PICs and I/O APIC are kept", () => {
		const { vm } = realModeGuest(bench.kvm, ASM.hlt, { irqchip: true });
		for (const [chip, base] of [
			[0, 0x20],
			[1, 0x70],
		] as const) {
			const pic = kvmPicState.read(viewOf(vm.getIrqchip(chip)), 0);
			expect(pic.elcr_mask).toBe(chip === 0 ? 0xf8 : 0xde);
			const bytes = new Uint8Array(512);
			kvmPicState.write(viewOf(bytes), 0, { ...pic, imr: 0xfb, irq_base: base, elcr: 0x80 });
			vm.setIrqchip(chip, bytes);
			expect(kvmPicState.read(viewOf(vm.getIrqchip(chip)), 0)).toMatchObject({
				imr: 0xfb,
				irq_base: base,
				elcr: 0x80,
			});
		}
		const ioapic = kvmIoapicState.read(viewOf(vm.getIrqchip(IOAPIC)), 0);
		expect(ioapic.base_address).toBe(0xfec0_0000n);
		expect(ioapic.redirtbl.every((entry) => entry === 0x1_0000n)).toBe(true);
		const bytes = new Uint8Array(512);
		ioapic.redirtbl[5] = 0x0100_0000_0000_a930n;
		kvmIoapicState.write(viewOf(bytes), 0, { ...ioapic, id: 7 });
		vm.setIrqchip(IOAPIC, bytes);
		const after = kvmIoapicState.read(viewOf(vm.getIrqchip(IOAPIC)), 0);
		expect(after.id).toBe(7);
		expect(after.redirtbl[5]! & 0xffffn).toBe(0xa930n);
		expect(() => vm.getIrqchip(3)).toThrow(/KVM_GET_IRQCHIP: EINVAL/);
	});

	bench.states("KVM_SET_PIT2: the counts are kept", () => {
		const vm = bench.kvm.createVm();
		vm.createIrqchip();
		vm.createPit2();
		const state = vm.getPit2();
		expect(state.channels.map(({ gate }) => gate)).toEqual([1, 1, 0]);
		const channels = state.channels.map((one, at) =>
			at === 2 ? { ...one, count: 0x1234, mode: 3, rw_mode: 3 } : one,
		);
		vm.setPit2({ ...state, channels });
		expect(vm.getPit2().channels[2]).toMatchObject({ count: 0x1234, mode: 3, gate: 0 });
	});

	bench.states("KVM_SET_LAPIC: the register page is kept", () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt, { irqchip: true });
		const page = vcpu.getLapic();
		expect(page).toHaveLength(1024);
		expect(viewOf(page).getUint32(APIC.version, true) & 0xff).toBe(0x14);
		viewOf(page).setUint32(APIC.tpr, 0x20, true);
		viewOf(page).setUint32(APIC.spiv, 0x1ff, true);
		vcpu.setLapic(page);
		expect(viewOf(vcpu.getLapic()).getUint32(APIC.tpr, true)).toBe(0x20);
		expect(viewOf(vcpu.getLapic()).getUint32(APIC.spiv, true)).toBe(0x1ff);
		expect(vcpu.getSregs().cr8).toBe(2n);
	});

	/** A guest that enables its local APIC's spurious vector register from outside, and waits with STI; HLT. */
	const waitingGuest = () => {
		const guest = realModeGuest(bench.kvm, [...ASM.out(0x10), ...ASM.sti, ...ASM.hlt, ...ASM.out(0x11)], {
			irqchip: true,
		});
		guest.memory.write(0x30 * 4, vectorTo(HANDLER));
		guest.memory.write(HANDLER, Uint8Array.from([...ASM.out(0x66), ...ASM.iret]));
		const page = guest.vcpu.getLapic();
		viewOf(page).setUint32(APIC.spiv, 0x1ff, true);
		guest.vcpu.setLapic(page);
		expect(guest.vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
		return guest;
	};

	bench.states("KVM_SIGNAL_MSI: the vector wakes the vCPU from HLT", () => {
		const { vm, vcpu } = waitingGuest();
		expect(vm.signalMsi(0xfee0_0000, 0x30)).toBe(1);
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x11 });
	});

	bench.states("KVM_IRQFD and KVM_IRQ_LINE: a line raises the vector of its I/O APIC pin", () => {
		const { vm, vcpu } = waitingGuest();
		const ioapic = kvmIoapicState.read(viewOf(vm.getIrqchip(IOAPIC)), 0);
		ioapic.redirtbl[17] = 0x30n;
		const bytes = new Uint8Array(512);
		kvmIoapicState.write(viewOf(bytes), 0, ioapic);
		vm.setIrqchip(IOAPIC, bytes);
		vm.irqLine(17, true);
		vm.irqLine(17, false);
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x66 });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x11 });
		const counter = vm.irqfd(17);
		counter.add(1n);
		counter.close();
	});

	bench.states("KVM_SET_CLOCK: kvmclock goes on from there", () => {
		const vm = bench.kvm.createVm();
		vm.setClock(10n ** 15n);
		const now = vm.getClock();
		expect(now).toBeGreaterThanOrEqual(10n ** 15n);
		expect(now).toBeLessThan(10n ** 15n + 10n ** 10n);
	});
});
