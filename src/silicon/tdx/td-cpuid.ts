/** What CPUID returns in a TD (TDX Module Base Architecture, "CPUID Virtualization"). */
import { CR4, XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { type CpuidResult, cpuid } from "../cpu/cpuid.ts";
import { standardSize } from "../cpu/state-components.ts";
import type { TdVcpu } from "./td.ts";

/** The module's own leaf, which is also the last basic one. */
const TDX_LEAF = 0x21;
const LAST_EXTENDED_LEAF = 0x8000_0008;
/** Leaves for hypervisors, which only the VMM can answer. */
const HYPERVISOR = { first: 0x4000_0000, last: 0x4fff_ffff } as const;
/** Leaves that the module leaves to the VMM: caches, power, frequencies, topology, the brand string. */
const PARAVIRTUALIZED = new Set([
	0x2, 0x6, 0x9, 0xb, 0xc, 0xf, 0x10, 0x16, 0x17, 0x1b, 0x1f, 0x8000_0002, 0x8000_0003, 0x8000_0004,
	0x8000_0005,
]);

/** Leaf 1 ECX: VMX, OSXSAVE, HYPERVISOR. Leaf 7 ECX: OSPKE, PKU, SHSTK; EDX: IBT. */
const BIT = {
	vmx: 1 << 5,
	osxsave: 1 << 27,
	hypervisor: 1 << 31,
	ospke: 1 << 4,
	pku: 1 << 3,
	shstk: 1 << 7,
	ibt: 1 << 20,
} as const;

/** "IntelTDX    " in EBX, EDX, ECX. */
const IDENTITY: CpuidResult = { eax: 0, ebx: 0x65746e49, ecx: 0x20202020, edx: 0x5844546c };
const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/**
 * CPUID of a TD.
 * @param leaf EAX, unsigned
 * @param subleaf ECX, unsigned
 * @returns null for a leaf that gives #VE
 */
export function tdCpuid(cpu: Cpu, vcpu: TdVcpu, leaf: number, subleaf: number): CpuidResult | null {
	if ((leaf >= HYPERVISOR.first && leaf <= HYPERVISOR.last) || PARAVIRTUALIZED.has(leaf)) return null;
	// Leaves beyond the last of their range are like the last basic one.
	if (leaf > LAST_EXTENDED_LEAF || (leaf > TDX_LEAF && leaf < 0x8000_0000)) return tdLeaf(subleaf);
	switch (leaf) {
		case 0:
			return { ...cpuid(cpu, leaf, subleaf), eax: TDX_LEAF };
		case 1: {
			const native = cpuid(cpu, leaf, subleaf);
			const ecx = (native.ecx & ~BIT.vmx & ~BIT.osxsave) | BIT.hypervisor;
			const ebx = ((native.ebx & 0x00ff_ffff) | (vcpu.index << 24)) >>> 0;
			return { ...native, ebx, ecx: (ecx | (tdCr4(vcpu, CR4.OSXSAVE) ? BIT.osxsave : 0)) >>> 0 };
		}
		case 7: {
			const native = cpuid(cpu, leaf, subleaf);
			if (subleaf !== 0) return native;
			const cet = (vcpu.xfam & XFEATURE.cetUser) !== 0;
			const hidden = BIT.ospke | ((vcpu.xfam & (1 << 9)) === 0 ? BIT.pku : 0) | (cet ? 0 : BIT.shstk);
			const edx = cet ? native.edx : native.edx & ~BIT.ibt;
			return { ...native, edx, ecx: (native.ecx & ~hidden) | (tdCr4(vcpu, CR4.PKE) ? BIT.ospke : 0) };
		}
		case 0xd:
			return extendedState(cpu, vcpu, subleaf);
		case TDX_LEAF:
			return tdLeaf(subleaf);
		default:
			return cpuid(cpu, leaf, subleaf);
	}
}

const tdLeaf = (subleaf: number) => (subleaf === 0 ? IDENTITY : NOTHING);

/** Whether the TD has set a bit of CR4. The processor holds the module's own CR4 meanwhile. */
const tdCr4 = (vcpu: TdVcpu, bit: number) => (Number(vcpu.vmcs.get("GUEST_CR4")) & bit) !== 0;

/** The components of XFAM. XCR0 and IA32_XSS are still the TD's, so the sizes in EBX are the processor's. */
function extendedState(cpu: Cpu, vcpu: TdVcpu, subleaf: number): CpuidResult {
	const { model } = cpu;
	const native = cpuid(cpu, 0xd, subleaf);
	const xcr0 = vcpu.xfam & model.features.xcr0;
	if (subleaf === 0) return { ...native, eax: xcr0, ecx: standardSize(model, xcr0) };
	if (subleaf === 1) {
		const xfd = (vcpu.xfam & model.features.xfd) !== 0;
		return { ...native, eax: xfd ? native.eax : native.eax & ~16, ecx: vcpu.xfam & model.features.xss };
	}
	return subleaf < 32 && (vcpu.xfam & (1 << subleaf)) !== 0 ? native : NOTHING;
}
