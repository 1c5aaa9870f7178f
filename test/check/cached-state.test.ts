/** Changes as developers make them: a value that is cached, a load that is left out when nothing seems to have changed. */
import { describe, expect, it } from "vitest";
import { parseConfiguration } from "../../src/check/configuration.ts";
import { runSchedule } from "../../src/check/run.ts";
import { applyPatchFile } from "../../src/kvm/patch/patch-file.ts";
import type { PatchDocument } from "../../src/kvm/patch/document.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";
import type { Injection } from "../../src/check/types.ts";

type Change = Omit<PatchDocument, "name">;

/** What a run violates, and how. */
function failures(
	change: Change,
	vendor: Vendor,
	configuration: string,
	schedule: readonly Injection[] = [],
) {
	const file = { document: { name: "change", ...change }, locate: () => "change" };
	const tree = applyPatchFile(file, findTree(change.base ?? "v6.18"), []);
	const model = defaultModel(vendor);
	const setup = {
		program: linkTree(tree, vendor),
		model,
		configuration: parseConfiguration(configuration, vendor, model),
	};
	return runSchedule(setup, schedule)
		.failures.filter(({ degree }) => degree === "violation")
		.map(({ property, detail }) => `${property}: ${detail}`);
}

const PKRU_AT_PUT: Change = {
	base: "series-v2",
	edits: [
		{
			insert: {
				if: "PKRU is the guest's",
				when: { not: { value: "guest PKRU", is: "host PKRU" } },
				then: ["kvm_load_host_pkru"],
			},
			into: "kvm_arch_vcpu_put",
			at: "start",
		},
		{ remove: "kvm_load_host_pkru", from: "vcpu_enter_guest" },
	],
};

const PKRU_IF_LOADED: Change = {
	base: "series-v2",
	fields: ["pkru_loaded"],
	edits: [
		{ insert: { assign: "pkru_loaded", to: 0 }, into: "kvm_load_guest_pkru", at: "start" },
		{ insert: { assign: "pkru_loaded", to: 1 }, into: "kvm_load_guest_pkru", after: "WRPKRU(guest)" },
		{
			insert: { if: "!pkru_loaded", when: { not: { value: "pkru_loaded" } }, then: [{ return: "" }] },
			into: "kvm_load_host_pkru",
			at: "start",
		},
	],
};

const TIMER_IF_CHANGED: Change = {
	fields: ["last_deadline"],
	edits: [
		{
			replace: "vmx_update_hv_timer",
			in: "vmx_vcpu_run",
			by: {
				if: "the deadline is another",
				when: { any: ["req_immediate_exit", { not: { value: "hv_deadline_tsc", is: "last_deadline" } }] },
				then: ["vmx_update_hv_timer", { assign: "last_deadline", to: "hv_deadline_tsc" }],
			},
		},
	],
};

const CR8_IF_CHANGED: Change = {
	fields: ["last_cr8"],
	edits: [
		{
			replace: "sync_lapic_to_cr8",
			in: "svm_vcpu_run",
			by: {
				if: "cr8 is another",
				when: { not: { value: "cr8", is: "last_cr8" } },
				then: ["sync_lapic_to_cr8", { assign: "last_cr8", to: "cr8" }],
			},
		},
	],
};

const TIMER_INTERRUPT_OF_THE_HALTED: Change = {
	edits: [
		{
			replace: "kvm_cpu_has_pending_timer",
			in: "vcpu_run",
			by: {
				if: "a halted vCPU's timer",
				when: { all: ["kvm_cpu_has_pending_timer", { not: "kvm_vcpu_running" }] },
				then: ["kvm_inject_pending_timer_irqs"],
			},
		},
	],
};

const USER_RETURN_WITH_THE_REST: Change = {
	edits: [
		{
			move: "!guest_uret_msrs_loaded",
			from: "vmx_prepare_switch_to_guest",
			to: "vmx_prepare_switch_to_guest",
			after: "guest_state_loaded",
		},
	],
};

const WORK_FIRST: Change = {
	edits: [
		{
			move: "xfer_to_guest_mode_work",
			from: "vcpu_run",
			to: "vcpu_run",
			before: "at_instruction_boundary = false",
		},
	],
};

const BASES_IN_VCPU_LOAD: Change = {
	edits: [
		"current_save_fsgs",
		"WRMSR(guest KERNEL_GS_BASE)",
		"vmx_set_host_fs_gs",
		"guest_state_loaded = true",
	].map((move) => ({ move, from: "vmx_prepare_switch_to_guest", to: "vmx_vcpu_load", at: "end" })),
};

const FLUSH_AT_ONCE: Change = {
	edits: [
		{
			replace: "KVM_REQ_TLB_FLUSH",
			in: "vmx_vcpu_load",
			by: { step: "flush", run: (v) => v.vm.ops.flushTlb(v) },
		},
	],
};

describe("what a change leaves out is missed", () => {
	it.each([
		[
			"the host's PKRU, when KVM reads guest memory",
			PKRU_AT_PUT,
			"svm",
			"default",
			/host-xstate: KVM accesses the guest's memory with PKRU 0x\w+, not user space's/,
		],
		[
			"the host's PKRU, when the guest changes one that was equal",
			PKRU_IF_LOADED,
			"vmx",
			"pkru=host",
			/host-xstate: .*PKRU/,
		],
		[
			"the same where user space's stack has a key",
			PKRU_IF_LOADED,
			"svm",
			"pkru=host,stackKey=1",
			/host-xstate: .*PKRU/,
		],
		[
			"the preemption timer, when the guest has run in between",
			TIMER_IF_CHANGED,
			"vmx",
			"instructions=rare",
			/guest-timer: the guest's timer expires in/,
		],
		[
			"the task priority, when the guest has written another",
			CR8_IF_CHANGED,
			"svm",
			"instructions=rare",
			/guest-task-priority: the guest enters with CR8 3, its own is 0/,
		],
		[
			"a timer's interrupt, of a guest that runs on",
			TIMER_INTERRUPT_OF_THE_HALTED,
			"vmx",
			"default",
			/guest-timer: the guest's timer has expired/,
		],
		[
			"SYSCALL's registers, when the guest sets EFER.SCE",
			USER_RETURN_WITH_THE_REST,
			"vmx",
			"msrs=own",
			/guest-msrs: the guest enters with IA32_\w+/,
		],
	] as const)("%s", (_what, change, vendor, configuration, expected) => {
		expect(failures(change, vendor, configuration)).toContainEqual(expect.stringMatching(expected));
	});
});

describe("a change that leaves nothing out violates nothing", () => {
	it.each([
		["signals are looked for before the entry", WORK_FIRST, "vmx", "handover=refused"],
		["vcpu_load drops translations itself", FLUSH_AT_ONCE, "vmx", "cpu=changes"],
		["the same of two vCPUs", FLUSH_AT_ONCE, "vmx", "vcpus=2"],
	] as const)("%s", (_what, change, vendor, configuration) => {
		expect(failures(change, vendor, configuration)).toEqual([]);
	});

	it("vcpu_load switches the bases, and a switch comes before it", () => {
		expect(failures(BASES_IN_VCPU_LOAD, "vmx", "vcpus=2", [{ event: "tick", at: 1 }])).toEqual([]);
	});
});
