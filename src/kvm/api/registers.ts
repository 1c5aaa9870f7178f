/** KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS and KVM_SET_SREGS (arch/x86/kvm/x86.c, v6.18). */
import * as L from "../../silicon/cpu/layout.ts";
import type { KvmRegs, KvmSegment, KvmSregs } from "../../uapi/structs.ts";
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";
import { isPaePaging, loadPdptrs } from "../emulate/pdptrs.ts";
import { kvmGetRflags, kvmSetRflags } from "../emulate/guest-debug.ts";
import { cr4ReservedBits } from "../emulate/control.ts";
import type { Segment } from "../vendor-ops.ts";

/** Names of struct kvm_regs by encoding number. */
const GPR_NAMES = [
	"rax",
	"rcx",
	"rdx",
	"rbx",
	"rsp",
	"rbp",
	"rsi",
	"rdi",
	"r8",
	"r9",
	"r10",
	"r11",
	"r12",
	"r13",
	"r14",
	"r15",
] as const;

const SEGMENTS = [
	["cs", L.CS],
	["ds", L.DS],
	["es", L.ES],
	["fs", L.FS],
	["gs", L.GS],
	["ss", L.SS],
	["tr", L.TR],
	["ldt", L.LDTR],
] as const;

/** KVM_GET_REGS. */
export function getRegs(v: Vcpu): KvmRegs {
	const { ops } = v.vm;
	const named = Object.fromEntries(GPR_NAMES.map((name, index) => [name, v.regs[index]!]));
	return {
		...(named as Record<(typeof GPR_NAMES)[number], bigint>),
		rsp: ops.getRsp(v),
		rip: ops.getRip(v),
		rflags: BigInt(kvmGetRflags(v) >>> 0),
	};
}

/** KVM_SET_REGS: what was pending as an exception is gone. */
export function setRegs(v: Vcpu, regs: KvmRegs): void {
	const { ops } = v.vm;
	for (const [index, name] of GPR_NAMES.entries()) {
		if (index !== L.RSP) v.regs[index] = regs[name];
	}
	ops.setRsp(v, regs.rsp);
	ops.setRip(v, regs.rip);
	kvmSetRflags(v, Number(regs.rflags | 2n));
	v.exception.pending = false;
	makeRequest(v, KVM_REQ.EVENT);
}

/** Access rights in the VMCS's format (SDM table 25-2). */
function attributesOf(s: KvmSegment): number {
	if (s.unusable !== 0 || s.present === 0) return 0x1_0000;
	return (
		s.type |
		(s.s << 4) |
		(s.dpl << 5) |
		(s.present << 7) |
		(s.avl << 12) |
		(s.l << 13) |
		(s.db << 14) |
		(s.g << 15)
	);
}

/** struct kvm_segment from the VMCS's format: kvm_x86_ops.get_segment(). */
function segmentOf({ base, limit, selector, attributes }: Segment): KvmSegment {
	const unusable = (attributes >>> 16) & 1;
	return {
		base,
		limit,
		selector,
		type: attributes & 15,
		// An unusable segment may have P set in the VMCS, but is not present.
		present: unusable ^ 1,
		dpl: (attributes >>> 5) & 3,
		db: (attributes >>> 14) & 1,
		s: (attributes >>> 4) & 1,
		l: (attributes >>> 13) & 1,
		g: (attributes >>> 15) & 1,
		avl: (attributes >>> 12) & 1,
		unusable,
		padding: 0,
	};
}

/** KVM_GET_SREGS, but for the APIC's part, CR8 and the interrupt that is being injected. */
export function getSregs(v: Vcpu): Omit<KvmSregs, "apic_base" | "cr8" | "interrupt_bitmap"> {
	const { ops } = v.vm;
	ops.cacheControlRegisters(v);
	const segments = Object.fromEntries(
		SEGMENTS.map(([name, segment]) => [name, segmentOf(ops.getSegment(v, segment))]),
	) as Record<(typeof SEGMENTS)[number][0], KvmSegment>;
	const table = (segment: number) => {
		const { base, limit } = ops.getSegment(v, segment);
		return { base, limit: limit & 0xffff, padding: [0, 0, 0] };
	};
	const { cr0, cr2, cr3, cr4, efer } = v;
	return { ...segments, gdt: table(L.GDTR), idt: table(L.IDTR), cr0, cr2, cr3, cr4, efer };
}

const CR0_PE = 1n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

/** kvm_is_valid_sregs(): control registers that contradict neither each other nor the guest's CPUID. */
export function isValidSregs(v: Vcpu, { cr0, cr3, cr4, efer, cs }: SettableSregs): boolean {
	const paging = (cr0 & CR0_PG) !== 0n;
	if ((efer & EFER_LME) !== 0n && paging) {
		const end = 1n << BigInt(v.cpu.model.features.physicalAddressBits);
		if ((cr4 & CR4_PAE) === 0n || (efer & EFER_LMA) === 0n || cr3 >= end) return false;
	} else if ((efer & EFER_LMA) !== 0n || cs.l !== 0) return false;
	if (cr4 >> 32n !== 0n || (Number(cr4) & cr4ReservedBits(v)) !== 0) return false;
	if (cr0 >> 32n !== 0n || (paging && (cr0 & CR0_PE) === 0n)) return false;
	return (cr0 & CR0_NW) === 0n || (cr0 & CR0_CD) !== 0n;
}

/** What KVM_SET_SREGS sets here; CR2 and CR8 stay when they are not given. */
export type SettableSregs = Omit<KvmSregs, "apic_base" | "interrupt_bitmap" | "cr2" | "cr8"> &
	Partial<Pick<KvmSregs, "cr2" | "cr8">>;

/** KVM_SET_SREGS, but for the APIC's part. CR0 comes last: EFER.LMA follows it. */
export function setSregs(v: Vcpu, sregs: SettableSregs): void {
	const { ops } = v.vm;
	for (const [name, segment] of SEGMENTS) {
		const { base, limit, selector } = sregs[name];
		ops.setSegment(v, segment, { base, limit, selector, attributes: attributesOf(sregs[name]) });
	}
	for (const [name, segment] of [
		["gdt", L.GDTR],
		["idt", L.IDTR],
	] as const) {
		ops.setSegment(v, segment, { ...sregs[name], attributes: 0, selector: 0 });
	}
	if (sregs.cr2 !== undefined) v.cr2 = sregs.cr2;
	if (sregs.cr8 !== undefined) v.cr8 = Number(sregs.cr8);
	ops.setCr3(v, sregs.cr3);
	ops.setCr4(v, sregs.cr4);
	ops.setEfer(v, sregs.efer & ~0x400n);
	ops.setCr0(v, sregs.cr0);
	// Entries that may not be stay what they were: VM entry finds out.
	if (isPaePaging(v, Number(sregs.cr0), Number(sregs.cr4))) loadPdptrs(v, sregs.cr3);
}
