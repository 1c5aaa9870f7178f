/** XCR0, written by the guest, and a preemption (commit 42bdf991f4ca, 2013). */
import { xsetbv } from "../../../host/access.ts";
import { call, flow, step, when } from "../../flow/flow.ts";
import { addFlow, insert, remove } from "../../flow/patch.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

const CR4_OSXSAVE = 1 << 18;
const LOADED = "guest_xcr0_loaded";
const isLoaded = (v: Vcpu) => (v.extra.get(LOADED) ?? 0) !== 0;
const mark = (loaded: number) => (v: Vcpu) => {
	v.extra.set(LOADED, loaded);
};
const differs = (v: Vcpu) => v.xcr0 !== v.kernel.xcr0;
const needsLoad = (v: Vcpu) => (v.cr4Bits & CR4_OSXSAVE) !== 0 && !isLoaded(v);

/** XCR0 stays the guest's from its first entry on, until the thread leaves the CPU or KVM_RUN. */
const lazy = patched(
	v618,
	"xcr0-preemption-base",
	"guest XCR0 is loaded once and put away with the guest's FPU",
	"v3.9",
	[
		addFlow(
			flow("kvm_load_guest_xcr0", "x86.c", [
				when("!guest_xcr0_loaded", needsLoad, [
					when("guest XCR0 differs", differs, [step("XSETBV(guest XCR0)", (v) => xsetbv(v.cpu, v.xcr0), 3)]),
					step("guest_xcr0_loaded = 1", mark(1), 1),
				]),
			]),
		),
		addFlow(
			flow("kvm_put_guest_xcr0", "x86.c", [
				when("guest_xcr0_loaded", isLoaded, [
					when("guest XCR0 differs", differs, [
						step("XSETBV(host XCR0)", (v) => xsetbv(v.cpu, v.kernel.xcr0), 3),
					]),
					step("guest_xcr0_loaded = 0", mark(0), 1),
				]),
			]),
		),
		remove("guest XCR0 differs", "kvm_load_guest_xsave_state"),
		remove("guest XCR0 differs", "kvm_load_host_xsave_state"),
		insert(
			step("__kernel_fpu_begin", (v) => {
				v.kernel.fpu.inKernelFpu = true;
			}),
			"vcpu_enter_guest",
			{ before: "guest_fpu.xfd_err" },
		),
		insert("kvm_load_guest_xcr0", "vcpu_enter_guest", { before: "switch_db_regs" }),
		insert("kvm_put_guest_xcr0", "kvm_arch_vcpu_ioctl_run", { before: "kvm_put_guest_fpu" }),
		insert(
			step("__kernel_fpu_end", (v) => {
				v.kernel.fpu.inKernelFpu = false;
			}),
			"kvm_arch_vcpu_put",
			{ at: "start" },
		),
		insert("kvm_put_guest_xcr0", "kvm_arch_vcpu_put", { at: "start" }),
	],
);

export const xcr0Preemption: HistoryCase = {
	name: "xcr0-preemption",
	title: "Emulating XSETBV makes KVM forget that the guest's XCR0 is in the processor",
	fix: { commits: ["42bdf991f4ca"], date: "2013", author: "Marcelo Tosatti" },
	vendors: ["vmx", "svm"],
	state: "XCR0",
	story:
		"KVM noted whether the guest's XCR0 was loaded. Emulating XSETBV cleared the note, so that the new value would be " +
		"loaded at the next entry; but the same note decided whether the host's value had to be put back, and the " +
		"processor still held the guest's old one. If the thread was switched out before the next entry, nothing restored " +
		"the host's XCR0, and the scheduler's XRSTOR for the next task ran with the guest's. The fix puts the host's value " +
		"back when it emulates the write.",
	differs:
		"Of 2013's code only the note is here. XCR0 stays loaded from an entry to the thread's next switch, and interrupts " +
		"may not use the FPU meanwhile, as then; PKRU and IA32_XSS are swapped as in v6.18.",
	before: patched(lazy, "xcr0-preemption-before", "XSETBV clears guest_xcr0_loaded", "v3.9", [
		insert(step("guest_xcr0_loaded = 0 (XSETBV)", mark(0), 1), "__kvm_set_xcr", { at: "end" }),
	]),
	after: patched(lazy, "xcr0-preemption-after", "XSETBV puts the host's XCR0 back first", "42bdf991f4ca", [
		insert(call("kvm_put_guest_xcr0"), "__kvm_set_xcr", { at: "start" }),
	]),
	shows: {
		events: ["preempt"],
		configuration: {},
		property: "host-xstate",
		tells: [/__kvm_set_xcr|guest_xcr0_loaded/, /XCR0 is 0x1, not the host's/, /schedule/],
	},
};
