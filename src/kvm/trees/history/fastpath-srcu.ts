/** What the fastpath may not do without kvm->srcu: two bugs, and a third that review found (2022 to 2024). */
import { type Patch, applyPatches, insert, remove } from "../../flow/patch.ts";
import { step } from "../../flow/flow.ts";
import { srcuReadLock, srcuReadUnlock } from "../../x86/srcu.ts";
import { v618 } from "../base.ts";
import type { HistoryCase } from "./case.ts";

const lock = step("kvm_vcpu_srcu_read_lock", srcuReadLock, 2);
const unlock = step("kvm_vcpu_srcu_read_unlock", srcuReadUnlock, 2);

/** The fastpath of 2022: WRMSR, and on VMX the preemption timer. */
const onlyWrmsr: Patch = {
	title: "The fastpath before HLT and INVD were in it",
	source: "v6.0",
	edits: [
		remove("EXIT_REASON_HLT", "vmx_exit_handlers_fastpath"),
		remove("EXIT_REASON_INVD", "vmx_exit_handlers_fastpath"),
		remove("SVM_EXIT_HLT", "svm_exit_handlers_fastpath"),
		remove("SVM_EXIT_INVD", "svm_exit_handlers_fastpath"),
	],
};

/** Before 8bb8b60c95c5 (2025) whoever skips an instruction had to hold the lock for the event filter. */
const callersLock: Patch = {
	title: "kvm_pmu_trigger_event() without a lock of its own",
	source: "before 8bb8b60c95c5",
	edits: [
		remove("srcu_read_lock", "kvm_pmu_trigger_event"),
		remove("srcu_read_unlock", "kvm_pmu_trigger_event"),
	],
};

const wrmsrLocks: Patch = {
	title: "KVM: x86: Acquire SRCU read lock when handling fastpath MSR writes",
	source: "3f2739bd1e0b",
	edits: [
		insert(lock, "handle_fastpath_wrmsr", { before: "kvm_skip_emulated_instruction" }),
		insert(unlock, "handle_fastpath_wrmsr", { after: "kvm_skip_emulated_instruction" }),
	],
};

const tree = (patches: readonly Patch[], name: string, title: string) =>
	applyPatches(v618, patches, name, title);

export const fastpathDecode: HistoryCase = {
	name: "fastpath-decode",
	title: "The WRMSR fastpath reads guest memory to find the next instruction",
	fix: { commits: ["5c30e8101e8d"], date: "2022-09", author: "Sean Christopherson" },
	vendors: ["svm"],
	state: "SRCU",
	story:
		"A WRMSR that the fastpath handles is skipped there, with interrupts off and without kvm->srcu. A processor that " +
		"saves no next RIP, or a kvm_amd loaded with nrips=0, leaves it to the emulator to find the instruction's end: it " +
		"walks the guest's page tables and reads its memory through slots that nothing protects. Lockdep reported it. The " +
		"fix leaves the exit to the slow path unless the next RIP is known.",
	differs: "",
	before: tree(
		[
			onlyWrmsr,
			{ title: "", source: "404d5d7bff0d", edits: [remove("no next_rip", "svm_exit_handlers_fastpath")] },
		],
		"fastpath-decode-before",
		"the SVM fastpath, without a look at next_rip",
	),
	after: tree([onlyWrmsr], "fastpath-decode-after", "the SVM fastpath, only with next_rip"),
	shows: {
		events: [],
		configuration: { nrips: "off" },
		property: "srcu-held",
		tells: [/suspicious RCU usage/, /handle_fastpath_wrmsr/],
	},
};

export const fastpathPmu: HistoryCase = {
	name: "fastpath-pmu",
	title: "The WRMSR fastpath counts an event for the guest, and reads the event filter without SRCU",
	fix: {
		commits: ["3f2739bd1e0b", "8bb8b60c95c5"],
		date: "2023-07",
		author: "Aaron Lewis, Sean Christopherson",
	},
	vendors: ["vmx", "svm"],
	state: "SRCU",
	story:
		"An instruction that KVM executes in the guest's place counts for the guest's counter of instructions, unless the " +
		"filter of events that user space has set forbids it. Since dfdeda67ea2d the filter is read there. The fastpath " +
		"skips WRMSR without kvm->srcu, so the filter could be freed under it. The fix took the lock around the WRMSR; " +
		"two years later the lock moved to the reader of the filter.",
	differs: "The lock is taken around the skipping of the instruction, not around all of the handler.",
	before: tree([onlyWrmsr, callersLock], "fastpath-pmu-before", "the WRMSR fastpath without kvm->srcu"),
	after: tree(
		[onlyWrmsr, callersLock, wrmsrLocks],
		"fastpath-pmu-after",
		"the WRMSR fastpath with kvm->srcu",
	),
	shows: {
		events: [],
		configuration: { pmu: "counting" },
		property: "srcu-held",
		tells: [/suspicious RCU usage/, /kvm_pmu_trigger_event/, /handle_fastpath_wrmsr/],
	},
};
