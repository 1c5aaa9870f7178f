/**
 * What every emulated instruction goes through (arch/x86/kvm/emulate.c, x86_emulate_instruction()): its bytes from
 * guest memory, the decoder, and RIP behind it.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { type Bitness, decode, Mnemonic } from "../../silicon/translate/decode.ts";
import type { Insn } from "../../silicon/translate/insn.ts";
import { INTERNAL_ERROR, KVM_EXIT } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import { GuestFault } from "./guest-fault.ts";
import { ACCESS, readGuestVirtual } from "./guest-memory.ts";
import { kvmVcpuDoSinglestep } from "./guest-debug.ts";
import { queueGuestFault } from "./inject.ts";

/** Longest instruction, in bytes (SDM Vol. 2A, 2.3.11). */
const INSTRUCTION_BYTES_MAX = 15;
/** Instructions of host code for one emulated instruction: fetch, decode, execute, write back. */
const EMULATOR_INSTRUCTIONS = 900;
const ATTR = { L: 1 << 13, DB: 1 << 14 } as const;
const EFER_LMA = 0x400n;

/** Mode of the code segment. */
function bitnessOf(v: Vcpu): Bitness {
	const { attributes } = v.vm.ops.getSegment(v, L.CS);
	if ((attributes & ATTR.L) !== 0 && (v.efer & EFER_LMA) !== 0n) return 64;
	return (attributes & ATTR.DB) !== 0 ? 32 : 16;
}

/** Instructions that were decoded, by the low half of their address: what touches devices is often the same code. */
const decoded = new Map<number, { readonly insn: Insn; readonly bytes: Uint8Array }>();
const DECODED_MAX = 4096;

/** The bytes at RIP of the instruction under way. */
const fetched = new Uint8Array(INSTRUCTION_BYTES_MAX);

/** Decodes the first `count` bytes of `fetched`, or finds what the same bytes at the same address were decoded to. */
function decodeFetched(count: number, rip: bigint, bitness: Bitness): Insn {
	const key = Number(BigInt.asUintN(32, rip));
	const known = decoded.get(key);
	if (known !== undefined && known.insn.rip === rip && known.insn.bitness === bitness) {
		let same = known.bytes.length <= count;
		for (let at = 0; same && at < known.bytes.length; at++) same = known.bytes[at] === fetched[at];
		if (same) return known.insn;
	}
	const insn = decode(fetched.subarray(0, count), rip, bitness);
	if (insn.mnemonic !== Mnemonic.INVALID) {
		if (decoded.size >= DECODED_MAX) decoded.clear();
		decoded.set(key, { insn, bytes: fetched.slice(0, insn.length) });
	}
	return insn;
}

/** kvm_fetch_guest_virt() and decode. @throws GuestFault #PF */
function fetchInstruction(v: Vcpu): Insn {
	const { ops } = v.vm;
	const bitness = bitnessOf(v);
	const rip = ops.getRip(v);
	const base = bitness === 64 ? 0n : ops.getSegment(v, L.CS).base;
	const access = ACCESS.fetch | (ops.getCpl(v) === 3 ? ACCESS.user : 0);
	const linear = BigInt.asUintN(bitness === 64 ? 64 : 32, base + rip);
	// The next page may be absent: what lies in this one is enough for most instructions.
	const inPage = Math.min(INSTRUCTION_BYTES_MAX, 4096 - Number(linear & 0xfffn));
	readGuestVirtual(v, linear, fetched, access, 0, inPage);
	const insn = decodeFetched(inPage, rip, bitness);
	if (inPage === INSTRUCTION_BYTES_MAX || insn.mnemonic !== Mnemonic.INVALID) return insn;
	readGuestVirtual(v, linear + BigInt(inPage), fetched, access, inPage);
	return decodeFetched(INSTRUCTION_BYTES_MAX, rip, bitness);
}

/**
 * An instruction was emulated: RIP moves past it, it counts as retired, and a single step over it traps
 * (x86_emulate_instruction()).
 * @returns 1, or 0 when the debugger in user space wants to see the step
 */
export function advance(v: Vcpu, insn: Insn): number {
	moveRipPast(v, insn);
	if (v.pmu.countsInstructions) v.vm.tree.helpers.kvm_pmu_instruction_retired(v);
	return (v.vm.ops.getRflags(v) & FLAG.TF) !== 0 ? kvmVcpuDoSinglestep(v) : 1;
}

/** Moves RIP past an instruction whose end exit hardware does not tell (EMULTYPE_SKIP). @returns 1 */
export function moveRipPast(v: Vcpu, insn: Insn): number {
	const next = insn.rip + BigInt(insn.length);
	v.vm.ops.setRip(v, BigInt.asUintN(insn.bitness === 64 ? 64 : 32, next));
	return 1;
}

/**
 * handle_emulation_failure(): KVM_EXIT_INTERNAL_ERROR.
 * @param gpa of the access, or -1
 */
export function emulationFailure(v: Vcpu, insn: Insn, gpa: number): number {
	const what = Mnemonic[insn.mnemonic] ?? `mnemonic ${insn.mnemonic}`;
	v.run.exitReason = KVM_EXIT.INTERNAL_ERROR;
	v.run.code = INTERNAL_ERROR.EMULATION;
	v.run.message = `emulation failure: ${what.toUpperCase()} at rip 0x${insn.rip.toString(16)}${
		gpa >= 0 ? `, guest physical address 0x${gpa.toString(16)} has no memory` : ""
	}`;
	return 0;
}

/**
 * x86_emulate_instruction(): fetches and decodes the instruction at RIP, by the control registers as the guest has them now, and
 * runs `execute` on it. A fault of either is queued for the guest.
 * @returns 1 to go on, 0 to leave to user space
 */
export function emulateInstruction(v: Vcpu, execute: (v: Vcpu, insn: Insn) => number): number {
	v.cpu.code(EMULATOR_INSTRUCTIONS);
	v.vm.ops.cacheControlRegisters(v);
	return withGuestFaults(v, () => execute(v, fetchInstruction(v)));
}

/** Queues the GuestFault that `work` throws. */
export function withGuestFaults(v: Vcpu, work: () => number): number {
	try {
		return work();
	} catch (fault) {
		if (!(fault instanceof GuestFault)) throw fault;
		queueGuestFault(v, fault);
		return 1;
	}
}
