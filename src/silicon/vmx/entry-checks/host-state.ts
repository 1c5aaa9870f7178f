/** Checks on the host-state area (SDM Vol. 3C, 27.2.2-27.2.4). A failure is VMfailValid(8). */
import { isCetControl } from "../../cpu/cet.ts";
import { CR0, CR4, EFER, supportedCr4 } from "../../cpu/control.ts";
import type { Cpu } from "../../cpu/cpu.ts";
import {
	arePats,
	arePerfGlobalCtrl,
	isCanonicalForRegister,
	isCanonicalHighForRegister,
} from "../../cpu/msr.ts";
import { ENTRY_CONTROL, EXIT_CONTROL } from "../controls.ts";
import { O } from "../fields.ts";
import type { Vmcs } from "../vmcs.ts";

/** CR0 bits that VMX operation fixes to 1 (IA32_VMX_CR0_FIXED0, SDM A.7). */
export const CR0_FIXED1 = CR0.PE | CR0.NE | CR0.PG;

/** Word indices of the fields in a VMCS, whose upper halves follow: names would be looked up in a hash table at each entry. */
const W = {
	HOST_CR0: O.HOST_CR0 >> 2,
	HOST_CR3: O.HOST_CR3 >> 2,
	HOST_CR4: O.HOST_CR4 >> 2,
	HOST_CS_SELECTOR: O.HOST_CS_SELECTOR >> 2,
	HOST_IA32_EFER: O.HOST_IA32_EFER >> 2,
	HOST_IA32_PAT: O.HOST_IA32_PAT >> 2,
	HOST_IA32_PERF_GLOBAL_CTRL: O.HOST_IA32_PERF_GLOBAL_CTRL >> 2,
	HOST_IA32_SYSENTER_EIP: O.HOST_IA32_SYSENTER_EIP >> 2,
	HOST_IA32_SYSENTER_ESP: O.HOST_IA32_SYSENTER_ESP >> 2,
	HOST_RIP: O.HOST_RIP >> 2,
	HOST_TR_SELECTOR: O.HOST_TR_SELECTOR >> 2,
	VM_ENTRY_CONTROLS: O.VM_ENTRY_CONTROLS >> 2,
	VM_EXIT_CONTROLS: O.VM_EXIT_CONTROLS >> 2,
} as const;
const SELECTORS = (["ES", "CS", "SS", "DS", "FS", "GS", "TR"] as const).map((name) => ({
	name,
	at: O[`HOST_${name}_SELECTOR`] >> 2,
}));
const BASES = (["FS", "GS", "GDTR", "IDTR", "TR"] as const).map((name) => ({
	name,
	at: O[`HOST_${name}_BASE`] >> 2,
}));

/** @returns the check that failed, by SDM section; null if all hold */
export function checkHostState(cpu: Cpu, vmcs: Vmcs): string | null {
	const { u32 } = vmcs;
	if ((u32[W.HOST_CR0]! & CR0_FIXED1) !== (CR0_FIXED1 | 0)) return "27.2.2: host CR0 against CR0_FIXED0/1";
	if ((u32[W.HOST_CR4]! & CR4.VMXE) === 0 || (u32[W.HOST_CR4]! & ~supportedCr4(cpu)) !== 0)
		return "27.2.2: host CR4 against CR4_FIXED0/1 (VMXE)";
	if ((u32[W.HOST_CR4]! & CR4.CET) !== 0 && (u32[W.HOST_CR0]! & CR0.WP) === 0)
		return "27.2.2: host CR4.CET without CR0.WP";
	if (u32[W.HOST_CR3 + 1]! >>> (cpu.model.features.physicalAddressBits - 32) !== 0)
		return "27.2.2: host CR3 beyond physical addresses";
	if (!isCanonicalHighForRegister(u32[W.HOST_IA32_SYSENTER_ESP + 1]!, cpu))
		return "27.2.2: HOST_IA32_SYSENTER_ESP not canonical";
	if (!isCanonicalHighForRegister(u32[W.HOST_IA32_SYSENTER_EIP + 1]!, cpu))
		return "27.2.2: HOST_IA32_SYSENTER_EIP not canonical";
	const exit = u32[W.VM_EXIT_CONTROLS]!;
	const long = (exit & EXIT_CONTROL.hostAddressSpaceSize) !== 0;
	if ((exit & EXIT_CONTROL.loadPat) !== 0 && !arePats(u32[W.HOST_IA32_PAT]!, u32[W.HOST_IA32_PAT + 1]!))
		return "27.2.2: host PAT";
	if (
		(exit & EXIT_CONTROL.loadPerfGlobalCtrl) !== 0 &&
		!arePerfGlobalCtrl(u32[W.HOST_IA32_PERF_GLOBAL_CTRL]!, u32[W.HOST_IA32_PERF_GLOBAL_CTRL + 1]!)
	)
		return "27.2.2: reserved bits of host PERF_GLOBAL_CTRL";
	if ((exit & EXIT_CONTROL.loadEfer) !== 0) {
		const efer = u32[W.HOST_IA32_EFER]!;
		const defined = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
		if (u32[W.HOST_IA32_EFER + 1] !== 0 || (efer & ~defined) !== 0)
			return "27.2.2: reserved bits of host EFER";
		if (((efer & EFER.LMA) !== 0) !== long || ((efer & EFER.LME) !== 0) !== long) {
			return "27.2.2: host EFER.LMA and LME against the host address-space size";
		}
	}
	if ((exit & EXIT_CONTROL.loadCetState) !== 0) {
		const control = vmcs.get("HOST_S_CET");
		const ssp = vmcs.get("HOST_SSP");
		if (!isCetControl(control, cpu.model.features)) return "27.2.2: reserved bits of host S_CET";
		if ((ssp & 3n) !== 0n) return "27.2.2: host SSP";
		for (const address of [control, ssp, vmcs.get("HOST_INTR_SSP_TABLE")])
			if (!isCanonicalForRegister(address, cpu))
				return "27.2.2: host S_CET, SSP or interrupt SSP table not canonical";
	}
	for (const { name, at } of SELECTORS) {
		if ((u32[at]! & 7) !== 0) return `27.2.3: RPL or TI of HOST_${name}_SELECTOR`;
	}
	if ((u32[W.HOST_CS_SELECTOR]! & 0xffff) === 0) return "27.2.3: host CS selector 0";
	if ((u32[W.HOST_TR_SELECTOR]! & 0xffff) === 0) return "27.2.3: host TR selector 0";
	for (const { name, at } of BASES) {
		if (!isCanonicalHighForRegister(u32[at + 1]!, cpu)) return `27.2.3: HOST_${name}_BASE not canonical`;
	}
	// The software hosts here are 64-bit kernels.
	if (!long) return "27.2.4: a processor in IA-32e mode with host address-space size 0";
	if ((u32[W.HOST_CR4]! & CR4.PAE) === 0) return "27.2.4: host CR4.PAE 0 with a 64-bit host";
	if (!isCanonicalHighForRegister(u32[W.HOST_RIP + 1]!, cpu)) return "27.2.4: host RIP not canonical";
	if ((u32[W.VM_ENTRY_CONTROLS]! & ENTRY_CONTROL.ia32eModeGuest) !== 0 && !long)
		return "27.2.4: IA-32e guest, 32-bit host";
	return null;
}
