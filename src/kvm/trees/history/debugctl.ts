/** IA32_DEBUGCTL: four ways to get it wrong, all mended in 2025. */
import { rdmsrDebugctl, wrmsrDebugctl } from "../../../host/access.ts";
import { TDX_PRESERVED_DEBUGCTL } from "../../../silicon/tdx/module.ts";
import { step, when } from "../../flow/flow.ts";
import { insert, remove, replace } from "../../flow/patch.ts";
import { KVM_RUN } from "../../requests.ts";
import type { Vcpu } from "../../vcpu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";
import { patched } from "./patched.ts";

export const debugctlWithoutLbrv: HistoryCase = {
	name: "debugctl-without-lbrv",
	title: "An SVM guest runs with the host's DEBUGCTL",
	fix: { commits: ["433265870ab3", "fb71c7959356"], date: "2025-02", author: "Sean Christopherson" },
	vendors: ["svm"],
	state: "DEBUGCTL",
	story:
		"VMRUN switches DEBUGCTL only with LBR virtualization, and KVM did not switch it either. Hosts began to enable bus " +
		"lock detection by it: every split lock in a guest then raised a #DB that the guest knew nothing of. The fix swaps " +
		"the register by hand while GIF is 0, if the values differ.",
	differs: "",
	before: patched(v618, "debugctl-without-lbrv-before", "svm_vcpu_run() leaves DEBUGCTL alone", "v6.13", [
		remove("DEBUGCTL differs", "svm_vcpu_run"),
		remove("DEBUGCTL was swapped", "svm_vcpu_run"),
	]),
	after: { ...v618, name: "debugctl-without-lbrv-after" },
	shows: {
		events: [],
		configuration: { debugctl: "set" },
		property: "guest-debugctl",
		tells: [/enters with IA32_DEBUGCTL 0x5, its own is 0x0/],
	},
};

const noteDebugctl = (v: Vcpu) => {
	v.hostDebugctl = rdmsrDebugctl(v.cpu);
};

export const debugctlSnapshot: HistoryCase = {
	name: "debugctl-snapshot",
	title: "The host's DEBUGCTL was noted while interrupts could still change it",
	fix: { commits: ["189ecdb3e112"], date: "2025-02", author: "Sean Christopherson" },
	vendors: ["vmx", "svm"],
	state: "DEBUGCTL",
	story:
		"KVM read the host's DEBUGCTL in vcpu_load, with interrupts on, and wrote it back behind VM exits. perf changes the " +
		"register by calling a function on the CPU in question, from an interrupt. One that came after the reading was " +
		"undone by the next exit. The fix reads the register behind the place where interrupts go off.",
	differs:
		"FREEZE_IN_SMM of VMX guests, which today is compared where DEBUGCTL is read, is reloaded at each first entry.",
	before: patched(v618, "debugctl-snapshot-before", "DEBUGCTL is read by kvm_arch_vcpu_load()", "v6.13", [
		replace(
			"get_debugctlmsr",
			"vcpu_enter_guest",
			step("run_flags |= KVM_RUN_LOAD_DEBUGCTL", (v) => {
				if (!v.guestStateProtected) v.runFlags |= KVM_RUN.LOAD_DEBUGCTL;
			}),
		),
		insert(step("host_debugctl = get_debugctlmsr()", noteDebugctl, 5), "kvm_arch_vcpu_load", { at: "end" }),
	]),
	after: { ...v618, name: "debugctl-snapshot-after" },
	shows: {
		events: ["perf"],
		configuration: { debugctl: "set" },
		property: "host-debugctl",
		tells: [/perf set it to/, /perf starts or stops recording branches/, /update_debugctlmsr\(host\)/],
	},
};

export const freezeInSmm: HistoryCase = {
	name: "freeze-in-smm",
	title: "Counters of perf go on in an SMI that hits a guest",
	fix: { commits: ["6b1dd26544d0"], date: "2025-06", author: "Maxim Levitsky" },
	vendors: ["vmx"],
	state: "DEBUGCTL",
	story:
		"DEBUGCTL.FREEZE_IN_SMM makes the processor stop its counters while it is in system management mode. VM entry loads " +
		"DEBUGCTL from the guest's field of the VMCS, which did not have the host's bit; an SMI in the guest goes straight " +
		"to SMM, so that firmware was counted. The fix keeps the host's bit in the guest's field, hidden from the guest, and " +
		"reloads the field when the host changes it.",
	differs: "",
	before: patched(
		v618,
		"freeze-in-smm-before",
		"the guest's DEBUGCTL field has the guest's bits alone",
		"v6.15",
		[remove("KVM_RUN_LOAD_DEBUGCTL", "vmx_vcpu_run")],
	),
	after: { ...v618, name: "freeze-in-smm-after" },
	shows: {
		events: [],
		configuration: { debugctl: "set" },
		property: "guest-debugctl",
		tells: [/FREEZE_IN_SMM clear, unlike the host's/],
	},
};

const OWN = "host_debugctlmsr";
const own = (v: Vcpu) => v.extra.get(OWN) ?? 0;

export const tdxDebugctl: HistoryCase = {
	name: "tdx-debugctl",
	title: "TDX restores DEBUGCTL from a note of its own that has gone stale",
	fix: { commits: ["7d390a9da823"], date: "2025-06", author: "Sean Christopherson" },
	vendors: ["tdx"],
	state: "DEBUGCTL",
	story:
		"While TDX support waited to be merged, common code took over noting the host's DEBUGCTL, with interrupts off. The " +
		"merge left TDX with the old way: a note taken in tdx_prepare_switch_to_guest(), with interrupts on and once until " +
		"the next vcpu_put. What perf changed afterwards was undone behind TDH.VP.ENTER. The fix uses the common note.",
	differs: "",
	before: patched(
		v618,
		"tdx-debugctl-before",
		"TDX reads DEBUGCTL in tdx_prepare_switch_to_guest()",
		"8af099037527",
		[
			insert(
				step(
					"host_debugctlmsr = get_debugctlmsr()",
					(v) => {
						v.extra.set(OWN, rdmsrDebugctl(v.cpu));
					},
					5,
				),
				"tdx_prepare_switch_to_guest",
				{ before: "guest_state_loaded = true" },
			),
			replace(
				"host_debugctl",
				"tdx_vcpu_run",
				when("host_debugctlmsr", (v) => (own(v) & ~TDX_PRESERVED_DEBUGCTL) !== 0, [
					step("update_debugctlmsr(host)", (v) => wrmsrDebugctl(v.cpu, own(v))),
				]),
			),
		],
	),
	after: { ...v618, name: "tdx-debugctl-after" },
	shows: {
		events: ["perf"],
		configuration: { debugctl: "set" },
		property: "host-debugctl",
		tells: [/perf set it to/, /update_debugctlmsr\(host\)/],
	},
};
