/** What the host and its user space find behind a guest, and what the guest finds behind them. */
import { describe, expect, it } from "vitest";
import { dropGuard, insert, move, remove } from "../../src/kvm/flow/patch.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { type Asked, found } from "./support/found.ts";

const IOCTL = "kvm_arch_vcpu_ioctl_run";
const ENTER = "vcpu_enter_guest";
const put = (flow: string, name: string) => {
	const node = [...findTree("v6.18").flows.get(flow)!.body].find((one) => one.name === name)!;
	return { ...node };
};

// biome-ignore format: one row a mistake
const MISTAKES: readonly (readonly [string, RegExp, Asked])[] = [
	["user space gets the guest's FPU registers if they are not exchanged back", /^host-fpu, 0 events: task "vcpu"/,
		{ vendor: "vmx", kinds: [], edits: [remove("kvm_put_guest_fpu", IOCTL)] }],
	["the guest reads the host's CR2 if it is not loaded", /^guest-cr2, 0 events: the guest enters with CR2/,
		{ vendor: "vmx", kinds: [], edits: [remove("load CR2", "vmx_vcpu_enter_exit")] }],
	["the guest loses its CR2 if it is not saved", /^guest-cr2, 0 events: .* its own is 0x5000/,
		{ vendor: "vmx", kinds: [], edits: [remove("save CR2", "vmx_vcpu_enter_exit")] }],
	["a VM exit loads an old CR4 if the VMCS is not told of a change", /^host-address-space, 1 events: CR4/,
		{ vendor: "vmx", kinds: ["perf-rdpmc"], edits: [remove("refresh HOST_CR4", "vmx_vcpu_run")] }],
	["a PKRU of user space's that is noted once is not the one that it has later", /^host-xstate, 0 events: PKRU/,
		{ vendor: "vmx", kinds: [], edits: [remove("host_pkru = RDPKRU", "kvm_arch_vcpu_load")] }],
	["VM entry fails if nobody has loaded the VMCS", /^host-invariant, 0 events: VM entry while another VMCS is current/,
		{ vendor: "vmx", kinds: [], edits: [remove("vmcs_load", "vmx_vcpu_load")] }],
	["a VMCS that is loaded before preemption is off is another vCPU's at the entry", /^host-invariant, 1 events: VM entry/,
		{ vendor: "vmx", kinds: ["preempt"], configuration: "neighbour=vm", edits: [move("kvm_arch_vcpu_load", IOCTL, IOCTL, { before: "preempt_disable (vcpu_load)" }), move("preempt_notifier_register", IOCTL, IOCTL, { after: "preempt_disable (vcpu_load)" })] }],
	["the guest's timer is late if the preemption timer is set behind the guest", /^guest-timer, 0 events: the guest's timer expires/,
		{ vendor: "vmx", kinds: [], edits: [move("vmx_update_hv_timer", "vmx_vcpu_run", "vmx_vcpu_run", { after: "vmx_vcpu_enter_exit" })] }],
	["user space is called for nothing if signals are not looked at", /^run-result, 1 events: KVM_RUN returns 1/,
		{ vendor: "svm", kinds: ["signal"], edits: [remove("kvm_xfer_to_guest_mode_handle_work", "vcpu_run")] }],
	["a preempt notifier that stays registered is found in user space", /^balance, 0 events: the preempt notifier/,
		{ vendor: "svm", kinds: [], edits: [remove("preempt_notifier_unregister", IOCTL)] }],
	["a host breakpoint may be hit next to the guest if DR7 is not cleared", /^host-debug-registers, 0 events: DR7 is .* next to the guest/,
		{ vendor: "vmx", kinds: [], configuration: "breakpoints=active", edits: [dropGuard("hw_breakpoint_active (before entry)", ENTER, "never")] }],
	["guest time that ends with interrupts on takes ticks that are the host's", /^guest-time, 0 events: .* with interrupts on/,
		{ vendor: "vmx", kinds: [], edits: [move("guest_timing_exit_irqoff", ENTER, ENTER, { after: "local_irq_enable" })] }],
	["an NMI that ended the guest's run waits for the next one if it is looked for before", /^nmi-delivered, 1 events/,
		{ vendor: "vmx", kinds: ["nmi"], edits: [move("is_nmi", "vmx_vcpu_enter_exit", "vmx_vcpu_enter_exit", { before: "__vmx_vcpu_run" })] }],
	["a debugger misses the step that the fastpath keeps to itself", /^exit-reported, 0 events: the guest runs on with exit reason 4/,
		{ vendor: "svm", kinds: [], configuration: "debugger=steps", edits: [dropGuard("EXIT_FASTPATH_EXIT_USERSPACE", ENTER, "never")] }],
	["a step over STI ends in a VM entry that fails if its shadow is left", /^guest-ends, 0 events: .*pending debug exceptions/,
		{ vendor: "vmx", kinds: [], configuration: "debugger=steps", edits: [remove("vmx_set_interrupt_shadow(0)", "vmx_vcpu_run")] }],
	["a guest loses its interrupt shadow if that is cleared without a debugger", /^interrupt-shadow, 0 events/,
		{ vendor: "vmx", kinds: [], configuration: "debugger=steps", edits: [dropGuard("KVM_GUESTDBG_SINGLESTEP", "vmx_vcpu_run", "always")] }],
	["a VMCS whose entry failed is resumed in vain if that is not seen", /^guest-ends, 0 events: .*VM-instruction error 5/,
		{ vendor: "vmx", kinds: [], configuration: "handover=refused", edits: [dropGuard("VM entry failed", "vmx_vcpu_run", "never")] }],
	["and one whose entry was refused", /^guest-ends, 0 events: .*VM-instruction error 5/,
		{ vendor: "vmx", kinds: [], configuration: "handover=refused", edits: [dropGuard("vmx->fail", "vmx_vcpu_run", "never")] }],
	["a task priority that the guest has written without an exit is lost if it is not read back", /^guest-task-priority, 0 events/,
		{ vendor: "svm", kinds: [], configuration: "instructions=rare", edits: [remove("sync_cr8_to_lapic", "svm_vcpu_run")] }],
	["a HLT is over at once if it is handled before the guest's task priority is read back", /^guest-runs, 0 events: the guest runs on behind a HLT/,
		{ vendor: "svm", kinds: [], configuration: "instructions=rare", edits: [move("svm_exit_handlers_fastpath", "svm_vcpu_run", "svm_vcpu_run", { before: "stgi" })] }],
	["the kernel saves registers under an XFD that it does not know of if interrupts come first", /^host-xfd, 1 events: the kernel takes XFD for/,
		{ vendor: "vmx", kinds: ["irq-xfd"], configuration: "xfd=own", edits: [move("xfd_no_write_intercept", ENTER, ENTER, { after: "kvm_x86_ops.handle_exit_irqoff" })] }],
	["a TD runs on while the second part of its MapGPA waits for user space", /^access-served, 0 events/,
		{ vendor: "tdx", kinds: [], configuration: "instructions=rare", edits: [dropGuard("complete_userspace_io is over", IOCTL, "always")] }],
	["a HLT that is skipped twice is found by the guest", /^guest-ends, 0 events/,
		{ vendor: "vmx", kinds: [], edits: [insert(put("handle_fastpath_hlt", "kvm_emulate_halt"), "handle_fastpath_hlt", { after: "kvm_emulate_halt" })] }],
];

describe("a mistake of the run loop", () => {
	it.each(MISTAKES)("%s", (_title, pattern, asked) => {
		expect(found({ ...asked, stopAtFirst: asked.kinds.length > 0 })).toContainEqual(
			expect.stringMatching(pattern),
		);
	});
});
