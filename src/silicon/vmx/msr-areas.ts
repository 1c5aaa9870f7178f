/** The MSR areas of a VMCS: registers that VM entry loads, and that VM exit stores and loads (SDM Vol. 3C, 25.7.2, 25.8.2). */
import type { Cpu } from "../cpu/cpu.ts";
import { MSR, readMsr, writeMsr } from "../cpu/msr.ts";
import { contextChanged } from "../paging/tlb.ts";
import { O } from "./fields.ts";
import type { Vmcs } from "./vmcs.ts";

const ENTRY_BYTES = 16;
/** IA32_VMX_MISC bits 27:25 are 0: what longer areas do is undefined (SDM Vol. 3D, A.6). Here the entry behind the last fails. */
const ENTRIES_MAX = 512;

/** A VMX abort: the processor is shut down with an indicator in the VMCS region (SDM Vol. 3C, 28.7). */
export class VmxAbort extends Error {
	override readonly name = "VmxAbort";
	readonly indicator: number;
	constructor(indicator: number, what: string) {
		super(`VMX abort ${indicator}: ${what}`);
		this.indicator = indicator;
	}
}

/** Walks an area until `each` refuses an entry. @returns 0, or the number of that entry, from 1 */
function walk(
	cpu: Cpu,
	vmcs: Vmcs,
	countField: number,
	addressField: number,
	each: (index: number, reserved: number, at: number) => boolean,
): number {
	const count = vmcs.u32[countField >> 2]!;
	const area = vmcs.u32[addressField >> 2]! + vmcs.u32[(addressField >> 2) + 1]! * 2 ** 32;
	const { view, ramBase, ramBytes } = cpu.memory;
	for (let n = 0; n < count; n++) {
		const hpa = area + n * ENTRY_BYTES;
		if (n === ENTRIES_MAX || hpa + ENTRY_BYTES > ramBytes) return n + 1;
		const at = ramBase + hpa;
		if (!each(view.getUint32(at, true), view.getUint32(at + 4, true), at)) return n + 1;
	}
	return 0;
}

/** FS and GS bases have fields of their own, and x2APIC registers are not for these areas (SDM 27.4, 28.4, 28.6). */
function allowed(index: number, reserved: number): boolean {
	const base = index === MSR.IA32_FS_BASE || index === MSR.IA32_GS_BASE;
	return !base && index >>> 8 !== 8 && reserved === 0;
}

function load(cpu: Cpu, vmcs: Vmcs, count: number, address: number): number {
	// The usual case, at every entry and exit: nothing to do, and nothing made for it.
	if (vmcs.u32[count >> 2] === 0) return 0;
	const failed = walk(cpu, vmcs, count, address, (index, reserved, at) => {
		return (
			allowed(index, reserved) && writeMsr(cpu, index, cpu.memory.view.getBigUint64(at + 8, true)) === null
		);
	});
	// EFER and PAT among them may change what addresses mean.
	contextChanged(cpu);
	return failed;
}

/** @returns 0, or the number of the entry that fails the VM entry (exit reason 34) */
export function loadEntryMsrs(cpu: Cpu, vmcs: Vmcs): number {
	return load(cpu, vmcs, O.VM_ENTRY_MSR_LOAD_COUNT, O.VM_ENTRY_MSR_LOAD_ADDR);
}

/** Stores the guest's, before the host's state is loaded. @throws VmxAbort */
export function storeExitMsrs(cpu: Cpu, vmcs: Vmcs): void {
	if (vmcs.u32[O.VM_EXIT_MSR_STORE_COUNT >> 2] === 0) return;
	const failed = walk(
		cpu,
		vmcs,
		O.VM_EXIT_MSR_STORE_COUNT,
		O.VM_EXIT_MSR_STORE_ADDR,
		(index, reserved, at) => {
			const value = allowed(index, reserved) ? readMsr(cpu, index) : null;
			if (typeof value !== "bigint") return false;
			cpu.memory.view.setBigUint64(at + 8, value, true);
			return true;
		},
	);
	if (failed !== 0) throw new VmxAbort(1, `entry ${failed} of the VM-exit MSR-store area`);
}

/** Loads the host's, behind the host's state. @throws VmxAbort */
export function loadExitMsrs(cpu: Cpu, vmcs: Vmcs): void {
	const failed = load(cpu, vmcs, O.VM_EXIT_MSR_LOAD_COUNT, O.VM_EXIT_MSR_LOAD_ADDR);
	if (failed !== 0) throw new VmxAbort(4, `entry ${failed} of the VM-exit MSR-load area`);
}
