/**
 * Guest memory as KVM's emulator sees it: a walk of the guest's own page tables in software
 * (arch/x86/kvm/mmu/paging_tmpl.h), and copies to and from memory slots (kvm_read_guest(), kvm_write_guest()).
 */
import { CR0, CR4, EFER } from "../../silicon/cpu/control.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import type { MachineMemory } from "../../silicon/machine.ts";
import type { Vcpu } from "../vcpu.ts";
import type { Vm } from "../vm.ts";
import { srcuDereference } from "../x86/srcu.ts";
import { GuestFault } from "./guest-fault.ts";

const PAGE_BYTES = 4096;

/** What an access is, as the error code of #PF says it. */
export const ACCESS = { write: 2, user: 4, fetch: 16 } as const;

const PTE = { present: 1, write: 2, user: 4, large: 0x80 } as const;
const PTE_NX = 0x8000_0000;

function fault(linear: bigint, present: boolean, access: number): GuestFault {
	return new GuestFault(VECTOR.PF, access | (present ? 1 : 0), linear);
}

/**
 * Guest physical address of a linear one: kvm_mmu_gva_to_gpa_*().
 * @param access a set of ACCESS bits
 * @throws GuestFault #PF
 */
export function gvaToGpa(v: Vcpu, linear: bigint, access: number): number {
	const cr0 = Number(v.cr0);
	if ((cr0 & CR0.PG) === 0) return Number(BigInt.asUintN(32, linear));
	const longMode = (Number(v.efer) & EFER.LMA) !== 0;
	const pae = (v.cr4Bits & CR4.PAE) !== 0;
	const entryBytes = pae ? 8 : 4;
	const bits = pae ? 9 : 10;
	const deep = longMode && (v.cr4Bits & CR4.LA57) !== 0;
	let level = longMode ? (deep ? 5 : 4) : pae ? 3 : 2;
	let table = Number(v.cr3 & (longMode ? 0x000f_ffff_ffff_f000n : pae ? 0xffff_ffe0n : 0xffff_f000n));
	const address = BigInt.asUintN(longMode ? 64 : 32, linear);
	const entryMask = (1n << BigInt(bits)) - 1n;
	let writable = true;
	let user = true;
	let noExecute = false;
	for (;;) {
		const shift = 12 + (level - 1) * bits;
		// Of 57 address bits a number would lose some.
		const index = Number((address >> BigInt(shift)) & entryMask);
		const at = entryAt(v, table + index * entryBytes, linear, access);
		const low = v.vm.memory.u32[at]!;
		const high = pae ? v.vm.memory.u32[at + 1]! : 0;
		if ((low & PTE.present) === 0) throw fault(linear, false, access);
		// The four PDPTEs of PAE paging have no permission bits.
		if (longMode || level !== 3) {
			writable &&= (low & PTE.write) !== 0;
			user &&= (low & PTE.user) !== 0;
			noExecute ||= (high & PTE_NX) !== 0;
		}
		const base = ((low & 0xffff_f000) >>> 0) + (high & 0x000f_ffff) * 2 ** 32;
		const isLeaf = level === 1 || ((low & PTE.large) !== 0 && (level === 2 || (level === 3 && longMode)));
		if (isLeaf) {
			const denied =
				((access & ACCESS.user) !== 0 && !user) ||
				((access & ACCESS.fetch) !== 0 && noExecute) ||
				((access & ACCESS.write) !== 0 &&
					!writable &&
					((access & ACCESS.user) !== 0 || (cr0 & CR0.WP) !== 0));
			if (denied) throw fault(linear, true, access);
			const pageBytes = 2 ** shift;
			return base - (base % pageBytes) + Number(BigInt.asUintN(shift, linear));
		}
		table = base;
		level--;
	}
}

/** Index in u32 of a table entry; a table outside memory reads as not present. */
function entryAt(v: Vcpu, gpa: number, linear: bigint, access: number): number {
	const hpa = v.vm.gpaToHpa(gpa);
	if (hpa < 0) throw fault(linear, false, access);
	return (v.vm.memory.ramBase + hpa) >>> 2;
}

/**
 * kvm_read_guest(). Bytes outside any slot read as all ones, and reading stops being exact there.
 * @returns whether all bytes lie in slots
 */
export function readGuestPhysical(vm: Vm, gpa: number, into: Uint8Array): boolean {
	let complete = true;
	for (let done = 0; done < into.length; ) {
		const count = Math.min(into.length - done, PAGE_BYTES - ((gpa + done) % PAGE_BYTES));
		const hpa = vm.gpaToHpa(gpa + done);
		if (hpa < 0) {
			into.fill(0xff, done, done + count);
			complete = false;
		} else {
			const from = vm.memory.ramBase + hpa;
			into.set(vm.memory.u8.subarray(from, from + count), done);
		}
		done += count;
	}
	return complete;
}

/**
 * kvm_write_guest(). Writes only pages whose bytes differ, and tells the translator when code is among them, so
 * that writing the same program again keeps what was translated from it.
 * @returns whether all bytes lie in slots; nothing is written to a page that does not
 */
export function writeGuestPhysical(vm: Vm, gpa: number, bytes: Uint8Array): boolean {
	const { memory } = vm;
	let complete = true;
	for (let done = 0; done < bytes.length; ) {
		const count = Math.min(bytes.length - done, PAGE_BYTES - ((gpa + done) % PAGE_BYTES));
		const hpa = vm.gpaToHpa(gpa + done);
		if (hpa < 0) complete = false;
		else {
			vm.markDirty(gpa + done);
			storePart(memory, hpa, bytes, done, count);
		}
		done += count;
	}
	return complete;
}

/** Stores a part of `bytes` within one page of host physical memory, as guest code that may have been translated. */
function storePart(memory: MachineMemory, hpa: number, bytes: Uint8Array, from: number, count: number): void {
	const to = memory.ramBase + hpa;
	if (!differs(memory.u8, to, bytes, from, count)) return;
	const page = Math.floor(hpa / PAGE_BYTES);
	if (memory.codePages[page] !== 0) memory.onCodeWrite(page);
	memory.u8.set(bytes.subarray(from, from + count), to);
}

/** Stores bytes in host physical memory, as user space does through its mapping: no page is marked dirty. */
export function storeHostPhysical(memory: MachineMemory, hpa: number, bytes: Uint8Array): void {
	for (let done = 0; done < bytes.length; ) {
		const count = Math.min(bytes.length - done, PAGE_BYTES - ((hpa + done) % PAGE_BYTES));
		storePart(memory, hpa + done, bytes, done, count);
		done += count;
	}
}

function differs(memory: Uint8Array, at: number, bytes: Uint8Array, from: number, count: number): boolean {
	let i = 0;
	if (((memory.byteOffset + at) & 3) === 0 && ((bytes.byteOffset + from) & 3) === 0) {
		const words = count >> 2;
		const left = new Uint32Array(memory.buffer, memory.byteOffset + at, words);
		const right = new Uint32Array(bytes.buffer, bytes.byteOffset + from, words);
		for (let word = 0; word < words; word++) if (left[word] !== right[word]) return true;
		i = words << 2;
	}
	for (; i < count; i++) if (memory[at + i] !== bytes[from + i]) return true;
	return false;
}

/**
 * kvm_read_guest_virt(). @throws GuestFault #PF
 */
export function readGuestVirtual(v: Vcpu, linear: bigint, into: Uint8Array, access: number): void {
	srcuDereference(v);
	for (let done = 0; done < into.length; ) {
		const gpa = gvaToGpa(v, linear + BigInt(done), access);
		const count = Math.min(into.length - done, PAGE_BYTES - (gpa % PAGE_BYTES));
		readGuestPhysical(v.vm, gpa, into.subarray(done, done + count));
		done += count;
	}
}
