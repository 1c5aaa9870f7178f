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

/** An address, and its halves: arithmetic on BigInts would allocate. */
const address64 = new BigUint64Array(1);
const address32 = new Uint32Array(address64.buffer);

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
	const deep = longMode && (v.cr4Bits & CR4.LA57) !== 0;
	let level = longMode ? (deep ? 5 : 4) : pae ? 3 : 2;
	let table = Number(v.cr3 & (longMode ? 0x000f_ffff_ffff_f000n : pae ? 0xffff_ffe0n : 0xffff_f000n));
	address64[0] = linear;
	const lo = address32[0]!;
	const hi = longMode ? address32[1]! : 0;
	let writable = true;
	let user = true;
	let noExecute = false;
	for (;;) {
		const at = entryAt(v, table + tableIndex(lo, hi, level, pae) * entryBytes, linear, access);
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
			const pageBytes = 2 ** (12 + (level - 1) * (pae ? 9 : 10));
			return base - (base % pageBytes) + (lo % pageBytes);
		}
		table = base;
		level--;
	}
}

/** Index of the entry for an address, from its halves, in a table of a level. @param pae entries have 8 bytes, tables 9 bits */
function tableIndex(lo: number, hi: number, level: number, pae: boolean): number {
	if (!pae) return level === 1 ? (lo >>> 12) & 1023 : lo >>> 22;
	if (level === 1) return (lo >>> 12) & 511;
	if (level === 2) return (lo >>> 21) & 511;
	if (level === 3) return ((hi & 0x7f) << 2) | (lo >>> 30);
	return (hi >>> (level === 4 ? 7 : 16)) & 511;
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
		if (!readPart(vm, gpa + done, into, done, count)) complete = false;
		done += count;
	}
	return complete;
}

/** With fewer bytes a view of them takes longer to make than they take to copy. */
const VIEW_BYTES_LEAST = 64;

/** Reads `count` bytes within one page into a part of an array. @returns whether they lie in a slot */
function readPart(vm: Vm, gpa: number, into: Uint8Array, at: number, count: number): boolean {
	const hpa = vm.gpaToHpa(gpa);
	if (hpa < 0) {
		into.fill(0xff, at, at + count);
		return false;
	}
	const { u8, ramBase } = vm.memory;
	const from = ramBase + hpa;
	if (count >= VIEW_BYTES_LEAST) into.set(u8.subarray(from, from + count), at);
	else for (let byte = 0; byte < count; byte++) into[at + byte] = u8[from + byte]!;
	return true;
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
 * kvm_read_guest_virt().
 * @param from part of the array that takes the bytes, to one before `to`; default all of it
 * @throws GuestFault #PF
 */
export function readGuestVirtual(
	v: Vcpu,
	linear: bigint,
	into: Uint8Array,
	access: number,
	from = 0,
	to: number = into.length,
): void {
	srcuDereference(v);
	for (let done = from; done < to; ) {
		const gpa = gvaToGpa(v, done === from ? linear : linear + BigInt(done - from), access);
		const count = Math.min(to - done, PAGE_BYTES - (gpa % PAGE_BYTES));
		readPart(v.vm, gpa, into, done, count);
		done += count;
	}
}
