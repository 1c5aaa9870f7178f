/** Registers by their ids: KVM_GET_REG_LIST, KVM_GET_ONE_REG and KVM_SET_ONE_REG (arch/x86/kvm/x86.c, v6.18). */
import { getGuestSsp, guestCet, setGuestSsp } from "../kvm/emulate/cet.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { KvmError } from "../uapi/api.ts";
import { KVM_X86_REG_GUEST_SSP, kvmX86RegMsr } from "../uapi/constants.ts";
import { getMsrs, setMsrs } from "./msrs.ts";

/** kvm_get_reg_list(): what the guest has of the registers that are no MSRs. */
export function regList(v: Vcpu): bigint[] {
	return guestCet(v).cetSs ? [KVM_X86_REG_GUEST_SSP] : [];
}

/** The MSR of an id. @throws KvmError EINVAL for an id that names none */
function msrOf(call: string, id: bigint): number {
	const index = Number(BigInt.asUintN(32, id));
	if (id !== kvmX86RegMsr(index)) throw new KvmError(call, "EINVAL", `register 0x${id.toString(16)}`);
	return index;
}

/** kvm_translate_kvm_reg(): whether an id is the guest's SSP. @throws KvmError EINVAL if the guest has none */
function isGuestSsp(v: Vcpu, call: string, id: bigint): boolean {
	if (id !== KVM_X86_REG_GUEST_SSP) return false;
	if (guestCet(v).cetSs) return true;
	throw new KvmError(call, "EINVAL", "SSP: the guest's CPUID has no shadow stacks");
}

/** KVM_GET_ONE_REG. @throws KvmError EINVAL for what there is not */
export function getOneReg(v: Vcpu, id: bigint): bigint {
	if (isGuestSsp(v, "KVM_GET_ONE_REG", id)) return getGuestSsp(v);
	return getMsrs(v, [msrOf("KVM_GET_ONE_REG", id)])[0]!.data;
}

/** KVM_SET_ONE_REG. @throws KvmError EINVAL for what there is not, and for a value that the register does not take */
export function setOneReg(v: Vcpu, id: bigint, value: bigint): void {
	if (!isGuestSsp(v, "KVM_SET_ONE_REG", id)) {
		setMsrs(v, [{ index: msrOf("KVM_SET_ONE_REG", id), data: value }]);
		return;
	}
	if (!setGuestSsp(v, value))
		throw new KvmError("KVM_SET_ONE_REG", "EINVAL", `SSP := 0x${value.toString(16)}`);
}
