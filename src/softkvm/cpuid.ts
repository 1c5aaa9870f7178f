/** KVM_GET_SUPPORTED_CPUID, KVM_GET_CPUID2 and KVM_SET_CPUID2 (arch/x86/kvm/cpuid.c, v6.18). */
import { kvmVcpuAfterSetCpuid } from "../kvm/emulate/cpuid.ts";
import type { CpuidEntry, Vcpu } from "../kvm/vcpu.ts";
import { KvmError } from "../uapi/api.ts";
import type { KvmCpuidEntry2 } from "../uapi/structs.ts";

/** KVM_MAX_CPUID_ENTRIES. */
const ENTRIES_MAX = 256;
/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX. */
const SIGNIFICANT_INDEX = 1;

/** struct kvm_cpuid_entry2 of a leaf. */
export function toUapi({ leaf, subleaf, eax, ebx, ecx, edx }: CpuidEntry): KvmCpuidEntry2 {
	return {
		function: leaf,
		index: subleaf ?? 0,
		flags: subleaf === null ? 0 : SIGNIFICANT_INDEX,
		eax,
		ebx,
		ecx,
		edx,
		padding: [0, 0, 0],
	};
}

/** KVM_GET_CPUID2. */
export function getCpuid2(v: Vcpu): KvmCpuidEntry2[] {
	return v.cpuid.map(toUapi);
}

/**
 * KVM_SET_CPUID2.
 * @param hasRun the vCPU has run: the table must be the one that it has
 * @throws KvmError E2BIG, EINVAL
 */
export function setCpuid2(v: Vcpu, entries: readonly KvmCpuidEntry2[], hasRun: boolean): void {
	const refuse = (detail: string) => new KvmError("KVM_SET_CPUID2", "EINVAL", detail);
	if (entries.length > ENTRIES_MAX)
		throw new KvmError("KVM_SET_CPUID2", "E2BIG", `${entries.length} entries`);
	const made = entries.map((entry) => ({
		leaf: entry.function,
		subleaf: (entry.flags & SIGNIFICANT_INDEX) === 0 ? null : entry.index,
		eax: entry.eax,
		ebx: entry.ebx,
		ecx: entry.ecx,
		edx: entry.edx,
	}));
	if (hasRun) {
		const same = made.length === v.cpuid.length && made.every((entry, at) => isSame(entry, v.cpuid[at]!));
		if (!same) throw refuse("the vCPU has run with another table");
		return;
	}
	// kvm_check_cpuid().
	const widths = made.find(({ leaf }) => leaf === 0x8000_0008)?.eax ?? 0;
	const linearBits = (widths >> 8) & 0xff;
	if (linearBits !== 0 && linearBits !== 48 && linearBits !== 57) {
		throw refuse(`${linearBits} bits of linear addresses; there are 48 and 57`);
	}
	v.cpuid.length = 0;
	v.cpuid.push(...made);
	kvmVcpuAfterSetCpuid(v);
}

function isSame(a: CpuidEntry, b: CpuidEntry): boolean {
	return (
		a.leaf === b.leaf &&
		a.subleaf === b.subleaf &&
		a.eax === b.eax &&
		a.ebx === b.ebx &&
		a.ecx === b.ecx &&
		a.edx === b.edx
	);
}
