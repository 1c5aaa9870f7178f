import { expect, test } from "vitest";
import { readGuestPhysical } from "../../../src/kvm/emulate/guest-memory.ts";
import { kvmGetMsr, kvmSetMsr } from "../../../src/kvm/emulate/msr.ts";
import { PVCLOCK_MSR, timeScale } from "../../../src/kvm/x86/pvclock.ts";
import { makeFakeVm } from "../support/fake-vm.ts";

/** Nanoseconds that a guest makes of its time stamp counter and the page (pvclock.c of the kernel). */
function readClock(page: DataView, tsc: bigint): bigint {
	const shift = page.getInt8(28);
	const delta = tsc - page.getBigUint64(8, true);
	const scaled = shift >= 0 ? delta << BigInt(shift) : delta >> BigInt(-shift);
	return page.getBigUint64(16, true) + ((scaled * BigInt(page.getUint32(24, true))) >> 32n);
}

test("the clock page makes nanoseconds of the guest's time stamp counter, whatever was written to that", () => {
	const { vm, vcpu } = makeFakeVm();
	const { cpu } = vcpu;
	expect(kvmSetMsr(vcpu, PVCLOCK_MSR.systemTimeNew, 0x3001n)).toBe(true);
	const page = () => {
		const bytes = new Uint8Array(32);
		readGuestPhysical(vm, 0x3000, bytes);
		return new DataView(bytes.buffer);
	};
	const elapsed = () => Number(readClock(page(), kvmGetMsr(vcpu, 0x10)!));
	cpu.cycles = vm.clockBaseCycles + cpu.model.tscHz;
	expect(Math.abs(elapsed() - 1e9)).toBeLessThan(2);
	const version = page().getUint32(0, true);
	kvmSetMsr(vcpu, 0x10, 0x1234_5678_9abcn);
	expect(Math.abs(elapsed() - 1e9)).toBeLessThan(2);
	expect(page().getUint32(0, true)).toBe(version + 2);
	expect(version % 2).toBe(0);
});

test.each([1e9, 1.5e9, 2.1e9, 3e9, 0.7e9])("the scale for %i Hz is right to a part in 2^31", (hz) => {
	const { multiplier, shift } = timeScale(hz);
	expect(multiplier).toBeLessThan(2 ** 32);
	expect(Math.abs((hz * 2 ** shift * multiplier) / 2 ** 32 / 1e9 - 1)).toBeLessThan(2 ** -31 * 2);
});

test("IA32_TSC_ADJUST moves the time stamp counter, and follows what is written to it", () => {
	const { vcpu } = makeFakeVm();
	const before = kvmGetMsr(vcpu, 0x10)!;
	kvmSetMsr(vcpu, 0x3b, 1000n);
	expect(kvmGetMsr(vcpu, 0x10)! - before).toBe(1000n);
	kvmSetMsr(vcpu, 0x10, before + 5000n);
	expect(kvmGetMsr(vcpu, 0x3b)).toBe(5000n);
});
