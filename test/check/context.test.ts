/** Trees that break the rules of the run loop's context, and the property that each breaks. */
import { describe, expect, it } from "vitest";
import { runCheck } from "../../src/check/check.ts";
import { DEFAULT_CONFIGURATION, parseConfiguration } from "../../src/check/configuration.ts";
import { runSchedule } from "../../src/check/run.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { type Edit, applyPatches, move, remove } from "../../src/kvm/flow/patch.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { defaultModel } from "../../src/review/review.ts";
import { found } from "./support/found.ts";
import { violated } from "./support/violated.ts";

const ENTER = "vcpu_enter_guest";

describe("guest time", () => {
	it.each([
		["never begins", [remove("guest_timing_enter_irqoff", ENTER)], /runs outside of guest time/],
		["never ends", [remove("guest_timing_exit_irqoff", ENTER)], /goes on in user space|entered twice/],
		[
			"begins again on each re-entry",
			[move("guest_timing_enter_irqoff", ENTER, ENTER, { before: "kvm_x86_ops.vcpu_run" })],
			/entered twice/,
		],
	] as const)("that %s is reported", (_what, edits, message) => {
		for (const vendor of ["vmx", "svm"] as const) {
			expect(violated(vendor, edits)).toContainEqual(expect.stringMatching(message));
		}
	});
});

describe("context tracking", () => {
	it.each([
		[
			"without guest_state_enter_irqoff",
			[remove("guest_state_enter_irqoff", "vmx_vcpu_enter_exit")],
			/while RCU watches/,
		],
		[
			"without guest_state_exit_irqoff",
			[remove("guest_state_exit_irqoff", "vmx_vcpu_enter_exit")],
			/RCU|twice/,
		],
		[
			"around the fastpath's handlers",
			[
				move("guest_state_exit_irqoff", "vmx_vcpu_enter_exit", "vmx_vcpu_run", {
					after: "vmx_exit_handlers_fastpath",
				}),
			],
			/RCU not watching for tracepoint: kvm_exit/,
		],
	] as const)("%s is reported", (_what, edits, message) => {
		expect(violated("vmx", edits, [], "pmu=counting")).toContainEqual(expect.stringMatching(message));
	});
});

describe("kvm->srcu", () => {
	it("that is held around the guest is reported", () => {
		const edits = [
			remove("srcu_read_unlock", ENTER),
			remove("srcu_read_lock", ENTER),
			remove("srcu_read_lock (bail out)", ENTER),
		];
		expect(violated("svm", edits)).toContainEqual(
			expect.stringMatching(/srcu-held: the guest is entered with/),
		);
	});

	it("that KVM_RUN does not give back is reported", () => {
		const edits = [remove("srcu_read_unlock", "kvm_arch_vcpu_ioctl_run")];
		expect(violated("vmx", edits)).toContainEqual(
			expect.stringMatching(/srcu-held: kvm->srcu is held on the way/),
		);
	});
});

describe("instructions that KVM executes for the guest", () => {
	it("are counted, whether KVM skips or emulates them", () => {
		expect(violated("svm", [], [], "pmu=counting")).toEqual([]);
		const edits = [remove("check_pmu_event_filter", "kvm_pmu_trigger_event")];
		expect(violated("svm", edits, [], "pmu=counting")).toContainEqual(
			expect.stringMatching(/^guest-counter: KVM counted 0 instructions for the guest, and executed 1/),
		);
	});

	it("are not where the guest is told that its vCPU was preempted", () => {
		const edits = [remove("at_instruction_boundary = false", "vcpu_run")];
		expect(
			found({ vendor: "tdx", edits, eventsMax: 2, kinds: ["irq", "preempt"], stopAtFirst: true }),
		).toContainEqual(expect.stringMatching(/^preemption-reported, 2 events/));
	});
});

describe("the branch predictor's mark", () => {
	it("behind preempt_enable leaves a window in which another task goes to user space", () => {
		const edits = [move("X86_FEATURE_IBPB_EXIT_TO_USER", ENTER, ENTER, { after: "preempt_enable" })];
		for (const vendor of ["vmx", "svm", "tdx"] as const) {
			expect(violated(vendor, edits, ["preempt"])).toContainEqual(
				expect.stringMatching(/predictor-barrier:.*task "other" goes to user space/),
			);
		}
	});
});

describe("requests", () => {
	it.each([
		["before the entry", [remove("kvm_vcpu_exit_request (before entry)", ENTER)]],
		[
			"if the mode is set behind the test for them",
			[move("mode = IN_GUEST_MODE", ENTER, ENTER, { after: "kvm_vcpu_exit_request (before entry)" })],
		],
	])("are missed %s", (_what, edits) => {
		for (const vendor of ["vmx", "svm"] as const) {
			expect(violated(vendor, edits, ["kick"])).toContainEqual(expect.stringMatching(/^requests-seen/));
		}
	});
});

describe("interrupts and preemption", () => {
	it("that are on at VM entry are reported", () => {
		expect(
			violated("vmx", [
				move("local_irq_enable (window)", ENTER, ENTER, { before: "fastpath" }),
				move("local_irq_disable (window)", ENTER, ENTER, { after: "fastpath" }),
			]),
		).toContainEqual(expect.stringMatching(/balance: the guest is entered with interrupts on/));
		expect(
			violated("svm", [
				move("preempt_disable", ENTER, ENTER, { after: "mode = OUTSIDE_GUEST_MODE (after exit)" }),
			]),
		).toContainEqual(expect.stringMatching(/balance: the guest is entered with preemption on/));
	});

	it("that KVM_RUN leaves off are reported", () => {
		expect(violated("vmx", [remove("preempt_enable", ENTER)])).toContainEqual(
			expect.stringMatching(/balance: preempt_count is \d+ on the way to user space/),
		);
	});
});

describe("a machine check", () => {
	it("during VM entry ends the vCPU, in a TD the VM, and the host goes on", () => {
		for (const vendor of ["vmx", "tdx"] as const)
			expect(violated(vendor, [], ["mce-entry", "mce"])).toEqual([]);
	});
});

describe("an NMI exit that is handled where code is instrumented (before commit 11df586d774f)", () => {
	/** Properties violated by an NMI in the guest at the first entry, and a breakpoint at one of the ops behind it. */
	function nmiThenBreakpoint(edits: readonly Edit[]): Set<string> {
		const tree = applyPatches(v618, [{ title: "test", source: "", edits }], "test", "");
		const model = defaultModel("vmx");
		const setup = {
			program: linkTree(tree, "vmx"),
			model,
			configuration: DEFAULT_CONFIGURATION,
		};
		const at = runSchedule(setup, []).entries[0]!;
		const seen = new Set<string>();
		for (let later = at + 1; later < at + 25; later++) {
			const { failures } = runSchedule(setup, [
				{ event: "nmi", at, inGuest: true },
				{ event: "breakpoint", at: later },
			]);
			for (const { property } of failures) seen.add(property);
		}
		return seen;
	}

	it("has its NMIs unblocked by a breakpoint's IRET before the handler runs", () => {
		const edits = [move("is_nmi", "vmx_vcpu_enter_exit", "vmx_handle_exit_irqoff", { at: "start" })];
		expect(nmiThenBreakpoint(edits)).toContain("nmi-blocking");
		expect(nmiThenBreakpoint([])).toEqual(new Set());
	});
});

describe("events that a check tries when asked for", () => {
	it.each(["vmx", "svm", "tdx"] as const)(
		"%s: v6.18 holds under each of them",
		(vendor) => {
			expect(violated(vendor, [], ["smi", "perf-nmi", "breakpoint", "ioctl", "zap"])).toEqual([]);
		},
		60_000,
	);

	it("an NMI of perf's under the guest's PKRU loses user space's call chain: a finding, and no violation", () => {
		const model = defaultModel("vmx");
		const { verdict, findings } = runCheck({
			tree: v618,
			base: v618,
			vendor: "vmx",
			model,
			mceHandler: "task-work",
			events: ["perf-nmi"],
			configuration: parseConfiguration("stackKey=1", "vmx", model),
		});
		expect(verdict).toBe("holds");
		expect(findings.map(({ property, summary }) => `${property}: ${summary}`)).toEqual([
			expect.stringMatching(/^perf-callchain: .*PKRU is 0xaaaaaaac, the guest's/),
		]);
	}, 60_000);
});
