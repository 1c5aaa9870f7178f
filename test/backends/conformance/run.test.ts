import { expect } from "vitest";
import { gapOf } from "../../../src/backends/gaps.ts";
import type { VcpuExit } from "../../../src/uapi/exit.ts";
import {
	ASM,
	CR0_WP,
	CR4_DE,
	longModeGuest,
	onEachMachine,
	OTHER_TABLES,
	pageTableAt,
	realModeGuest,
	TABLES,
} from "./driver.ts";

function asIo(exit: VcpuExit) {
	if (exit.reason !== "io") throw new Error(`want io, have ${exit.reason}`);
	return exit;
}
function asMmio(exit: VcpuExit) {
	if (exit.reason !== "mmio") throw new Error(`want mmio, have ${exit.reason}`);
	return exit;
}

onEachMachine("KVM_RUN", (bench) => {
	bench.states("comes back for port writes and reads, and HLT", () => {
		const { vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAl(0x41),
			...ASM.out(0x10),
			...ASM.in(0x11),
			...ASM.out(0x12),
			...ASM.hlt,
		]);
		expect(vcpu.run()).toMatchObject({ reason: "io", write: true, port: 0x10, size: 1, count: 1 });
		const read = asIo(vcpu.run());
		expect(read).toMatchObject({ write: false, port: 0x11, size: 1, count: 1 });
		read.data[0] = 0x5a;
		expect([...asIo(vcpu.run()).data]).toEqual([0x5a]);
		expect(vcpu.run()).toEqual({ reason: "hlt" });
	});

	bench.states("gives 32-bit port accesses in one exit", () => {
		const { vcpu } = realModeGuest(bench.kvm, [
			...[0x66, 0xb8, 0x44, 0x33, 0x22, 0x11],
			...ASM.movDx(0x1234),
			...ASM.outDxEax,
			...ASM.hlt,
		]);
		expect(vcpu.run()).toMatchObject({
			reason: "io",
			port: 0x1234,
			size: 4,
			data: Uint8Array.of(0x44, 0x33, 0x22, 0x11),
		});
	});

	bench.states("gives all bytes of a string that is written to a port", () => {
		// MOV SI, 0x2000; MOV CX, 5; MOV DX, 0x99; REP OUTSB.
		const { vcpu, memory } = realModeGuest(bench.kvm, [
			...[0xbe, 0x00, 0x20, 0xb9, 0x05, 0x00],
			...ASM.movDx(0x99),
			...[0xf3, 0x6e],
			...ASM.hlt,
		]);
		memory.write(0x2000, Uint8Array.of(1, 2, 3, 4, 5));
		const bytes: number[] = [];
		for (let exit = vcpu.run(); exit.reason !== "hlt"; exit = vcpu.run()) bytes.push(...asIo(exit).data);
		expect(bytes).toEqual([1, 2, 3, 4, 5]);
	});

	bench.states("reads the string of OUTS by the page tables that the guest has just loaded", () => {
		// MOV CR3, RAX; OUTSB.
		const { vcpu, memory } = longModeGuest(bench.kvm, [0x0f, 0x22, 0xd8, 0x6e, ...ASM.hlt]);
		memory.write(0x2000, Uint8Array.of(1));
		memory.write(0x3000, Uint8Array.of(2));
		memory.write(pageTableAt(OTHER_TABLES) + 2 * 8, Uint8Array.of(3, 0x30));
		vcpu.setRegs({ ...vcpu.getRegs(), rax: BigInt(OTHER_TABLES), rsi: 0x2000n, rdx: 0x99n });
		expect([...asIo(vcpu.run()).data]).toEqual([2]);
	});

	bench.states("lets INS write a read-only page behind a MOV to CR0 that clears WP", () => {
		// MOV CR0, RAX; INSB.
		const { vcpu, memory } = longModeGuest(bench.kvm, [0x0f, 0x22, 0xc0, 0x6c, ...ASM.hlt]);
		memory.write(pageTableAt(TABLES) + 2 * 8, Uint8Array.of(1, 0x20));
		const { cr0 } = vcpu.getSregs();
		expect(cr0 & CR0_WP).toBe(CR0_WP);
		vcpu.setRegs({ ...vcpu.getRegs(), rax: cr0 & ~CR0_WP, rdi: 0x2000n, rdx: 0x99n });
		asIo(vcpu.run()).data[0] = 0x5a;
		expect(vcpu.run()).toEqual({ reason: "hlt" });
		expect([...memory.read(0x2000, 1)]).toEqual([0x5a]);
		expect(vcpu.getSregs().cr0 & CR0_WP).toBe(0n);
	});

	bench.states(
		"takes DR4 for DR6 as soon as the guest has cleared CR4.DE, though KVM has seen it set",
		() => {
			// MOV CR4, RAX; OUTSB; MOV CR4, RCX; MOV RBX, DR4.
			const code = [0x0f, 0x22, 0xe0, 0x6e, 0x0f, 0x22, 0xe1, 0x0f, 0x21, 0xe3, ...ASM.hlt];
			const { vcpu } = longModeGuest(bench.kvm, code);
			const { cr4 } = vcpu.getSregs();
			vcpu.setRegs({ ...vcpu.getRegs(), rax: cr4 | CR4_DE, rcx: cr4, rsi: 0x2000n, rdx: 0x99n });
			asIo(vcpu.run());
			expect(vcpu.run()).toEqual({ reason: "hlt" });
			expect(vcpu.getRegs().rbx & 0xffff_0ff0n).toBe(0xffff_0ff0n);
		},
	);

	bench.states("gives accesses to addresses without memory as MMIO, and takes the answers", () => {
		const { vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAx(0x1000),
			...ASM.movDsAx,
			...ASM.movAl(0x77),
			...ASM.storeAl(0xf000),
			...ASM.loadAl(0xf001),
			...ASM.out(0x10),
			...ASM.hlt,
		]);
		expect(vcpu.run()).toMatchObject({
			reason: "mmio",
			write: true,
			gpa: 0x1f000n,
			data: Uint8Array.of(0x77),
		});
		const read = asMmio(vcpu.run());
		expect(read).toMatchObject({ write: false, gpa: 0x1f001n });
		read.data[0] = 0x99;
		expect([...asIo(vcpu.run()).data]).toEqual([0x99]);
	});

	const UD2 = [0x0f, 0x0b];
	const noIdt = { base: 0n, limit: 0, padding: [0, 0, 0] };

	bench.states("comes back for a triple fault as a shutdown", () => {
		const { vcpu } = realModeGuest(bench.kvm, UD2);
		const sregs = vcpu.getSregs();
		const flat = { base: 0n, limit: 0xffff_ffff, db: 1, g: 1, selector: 8 };
		const [cs, ds, ss] = [sregs.cs, sregs.ds, sregs.ss].map((segment) => ({ ...segment, ...flat }));
		vcpu.setSregs({ ...sregs, cr0: 0x11n, cs: cs!, ds: ds!, ss: ss!, idt: noIdt });
		expect(vcpu.run()).toEqual({ reason: "shutdown" });
	});

	bench.states(
		"comes back for a real-mode interrupt beyond the IDT's limit as a shutdown",
		() => {
			const { vcpu } = realModeGuest(bench.kvm, UD2);
			vcpu.setSregs({ ...vcpu.getSregs(), idt: noIdt });
			expect(vcpu.run()).toEqual({ reason: "shutdown" });
		},
		gapOf(bench.machine.module, "real-mode-idt-limit"),
	);

	bench.states(
		"with immediate_exit completes the access that user space served, and enters the guest no more",
		() => {
			const { vcpu } = realModeGuest(bench.kvm, [...ASM.in(0x11), ...ASM.out(0x12), ...ASM.hlt]);
			asIo(vcpu.run()).data[0] = 7;
			vcpu.setImmediateExit(true);
			expect(vcpu.run()).toEqual({ reason: "intr" });
			expect(vcpu.getRegs()).toMatchObject({ rip: 0x1002n });
			expect(vcpu.getRegs().rax & 0xffn).toBe(7n);
			vcpu.setImmediateExit(false);
			expect([...asIo(vcpu.run()).data]).toEqual([7]);
		},
	);

	bench.states("counts a port write on an eventfd instead of coming back", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAl(1),
			...ASM.out(0x10),
			...ASM.out(0x10),
			...ASM.out(0x11),
			...ASM.hlt,
		]);
		const counter = vm.ioeventfd({ address: 0x10, bytes: 1, pio: true });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x11 });
		expect(counter.take()).toBe(2n);
		expect(counter.take()).toBe(0n);
		expect(() => vm.ioeventfd({ address: 0x10, bytes: 1, pio: true })).toThrow(/KVM_IOEVENTFD: EEXIST/);
		expect(() => vm.ioeventfd({ address: 0x10, bytes: 3, pio: true })).toThrow(/KVM_IOEVENTFD: EINVAL/);
	});

	bench.states("counts MMIO writes of the value that an eventfd waits for, and no others", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAx(0x1000),
			...ASM.movDsAx,
			...ASM.movAl(1),
			...ASM.storeAl(0xf000),
			...ASM.movAl(2),
			...ASM.storeAl(0xf000),
			...ASM.hlt,
		]);
		const counter = vm.ioeventfd({ address: 0x1f000, bytes: 1, pio: false, datamatch: 1n });
		expect(vcpu.run()).toMatchObject({ reason: "mmio", data: Uint8Array.of(2) });
		expect(counter.take()).toBe(1n);
	});

	bench.states("keeps writes to a coalesced zone in the ring, in order, and comes back for reads", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAx(0x1000),
			...ASM.movDsAx,
			...ASM.movAl(1),
			...ASM.storeAl(0xf000),
			...ASM.movAl(2),
			...ASM.storeAl(0xf004),
			...ASM.loadAl(0xf000),
			...ASM.hlt,
		]);
		vm.coalesceMmio(0x1f000, 0x1000);
		expect(vcpu.run()).toMatchObject({ reason: "mmio", write: false });
		expect(vcpu.takeCoalesced()).toEqual([
			{ address: 0x1f000, pio: false, data: Uint8Array.of(1) },
			{ address: 0x1f004, pio: false, data: Uint8Array.of(2) },
		]);
		expect(vcpu.takeCoalesced()).toEqual([]);
	});

	bench.states("runs two vCPUs of one VM, each with its own registers, on the same memory", () => {
		const { vm, vcpu, memory } = realModeGuest(bench.kvm, [...ASM.storeAl(0x3000), ...ASM.hlt]);
		const other = vm.createVcpu(1);
		const sregs = vcpu.getSregs();
		other.setSregs({ ...sregs, apic_base: other.getSregs().apic_base });
		other.setRegs({ ...vcpu.getRegs(), rax: 0x22n, rip: 0x1100n });
		memory.write(0x1100, Uint8Array.from([...ASM.storeAl(0x3001), ...ASM.hlt]));
		vcpu.setRegs({ ...vcpu.getRegs(), rax: 0x11n });
		expect(vcpu.run().reason).toBe("hlt");
		expect(other.run().reason).toBe("hlt");
		expect([...memory.read(0x3000, 2)]).toEqual([0x11, 0x22]);
		expect(vcpu.getRegs().rax).toBe(0x11n);
	});

	bench.states("keeps two VMs apart", () => {
		const guests = [1, 2].map((value) =>
			realModeGuest(bench.kvm, [...ASM.movAl(value), ...ASM.storeAl(0x3000), ...ASM.out(0x10), ...ASM.hlt]),
		);
		for (const { vcpu } of guests) expect(vcpu.run().reason).toBe("io");
		for (const { vcpu } of guests) expect(vcpu.run().reason).toBe("hlt");
		expect(guests.map(({ memory }) => memory.read(0x3000, 1)[0])).toEqual([1, 2]);
	});
});
