/** CPUID for guests (arch/x86/kvm/cpuid.c): the leaves given at creation, and what follows the guest's state. */
import { CR4 } from "../../silicon/cpu/control.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import { cpuid } from "../../silicon/cpu/cpuid.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { compactedSize, standardSize } from "../../silicon/cpu/state-components.ts";
import { type CpuidFeatureBit, featureBit } from "../../silicon/cpu/cpuid-features.ts";
import type { CpuidEntry, Vcpu } from "../vcpu.ts";
import { kvmSkipEmulatedInstruction } from "./inject.ts";

/** "KVMKVMKVM\0\0\0", as EBX, ECX, EDX of leaf 40000000H. */
const KVM_SIGNATURE = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x0000_004d } as const;
const KVM_CPUID_SIGNATURE = 0x4000_0000;
const KVM_CPUID_FEATURES = 0x4000_0001;
/** KVM_FEATURE_… bits. Asynchronous page faults, steal time and paravirtual EOI are not offered. */
const KVM_FEATURES =
	(1 << 0) | // CLOCKSOURCE
	(1 << 1) | // NOP_IO_DELAY
	(1 << 3) | // CLOCKSOURCE2
	(1 << 24); // CLOCKSOURCE_STABLE
/** Those that the local APIC in the kernel makes possible: PV_UNHALT, PV_SEND_IPI, PV_SCHED_YIELD. */
const KVM_FEATURES_APIC = (1 << 7) | (1 << 11) | (1 << 13);

// biome-ignore format: a table of feature bits
/** Features by register that KVM takes away from or adds to what the processor says. */
const LEAF_1_ECX = {
	/** DTES64 MONITOR DS-CPL VMX SMX EST TM2 PDCM DCA: not virtualized here. */
	hidden: (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 15) | (1 << 18),
	/** OSXSAVE follows CR4. */
	osxsave: 1 << 27,
	/** The hypervisor bit. */
	hypervisor: 1 << 31,
} as const;
/** x2APIC and TSC deadline: the in-kernel local APIC has them on any processor. */
const LEAF_1_ECX_APIC = (1 << 21) | (1 << 24);
const LEAF_1_EDX_APIC = 1 << 9;
const LEAF_7_ECX_OSPKE = 1 << 4;
const LEAF_7_EBX_TSC_ADJUST = 1 << 1;
const LEAF_80000008_EBX_RDPRU = 1 << 4;
/** XSAVEC and XSAVES: without either there is no compacted area whose size could be told. */
const LEAF_D1_EAX_COMPACTED = (1 << 1) | (1 << 3);
const LEAF_80000001_ECX_SVM = 1 << 2;

/** Leaves with sub-leaves, and how many of those the guest gets. */
const SUBLEAVES: ReadonlyMap<number, number> = new Map([
	[4, 4],
	[7, 1],
	[0xb, 2],
	[0xd, 32],
]);

function isEmpty(entry: CpuidEntry): boolean {
	return (entry.eax | entry.ebx | entry.ecx | entry.edx) === 0;
}

/** What the table of a vCPU depends on beside the processor. */
export interface CpuidSubject {
	readonly cpu: Cpu;
	/** The local APIC is in the kernel. */
	readonly apic: boolean;
	/** APIC id. */
	readonly id: number;
}

/** One leaf as KVM_GET_SUPPORTED_CPUID offers it, and the VMM passes it on. */
function guestEntry({ cpu, apic, id }: CpuidSubject, leaf: number, subleaf: number | null): CpuidEntry {
	let { eax, ebx, ecx, edx } = cpuid(cpu, leaf, subleaf ?? 0);
	if (leaf === 1) {
		ecx = (ecx & ~LEAF_1_ECX.hidden & ~LEAF_1_ECX.osxsave) | LEAF_1_ECX.hypervisor;
		ecx = apic ? ecx | LEAF_1_ECX_APIC : ecx & ~LEAF_1_ECX_APIC;
		edx = apic ? edx | LEAF_1_EDX_APIC : edx & ~LEAF_1_EDX_APIC;
		ebx = (ebx & 0x0000_ffff) | (1 << 16) | (id << 24);
	} else if (leaf === 7 && subleaf === 0) {
		ebx |= LEAF_7_EBX_TSC_ADJUST;
		ecx &= ~LEAF_7_ECX_OSPKE;
	} else if (leaf === 5) eax = ebx = ecx = 0;
	else if (leaf === 0xb) edx = id;
	else if (leaf === 0x8000_0001) ecx &= ~LEAF_80000001_ECX_SVM;
	else if (leaf === 0x8000_0008) ebx &= ~LEAF_80000008_EBX_RDPRU;
	else if (leaf === 0x8000_000a) eax = ebx = ecx = edx = 0;
	return { leaf, subleaf, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** KVM_GET_SUPPORTED_CPUID, with the ids of one vCPU in it. */
export function supportedCpuid(subject: CpuidSubject): CpuidEntry[] {
	const { cpu, apic } = subject;
	const entries: CpuidEntry[] = [];
	const addRange = (first: number, last: number) => {
		for (let leaf = first; leaf <= last; leaf++) {
			const count = SUBLEAVES.get(leaf);
			if (count === undefined) {
				entries.push(guestEntry(subject, leaf, null));
				continue;
			}
			for (let subleaf = 0; subleaf < count; subleaf++) {
				const entry = guestEntry(subject, leaf, subleaf);
				if (subleaf < 2 || !isEmpty(entry)) entries.push(entry);
			}
		}
	};
	addRange(0, cpuid(cpu, 0, 0).eax);
	const base = { subleaf: null };
	entries.push({ ...base, leaf: KVM_CPUID_SIGNATURE, eax: KVM_CPUID_FEATURES, ...KVM_SIGNATURE });
	entries.push({
		...base,
		leaf: KVM_CPUID_FEATURES,
		eax: apic ? KVM_FEATURES | KVM_FEATURES_APIC : KVM_FEATURES,
		ebx: 0,
		ecx: 0,
		edx: 0,
	});
	addRange(0x8000_0000, cpuid(cpu, 0x8000_0000, 0).eax);
	return entries;
}

/**
 * Fills the vCPU's CPUID table with what this processor and KVM offer (KVM_SET_CPUID2 of what
 * KVM_GET_SUPPORTED_CPUID gave). Call it when the vCPU has its local APIC, or none.
 */
export function buildGuestCpuid(v: Vcpu): void {
	v.cpuid.length = 0;
	v.cpuid.push(...supportedCpuid({ cpu: v.cpu, apic: v.apic !== null, id: v.id }));
	kvmVcpuAfterSetCpuid(v);
}

/**
 * guest_cpu_cap_has(): whether the guest's CPUID offers a feature.
 * @param feature a row of CPUID_FEATURES
 */
export function guestCpuCapHas(v: Vcpu, feature: CpuidFeatureBit): boolean {
	const entry = kvmFindCpuidEntry(v, feature.leaf, feature.subleaf);
	return entry !== null && ((entry[feature.register] >>> feature.bit) & 1) !== 0;
}

const XSAVE = featureBit("xsave");
const XSAVES = featureBit("xsaves");

/** kvm_vcpu_after_set_cpuid(): what KVM works out once from the guest's CPUID. */
export function kvmVcpuAfterSetCpuid(v: Vcpu): void {
	// SVM cannot keep XSAVES from a guest that has XSAVE (svm_vcpu_after_set_cpuid()).
	v.guestCanUseXsaves =
		v.cpu.model.features.xsaves &&
		guestCpuCapHas(v, XSAVE) &&
		(v.vm.vendor === "svm" || guestCpuCapHas(v, XSAVES));
	v.vm.ops.afterSetCpuid(v);
}

/** kvm_find_cpuid_entry_index(). */
export function kvmFindCpuidEntry(v: Vcpu, leaf: number, subleaf: number): CpuidEntry | null {
	const { cpuid: entries } = v;
	for (let at = 0; at < entries.length; at++) {
		const entry = entries[at]!;
		if (entry.leaf === leaf && (entry.subleaf === null || entry.subleaf === subleaf)) return entry;
	}
	return null;
}

/** get_out_of_range_cpuid_entry(): Intel answers for a leaf beyond the last with the last basic leaf's values. */
function outOfRangeEntry(v: Vcpu, leaf: number, subleaf: number): CpuidEntry | null {
	if (v.cpu.model.vendorString === "AuthenticAMD") return null;
	const classBase = (leaf & 0x8000_0000) >>> 0 === 0 ? 0 : 0x8000_0000;
	const first = kvmFindCpuidEntry(v, classBase, 0);
	if (first !== null && leaf <= first.eax) return null;
	const basic = kvmFindCpuidEntry(v, 0, 0);
	return basic === null ? null : kvmFindCpuidEntry(v, basic.eax, subleaf);
}

/**
 * kvm_cpuid(): the guest's view of a leaf, written to EAX, EBX, ECX, EDX.
 * @param leaf unsigned
 * @param subleaf unsigned
 */
export function kvmCpuid(v: Vcpu, leaf: number, subleaf: number): void {
	const exact = kvmFindCpuidEntry(v, leaf, subleaf);
	const entry = exact ?? outOfRangeEntry(v, leaf, subleaf);
	answer(v, leaf, subleaf, entry);
	const { regs32 } = v;
	v.tracer?.tracepoint?.(v, "kvm_cpuid", {
		leaf,
		subleaf,
		registers: [regs32[L.RAX * 2]!, regs32[L.RBX * 2]!, regs32[L.RCX * 2]!, regs32[L.RDX * 2]!],
		found: (exact ?? null) !== null,
		usedMaxBasic: (exact ?? null) === null && entry !== null,
	});
}

/** Puts an entry into the registers, as it is now. @param entry null: there is none */
function answer(v: Vcpu, leaf: number, subleaf: number, entry: CpuidEntry | null): void {
	const regs = v.regs32;
	regs[L.RAX * 2 + 1] = 0;
	regs[L.RBX * 2 + 1] = 0;
	regs[L.RCX * 2 + 1] = 0;
	regs[L.RDX * 2 + 1] = 0;
	if (entry === null) {
		regs[L.RAX * 2] = 0;
		regs[L.RBX * 2] = 0;
		regs[L.RCX * 2] = 0;
		regs[L.RDX * 2] = 0;
		return;
	}
	let { ebx, ecx, edx } = entry;
	// kvm_update_cpuid_runtime(): bits and sizes that follow CR4, the APIC base, XCR0 and IA32_XSS.
	if (leaf === 1) {
		if ((v.cr4Bits & CR4.OSXSAVE) !== 0) ecx |= LEAF_1_ECX.osxsave;
		if (v.apic !== null && !v.apic.isEnabled) edx &= ~LEAF_1_EDX_APIC;
	} else if (leaf === 7 && subleaf === 0) {
		if ((v.cr4Bits & CR4.PKE) !== 0) ecx |= LEAF_7_ECX_OSPKE;
	} else if (leaf === 0xd && subleaf === 0) ebx = standardSize(v.cpu.model, v.xcr0);
	else if (leaf === 0xd && subleaf === 1 && (entry.eax & LEAF_D1_EAX_COMPACTED) !== 0)
		ebx = compactedSize(v.xcr0 | v.iaXss);
	regs[L.RAX * 2] = entry.eax;
	regs[L.RBX * 2] = ebx;
	regs[L.RCX * 2] = ecx;
	regs[L.RDX * 2] = edx;
}

/** kvm_emulate_cpuid(). */
export function kvmEmulateCpuid(v: Vcpu): number {
	v.cpu.code(150);
	kvmCpuid(v, v.regs32[L.RAX * 2]!, v.regs32[L.RCX * 2]!);
	return kvmSkipEmulatedInstruction(v);
}
