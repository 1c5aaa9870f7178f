/** Control registers and XCR0 (arch/x86/kvm/x86.c: kvm_set_cr0(), kvm_set_cr4(), __kvm_set_xcr()). */
import { CR0, CR4, EFER, XFEATURE } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { KVM_REQ } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { guestWrote, makeRequest } from "../vcpu.ts";
import { kvmFindCpuidEntry } from "./cpuid.ts";
import { kvmCompleteInsnGp, kvmInjectGp, kvmSkipEmulatedInstruction } from "./inject.ts";
import { CR0_PDPTR_BITS, CR4_PDPTR_BITS, isPaePaging, loadPdptrs } from "./pdptrs.ts";
import { readGpr, writeGpr } from "./registers.ts";

const AVX512 = XFEATURE.opmask | XFEATURE.zmmHi256 | XFEATURE.hi16Zmm;
const XTILE = XFEATURE.xtilecfg | XFEATURE.xtiledata;

const CR0_DEFINED = BigInt(
	(CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG) >>> 0,
);

/** CS.L of the segment's attributes. */
const ATTR_L = 1 << 13;

/** kvm_set_cr0(). @returns false for #GP(0) */
export function kvmSetCr0(v: Vcpu, value: bigint): boolean {
	if (value >> 32n !== 0n) return false;
	const cr0 = Number((value & CR0_DEFINED) | BigInt(CR0.ET));
	const paging = (cr0 | 0) < 0;
	if (paging && (cr0 & CR0.PE) === 0) return false;
	if ((cr0 & CR0.NW) !== 0 && (cr0 & CR0.CD) === 0) return false;
	const wasPaging = (v.cr0 & (1n << 31n)) !== 0n;
	const csLong = () => (v.vm.ops.getSegment(v, L.CS).attributes & ATTR_L) !== 0;
	if (paging && !wasPaging && (Number(v.efer) & EFER.LME) !== 0) {
		if ((v.cr4Bits & CR4.PAE) === 0 || csLong()) return false;
	}
	if (!paging && (csLong() || (v.cr4Bits & CR4.PCIDE) !== 0)) return false;
	if ((cr0 & CR0.WP) === 0 && (v.cr4Bits & CR4.CET) !== 0) return false;
	const loads = ((cr0 ^ Number(v.cr0)) & CR0_PDPTR_BITS) !== 0 && isPaePaging(v, cr0, v.cr4Bits);
	if (loads && !loadPdptrs(v, v.cr3)) return false;
	v.vm.ops.setCr0(v, BigInt(cr0 >>> 0));
	// Paging that goes on, off or changes WP changes what translations mean.
	makeRequest(v, KVM_REQ.TLB_FLUSH);
	return true;
}

/** kvm_set_cr3(). @returns false for #GP(0) */
export function kvmSetCr3(v: Vcpu, value: bigint): boolean {
	let cr3 = value;
	const pcid = (v.cr4Bits & CR4.PCIDE) !== 0;
	const noFlush = pcid && (cr3 & (1n << 63n)) !== 0n;
	if (noFlush) cr3 &= ~(1n << 63n);
	const addressBits = BigInt(v.cpu.model.features.physicalAddressBits);
	if ((Number(v.efer) & EFER.LMA) !== 0 && cr3 >> addressBits !== 0n) return false;
	if (isPaePaging(v, Number(v.cr0), v.cr4Bits) && !loadPdptrs(v, cr3)) return false;
	v.vm.ops.setCr3(v, cr3);
	if (!noFlush) makeRequest(v, KVM_REQ.TLB_FLUSH);
	return true;
}

/** cr4_guest_rsvd_bits: CR4 bits that the guest's CPUID does not offer. */
export function cr4ReservedBits(v: Vcpu): number {
	const leaf1 = kvmFindCpuidEntry(v, 1, 0);
	const leaf7 = kvmFindCpuidEntry(v, 7, 0);
	let allowed =
		CR4.VME |
		CR4.PVI |
		CR4.TSD |
		CR4.DE |
		CR4.PSE |
		CR4.PAE |
		CR4.MCE |
		CR4.PGE |
		CR4.PCE |
		CR4.OSFXSR |
		CR4.OSXMMEXCPT;
	const add = (word: number | undefined, bit: number, flag: number) => {
		if (((word ?? 0) & (1 << bit)) !== 0) allowed |= flag;
	};
	add(leaf1?.ecx, 17, CR4.PCIDE);
	add(leaf1?.ecx, 26, CR4.OSXSAVE);
	add(leaf7?.ebx, 0, CR4.FSGSBASE);
	add(leaf7?.ebx, 7, CR4.SMEP);
	add(leaf7?.ebx, 20, CR4.SMAP);
	add(leaf7?.ecx, 2, CR4.UMIP);
	add(leaf7?.ecx, 3, CR4.PKE);
	add(leaf7?.ecx, 7, CR4.CET);
	add(leaf7?.edx, 20, CR4.CET);
	add(leaf7?.ecx, 16, CR4.LA57);
	add(leaf7?.ecx, 31, CR4.PKS);
	return ~allowed;
}

/** kvm_set_cr4(). @returns false for #GP(0) */
export function kvmSetCr4(v: Vcpu, value: bigint): boolean {
	if (value >> 32n !== 0n) return false;
	const cr4 = Number(value) | 0;
	const old = v.cr4Bits;
	if ((cr4 & cr4ReservedBits(v)) !== 0) return false;
	const longMode = (Number(v.efer) & EFER.LMA) !== 0;
	if (longMode && ((cr4 & CR4.PAE) === 0 || ((cr4 ^ old) & CR4.LA57) !== 0)) return false;
	if ((cr4 & CR4.PCIDE) !== 0 && (old & CR4.PCIDE) === 0 && (!longMode || (v.cr3 & 0xfffn) !== 0n))
		return false;
	if ((cr4 & CR4.CET) !== 0 && (v.cr0 & BigInt(CR0.WP)) === 0n) return false;
	const loads = ((cr4 ^ old) & CR4_PDPTR_BITS) !== 0 && isPaePaging(v, Number(v.cr0), cr4);
	if (loads && !loadPdptrs(v, v.cr3)) return false;
	v.vm.ops.setCr4(v, value);
	const translation =
		CR4.PGE | CR4.PCIDE | CR4.PAE | CR4.PSE | CR4.SMEP | CR4.SMAP | CR4.PKE | CR4.PKS | CR4.LA57;
	if (((cr4 ^ old) & translation) !== 0) makeRequest(v, KVM_REQ.TLB_FLUSH);
	return true;
}

/** kvm_set_cr8(). @returns false for #GP(0) */
export function kvmSetCr8(v: Vcpu, value: number): boolean {
	if ((value & ~0xf) !== 0) return false;
	guestWrote(v, "CR8", value);
	if (v.apic !== null) v.apic.cr8 = value;
	else v.cr8 = value;
	return true;
}

/** kvm_get_cr8(). */
export function kvmGetCr8(v: Vcpu): number {
	return v.apic !== null ? v.apic.cr8 : v.cr8;
}

/** supported_xcr0 of the guest: its CPUID leaf 0DH. */
function guestSupportedXcr0(v: Vcpu): number {
	return kvmFindCpuidEntry(v, 0xd, 0)?.eax ?? 1;
}

/** supported_xss of the guest: its CPUID leaf 0DH, sub-leaf 1. */
export function guestSupportedXss(v: Vcpu): number {
	return kvmFindCpuidEntry(v, 0xd, 1)?.ecx ?? 0;
}

/** __kvm_set_xcr(). @param index ECX @returns false for #GP(0) */
export function kvmSetXcr(v: Vcpu, index: number, value: number): boolean {
	if (index !== 0 || value > 0xffff_ffff) return false;
	if ((value & XFEATURE.x87) === 0) return false;
	if ((value & XFEATURE.avx) !== 0 && (value & XFEATURE.sse) === 0) return false;
	if ((value & ~guestSupportedXcr0(v)) !== 0) return false;
	if ((value & AVX512) !== 0) {
		if ((value & XFEATURE.avx) === 0 || (value & AVX512) !== AVX512) return false;
	}
	if ((value & XTILE) !== 0 && (value & XTILE) !== XTILE) return false;
	v.argument = value;
	v.vm.tree.helpers.__kvm_set_xcr(v);
	guestWrote(v, "XCR0", value);
	return true;
}

/** kvm_emulate_xsetbv(). */
export function kvmEmulateXsetbv(v: Vcpu): number {
	const regs = v.regs32;
	v.cpu.code(60);
	// CPL is checked here because XSETBV exits before its privilege check on SVM.
	if (v.vm.ops.getCpl(v) !== 0) {
		kvmInjectGp(v, 0);
		return 1;
	}
	const value = regs[L.RAX * 2]! + regs[L.RDX * 2]! * 2 ** 32;
	return kvmCompleteInsnGp(v, !kvmSetXcr(v, regs[L.RCX * 2]!, value));
}

/** handle_cr() of both vendors for a MOV to or from a control register, and CLTS, LMSW. */
export interface CrAccess {
	readonly cr: number;
	/** 0 to CR, 1 from CR, 2 CLTS, 3 LMSW. */
	readonly access: number;
	/** General register, in encoding order. */
	readonly gpr: number;
	/** LMSW's source. */
	readonly lmsw: number;
}

/** Emulates an access to a control register (handle_cr(), cr_interception()). */
export function kvmEmulateCrAccess(v: Vcpu, { cr, access, gpr, lmsw }: CrAccess): number {
	v.cpu.code(40);
	if (access === 1) {
		const value =
			cr === 0 ? v.cr0 : cr === 2 ? v.cr2 : cr === 3 ? v.cr3 : cr === 4 ? v.cr4 : BigInt(kvmGetCr8(v));
		v.tracer?.tracepoint?.(v, "kvm_cr", { write: false, cr, value });
		writeGpr(v, gpr, 8, value);
		return kvmSkipEmulatedInstruction(v);
	}
	if (access !== 0) {
		// LMSW sets PE, never clears it.
		const cr0 = access === 2 ? v.cr0 & ~BigInt(CR0.TS) : (v.cr0 & ~0xen) | BigInt(lmsw & 0xf);
		v.tracer?.tracepoint?.(v, "kvm_cr", { write: true, cr: 0, value: cr0 });
		return kvmCompleteInsnGp(v, !kvmSetCr0(v, cr0));
	}
	const value = readGpr(v, gpr);
	v.tracer?.tracepoint?.(v, "kvm_cr", { write: true, cr, value });
	switch (cr) {
		case 0:
			return kvmCompleteInsnGp(v, !kvmSetCr0(v, value));
		case 3:
			return kvmCompleteInsnGp(v, !kvmSetCr3(v, value));
		case 4:
			return kvmCompleteInsnGp(v, !kvmSetCr4(v, value));
		case 8:
			return kvmCompleteInsnGp(v, value > 15n || !kvmSetCr8(v, Number(value)));
		default:
			return kvmCompleteInsnGp(v, true);
	}
}
