/** The guest's part of a VMCS as the kernel's dump_vmcs() prints it. */
import type { VmcsFieldName } from "../../silicon/vmx/fields.ts";
import type { Vcpu } from "../vcpu.ts";

const hex = (value: bigint, digits: number) => `0x${value.toString(16).padStart(digits, "0")}`;

/** dump_vmcs(): guest state, the failed check if there is one, and the exit. */
export function dumpVmcs(v: Vcpu): string {
	const { vmcs } = v.vmx!;
	const get = (name: VmcsFieldName) => vmcs.get(name);
	const segment = (name: "CS" | "SS" | "DS" | "TR") =>
		`${name}:   sel=${hex(get(`GUEST_${name}_SELECTOR`), 4)}, attr=${hex(get(`GUEST_${name}_AR_BYTES`), 5)}, ` +
		`limit=${hex(get(`GUEST_${name}_LIMIT`), 8)}, base=${hex(get(`GUEST_${name}_BASE`), 16)}`;
	const lines = [
		"*** Guest State ***",
		`CR0: actual=${hex(get("GUEST_CR0"), 16)}, shadow=${hex(get("CR0_READ_SHADOW"), 16)}, gh_mask=${hex(get("CR0_GUEST_HOST_MASK"), 16)}`,
		`CR4: actual=${hex(get("GUEST_CR4"), 16)}, shadow=${hex(get("CR4_READ_SHADOW"), 16)}, gh_mask=${hex(get("CR4_GUEST_HOST_MASK"), 16)}`,
		`CR3 = ${hex(get("GUEST_CR3"), 16)}`,
		`RSP = ${hex(get("GUEST_RSP"), 16)}  RIP = ${hex(get("GUEST_RIP"), 16)}`,
		`RFLAGS=${hex(get("GUEST_RFLAGS"), 8)}         EFER= ${hex(get("GUEST_IA32_EFER"), 16)}`,
		...(["CS", "SS", "DS", "TR"] as const).map(segment),
		`reason=${hex(get("VM_EXIT_REASON"), 8)} qualification=${hex(get("EXIT_QUALIFICATION"), 16)}`,
	];
	if (vmcs.failedCheck !== null) lines.push(`check failed: ${vmcs.failedCheck}`);
	return lines.join("\n");
}
