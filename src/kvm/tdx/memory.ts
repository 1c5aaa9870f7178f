/** Private memory of a TD (arch/x86/kvm/vmx/tdx.c, v6.18): the secure EPT's tables and pages come from KVM. */
import { hasSeptTable, tdhMemPageAdd, tdhMemSeptAdd, tdhMrFinalize } from "../../silicon/tdx/td.ts";
import type { Vcpu } from "../vcpu.ts";

const PAGE_BYTES = 4096;

/** A SEAMCALL that KVM expects to succeed did not: KVM_BUG_ON. */
export class SeamcallError extends Error {
	override readonly name = "SeamcallError";
	constructor(leaf: string, gpa: number, status: number) {
		super(
			`SEAMCALL ${leaf} at GPA 0x${gpa.toString(16)} failed with status 0x${(status >>> 0).toString(16)}`,
		);
	}
}

function expectSuccess(leaf: string, gpa: number, status: number): void {
	if (status !== 0) throw new SeamcallError(leaf, gpa, status);
}

/**
 * KVM_TDX_INIT_MEM_REGION: adds pages with the content of the source to a TD that is being built.
 * @param gpa of the first page, a multiple of 4 KiB
 * @param source rounded up to whole pages with zeroes
 * @throws SeamcallError if the region was added before, or the TD is finalized
 */
export function tdxInitMemRegion(v: Vcpu, gpa: number, source: Uint8Array): void {
	const { cpu, vm } = v;
	const { td } = v.tdx!.td;
	for (let offset = 0; offset < source.length; offset += PAGE_BYTES) {
		const at = gpa + offset;
		for (let level = 4; level > 1; level--) {
			if (hasSeptTable(td, at, level - 1)) continue;
			expectSuccess("TDH.MEM.SEPT.ADD", at, tdhMemSeptAdd(cpu, td, at, level, vm.allocate(PAGE_BYTES)));
		}
		expectSuccess("TDH.MEM.PAGE.ADD", at, tdhMemPageAdd(cpu, td, at, vm.reserve(PAGE_BYTES), source, offset));
	}
}

/** KVM_TDX_FINALIZE_VM. */
export function tdxFinalizeVm(v: Vcpu): void {
	expectSuccess("TDH.MR.FINALIZE", 0, tdhMrFinalize(v.cpu, v.tdx!.td.td));
}
