import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { DevKvm } from "../../src/devkvm/system.ts";
import { DevVcpuThread } from "../../src/devkvm/thread.ts";
import { KvmError } from "../../src/uapi/api.ts";
import { UNAVAILABLE, realModeGuest } from "./support.ts";

const suffix = UNAVAILABLE === null ? "" : ` (skipped: ${UNAVAILABLE})`;
const HLT = 0xf4;
/** MOV AL, imm8. */
const movAl = (value: number) => [0xb0, value];
/** OUT imm8, AL and IN AL, imm8. */
const out = (port: number) => [0xe6, port];
const inp = (port: number) => [0xe4, port];
const SPIN = [0xeb, 0xfe];

describe.skipIf(UNAVAILABLE !== null)(`/dev/kvm${suffix}`, () => {
	let kvm: DevKvm | null = null;
	const open = () => {
		kvm = DevKvm.open();
		return kvm;
	};
	afterEach(() => {
		kvm?.close();
		kvm = null;
	});

	it("has version 12 of the API and says what it can", () => {
		const system = open();
		expect(system.apiVersion()).toBe(12);
		expect(system.checkExtension("USER_MEMORY")).toBe(1);
		expect(system.supportedCpuid().some((entry) => entry.function === 1)).toBe(true);
		expect(system.msrIndexList()).toContain(0x10);
	});

	it("runs real-mode code whose port writes and reads are exits", () => {
		const { vcpu } = realModeGuest(open(), [...movAl(0x41), ...out(0x10), ...inp(0x11), ...out(0x12), HLT]);
		const first = vcpu.run();
		expect(first).toMatchObject({ reason: "io", write: true, port: 0x10, size: 1, count: 1 });
		const second = vcpu.run();
		if (second.reason !== "io") throw new Error(`want io, have ${second.reason}`);
		expect(second.write).toBe(false);
		second.data[0] = 0x5a;
		const third = vcpu.run();
		if (third.reason !== "io") throw new Error(`want io, have ${third.reason}`);
		expect([...third.data]).toEqual([0x5a]);
		expect(vcpu.run().reason).toBe("hlt");
	});

	it("gives an access without memory behind it as MMIO", () => {
		// MOV [0xf000], AL with DS at 0x1000 is 0x1f000, beyond the 64 KiB of memory.
		const { vcpu } = realModeGuest(open(), [
			0xb8,
			0x00,
			0x10,
			0x8e,
			0xd8,
			...movAl(0x77),
			0xa2,
			0x00,
			0xf0,
			HLT,
		]);
		const exit = vcpu.run();
		expect(exit).toMatchObject({ reason: "mmio", write: true, gpa: 0x1f000n });
	});

	it("returns at once from KVM_RUN when immediate_exit is set", () => {
		const { vcpu } = realModeGuest(open(), SPIN);
		vcpu.setImmediateExit(true);
		expect(vcpu.run()).toEqual({ reason: "intr" });
	});

	it("names the MSR that cannot be written", () => {
		const { vcpu } = realModeGuest(open(), [HLT]);
		expect(() => vcpu.setMsrs([{ index: 0xdead, data: 1n }])).toThrow(
			/KVM_SET_MSRS: EINVAL: MSR 0xdead := 0x1/,
		);
	});

	it("keeps registers, FPU, XSAVE area and events as they were set", () => {
		const { vcpu } = realModeGuest(open(), [HLT]);
		const regs = { ...vcpu.getRegs(), rax: 0x1122334455667788n, r15: 7n };
		vcpu.setRegs(regs);
		expect(vcpu.getRegs()).toEqual(regs);
		// KVM_GET_FPU leaves MXCSR out; it is in the XSAVE area.
		const fpu = { ...vcpu.getFpu(), fcw: 0x27f, last_ip: 0x1234n };
		vcpu.setFpu(fpu);
		expect(vcpu.getFpu()).toEqual(fpu);
		const area = vcpu.getXsave();
		vcpu.setXsave(area);
		expect(vcpu.getXsave()).toEqual(area);
		const events = vcpu.getVcpuEvents();
		vcpu.setVcpuEvents(events);
		expect(vcpu.getVcpuEvents()).toEqual(events);
		expect(vcpu.getMpState()).toBe(0);
	});

	it("logs the pages that the guest dirtied", () => {
		const system = open();
		const vm = system.createVm();
		const memory = vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000, logDirtyPages: true });
		// MOV [0x3000], AL.
		memory.bytes.set([0xa2, 0x00, 0x30, HLT], 0x1000);
		const vcpu = vm.createVcpu(0);
		const sregs = vcpu.getSregs();
		sregs.cs = { ...sregs.cs, base: 0n, selector: 0 };
		vcpu.setSregs(sregs);
		vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n });
		expect(vcpu.run().reason).toBe("hlt");
		expect(vm.dirtyLog(memory)[0]! & (1 << 3)).not.toBe(0);
	});

	it("counts a port write on an eventfd instead of exiting", () => {
		const { vm, vcpu } = realModeGuest(open(), [...movAl(1), ...out(0x10), ...out(0x10), HLT]);
		const counter = vm.ioeventfd({ address: 0x10, bytes: 1, pio: true });
		expect(vcpu.run().reason).toBe("hlt");
		expect(counter.take()).toBe(2n);
		expect(counter.take()).toBe(0n);
	});

	it("refuses memory that is no whole number of pages, and memory that was removed", () => {
		const vm = open().createVm();
		expect(() => vm.addMemory({ slot: 0, gpa: 1, bytes: 4096 })).toThrow(/multiples of 4096/);
		const memory = vm.addMemory({ slot: 0, gpa: 0, bytes: 4096 });
		vm.removeMemory(memory);
		expect(() => memory.bytes).toThrow(KvmError);
	});
});

describe.skipIf(UNAVAILABLE !== null)(`a vCPU in a thread${suffix}`, () => {
	it("runs, answers and ends as one that is run in place", async () => {
		const kvm = DevKvm.open();
		const { vcpu } = realModeGuest(kvm, [...inp(0x11), ...out(0x12), HLT]);
		const thread = await DevVcpuThread.start(vcpu);
		const first = await thread.run();
		if (first.reason !== "io") throw new Error(`want io, have ${first.reason}`);
		first.data[0] = 9;
		const second = await thread.run();
		if (second.reason !== "io") throw new Error(`want io, have ${second.reason}`);
		expect([...second.data]).toEqual([9]);
		expect((await thread.run()).reason).toBe("hlt");
		await thread.stop();
		kvm.close();
	});

	it("is stopped while the guest spins, and runs again in place afterwards", async () => {
		const kvm = DevKvm.open();
		const { vcpu, memory } = realModeGuest(kvm, SPIN);
		const thread = await DevVcpuThread.start(vcpu);
		const running = thread.run();
		await new Promise((resolve) => setTimeout(resolve, 20));
		await thread.stop();
		expect((await running).reason).toBe("intr");
		memory.bytes[0x1000] = HLT;
		expect(vcpu.run().reason).toBe("hlt");
		kvm.close();
	});

	it("is kicked out of a KVM_RUN and goes on where it was", async () => {
		const kvm = DevKvm.open();
		const { vcpu } = realModeGuest(kvm, SPIN);
		const thread = await DevVcpuThread.start(vcpu);
		for (let round = 0; round < 5; round++) {
			const running = thread.run();
			thread.kick();
			expect((await running).reason).toBe("intr");
		}
		await thread.stop();
		kvm.close();
	});

	it("leaves no file and no mapping behind", async () => {
		const count = () => ({
			files: readdirSync("/proc/self/fd").filter((fd) => fd !== "").length,
			mappings: readFileSync("/proc/self/maps", "utf8")
				.split("\n")
				.filter((line) => /kvm|\/dev\/zero/.test(line)).length,
		});
		const once = async () => {
			const kvm = DevKvm.open();
			const { vcpu, vm } = realModeGuest(kvm, SPIN);
			vm.ioeventfd({ address: 0x10, bytes: 1, pio: true });
			const thread = await DevVcpuThread.start(vcpu);
			const running = thread.run();
			await thread.stop();
			await running;
			kvm.close();
		};
		await once();
		const before = count();
		for (let round = 0; round < 4; round++) await once();
		expect(count()).toEqual(before);
	});
});
