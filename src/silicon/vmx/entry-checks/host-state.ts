/** Checks on the host-state area (SDM Vol. 3C, 27.2.2-27.2.4). A failure is VMfailValid(8). */
import { isCetControl } from "../../cpu/cet.ts";
import { CR0, CR4, EFER, supportedCr4 } from "../../cpu/control.ts";
import type { Cpu } from "../../cpu/cpu.ts";
import { isCanonicalForRegister, isPat } from "../../cpu/msr.ts";
import { ENTRY_CONTROL, EXIT_CONTROL } from "../controls.ts";
import { O, type VmcsFieldName } from "../fields.ts";
import type { Vmcs } from "../vmcs.ts";

/** CR0 bits that VMX operation fixes to 1 (IA32_VMX_CR0_FIXED0, SDM A.7). */
export const CR0_FIXED1 = CR0.PE | CR0.NE | CR0.PG;

/** @returns the check that failed, by SDM section; null if all hold */
export function checkHostState(cpu: Cpu, vmcs: Vmcs): string | null {
	const low = (name: VmcsFieldName) => vmcs.u32[O[name] >> 2]!;
	if ((low("HOST_CR0") & CR0_FIXED1) !== (CR0_FIXED1 | 0)) return "27.2.2: host CR0 against CR0_FIXED0/1";
	if ((low("HOST_CR4") & CR4.VMXE) === 0 || (low("HOST_CR4") & ~supportedCr4(cpu)) !== 0)
		return "27.2.2: host CR4 against CR4_FIXED0/1 (VMXE)";
	if ((low("HOST_CR4") & CR4.CET) !== 0 && (low("HOST_CR0") & CR0.WP) === 0)
		return "27.2.2: host CR4.CET without CR0.WP";
	if (vmcs.get("HOST_CR3") >> BigInt(cpu.model.features.physicalAddressBits) !== 0n)
		return "27.2.2: host CR3 beyond physical addresses";
	for (const name of ["HOST_IA32_SYSENTER_ESP", "HOST_IA32_SYSENTER_EIP"] as const) {
		if (!isCanonicalForRegister(vmcs.get(name), cpu)) return `27.2.2: ${name} not canonical`;
	}
	const exit = low("VM_EXIT_CONTROLS");
	const long = (exit & EXIT_CONTROL.hostAddressSpaceSize) !== 0;
	if ((exit & EXIT_CONTROL.loadPat) !== 0 && !isPat(vmcs.get("HOST_IA32_PAT"))) return "27.2.2: host PAT";
	if ((exit & EXIT_CONTROL.loadEfer) !== 0) {
		const efer = low("HOST_IA32_EFER");
		const defined = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
		if (vmcs.get("HOST_IA32_EFER") >> 32n !== 0n || (efer & ~defined) !== 0)
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
	const selectors = ["ES", "CS", "SS", "DS", "FS", "GS", "TR"] as const;
	for (const name of selectors) {
		if ((low(`HOST_${name}_SELECTOR`) & 7) !== 0) return `27.2.3: RPL or TI of HOST_${name}_SELECTOR`;
	}
	if ((low("HOST_CS_SELECTOR") & 0xffff) === 0) return "27.2.3: host CS selector 0";
	if ((low("HOST_TR_SELECTOR") & 0xffff) === 0) return "27.2.3: host TR selector 0";
	for (const name of ["FS", "GS", "GDTR", "IDTR", "TR"] as const) {
		if (!isCanonicalForRegister(vmcs.get(`HOST_${name}_BASE`), cpu))
			return `27.2.3: HOST_${name}_BASE not canonical`;
	}
	// The software hosts here are 64-bit kernels.
	if (!long) return "27.2.4: a processor in IA-32e mode with host address-space size 0";
	if ((low("HOST_CR4") & CR4.PAE) === 0) return "27.2.4: host CR4.PAE 0 with a 64-bit host";
	if (!isCanonicalForRegister(vmcs.get("HOST_RIP"), cpu)) return "27.2.4: host RIP not canonical";
	if ((low("VM_ENTRY_CONTROLS") & ENTRY_CONTROL.ia32eModeGuest) !== 0 && !long)
		return "27.2.4: IA-32e guest, 32-bit host";
	return null;
}
