/**
 * kvmclock (arch/x86/kvm/x86.c: kvm_guest_time_update(), kvm_write_wall_clock(); Documentation/virt/kvm/x86/msr.rst):
 * a page in which KVM tells a vCPU how to make nanoseconds of its time stamp counter. All vCPUs get the same base, since
 * time stamp counters are in step here: the master clock.
 */
import { HOST_BOOT_EPOCH_SECONDS } from "../../host/kernel.ts";
import { writeGuestPhysical } from "../emulate/guest-memory.ts";
import type { Vcpu } from "../vcpu.ts";

/** MSRs of the clock: those of the first ABI, and the ones that CPUID announces as KVM_FEATURE_CLOCKSOURCE2. */
export const PVCLOCK_MSR = {
	wallClock: 0x11,
	systemTime: 0x12,
	wallClockNew: 0x4b56_4d00,
	systemTimeNew: 0x4b56_4d01,
} as const;

const ENABLED = 1n;
/** struct pvclock_vcpu_time_info. */
const TIME_INFO_BYTES = 32;
/** struct pvclock_wall_clock. */
const WALL_CLOCK_BYTES = 12;
const TSC_STABLE = 1;
const NS_PER_S = 1e9;

/**
 * kvm_get_time_scale(): nanoseconds = ((cycles << shift) * multiplier) >> 32.
 * @param tscHz frequency of the time stamp counter
 */
export function timeScale(tscHz: number): { readonly multiplier: number; readonly shift: number } {
	let shift = 0;
	let hz = tscHz;
	while (hz > 2 * NS_PER_S) {
		hz /= 2;
		shift--;
	}
	while (hz <= NS_PER_S) {
		hz *= 2;
		shift++;
	}
	return { multiplier: Math.floor((NS_PER_S * 2 ** 32) / hz), shift };
}

/** kvm_guest_time_update(): the page of a vCPU whose clock is on. An odd version while it is being written. */
function updateTimeInfo(v: Vcpu, gpa: number): void {
	const { multiplier, shift } = timeScale(v.cpu.model.tscHz);
	v.pvclockVersion += 2;
	const bytes = new Uint8Array(TIME_INFO_BYTES);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, v.pvclockVersion, true);
	// The master clock's base: guest TSC, and nanoseconds, when the VM was made.
	const tscTimestamp = BigInt.asUintN(64, BigInt(Math.floor(v.vm.clockBaseCycles) + v.tscOffset));
	view.setBigUint64(8, tscTimestamp, true);
	view.setBigUint64(16, 0n, true);
	view.setUint32(24, multiplier, true);
	view.setInt8(28, shift);
	view.setUint8(29, TSC_STABLE);
	v.tracer?.tracepoint?.(v, "kvm_pvclock_update", {
		version: v.pvclockVersion,
		tscTimestamp,
		systemTimeNs: 0n,
		multiplier,
		shift,
		flags: TSC_STABLE,
	});
	writeGuestPhysical(v.vm, gpa, bytes);
}

/** kvm_write_wall_clock(): the time of day at which the clock stood at 0. */
function writeWallClock(v: Vcpu, gpa: number): void {
	const { cpu, vm } = v;
	const nanoseconds = Math.floor((vm.clockBaseCycles * NS_PER_S) / cpu.model.tscHz);
	const view = new DataView(new ArrayBuffer(WALL_CLOCK_BYTES));
	vm.wallClockVersion += 2;
	view.setUint32(0, vm.wallClockVersion, true);
	view.setUint32(4, HOST_BOOT_EPOCH_SECONDS + Math.floor(nanoseconds / NS_PER_S), true);
	view.setUint32(8, nanoseconds % NS_PER_S, true);
	writeGuestPhysical(vm, gpa, new Uint8Array(view.buffer));
}

/** A guest's write to one of the clock's MSRs. @param value 64 bits @returns whether the MSR is one of them */
export function setPvclockMsr(v: Vcpu, index: number, value: bigint): boolean {
	switch (index) {
		case PVCLOCK_MSR.wallClock:
		case PVCLOCK_MSR.wallClockNew:
			writeWallClock(v, Number(value));
			break;
		case PVCLOCK_MSR.systemTime:
		case PVCLOCK_MSR.systemTimeNew:
			v.pvclockMsr = value;
			refreshPvclock(v);
			break;
		default:
			return false;
	}
	v.msrs.set(index, value);
	return true;
}

/** KVM_REQ_CLOCK_UPDATE: the offset of the vCPU's time stamp counter has changed, or the clock is new. */
export function refreshPvclock(v: Vcpu): void {
	if ((v.pvclockMsr & ENABLED) !== 0n) updateTimeInfo(v, Number(v.pvclockMsr & ~ENABLED));
}
