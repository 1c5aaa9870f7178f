import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { expect } from "vitest";
import { SoftKvm } from "../../../src/softkvm/system.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What a file of this process is; nothing if it was closed meanwhile. */
function linkOf(fd: string): string {
	try {
		return readlinkSync(`/proc/self/fd/${fd}`);
	} catch {
		return "";
	}
}

onEachMachine("a vCPU in a thread", (bench) => {
	bench.states("runs, is answered and ends as one that is run in place", async () => {
		const { vcpu } = realModeGuest(bench.kvm, [...ASM.in(0x11), ...ASM.out(0x12), ...ASM.hlt]);
		const thread = await vcpu.startThread();
		const first = await thread.run();
		if (first.reason !== "io") throw new Error(`want io, have ${first.reason}`);
		first.data[0] = 9;
		expect(await thread.run()).toMatchObject({ reason: "io", port: 0x12, data: Uint8Array.of(9) });
		expect((await thread.run()).reason).toBe("hlt");
		await thread.stop();
		await expect(thread.run()).rejects.toThrow(/KVM_RUN: ESRCH/);
	});

	bench.states("is stopped at once while the guest spins, and runs in place afterwards", async () => {
		const { vcpu, memory } = realModeGuest(bench.kvm, ASM.spin);
		const thread = await vcpu.startThread();
		const running = thread.run();
		await wait(20);
		const before = performance.now();
		await thread.stop();
		// Generous: the machine may be busy. A KVM_RUN that is not ended never ends.
		expect(performance.now() - before).toBeLessThan(20_000);
		expect(await running).toEqual({ reason: "intr" });
		memory.write(0x1000, Uint8Array.from(ASM.hlt));
		expect(vcpu.run().reason).toBe("hlt");
	});

	bench.states("is stopped at once while the guest waits in HLT", async () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.hlt, { irqchip: true });
		const thread = await vcpu.startThread();
		const running = thread.run();
		await wait(20);
		await thread.stop();
		expect(await running).toEqual({ reason: "intr" });
	});

	bench.states("is kicked out of KVM_RUN and goes on where it was", async () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.spin);
		const thread = await vcpu.startThread();
		for (let round = 0; round < 5; round++) {
			const running = thread.run();
			thread.kick();
			expect(await running).toEqual({ reason: "intr" });
		}
		await thread.stop();
		expect(vcpu.getRegs().rip).toBe(0x1000n);
	});

	bench.states("is run by one at a time", async () => {
		const { vcpu } = realModeGuest(bench.kvm, ASM.spin);
		const thread = await vcpu.startThread();
		const running = thread.run();
		await expect(thread.run()).rejects.toThrow(/KVM_RUN: EBUSY/);
		await thread.stop();
		await running;
	});

	bench.states("leaves no file, no mapping, no host memory and no timer behind", async () => {
		const { kvm } = bench;
		const count = () => ({
			// A VM's, a vCPU's, a signalling one's; the test runner opens and closes others as it likes.
			files: readdirSync("/proc/self/fd").filter((fd) => /kvm|eventfd/.test(linkOf(fd))).length,
			mappings: readFileSync("/proc/self/maps", "utf8")
				.split("\n")
				.filter((line) => /kvm|\/dev\/zero/.test(line)).length,
			hostBytes: kvm instanceof SoftKvm ? kvm.usedBytes : 0,
			timers: kvm instanceof SoftKvm ? kvm.armedTimers : 0,
		});
		const once = async () => {
			const { vcpu, vm } = realModeGuest(kvm, ASM.spin, { irqchip: true });
			vm.createPit2();
			vm.ioeventfd({ address: 0x10, bytes: 1, pio: true });
			vm.irqfd(5);
			vm.removeMemory(vm.addMemory({ slot: 1, gpa: 0x100000, bytes: 0x200000 }));
			const thread = await vcpu.startThread();
			const running = thread.run();
			await thread.stop();
			await running;
			vm.close();
		};
		await once();
		const before = count();
		for (let round = 0; round < 4; round++) await once();
		// A thread's own files go a moment after it.
		await expect.poll(count, { timeout: 5000 }).toEqual(before);
	});
});
