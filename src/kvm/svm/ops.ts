/** kvm_x86_ops of SVM: a vCPU's VMCB, its registers, its events (arch/x86/kvm/svm/svm.c, v6.18). */
import { moveFromDr } from "../../host/access.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { VECTOR } from "../../silicon/cpu/fault.ts";
import { featureBit } from "../../silicon/cpu/cpuid-features.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { kvmFlushTlb } from "../mmu/flush.ts";
import { MSR } from "../../silicon/cpu/msr.ts";
import { DEBUGREG, INTERRUPT_SHADOW } from "../requests.ts";
import type { Vcpu } from "../vcpu.ts";
import type { VendorOps } from "../vendor-ops.ts";
import { MSR_KVM_INTERNAL_GUEST_SSP, recalcCetIntercepts } from "../emulate/cet.ts";
import { guestCpuCapHas } from "../emulate/cpuid.ts";
import { emulateInstruction, moveRipPast } from "../emulate/fetch.ts";
import { cancelInjection, injectException, injectIrq, injectNmi } from "./events.ts";
import { svmHandleExit } from "./exit-handlers.ts";
import { exitReasonName } from "./exit-names.ts";
import { SvmVcpu } from "./svm-vcpu.ts";
import { makeSvmMsrBitmap } from "../x86/msr-bitmap.ts";

const CR0_PG = 1n << 31n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
const EFER_SVME = 1n << 12n;
const CR4_MCE = 1n << 6n;

/** init_vmcb(): intercepts as v6.18 sets them with nested paging. */
function vcpuCreate(v: Vcpu): void {
	const svm = new SvmVcpu();
	v.svm = svm;
	const { vmcb } = svm;
	vmcb.intercept(
		"intr",
		"nmi",
		"smi",
		"init",
		"cpuid",
		"invd",
		"wbinvd",
		"hlt",
		"ioio",
		"msr",
		"shutdown",
		"rdpmc",
		"vmrun",
		"vmmcall",
		"vmload",
		"vmsave",
		"stgi",
		"clgi",
		"skinit",
		"rdpru",
		"monitor",
		"mwait",
		"xsetbv",
		"invlpga",
	);
	vmcb.interceptCr({ read: [0, 3, 4, 8].filter((cr) => cr === 0 || cr === 4), write: [0, 4, 8] });
	vmcb.interceptDr(true);
	for (const vector of [6, 18, 17, 1]) vmcb.interceptException(vector, true);
	vmcb.msrpm = makeSvmMsrBitmap(v).hpa;
	vmcb.nestedCr3 = v.vm.mmu.rootHpa;
	vmcb.asid = v.id + 1;
	vmcb.vIntrMasking = true;
	vmcb.vNmiEnable = v.cpu.model.features.vnmi;
	vmcb.tscOffset = v.tscOffset;
	vmcb.pat = 0x0007040600070406n;
	vmcb.lbrVirtualization = v.cpu.model.features.lbrv;
}

/** Instructions that are intercepted where the guest's CPUID lacks them (svm_recalc_instruction_intercepts()). */
const RDTSCP = featureBit("rdtscp");
const INVPCID = featureBit("invpcid");

/** svm_vcpu_after_set_cpuid(). */
function afterSetCpuid(v: Vcpu): void {
	const { vmcb } = v.svm!;
	vmcb.setIntercept(EXIT_CODE.rdtscp, !guestCpuCapHas(v, RDTSCP));
	vmcb.setIntercept(EXIT_CODE.invpcid, !guestCpuCapHas(v, INVPCID));
	recalcCetIntercepts(v);
}

function updateLongMode(v: Vcpu): void {
	const long = (v.efer & EFER_LME) !== 0n && (v.cr0 & CR0_PG) !== 0n;
	v.efer = long ? v.efer | EFER_LMA : v.efer & ~EFER_LMA;
	v.svm!.vmcb.efer = v.efer | EFER_SVME;
}

/** INTERCEPT_CR8_WRITE. */
export const CR8_WRITE = EXIT_CODE.crWriteBase + 8;

/** MSRs that VMLOAD and VMSAVE move, or the VMCB holds. */
const VMCB_MSRS: ReadonlyMap<number, number> = new Map([
	[0x174, L.SYSENTER_CS],
	[0x175, L.SYSENTER_ESP],
	[0x176, L.SYSENTER_EIP],
	[0x277, L.PAT],
	[MSR.IA32_S_CET, L.S_CET],
	[MSR.IA32_INTERRUPT_SSP_TABLE, L.INTERRUPT_SSP_TABLE],
	[MSR_KVM_INTERNAL_GUEST_SSP, L.SSP],
	[0xc000_0081, L.STAR],
	[0xc000_0082, L.LSTAR],
	[0xc000_0083, L.CSTAR],
	[0xc000_0084, L.SFMASK],
	[0xc000_0100, L.SEG + L.FS * L.SEG_BYTES],
	[0xc000_0101, L.SEG + L.GS * L.SEG_BYTES],
	[0xc000_0102, L.KERNEL_GS_BASE],
]);

/** svm_sync_dirty_debug_regs(). */
function syncDirtyDebugRegs(v: Vcpu): void {
	const { vmcb } = v.svm!;
	for (let n = 0; n < 4; n++) v.db[n] = moveFromDr(v.cpu, L.DR0 + 8 * n);
	v.dr6 = vmcb.dr6;
	v.dr7 = vmcb.dr7;
	v.switchDbRegs &= ~DEBUGREG.WONT_EXIT;
	vmcb.interceptDr(true);
}

/** svm_get_nmi_mask(): the hardware knows, or KVM has noted it until IRET is intercepted. */
function isNmiMasked(v: Vcpu): boolean {
	const { vmcb, nmiMasked } = v.svm!;
	return vmcb.vNmiEnable ? vmcb.vNmiMask : nmiMasked;
}

/** kvm_x86_ops for SVM guests. */
export const svmOps: VendorOps = {
	vcpuCreate,
	afterSetCpuid,
	flushTlb: kvmFlushTlb,
	handleExit: svmHandleExit,
	getRip: (v) => v.svm!.vmcb.rip,
	setRip: (v, rip) => {
		v.svm!.vmcb.rip = rip;
	},
	getRflags: (v) => v.svm!.vmcb.rflagsLow,
	setRflags: (v, rflags) => {
		v.svm!.vmcb.rflags = BigInt(rflags | 2);
	},
	getRsp: (v) => v.svm!.vmcb.rsp,
	setRsp: (v, rsp) => {
		v.svm!.vmcb.rsp = rsp;
	},
	getCpl: (v) => v.svm!.vmcb.cpl,
	getSegment: (v, segment) => v.svm!.vmcb.getSegment(segment),
	setSegment: (v, segment, value) => v.svm!.vmcb.setSegment(segment, value),
	// Writes of CR0 and CR4 all exit.
	cacheControlRegisters: (v) => {
		v.cr3 = v.svm!.vmcb.cr3;
	},
	setCr0: (v, cr0) => {
		v.cr0 = cr0;
		v.svm!.vmcb.cr0 = cr0;
		updateLongMode(v);
	},
	setCr3: (v, cr3) => {
		v.cr3 = cr3;
		v.svm!.vmcb.cr3 = cr3;
	},
	setCr4: (v, cr4) => {
		v.cr4 = cr4;
		v.svm!.vmcb.cr4 = cr4 | CR4_MCE;
	},
	setEfer: (v, efer) => {
		v.efer = efer;
		updateLongMode(v);
	},
	getMsr: (v, index) => {
		const offset = VMCB_MSRS.get(index);
		if (offset !== undefined) return v.svm!.vmcb.readState(offset);
		switch (index) {
			case MSR.IA32_SPEC_CTRL:
				return BigInt(v.cpu.model.features.vSpecCtrl ? v.svm!.vmcb.specCtrl : v.svm!.specCtrl);
			case MSR.IA32_TSC_AUX:
				return v.svm!.tscAux[0]!.value;
			case MSR.IA32_DEBUGCTL:
				return BigInt(v.svm!.vmcb.debugctl);
			default:
				return undefined;
		}
	},
	setMsr: (v, index, value) => {
		const offset = VMCB_MSRS.get(index);
		if (offset !== undefined) {
			v.svm!.vmcb.writeState(offset, value);
			return true;
		}
		switch (index) {
			case MSR.IA32_SPEC_CTRL:
				v.svm!.specCtrl = Number(value);
				v.svm!.vmcb.specCtrl = Number(value);
				return true;
			case MSR.IA32_TSC_AUX:
				v.svm!.tscAux[0]!.value = value;
				if (v.svm!.guestStateLoaded) v.kernel.userReturn.set(v.svm!.tscAux);
				return true;
			case MSR.IA32_DEBUGCTL:
				// LBR and BTF (DEBUGCTL_RESERVED_BITS).
				if ((value & ~3n) !== 0n) return false;
				v.svm!.vmcb.debugctl = Number(value);
				return true;
			default:
				return false;
		}
	},
	setDr7: (v, dr7) => {
		v.svm!.vmcb.dr7 = dr7;
	},
	syncDirtyDebugRegs,
	// No AMD processor has XFD.
	interceptNm: () => {},
	interceptBp: (v, exits) => v.svm!.vmcb.interceptException(VECTOR.BP, exits),
	hostOwnedDebugctl: 0,
	skipEmulatedInstruction: (v) => {
		const { vmcb } = v.svm!;
		v.cpu.code(10);
		// svm_skip_emulated_instruction(): without next_rip the emulator finds the instruction's end in guest memory.
		if (v.kernel.kvm.nrips) vmcb.skipToNextRip();
		else emulateInstruction(v, moveRipPast);
		vmcb.interruptShadow = false;
	},
	interruptAllowed: (v) => (v.svm!.vmcb.rflagsLow & FLAG.IF) !== 0 && !v.svm!.vmcb.interruptShadow,
	nmiAllowed: (v) => !isNmiMasked(v) && !v.svm!.vmcb.interruptShadow,
	nmiMasked: isNmiMasked,
	setNmiMask: (v, masked) => {
		const { vmcb } = v.svm!;
		if (vmcb.vNmiEnable) {
			vmcb.vNmiMask = masked;
			return;
		}
		v.svm!.nmiMasked = masked;
		vmcb.interceptIret = masked;
	},
	// The VMCB has one bit for both.
	getInterruptShadow: (v) =>
		v.svm!.vmcb.interruptShadow ? INTERRUPT_SHADOW.STI | INTERRUPT_SHADOW.MOV_SS : 0,
	setInterruptShadow: (v, shadow) => {
		v.svm!.vmcb.interruptShadow = shadow !== 0;
	},
	vnmiPending: (v) => v.svm!.vmcb.vNmiPending,
	setVnmiPending: (v) => {
		const { vmcb } = v.svm!;
		if (!vmcb.vNmiEnable || vmcb.vNmiPending) return false;
		vmcb.vNmiPending = true;
		return true;
	},
	// A guest that lowers its priority below what waits has to be heard of; all else it writes by itself (V_TPR).
	updateCr8Intercept: (v, priority, irr) => v.svm!.vmcb.setIntercept(CR8_WRITE, irr >= 0 && priority >= irr),
	injectIrq,
	injectNmi,
	injectException,
	cancelInjection,
	enableIrqWindow: (v) => {
		v.svm!.irqWindow = true;
		v.svm!.vmcb.openInterruptWindow();
	},
	enableNmiWindow: (v) => {
		const { vmcb } = v.svm!;
		if (!vmcb.vNmiEnable) vmcb.interceptIret = true;
	},
	// SVM has no preemption timer: the guest's deadline becomes a timer of the host.
	writeTscOffset: (v) => {
		v.svm!.vmcb.tscOffset = v.tscOffset;
	},
	setHvTimer: () => false,
	cancelHvTimer: () => {},
	exitReasonName,
	dump: (v) => v.svm!.vmcb.describe(),
};
