/** MSRs as user space reaches them: host_initiated accesses, which guests' rules do not bind (arch/x86/kvm/x86.c, v6.18). */
import { GuestFault } from "../kvm/emulate/guest-fault.ts";
import { kvmGetMsr, kvmSetMsr } from "../kvm/emulate/msr.ts";
import { setTscForHost } from "../kvm/emulate/tsc.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { hasCet } from "../silicon/cpu/cet.ts";
import { EFER } from "../silicon/cpu/control.ts";
import { MSR } from "../silicon/cpu/msr.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { KvmError, type Msr } from "../uapi/api.ts";

/** What a VMM has to save of each guest: msrs_to_save_base and emulated_msrs_all. */
// biome-ignore format: one row a group
const MSRS_TO_SAVE: readonly number[] = [
	MSR.IA32_SYSENTER_CS, MSR.IA32_SYSENTER_ESP, MSR.IA32_SYSENTER_EIP,
	MSR.IA32_STAR, MSR.IA32_LSTAR, MSR.IA32_CSTAR, MSR.IA32_FMASK, MSR.IA32_KERNEL_GS_BASE,
	MSR.IA32_TSC, MSR.IA32_TSC_ADJUST, MSR.IA32_TSC_DEADLINE, MSR.IA32_TSC_AUX, MSR.IA32_PAT, MSR.IA32_DEBUGCTL,
	0x11, 0x12, 0x4b56_4d00, 0x4b56_4d01, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04,
	MSR.IA32_MISC_ENABLE, MSR.IA32_MCG_STATUS, 0x17b, 0x140, MSR.IA32_BIOS_SIGN_ID, MSR.MSR_PLATFORM_INFO,
	MSR.IA32_SPEC_CTRL, MSR.HWCR,
];

/** Features of the host that are MSRs: msr_based_features_all_except_vmx. */
export const FEATURE_MSRS: readonly number[] = [MSR.IA32_BIOS_SIGN_ID, MSR.MSR_PLATFORM_INFO];

/** KVM_GET_MSR_INDEX_LIST. */
export function msrIndexList({ features }: CpuModel): number[] {
	const list = [...MSRS_TO_SAVE];
	if (features.xsaves) list.push(MSR.IA32_XSS);
	if (features.xfd !== 0) list.push(MSR.IA32_XFD, MSR.IA32_XFD_ERR);
	if (features.pks) list.push(MSR.IA32_PKRS);
	if (hasCet(features)) list.push(MSR.IA32_U_CET, MSR.IA32_S_CET);
	if (features.cetSs) {
		list.push(MSR.IA32_PL0_SSP, MSR.IA32_PL1_SSP, MSR.IA32_PL2_SSP, MSR.IA32_PL3_SSP);
		list.push(MSR.IA32_INTERRUPT_SSP_TABLE);
	}
	return list;
}

/** KVM_GET_MSRS. @throws KvmError naming the first MSR that cannot be read */
export function getMsrs(v: Vcpu, indices: readonly number[]): Msr[] {
	const advertised = new Set(msrIndexList(v.cpu.model));
	return indices.map((index) => {
		const value = kvmGetMsr(v, index);
		if (value !== undefined) return { index, data: BigInt.asUintN(64, value) };
		// What the list has reads as 0 where the guest's CPUID lacks it: kvm_do_msr_access().
		if (advertised.has(index)) return { index, data: 0n };
		throw new KvmError("KVM_GET_MSRS", "EINVAL", `MSR 0x${index.toString(16)}`);
	});
}

/** kvm_valid_efer() of the host: what the processor has, whatever the guest's CPUID says. */
function setEfer(v: Vcpu, value: bigint): boolean {
	const known = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;
	const amd = v.cpu.model.vendorString === "AuthenticAMD" ? EFER.FFXSR : 0;
	if ((value & ~BigInt(known | amd)) !== 0n) return false;
	const lma = BigInt(EFER.LMA);
	v.vm.ops.setEfer(v, (value & ~lma) | (v.efer & lma));
	return true;
}

/** kvm_set_msr() for user space. */
function setMsr(v: Vcpu, index: number, value: bigint): boolean {
	switch (index) {
		case MSR.IA32_TSC:
			setTscForHost(v, value);
			return true;
		case MSR.IA32_EFER:
			return setEfer(v, value);
		case MSR.IA32_TSC_ADJUST:
		case MSR.IA32_BIOS_SIGN_ID:
		case MSR.MSR_PLATFORM_INFO:
		case MSR.IA32_FEATURE_CONTROL:
			v.msrs.set(index, value);
			return true;
		default:
			if (writesAsGuest(v, index, value)) return true;
			return value === 0n && msrIndexList(v.cpu.model).includes(index);
	}
}

function writesAsGuest(v: Vcpu, index: number, value: bigint): boolean {
	try {
		return kvmSetMsr(v, index, value);
	} catch (fault) {
		if (fault instanceof GuestFault) return false;
		throw fault;
	}
}

/** KVM_SET_MSRS. @throws KvmError naming the first MSR that cannot be written */
export function setMsrs(v: Vcpu, msrs: readonly Msr[]): void {
	for (const { index, data } of msrs) {
		if (setMsr(v, index, data)) continue;
		const what = `MSR 0x${index.toString(16)} := 0x${data.toString(16)}`;
		throw new KvmError("KVM_SET_MSRS", "EINVAL", what);
	}
}
