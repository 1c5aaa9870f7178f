/**
 * The bitmap of MSRs whose RDMSR and WRMSR exit: all at first, then the vendor takes away what the guest owns.
 */
import type { Vcpu } from "../vcpu.ts";

/** One vCPU's bitmap, in host physical memory. */
export interface MsrBitmap {
	readonly hpa: number;
	/** Bit of an MSR's access in the bitmap. */
	readonly bitOf: (index: number, write: boolean) => number;
}

/** Bytes of VMX's bitmap (SDM 25.6.9) and of SVM's (APM 15.11). */
const VMX_BITMAP_BYTES = 4096;
const SVM_BITMAP_BYTES = 8192;

/** Low MSRs, then C0000000H and up, 1024 bytes each, for reads; the same for writes behind them (SDM 25.6.9). */
function vmxBit(index: number, write: boolean): number {
	return ((write ? 2048 : 0) + (index >= 0xc000_0000 ? 1024 : 0)) * 8 + (index & 0x1fff);
}

/** Two bits an MSR, read and write, in ranges of 8192 MSRs from 0, C0000000H and C0010000H (APM 15.11). */
function svmBit(index: number, write: boolean): number {
	const range = index >= 0xc001_0000 ? 2 : index >= 0xc000_0000 ? 1 : 0;
	return (range * 8192 + (index & 0x1fff)) * 2 + (write ? 1 : 0);
}

/** MSRs that a VMX guest reads and writes without exits: vmx_recalc_msr_intercepts(), v6.18. */
const VMX_GUEST_OWNED = [0x174, 0x175, 0x176, 0xc000_0100, 0xc000_0101, 0xc000_0102];
/** Read only: the TSC, which the processor offsets. */
const VMX_GUEST_READS = [0x10];
/** MSRs that VMLOAD, VMSAVE or VMRUN switch: svm_recalc_msr_intercepts(), v6.18, for an AMD guest. */
const SVM_GUEST_OWNED = [
	0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0100, 0xc000_0101,
	0xc000_0102,
];

/**
 * Sets or clears the intercept of an MSR: vmx_set_intercept_for_msr(), svm_set_intercept_for_msr().
 * @param index of the MSR, unsigned
 */
export function setMsrIntercept(v: Vcpu, index: number, write: boolean, intercept: boolean): void {
	const { bitOf, hpa } = v.msrBitmap!;
	const { u8, ramBase } = v.cpu.memory;
	const bit = bitOf(index, write);
	const at = ramBase + hpa + (bit >> 3);
	const mask = 1 << (bit & 7);
	u8[at] = intercept ? u8[at]! | mask : u8[at]! & ~mask;
}

function makeBitmap(v: Vcpu, bytes: number, bitOf: MsrBitmap["bitOf"], owned: readonly number[]): MsrBitmap {
	const hpa = v.vm.allocate(bytes);
	const at = v.cpu.memory.ramBase + hpa;
	v.cpu.memory.u8.fill(0xff, at, at + bytes);
	v.msrBitmap = { hpa, bitOf };
	for (const index of owned) {
		setMsrIntercept(v, index, false, false);
		setMsrIntercept(v, index, true, false);
	}
	return v.msrBitmap;
}

/** Makes a VMX vCPU's bitmap. */
export function makeVmxMsrBitmap(v: Vcpu): MsrBitmap {
	const bitmap = makeBitmap(v, VMX_BITMAP_BYTES, vmxBit, VMX_GUEST_OWNED);
	for (const index of VMX_GUEST_READS) setMsrIntercept(v, index, false, false);
	return bitmap;
}

/** Makes an SVM vCPU's bitmap. */
export function makeSvmMsrBitmap(v: Vcpu): MsrBitmap {
	return makeBitmap(v, SVM_BITMAP_BYTES, svmBit, SVM_GUEST_OWNED);
}
