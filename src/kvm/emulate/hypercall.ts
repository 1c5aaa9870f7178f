/** Hypercalls (arch/x86/kvm/x86.c: kvm_emulate_hypercall(); Documentation/virt/kvm/x86/hypercalls.rst, v6.18). */
import { APIC_DM, APIC_DM_MASK, APIC_SHORTHAND } from "../irqchip/apic-registers.ts";
import type { ApicMessage } from "../irqchip/delivery.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Vcpu } from "../vcpu.ts";
import { kvmVcpuKick } from "../x86/kick.ts";
import { kvmSkipEmulatedInstruction } from "./inject.ts";

/** KVM_HC_…, by RAX. */
const HC = { vapicPollIrq: 1, kickCpu: 5, sendIpi: 10, schedYield: 11 } as const;
const KVM_ENOSYS = 1000;
const KVM_EPERM = 1;
const KVM_EINVAL = 22;
const CS_L = 1 << 13;

function vcpuByApicId(v: Vcpu, id: number): Vcpu | undefined {
	return v.vm.vcpus.find(({ apic }) => apic?.id === id);
}

/** kvm_pv_kick_cpu_op(): ends the HLT of a vCPU that waits for a lock. */
function kickCpu(v: Vcpu, apicId: number): number {
	const target = vcpuByApicId(v, apicId);
	if (target === undefined) return 0;
	target.pvUnhalted = true;
	kvmVcpuKick(target);
	return 0;
}

/**
 * kvm_pv_send_ipi(): an IPI to the vCPUs of a bitmap.
 * @param bitmap bit n is APIC id `first` + n
 * @param icr vector and delivery mode, as ICR has them
 * @returns how many took it, or a negative errno
 */
function sendIpi(v: Vcpu, bitmap: bigint, first: number, icr: number): number {
	const deliveryMode = icr & APIC_DM_MASK;
	if (deliveryMode !== APIC_DM.FIXED && deliveryMode !== APIC_DM.NMI) return -KVM_EINVAL;
	const message: ApicMessage = {
		vector: icr & 0xff,
		deliveryMode,
		logical: false,
		destination: 0,
		shorthand: APIC_SHORTHAND.none,
		levelTriggered: false,
		asserted: true,
	};
	let sent = 0;
	for (const { apic } of v.vm.vcpus) {
		if (apic === null || apic.id < first || ((bitmap >> BigInt(apic.id - first)) & 1n) === 0n) continue;
		if (apic.acceptIrq(message)) sent++;
	}
	return sent;
}

function carryOut(v: Vcpu, call: number, args: readonly bigint[], longMode: boolean): number {
	const [a0, a1, a2, a3] = args as readonly [bigint, bigint, bigint, bigint];
	switch (call) {
		case HC.vapicPollIrq:
		case HC.schedYield:
			return 0;
		case HC.kickCpu:
			return kickCpu(v, Number(a1));
		case HC.sendIpi:
			return sendIpi(v, a0 | (a1 << (longMode ? 64n : 32n)), Number(a2), Number(a3 & 0xffff_ffffn));
		default:
			return -KVM_ENOSYS;
	}
}

/** kvm_emulate_hypercall(): RAX names the call and gets the result; RBX, RCX, RDX and RSI are its arguments. */
export function kvmEmulateHypercall(v: Vcpu): number {
	v.cpu.code(50);
	const longMode = (v.vm.ops.getSegment(v, L.CS).attributes & CS_L) !== 0;
	const bits = longMode ? 64 : 32;
	const register = (index: number) => BigInt.asUintN(bits, v.regs[index]!);
	const call = register(L.RAX);
	const args = [register(L.RBX), register(L.RCX), register(L.RDX), register(L.RSI)];
	v.tracer?.tracepoint?.(v, "kvm_hypercall", { nr: call, args });
	const result =
		v.vm.ops.getCpl(v) !== 0 ? -KVM_EPERM : carryOut(v, call > 0xffffn ? -1 : Number(call), args, longMode);
	v.regs[L.RAX] = BigInt.asUintN(bits, BigInt(result));
	return kvmSkipEmulatedInstruction(v);
}
