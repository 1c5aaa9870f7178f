import { describe, expect, it } from "vitest";
import { exitReasonName as svmName } from "../../src/kvm/svm/exit-names.ts";
import { exitReasonFlags, exitReasonName as vmxName } from "../../src/kvm/vmx/exit-names.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { record } from "../../src/profile/record.ts";
import { scriptText } from "../../src/profile/script.ts";
import { TraceRecorder } from "../../src/profile/tracepoints.ts";
import { findWorkload } from "../../src/profile/workloads/workloads.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import { reenter } from "../cli/memory-io.ts";

function linesOf(workload: string, vendor: Vendor, iterations: number): readonly string[] {
	const tracer = new TraceRecorder(50_000);
	record({
		workload: findWorkload(workload),
		tree: findTree("v6.18"),
		vendor,
		model: defaultModel(vendor),
		iterations,
		profile: false,
		onMachine: (machine) => tracer.attach(machine),
	});
	return scriptText(tracer.events, defaultModel(vendor).tscHz)
		.trimEnd()
		.split("\n")
		.map((line) => line.replace(/^.* kvm:/, ""));
}

describe("exit reasons are called as the kernel's tables call them", () => {
	it.each([
		[0, "EXCEPTION_NMI"],
		[29, "DR_ACCESS"],
		[31, "MSR_READ"],
		[32, "MSR_WRITE"],
		[36, "MWAIT_INSTRUCTION"],
		[49, "EPT_MISCONFIG"],
		[17, "0x11"],
	])("VMX %i: %s", (reason, name) => expect(vmxName(reason)).toBe(name));

	it("a failed VM entry has its flag behind the name", () => {
		expect(vmxName(0x8000_0021 | 0) + exitReasonFlags(0x8000_0021 | 0)).toBe("INVALID_STATE FAILED_VMENTRY");
		expect(exitReasonFlags(33)).toBe("");
	});

	it.each([
		[0x04, "read_cr4"],
		[0x10, "write_cr0"],
		[0x4e, "PF excp"],
		[0x60, "interrupt"],
		[0x7b, "io"],
		[0x81, "hypercall"],
		[-1, "invalid_guest_state"],
		[0x8e, "0x8e"],
	])("SVM %i: %s", (code, name) => expect(svmName(code)).toBe(name));
});

describe("KVM's tracepoints", () => {
	it("tell what was emulated, between the exit and the entry", () => {
		const lines = linesOf("rdmsr", "vmx", 2);
		const at = lines.findIndex((line) => line.startsWith("kvm_exit: vcpu 0 reason MSR_READ"));
		expect(lines[at + 1]).toMatch(/^kvm_msr: msr_read 1b = 0xfee00[9d]00$/);
		expect(lines.slice(at + 2).find((line) => line.startsWith("kvm_entry"))).toMatch(
			/^kvm_entry: vcpu 0, rip 0x/,
		);
	});

	it.each(["vmx", "svm"] as const)("on %s: a timer's interrupt from the local APIC to the EOI", (vendor) => {
		const lines = linesOf("timer-userspace", vendor, 3);
		const from = lines.findIndex((line) => line.startsWith("kvm_apic_accept_irq"));
		const found = lines
			.slice(from)
			.filter((line) => /^kvm_(apic_accept_irq|inj_virq|eoi)/.test(line))
			.slice(0, 3);
		expect(found).toEqual([
			"kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)",
			"kvm_inj_virq: IRQ 0x40",
			"kvm_eoi: apicid 0 vector 64",
		]);
		expect(lines.some((line) => /^kvm_vcpu_wakeup: wait time [1-9]\d* ns, polling valid$/.test(line))).toBe(
			true,
		);
	});

	it("on the way to user space and back: the access, the FPU, and why KVM_RUN returns", () => {
		const lines = linesOf("mmio", "svm", 2);
		const at = lines.findIndex((line) => line.startsWith("kvm_mmio: mmio unsatisfied-read"));
		expect(lines[at - 1]).toMatch(
			/^kvm_page_fault: vcpu 0 rip 0x[0-9a-f]+ address 0x000000003ff00000 error_code 0x/,
		);
		expect(lines.slice(at, at + 5)).toEqual([
			"kvm_mmio: mmio unsatisfied-read len 4 gpa 0x3ff00000 val 0x0",
			"kvm_fpu: unload",
			"kvm_userspace_exit: reason KVM_EXIT_MMIO (6)",
			"kvm_fpu: load",
			"kvm_mmio: mmio read len 4 gpa 0x3ff00000 val 0xffffffff",
		]);
	});

	it("of ports, CPUID, hypercalls and control registers", () => {
		const lines = [...linesOf("mixed", "vmx", 2), ...linesOf("vmcall", "vmx", 1)];
		expect(lines).toContain("kvm_pio: pio_write at 0x1234 size 1 count 1 val 0x1 ");
		expect(lines.join("\n")).toMatch(
			/^kvm_cpuid: func 0 idx 0 rax [0-9a-f]+ rbx 756e6547 rcx 6c65746e rdx 49656e69, cpuid entry found$/m,
		);
		expect(lines.join("\n")).toMatch(/^kvm_hypercall: nr 0x[0-9a-f]+ a0 0x\w+ a1 0x\w+ a2 0x\w+ a3 0x\w+$/m);
		expect(lines.join("\n")).toMatch(/^kvm_cr: cr_write 4 = 0x[0-9a-f]+$/m);
	});

	it("change no cycle of a run", () => {
		const run = (tracer: TraceRecorder | null) =>
			record({
				workload: findWorkload("timer-userspace"),
				tree: findTree("v6.18"),
				vendor: "vmx",
				model: defaultModel("vmx"),
				iterations: 20,
				profile: false,
				onMachine: (machine) => tracer?.attach(machine),
			}).cyclesByCpu;
		expect(run(new TraceRecorder(10_000))).toEqual(run(null));
	});
});

describe("reenter script", () => {
	it("-e chooses tracepoints, with the system's name or without", async () => {
		const { out } = await reenter(["script", "rdmsr", "--iterations", "3", "-e", "kvm:kvm_msr,kvm_cpuid"]);
		const lines = out.trimEnd().split("\n");
		expect(lines.length).toBeGreaterThan(2);
		expect(lines.every((line) => /kvm:kvm_(msr|cpuid):/.test(line))).toBe(true);
	});

	it("says which tracepoints there are", async () => {
		const { code, err } = await reenter(["script", "rdmsr", "-e", "kvm_msrs"]);
		expect(code).toBe(2);
		expect(err).toMatch(/no tracepoint "kvm_msrs"; did you mean "kvm_msr"\?; there are kvm_apic, /);
	});
});
