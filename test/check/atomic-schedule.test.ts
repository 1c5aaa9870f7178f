/** Where the vCPU's thread may not sleep, and what it is called when it does. */
import { describe, expect, it } from "vitest";
import { runCheck } from "../../src/check/check.ts";
import { parseConfiguration } from "../../src/check/configuration.ts";
import { step } from "../../src/kvm/flow/flow.ts";
import { type Edit, insert, move } from "../../src/kvm/flow/patch.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/review/review.ts";
import { VENDORS } from "../../src/silicon/models/model.ts";
import { found } from "./support/found.ts";
import { violated } from "./support/violated.ts";

const ENTER = "vcpu_enter_guest";

describe("a schedule() of the run loop with preemption off", () => {
	it.each([
		["and interrupts", { after: "local_irq_disable" }, /preempt_count 1, interrupts off/],
		["and interrupts on", { before: "local_irq_disable" }, /preempt_count 1, interrupts on/],
	] as const)("%s is a violation", (_what, where, message) => {
		const edits = [move("xfer_to_guest_mode_work", "vcpu_run", ENTER, where)];
		for (const vendor of VENDORS) {
			expect(violated(vendor, edits, ["preempt"]), vendor).toContainEqual(
				expect.stringMatching(new RegExp(`^atomic-schedule: .*${message.source}`)),
			);
		}
	});
});

describe("a schedule() of the run loop with interrupts off", () => {
	it("is a violation, whatever the count", () => {
		const run = ({ kernel }: Vcpu) => {
			kernel.localIrqDisable();
			kernel.schedule();
			kernel.localIrqEnable();
		};
		const edits = [insert(step("cond_resched", run), "vcpu_run", { before: "xfer_to_guest_mode_work" })];
		expect(violated("svm", edits)).toContainEqual(
			expect.stringMatching(/^atomic-schedule: .* preempt_count 0, interrupts off/),
		);
	});
});

describe("a vCPU that blocks", () => {
	it("with preemption off breaks a rule of the kernel's", () => {
		const edits: readonly Edit[] = [
			insert(
				step("preempt_disable (block)", ({ kernel }) => kernel.preemptDisable()),
				"vcpu_run",
				{ before: "vcpu_block" },
			),
			insert(
				step("preempt_enable (block)", ({ kernel }) => kernel.preemptEnable()),
				"vcpu_run",
				{ after: "vcpu_block" },
			),
		];
		expect(violated("vmx", edits)).toContainEqual(
			expect.stringMatching(/^host-invariant: the task sleeps with preemption or interrupts off/),
		);
	});
});

describe("the #MC handler of before 2020", () => {
	it.each(["v6.18", "series-v2", "dedup"])(
		"sleeps with preemption off in %s, which is a finding and no violation",
		(name) => {
			for (const vendor of ["vmx", "svm"] as const) {
				const tree = findTree(name);
				const model = defaultModel(vendor);
				const { findings, violations } = runCheck({
					tree,
					base: tree,
					vendor,
					model,
					mceHandler: "schedule",
					events: ["mce"],
					configuration: parseConfiguration("mceHandler=schedule", vendor, model),
				});
				expect(findings.map(({ property }) => property)).toEqual(["machine-check-sleeps"]);
				expect(violations.map(({ property }) => property)).not.toContain("atomic-schedule");
			}
		},
	);

	it("hides no schedule() of the run loop", () => {
		const edits = [move("xfer_to_guest_mode_work", "vcpu_run", ENTER, { after: "local_irq_disable" })];
		const configuration = "mceHandler=schedule";
		expect(found({ vendor: "vmx", kinds: ["preempt", "mce"], edits, configuration })).toContainEqual(
			expect.stringMatching(/^atomic-schedule, 1 events/),
		);
	});
});
