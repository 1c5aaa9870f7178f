/** KVM_SET_REGS and KVM_SET_SREGS (arch/x86/kvm/x86.c, v6.18). */
import * as L from "../../silicon/cpu/layout.ts";
import type { KvmRegs, KvmSegment, KvmSregs } from "../../uapi/structs.ts";
import { KVM_REQ } from "../requests.ts";
import { type Vcpu, makeRequest } from "../vcpu.ts";

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

/** KVM_SET_REGS: what was pending as an exception is gone. */
export function setRegs(v: Vcpu, regs: KvmRegs): void {
	const { ops } = v.vm;
	for (const [index, name] of GPR_NAMES.entries()) {
		if (index !== L.RSP) v.regs[index] = regs[name];
	}
	ops.setRsp(v, regs.rsp);
	ops.setRip(v, regs.rip);
	ops.setRflags(v, Number(regs.rflags | 2n));
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
}
