/** kvm_vcpu_reset(): registers at power-on and by INIT (SDM Vol. 3A, table 10-1). */
import * as L from "../../silicon/cpu/layout.ts";
import type { Vcpu } from "../vcpu.ts";
import { resetCet } from "./cet.ts";
import { kvmFindCpuidEntry } from "./cpuid.ts";
import { kvmUpdateDr7 } from "./debug.ts";

/** What a vCPU without a CPUID table has in EDX. */
const SIGNATURE_WITHOUT_CPUID = 0x600;
const REAL_MODE_DATA = { base: 0n, limit: 0xffff, attributes: 0x93, selector: 0 } as const;

/**
 * kvm_vcpu_reset().
 * @param initEvent by INIT, which leaves the extended state and most MSRs alone
 */
export function kvmVcpuReset(v: Vcpu, initEvent: boolean): void {
	const { ops } = v.vm;
	v.nmiPending = 0;
	v.nmiQueued = 0;
	v.nmiInjected = false;
	v.interrupt.injected = false;
	v.exception.pending = false;
	v.exception.injected = false;
	v.db.fill(0n);
	v.effDb.fill(0n);
	v.dr6 = 0xffff_0ff0;
	v.dr7 = 0x400;
	kvmUpdateDr7(v);
	v.cr2 = 0n;
	v.completeUserspaceIo = null;
	v.apic?.reset(initEvent);
	if (!initEvent) {
		v.xcr0 = 1;
		v.iaXss = 0;
		v.pkru = 0;
		v.msrs.clear();
	}
	resetCet(v);
	v.regs.fill(0n);
	// EDX holds the signature: family, model, stepping.
	v.regs[L.RDX] = BigInt(kvmFindCpuidEntry(v, 1, 0)?.eax ?? SIGNATURE_WITHOUT_CPUID);
	ops.setRflags(v, 2);
	ops.setRip(v, 0xfff0n);
	ops.setRsp(v, 0n);
	for (const segment of [L.ES, L.SS, L.DS, L.FS, L.GS]) ops.setSegment(v, segment, { ...REAL_MODE_DATA });
	ops.setSegment(v, L.CS, { base: 0xffff_0000n, limit: 0xffff, attributes: 0x9b, selector: 0xf000 });
	ops.setSegment(v, L.LDTR, { base: 0n, limit: 0xffff, attributes: 0x82, selector: 0 });
	ops.setSegment(v, L.TR, { base: 0n, limit: 0xffff, attributes: 0x8b, selector: 0 });
	ops.setSegment(v, L.GDTR, { base: 0n, limit: 0xffff, attributes: 0, selector: 0 });
	ops.setSegment(v, L.IDTR, { base: 0n, limit: 0xffff, attributes: 0, selector: 0 });
	ops.setCr0(v, 0x6000_0010n);
	ops.setCr3(v, 0n);
	ops.setCr4(v, 0n);
	ops.setEfer(v, 0n);
}

/** kvm_vcpu_deliver_sipi_vector(): real mode at vector × 4 KiB. */
export function vcpuDeliverSipiVector(v: Vcpu, vector: number): void {
	v.vm.ops.setSegment(v, L.CS, {
		base: BigInt(vector << 12),
		limit: 0xffff,
		attributes: 0x9b,
		selector: vector << 8,
	});
	v.vm.ops.setRip(v, 0n);
}
