/**
 * handle_ud() (arch/x86/kvm/x86.c): #UD of a guest always exits, because an instruction may be undefined here and not on the
 * processor that the guest's CPUID tells of. SYSCALL outside 64-bit mode is AMD's, SYSENTER in long mode Intel's: a guest that
 * was moved here from the other maker's machine goes on using them (EmulateOnUD in arch/x86/kvm/emulate.c). The other
 * maker's hypercall becomes this one's.
 */
import { CR0 } from "../../silicon/cpu/control.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { MSR } from "../../silicon/cpu/msr.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import { Mnemonic } from "../../silicon/translate/decode.ts";
import type { Insn } from "../../silicon/translate/insn.ts";
import type { Vcpu } from "../vcpu.ts";
import { kvmFindCpuidEntry } from "./cpuid.ts";
import { advance, emulateInstruction } from "./fetch.ts";
import { GuestFault } from "./guest-fault.ts";
import { ACCESS } from "./guest-memory.ts";
import { kvmQueueException } from "./inject.ts";
import { emulateOnSilicon, finishWrites, writesOf } from "./instruction.ts";

const EMULATED = new Set<number>([Mnemonic.Syscall, Mnemonic.Sysenter, Mnemonic.Sysexit, Mnemonic.Sysexitq]);

/** VMCALL and VMMCALL, as the processors have them that take each (patch_hypercall() of vmx.c and svm.c). */
const HYPERCALL = {
	GenuineIntel: Uint8Array.of(0x0f, 0x01, 0xc1),
	AuthenticAMD: Uint8Array.of(0x0f, 0x01, 0xd9),
} as const;

/** EBX of leaf 0: the first four letters of the maker's name. */
const VENDOR_EBX: ReadonlyMap<number, CpuModel["vendorString"]> = new Map([
	[0x756e_6547, "GenuineIntel"],
	[0x6874_7541, "AuthenticAMD"],
]);

/** Registers that system calls read, which the emulator has no copy of otherwise. */
const MSRS: readonly (readonly [msr: number, offset: number])[] = [
	[MSR.IA32_STAR, L.STAR],
	[MSR.IA32_LSTAR, L.LSTAR],
	[MSR.IA32_CSTAR, L.CSTAR],
	[MSR.IA32_FMASK, L.SFMASK],
	[MSR.IA32_SYSENTER_CS, L.SYSENTER_CS],
	[MSR.IA32_SYSENTER_ESP, L.SYSENTER_ESP],
	[MSR.IA32_SYSENTER_EIP, L.SYSENTER_EIP],
];

/** Whether KVM's emulator takes an instruction for a hypercall here. VMMCALL needs protected mode (Prot in its opcode_table). */
function isHypercall(v: Vcpu, { mnemonic }: Insn): boolean {
	return mnemonic === Mnemonic.Vmcall || (mnemonic === Mnemonic.Vmmcall && (v.cr0 & BigInt(CR0.PE)) !== 0n);
}

/**
 * em_hypercall(), emulator_fix_hypercall(): the instruction is written over, and executed again. KVM writes to the address in RIP,
 * whatever CS's base.
 * @throws GuestFault #GP for VMCALL at another level than 0, #PF where the guest could not write
 */
function fixHypercall(v: Vcpu, insn: Insn): number {
	const { ops } = v.vm;
	const cpl = ops.getCpl(v);
	if (insn.mnemonic === Mnemonic.Vmcall && cpl > 0) throw new GuestFault(VECTOR.GP, 0);
	const writes = writesOf(v, ops.getRip(v), HYPERCALL[v.cpu.model.vendorString], cpl === 3 ? ACCESS.user : 0);
	return finishWrites(v, writes, 0, () => advance(v, { ...insn, length: 0 }));
}

/** handle_ud(). @returns 1 to go on */
export function handleUd(v: Vcpu): number {
	return emulateInstruction(v, (_, insn) => {
		if (!insn.lock && isHypercall(v, insn)) return fixHypercall(v, insn);
		const maker = VENDOR_EBX.get(kvmFindCpuidEntry(v, 0, 0)?.ebx ?? 0);
		const foreign = maker !== undefined && maker !== v.cpu.model.vendorString;
		if (!foreign || insn.lock || !EMULATED.has(insn.mnemonic)) {
			kvmQueueException(v, VECTOR.UD, null);
			return 1;
		}
		const msrs = MSRS.map(([msr, offset]) => [offset, v.vm.ops.getMsr(v, msr) ?? 0n] as const);
		return emulateOnSilicon(v, [], { maker, registers: msrs });
	});
}
