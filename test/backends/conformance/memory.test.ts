import { expect } from "vitest";
import { KvmError } from "../../../src/uapi/api.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

onEachMachine("guest memory", (bench) => {
	bench.states("is zero, and what is written is read back, through the view and by parts", () => {
		const memory = bench.kvm.createVm().addMemory({ slot: 0, gpa: 0, bytes: 0x2000 });
		expect(memory.read(0, 0x2000).every((byte) => byte === 0)).toBe(true);
		memory.write(0xffe, Uint8Array.of(1, 2, 3, 4));
		expect([...memory.bytes.subarray(0xffe, 0x1002)]).toEqual([1, 2, 3, 4]);
		memory.bytes[0xffe] = 9;
		expect([...memory.read(0xffe, 2)]).toEqual([9, 2]);
	});

	bench.states("comes in whole pages", () => {
		const vm = bench.kvm.createVm();
		expect(() => vm.addMemory({ slot: 0, gpa: 1, bytes: 4096 })).toThrow(/EINVAL.*multiples of 4096/);
		expect(() => vm.addMemory({ slot: 0, gpa: 0, bytes: 4097 })).toThrow(/EINVAL.*multiples of 4096/);
		expect(() => vm.addMemory({ slot: 0, gpa: 0, bytes: 0 })).toThrow(/EINVAL/);
	});

	bench.states("has one slot a number and one slot an address", () => {
		const vm = bench.kvm.createVm();
		vm.addMemory({ slot: 0, gpa: 0, bytes: 0x10000 });
		expect(() => vm.addMemory({ slot: 1, gpa: 0x8000, bytes: 0x10000 })).toThrow(/EEXIST/);
		expect(() => vm.addMemory({ slot: 0, gpa: 0x20000, bytes: 0x1000 })).toThrow(/EINVAL/);
		expect(() => vm.addMemory({ slot: 100_000, gpa: 0x20000, bytes: 0x1000 })).toThrow(/EINVAL/);
		expect(vm.addMemory({ slot: 1, gpa: 0x10000, bytes: 0x1000 }).gpa).toBe(0x10000);
	});

	bench.states("is gone when it was removed, and its place is free", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAx(0x1000),
			...ASM.movDsAx,
			...ASM.loadAl(0xf000),
			...ASM.out(0x10),
			...ASM.loadAl(0xf000),
			...ASM.hlt,
		]);
		const more = vm.addMemory({ slot: 1, gpa: 0x1f000, bytes: 0x1000 });
		more.write(0, Uint8Array.of(0x77));
		expect(vcpu.run()).toMatchObject({ reason: "io", data: Uint8Array.of(0x77) });
		vm.removeMemory(more);
		expect(() => more.bytes).toThrow(KvmError);
		expect(vcpu.run()).toMatchObject({ reason: "mmio", write: false, gpa: 0x1f000n });
		expect(() => vm.removeMemory(more)).toThrow(/EINVAL/);
		vm.addMemory({ slot: 1, gpa: 0x1f000, bytes: 0x1000 });
	});

	bench.states("that is read-only gives writes as MMIO, and reads as memory", () => {
		const { vm, vcpu } = realModeGuest(bench.kvm, [
			...ASM.movAx(0x1000),
			...ASM.movDsAx,
			...ASM.loadAl(0xf000),
			...ASM.storeAl(0xf001),
			...ASM.hlt,
		]);
		const rom = vm.addMemory({ slot: 1, gpa: 0x1f000, bytes: 0x1000, readOnly: true });
		rom.write(0, Uint8Array.of(0x5a, 1));
		expect(vcpu.run()).toMatchObject({
			reason: "mmio",
			write: true,
			gpa: 0x1f001n,
			data: Uint8Array.of(0x5a),
		});
		expect(vcpu.run().reason).toBe("hlt");
		expect(rom.read(1, 1)[0]).toBe(1);
	});

	bench.states("logs the pages that the guest wrote since the log was read last", () => {
		const { vm, memory, vcpu } = realModeGuest(
			bench.kvm,
			[
				...ASM.storeAl(0x3000),
				...ASM.loadAl(0x5000),
				...ASM.out(0x10),
				...ASM.storeAl(0x9123),
				...ASM.out(0x10),
				...ASM.storeAl(0x9124),
				...ASM.hlt,
			],
			{ logDirtyPages: true },
		);
		const pages = () =>
			[...vm.dirtyLog(memory)].flatMap((byte, at) =>
				[0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte & (1 << bit)) !== 0).map((bit) => at * 8 + bit),
			);
		expect(vcpu.run().reason).toBe("io");
		expect(pages()).toEqual([3]);
		expect(vcpu.run().reason).toBe("io");
		expect(pages()).toEqual([9]);
		expect(pages()).toEqual([]);
		expect(vcpu.run().reason).toBe("hlt");
		expect(pages()).toEqual([9]);
	});

	bench.states("logs a page of code as others, also when what it holds is written again", () => {
		const again = [...ASM.storeAl(0x1f00), ...ASM.storeAl(0x1f00), ...ASM.out(0x10)];
		const { vm, memory, vcpu } = realModeGuest(bench.kvm, [...again, ...again, ...again], {
			logDirtyPages: true,
		});
		for (let round = 0; round < 3; round++) {
			expect(vcpu.run().reason).toBe("io");
			expect(vm.dirtyLog(memory)[0]).toBe(1 << 1);
			expect(vm.dirtyLog(memory)[0]).toBe(0);
		}
	});

	bench.states("without a log has none", () => {
		const { vm, memory } = realModeGuest(bench.kvm, ASM.hlt);
		expect(() => vm.dirtyLog(memory)).toThrow(/KVM_GET_DIRTY_LOG: ENOENT/);
	});

	bench.states("changed by user space between two runs is executed as it is then", () => {
		const { memory, vcpu } = realModeGuest(bench.kvm, [...ASM.out(0x10), 0xeb, 0xfc]);
		const code = memory.bytes;
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x10 });
		code[0x1001] = 0x22;
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x22 });
		memory.write(0x1001, Uint8Array.of(0x33));
		expect(vcpu.run()).toMatchObject({ reason: "io", port: 0x33 });
	});
});
