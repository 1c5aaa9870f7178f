/** What TDs that halt, guests with rare instructions, and threads that change CPUs show of the run loop. */
import { describe, expect, it } from "vitest";
import { dropGuard, move, remove } from "../../src/kvm/flow/patch.ts";
import { type Asked, found } from "./support/found.ts";

const IOCTL = "kvm_arch_vcpu_ioctl_run";
const ENTER = "vcpu_enter_guest";
const RARE = "instructions=rare";

// biome-ignore format: one row a mistake
const MISTAKES: readonly (readonly [string, RegExp, Asked])[] = [
	["a TD that halted runs on if KVM does not look whether it runs", /^guest-runs, 0 events: .*HALTED/,
		{ vendor: "tdx", kinds: [], edits: [dropGuard("kvm_vcpu_running", "vcpu_run", "always")] }],
	["a TD sleeps for ever if its timer's interrupt is not posted", /^guest-ends, 0 events/,
		{ vendor: "tdx", kinds: [], edits: [remove("kvm_inject_pending_timer_irqs", "vcpu_run")] }],
	["what was posted while a TD did not run stays in PIR without the notification to itself", /^posted-interrupts, 0 events: .*PIR/,
		{ vendor: "tdx", kinds: [], edits: [remove("pi_test_on", "tdx_vcpu_run")] }],
	["a TD leaves 0 in KERNEL_GS_BASE, and the scheduler takes it for the thread's", /^host-msrs, 1 events: .*KERNEL_GS_BASE 0x0/,
		{ vendor: "tdx", kinds: ["tick"], edits: [move("kvm_arch_vcpu_put", IOCTL, IOCTL, { after: "preempt_enable (vcpu_put)" })] }],
	["a kick goes to the CPU before if vcpu_load() stores its number behind a switch", /^vcpu-cpu, 1 events: .* CPU 1, and vcpu->cpu is 0/,
		{ vendor: "vmx", kinds: ["tick"], configuration: "cpu=changes", edits: [move("kvm_arch_vcpu_load", IOCTL, IOCTL, { after: "preempt_enable (vcpu_load)" })] }],
	["an NMI's handler that is called behind guest_state_exit_irqoff() can be traced before it", /^nmi-noinstr, 1 events/,
		{ vendor: "vmx", kinds: ["nmi"], edits: [move("is_nmi", "vmx_vcpu_enter_exit", "vmx_vcpu_enter_exit", { after: "guest_state_exit_irqoff" })] }],
	["the guest runs before the second half of its XCHG with a device is written", /^access-served, 0 events/,
		{ vendor: "vmx", kinds: [], configuration: RARE, edits: [dropGuard("complete_userspace_io is over", IOCTL, "always")] }],
	["an instruction that is completed without kvm->srcu reads memory slots", /^srcu-held, 0 events/,
		{ vendor: "svm", kinds: [], configuration: RARE, edits: [move("complete_userspace_io", IOCTL, IOCTL, { before: "srcu_read_lock" })] }],
	["a task priority that the guest set is gone behind the next exit", /^guest-task-priority, 0 events: .* CR8 3, its own is 0/,
		{ vendor: "svm", kinds: [], configuration: RARE, edits: [remove("sync_lapic_to_cr8", "svm_vcpu_run")] }],
	["a page fault that KVM injects has no address", /^guest-cr2, 0 events/,
		{ vendor: "svm", kinds: [], configuration: RARE, edits: [remove("CR2 of the VMCB", "svm_vcpu_run")] }],
	["a single step that KVM injects is not in DR6", /^guest-debug-registers, 0 events: .*DR6/,
		{ vendor: "svm", kinds: [], configuration: RARE, edits: [remove("DR6 of the VMCB", "svm_vcpu_run")] }],
	["user space does not learn of a triple fault without the exit reason", /^run-result, 1 events/,
		{ vendor: "vmx", kinds: ["triple-fault"], configuration: "cpu=changes", edits: [remove("KVM_EXIT_SHUTDOWN", ENTER)] }],
];

describe("a mistake of the run loop", () => {
	it.each(MISTAKES)("%s", (_title, pattern, asked) => {
		expect(found({ ...asked, stopAtFirst: asked.kinds.length > 0 })).toContainEqual(
			expect.stringMatching(pattern),
		);
	});
});

describe("v6.18", () => {
	it.each([
		["vmx", RARE],
		["svm", RARE],
		["tdx", "default"],
	] as const)("holds on %s, configuration %s", (vendor, configuration) => {
		const all = found({ vendor, kinds: ["guest-irq", "signal", "nmi", "irq"], configuration, edits: [] });
		expect(all).toEqual([]);
	});
});
