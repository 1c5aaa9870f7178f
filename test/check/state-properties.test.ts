import { describe, expect, it } from "vitest";
import { parseConfiguration } from "../../src/check/configuration.ts";
import { questionsAt } from "../../src/check/properties/properties.ts";
import { runSchedule } from "../../src/check/run.ts";
import { type RunSetup, Subject } from "../../src/check/subject.ts";
import type { EventKind } from "../../src/check/types.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import type { Tree } from "../../src/kvm/flow/flow.ts";
import { applyPatches, remove } from "../../src/kvm/flow/patch.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { defaultModel } from "../../src/review/review.ts";
import { OP, customOpId } from "../../src/silicon/ops.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

function setup(tree: Tree, vendor: Vendor, configuration: string): RunSetup {
	const model = defaultModel(vendor);
	return {
		program: linkTree(tree, vendor),
		model,
		configuration: parseConfiguration(configuration, vendor, model),
		guest: "script",
	};
}

const without = (step: string, flow: string) =>
	applyPatches(v618, [{ title: "test", source: "", edits: [remove(step, flow)] }], "test", "");

describe("an op", () => {
	const askedAt = (op: number) => questionsAt(op).map(({ property }) => property.name);
	const anywhere = ["host-debug-registers", "host-address-space", "guest-interrupts", "context-tracking"];

	it("has the properties asked that name it, or none, in their order", () => {
		expect(askedAt(OP.ret)).toEqual([anywhere[0], "host-returns", ...anywhere.slice(1)]);
		expect(askedAt(OP.user_transition)).toEqual(
			expect.arrayContaining([...anywhere, "host-fpu", "run-result"]),
		);
		expect(askedAt(OP.vmptrld)).toEqual(anywhere);
	});

	it("of a patch has those asked that name none", () => {
		expect(askedAt(customOpId("a-patch's-own"))).toEqual(anywhere);
	});
});

/** Properties that a run without events violates. */
const violated = (run: RunSetup) => runSchedule(run, []).failures.map(({ property }) => property);

/** Properties that runs with one event of a kind violate, at every `stride`th op. */
function violatedWith(run: RunSetup, event: EventKind, stride: number): string[] {
	const found = new Set<string>();
	const { ops } = runSchedule(run, []);
	for (let at = 1; at <= ops; at += stride) {
		for (const { property } of runSchedule(run, [{ event, at }]).failures) found.add(property);
	}
	return [...found];
}

describe("v6.18 keeps each register the owner's", () => {
	it.each([
		["vmx", "debugRegs=used,msrs=own,debugctl=set,breakpoints=active"],
		["vmx", "xfd=own,xcr0=host"],
		["vmx", "pke=off,xcr0=host"],
		["svm", "debugRegs=used,msrs=own,debugctl=set,breakpoints=active"],
		["svm", "pke=off,xcr0=host"],
		["tdx", "debugctl=set,breakpoints=active,neighbour=vm"],
	] as const)("on %s with %s", (vendor, configuration) => {
		expect(violated(setup(v618, vendor, configuration))).toEqual([]);
	});
});

it.each(["vmx", "svm"] as const)(
	"%s: a guest's SPEC_CTRL exits at its first write, and never again",
	(vendor) => {
		const subject = new Subject(setup(v618, vendor, "msrs=own"));
		while (subject.runBlock());
		subject.detach();
		const { vcpu, kernel, cpu } = subject.machine;
		expect(vcpu.specCtrlNoIntercept).toBe(true);
		expect(vcpu.vm.ops.getMsr(vcpu, 0x48)).toBe(6n);
		expect(cpu.read32(L.SPEC_CTRL)).toBe(kernel.specCtrl);
	},
);

describe("a tree that loses a guest's register", () => {
	it.each([
		["vmx", "kvm_update_dr0123", "vcpu_enter_guest", "debugRegs=used", "guest-debug-registers"],
		["svm", "kvm_update_dr0123", "vcpu_enter_guest", "debugRegs=used", "guest-debug-registers"],
		["vmx", "KVM_DEBUGREG_WONT_EXIT", "vcpu_enter_guest", "debugRegs=used", "guest-debug-registers"],
		["vmx", "EXCEPTION_NMI: #NM", "vmx_handle_exit_irqoff", "xfd=own", "guest-xfd"],
		["svm", "DEBUGCTL differs", "svm_vcpu_run", "debugctl=set", "guest-debugctl"],
		["vmx", "KVM_RUN_LOAD_DEBUGCTL", "vmx_vcpu_run", "debugctl=set", "guest-debugctl"],
		["vmx", "WRMSR(guest KERNEL_GS_BASE)", "vmx_prepare_switch_to_guest", "msrs=own", "guest-msrs"],
		["vmx", "!guest_uret_msrs_loaded", "vmx_prepare_switch_to_guest", "msrs=own", "guest-msrs"],
		["svm", "kvm_set_user_return_msr(TSC_AUX)", "svm_prepare_switch_to_guest", "msrs=own", "guest-msrs"],
		["vmx", "RDPKRU", "kvm_load_host_xsave_state", "", "guest-xstate"],
	] as const)("%s without %s (%s) is told by %s: %s", (vendor, step, flow, configuration, property) => {
		expect(violated(setup(without(step, flow), vendor, configuration))).toContain(property);
	});

	it("loses FPU state when nothing loads it behind an interrupt that used the FPU", () => {
		for (const vendor of ["vmx", "svm"] as const) {
			const run = setup(without("TIF_NEED_FPU_LOAD", "vcpu_enter_guest"), vendor, "");
			expect(violatedWith(run, "irq-fpu", 40)).toContain("guest-fpu");
			expect(violatedWith(setup(v618, vendor, ""), "irq-fpu", 40)).toEqual([]);
		}
	});
});

describe("a tree that leaves a guest's value to the host", () => {
	it.each([
		["vmx", "hw_breakpoint_active", "vcpu_enter_guest", "breakpoints=active", "host-debug-registers"],
		["svm", "hw_breakpoint_active", "vcpu_enter_guest", "breakpoints=active", "host-debug-registers"],
		["tdx", "hw_breakpoint_active", "vcpu_enter_guest", "breakpoints=active", "host-debug-registers"],
		["vmx", "host_debugctl", "vmx_vcpu_run", "debugctl=set", "host-debugctl"],
		["svm", "DEBUGCTL was swapped", "svm_vcpu_run", "debugctl=set", "host-debugctl"],
		["tdx", "host_debugctl", "tdx_vcpu_run", "debugctl=set", "host-debugctl"],
		["vmx", "pt_guest_enter, atomic_switch_perf_msrs", "vmx_vcpu_run", "debugctl=set", "host-counters"],
		["vmx", "WRMSR(host KERNEL_GS_BASE)", "vmx_prepare_switch_to_host", "msrs=own", "host-msrs"],
		["vmx", "vmx_set_host_fs_gs", "vmx_prepare_switch_to_guest", "", "host-msrs"],
		["tdx", "WRMSR(host KERNEL_GS_BASE)", "tdx_prepare_switch_to_host", "", "host-msrs"],
		["tdx", "kvm_set_user_return_msr", "tdx_prepare_switch_to_guest", "", "host-msrs"],
		["vmx", "guest_fpu.xfd_err (after exit)", "vcpu_enter_guest", "xfd=own", "host-xfd"],
	] as const)("%s without %s (%s) is told by %s: %s", (vendor, step, flow, configuration, property) => {
		expect(violated(setup(without(step, flow), vendor, configuration))).toContain(property);
	});

	it("saves and restores with an XFD that is not the guest's when it does not read it back behind exits", () => {
		const run = setup(without("xfd_no_write_intercept", "vcpu_enter_guest"), "vmx", "xfd=own");
		expect(violatedWith(run, "preempt", 11)).toContain("host-xfd");
	});

	it("loses CR3's PCID when HOST_CR3 is not looked at before each entry", () => {
		const run = setup(without("refresh HOST_CR3", "vmx_vcpu_run"), "vmx", "");
		expect(violatedWith(run, "text-poke", 40)).toContain("host-address-space");
	});
});
