/** How tracepoints read: TP_printk of arch/x86/kvm/trace.h and include/trace/events/kvm.h, v6.18. */
import { KVM_EXIT } from "../kvm/requests.ts";
import { APIC } from "../kvm/irqchip/apic-registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { KvmTracepoint, KvmTracepoints } from "../kvm/x86/tracepoints.ts";

const hex = (value: number | bigint) => `0x${(typeof value === "number" ? value >>> 0 : value).toString(16)}`;
const wide = (value: number) => `0x${value.toString(16)}`;
const bare = (value: number | bigint) => (typeof value === "number" ? value >>> 0 : value).toString(16);
const direction = (write: boolean) => (write ? "write" : "read");

/** kvm_trace_symbol_apic. */
const APIC_NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(APIC).map(([name, offset]) => [offset, `APIC_${name}`]),
);
/** kvm_deliver_mode. */
const DELIVERY_MODES = ["Fixed", "LowPrio", "SMI", "Res3", "NMI", "INIT", "SIPI", "ExtINT"] as const;
/** kvm_apic_dst_shorthand. */
const SHORTHANDS = ["dst", "self", "all", "all-but-self"] as const;
/** kvm_trace_sym_exc, by vector. */
const EXCEPTIONS: Readonly<Record<number, string>> = {
	0: "#DE",
	1: "#DB",
	3: "#BP",
	4: "#OF",
	5: "#BR",
	6: "#UD",
	7: "#NM",
	8: "#DF",
	10: "#TS",
	11: "#NP",
	12: "#SS",
	13: "#GP",
	14: "#PF",
	16: "#MF",
	17: "#AC",
	18: "#MC",
};
const EXIT_NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(KVM_EXIT).map(([name, reason]) => [reason, `KVM_EXIT_${name}`]),
);
const EINTR = 4;

const deliveryMode = (icr: number) => DELIVERY_MODES[(icr >> 8) & 7]!;
const reinjectedText = (reinjected: boolean) => (reinjected ? " [reinjected]" : "");

type Texts = {
	readonly [N in KvmTracepoint]: (fields: KvmTracepoints[N], v: Vcpu, rip: bigint) => string;
};

const TEXTS: Texts = {
	kvm_hypercall: ({ nr, args }) =>
		`nr ${hex(nr)} ${args.map((value, at) => `a${at} ${hex(value)}`).join(" ")}`,
	kvm_pio: ({ write, port, bytes, count, value }) =>
		`pio_${direction(write)} at ${hex(port)} size ${bytes} count ${count} val ${hex(value)} ${count > 1 ? "(...)" : ""}`,
	kvm_mmio: ({ kind, bytes, gpa, value }) => `mmio ${kind} len ${bytes} gpa ${wide(gpa)} val ${hex(value)}`,
	kvm_cpuid: ({ leaf, subleaf, registers, found, usedMaxBasic }) => {
		const [rax, rbx, rcx, rdx] = registers;
		return (
			`func ${bare(leaf)} idx ${bare(subleaf)} rax ${bare(rax)} rbx ${bare(rbx)} rcx ${bare(rcx)} rdx ${bare(rdx)}, ` +
			`cpuid entry ${found ? "found" : "not found"}${usedMaxBasic ? ", used max basic" : ""}`
		);
	},
	kvm_msr: ({ write, index, value, gp }) =>
		`msr_${direction(write)} ${bare(index)} = ${hex(value)}${gp ? " (#GP)" : ""}`,
	kvm_cr: ({ write, cr, value }) => `cr_${direction(write)} ${bare(cr)} = ${hex(value)}`,
	kvm_apic: ({ write, register, value }) =>
		`apic_${direction(write)} ${APIC_NAMES.get(register) ?? hex(register)} = ${hex(value)}`,
	kvm_apic_ipi: ({ icrLow, destination }) =>
		`dst ${bare(destination)} vec ${icrLow & 0xff} (${deliveryMode(icrLow)}|${(icrLow & (1 << 11)) !== 0 ? "logical" : "physical"}|` +
		`${(icrLow & (1 << 14)) !== 0 ? "assert" : "de-assert"}|${(icrLow & (1 << 15)) !== 0 ? "level" : "edge"}|${SHORTHANDS[(icrLow >> 18) & 3]!})`,
	kvm_apic_accept_irq: (fields) =>
		`apicid ${bare(fields.apicId)} vec ${fields.vector} (${deliveryMode(fields.deliveryMode)}|${fields.levelTriggered ? "level" : "edge"})`,
	kvm_eoi: ({ apicId, vector }) => `apicid ${bare(apicId)} vector ${vector}`,
	kvm_inj_virq: ({ vector, soft, reinjected }) =>
		`${soft ? "Soft/INTn" : "IRQ"} ${hex(vector)}${reinjectedText(reinjected)}`,
	kvm_inj_exception: ({ vector, errorCode, reinjected }) =>
		`${EXCEPTIONS[vector] ?? hex(vector)}${errorCode === null ? "" : ` (${hex(errorCode)})`}${reinjectedText(reinjected)}`,
	kvm_page_fault: ({ gpa, errorCode }, v, rip) =>
		`vcpu ${v.id} rip ${hex(rip)} address 0x${gpa.toString(16).padStart(16, "0")} error_code ${hex(errorCode)}`,
	kvm_userspace_exit: ({ reason, result }) =>
		result < 0
			? `reason ${result === -EINTR ? "restart" : "error"} (${-result})`
			: `reason ${EXIT_NAMES.get(reason) ?? hex(reason)} (${reason})`,
	kvm_fpu: ({ load }) => (load ? "load" : "unload"),
	kvm_halt_poll_ns: ({ grow, before, after }, v) =>
		`vcpu ${v.id}: halt_poll_ns ${after} (${grow ? "grow" : "shrink"} ${before})`,
	kvm_vcpu_wakeup: ({ ns, waited }) => `${waited ? "wait" : "poll"} time ${ns} ns, polling valid`,
	kvm_pvclock_update: (fields, v) =>
		`vcpu_id ${v.id}, pvclock { version ${fields.version}, tsc_timestamp ${hex(fields.tscTimestamp)}, ` +
		`system_time ${hex(fields.systemTimeNs)}, tsc_to_system_mul ${hex(fields.multiplier)}, tsc_shift ${fields.shift}, ` +
		`flags ${hex(fields.flags)} }`,
};

/** All tracepoints, in the order of their names. */
export const TRACEPOINT_NAMES: readonly string[] = [...Object.keys(TEXTS), "kvm_entry", "kvm_exit"].sort();

/** A tracepoint's line behind its name. @param rip the guest's */
export function tracepointText<N extends KvmTracepoint>(
	name: N,
	fields: KvmTracepoints[N],
	v: Vcpu,
	rip: bigint,
): string {
	return TEXTS[name](fields, v, rip);
}
