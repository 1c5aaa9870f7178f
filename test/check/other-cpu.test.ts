/** A thread that was preempted goes on on another CPU, and KVM must not go by what it noted of the first one. */
import { describe, expect, it } from "vitest";
import { move, remove } from "../../src/kvm/flow/patch.ts";
import { violated } from "./support/violated.ts";

describe("a vCPU that changes CPUs", () => {
	it("finds all that it needs there", () => {
		expect(
			violated("vmx", [], ["preempt"], "cpu=changes,msrs=own,debugctl=set,breakpoints=active,neighbour=vm"),
		).toEqual([]);
		expect(violated("tdx", [], ["preempt"], "cpu=changes,neighbour=vm")).toEqual([]);
	});

	// biome-ignore format: one row a mistake
	it.each([
		["vmx", "the VMCS is not cleared where it was",   [remove("loaded_vmcs_clear", "vmx_vcpu_load")],                /^host-invariant: .*active on another processor/],
		["vmx", "the VMCS is not loaded",                 [remove("vmcs_load", "vmx_vcpu_load")],                        /^host-invariant: VM entry while another VMCS/],
		["vmx", "translations from before are kept",      [remove("KVM_REQ_TLB_FLUSH", "vmx_vcpu_load")],                /^guest-translations: the guest runs on CPU/],
		["svm", "the ASID is kept",                       [remove("new ASID", "svm_vcpu_load")],                         /^guest-translations: the guest runs on CPU/],
		["vmx", "HOST_CR3 stays the first CPU's",         [remove("refresh HOST_CR3", "vmx_vcpu_run")],                  /^host-address-space: .*CR3 is/],
		["tdx", "the TD's vCPU is not flushed",           [remove("tdx_flush_vp_on_cpu", "tdx_vcpu_load")],              /^guest-ends: /],
	] as const)("on %s: %s", (vendor, _what, edits, message) => {
		expect(violated(vendor, edits, ["preempt"], "cpu=changes")).toContainEqual(expect.stringMatching(message));
	});

	it("moves between two KVM_RUNs, and what it did before does not hide that", () => {
		// Shown only by runs that go on behind an exit to user space, as they do from the start: what a device said then
		// does not end them.
		const edits = [
			move("vcpu->cpu != cpu", "kvm_arch_vcpu_load", "kvm_arch_vcpu_ioctl_run", {
				before: "preempt_disable (vcpu_load)",
			}),
		];
		expect(violated("tdx", edits, ["preempt"], "cpu=changes")).toContainEqual(
			expect.stringMatching(/^guest-ends: .*0x80000701/),
		);
	});

	it("does not run on when its VM was given up", () => {
		const edits = [remove("return -EIO", "vcpu_enter_guest")];
		expect(violated("tdx", edits, ["vm-dead"], "cpu=changes")).toContainEqual(
			expect.stringMatching(/^guest-runs: /),
		);
	});

	it("is not kicked where vcpu->cpu does not say that it is", () => {
		const edits = [remove("vcpu->cpu = cpu", "kvm_arch_vcpu_load")];
		expect(violated("svm", edits, ["kick"])).toContainEqual(
			expect.stringMatching(/^requests-seen: .*KVM_REQ_OUTSIDE_GUEST_MODE/),
		);
	});
});
