import { describe, expect, it } from "vitest";
import { runCheck } from "../../src/check/check.ts";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { EVENT_KINDS } from "../../src/check/events.ts";
import { parseSchedule, scheduleText } from "../../src/check/schedule.ts";
import type { CheckOptions } from "../../src/check/types.ts";
import { applyPatches, remove } from "../../src/kvm/flow/patch.ts";
import type { Tree } from "../../src/kvm/flow/flow.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/review/review.ts";
import type { Vendor } from "../../src/silicon/models/model.ts";

/** One event in the default configuration. */
const check = (tree: Tree, vendor: Vendor, options: Partial<CheckOptions> = {}) => {
	const { mceHandler = "task-work" } = options;
	const configuration = { ...DEFAULT_CONFIGURATION, mceHandler };
	const model = defaultModel(vendor);
	return runCheck({ tree, base: v618, vendor, model, mceHandler, configuration, ...options });
};

const without = (step: string, flow: string) =>
	applyPatches(v618, [{ title: "test", source: "", edits: [remove(step, flow)] }], "test", "");

describe("the series", () => {
	it.each(["vmx", "svm", "tdx"] as const)(
		"v6.18, version 2 and the helper hold on %s, and reach all that must occur",
		(vendor) => {
			for (const name of ["v6.18", "series-v2", "dedup"]) {
				const result = check(findTree(name), vendor);
				expect(result.violations.map(({ summary }) => `${name}: ${summary}`)).toEqual([]);
				expect(Object.entries(result.sometimes).filter(([, count]) => count === 0)).toEqual([]);
				expect(result.verdict).toBe("holds");
			}
		},
		120_000,
	);

	it("the fastpath re-enters VMX and SVM guests, and never a TD", () => {
		const quiet = { only: [] };
		// INVD and WRMSR of the TSC deadline, twice. Behind the ICR's self-IPI a request is pending, which ends the loop.
		expect(check(v618, "vmx", quiet).sometimes["fastpath re-entry"]).toBe(3);
		expect(check(v618, "svm", quiet).sometimes["fastpath re-entry"]).toBe(3);
		expect(check(v618, "tdx", quiet).sometimes["fastpath re-entry"]).toBe(0);
	});

	it("version 1 holds on VMX and SVM", () => {
		expect(check(findTree("series-v1"), "vmx").verdict).toBe("holds");
		expect(check(findTree("series-v1"), "svm").verdict).toBe("holds");
	}, 120_000);

	it("version 1 loses the host interrupt that a TD exit acknowledged, and the check names the step that skipped it", () => {
		const result = check(findTree("series-v1"), "tdx");
		expect(result.verdict).toBe("violated");
		const violation = result.violations.find(({ property }) => property === "interrupt-serviced")!;
		expect(violation.summary).toMatch(/vt_handle_exit_irqoff.*is_td_vcpu.*handle_external_interrupt_irqoff/);
		expect(violation.replay).toMatch(/^reenter replay r1:\S+\.tdx\.0\.script\.[aA]\d+$/);
	});

	it("a counterexample replays to the same violation", () => {
		const { violations } = check(findTree("series-v1"), "tdx");
		const again = check(findTree("series-v1"), "tdx", { only: violations[0]!.schedule });
		expect(again.violations[0]).toEqual(violations[0]);
	});
});

describe("the #MC handler that could call schedule()", () => {
	it("takes a #GP in the context switch when an #MC is handled with the guest's XCR0 loaded", () => {
		for (const [spec, vendor] of [
			["series-v2:3", "svm"],
			["series-v2:3", "vmx"],
		] as const) {
			const result = check(findTree(spec), vendor, { mceHandler: "schedule" });
			const fault = result.violations.find(({ property }) => property === "host-fault");
			expect(fault, `${spec} ${vendor}`).toBeDefined();
			expect(fault!.summary).toContain("#GP");
			const stack = fault!.callStack;
			expect(stack.indexOf("schedule")).toBeGreaterThan(-1);
			expect(stack.indexOf("do_machine_check")).toBeGreaterThan(stack.indexOf("schedule"));
		}
	});

	it("does no such thing to a tree that loads the host's XCR0 first", () => {
		for (const name of ["v6.18", "series-v2"]) {
			for (const vendor of ["vmx", "svm"] as const) {
				const result = check(findTree(name), vendor, {
					mceHandler: "schedule",
					events: ["mce", "mce-entry"],
				});
				expect(result.violations.filter(({ property }) => property === "host-fault")).toEqual([]);
			}
		}
	});
});

describe("a tree in which a swap was deleted", () => {
	it.each([
		["CR4.OSXSAVE", "kvm_load_guest_xsave_state", "guest-xstate"],
		["guest PKRU differs", "kvm_load_guest_xsave_state", "guest-xstate"],
		["CR4.OSXSAVE", "kvm_load_host_xsave_state", "host-xstate"],
		["guest can use PKRU", "kvm_load_host_xsave_state", "host-xstate"],
	])("%s of %s is reported as %s", (step, flow, property) => {
		for (const vendor of ["vmx", "svm"] as const) {
			const result = check(without(step, flow), vendor, { events: [] });
			expect(
				result.violations.map((violation) => violation.property),
				vendor,
			).toContain(property);
		}
	});
});

describe("other losses", () => {
	it.each([
		["handle_external_interrupt_irqoff", "vmx_handle_exit_irqoff", "vmx", "interrupt-serviced"],
		["kvm_machine_check", "vmx_handle_exit_irqoff", "vmx", "machine-check-handled"],
		["MCE_DURING_VMENTRY", "vmx_vcpu_run", "vmx", "machine-check-handled"],
		["#MC in guest", "svm_vcpu_run", "svm", "machine-check-handled"],
		["MCE_DURING_VMENTRY", "tdx_vcpu_run", "tdx", "machine-check-handled"],
		["vmx_handle_nmi", "vmx_vcpu_enter_exit", "vmx", "nmi-delivered"],
		["tdx_load_host_xsave_state", "tdx_vcpu_run", "tdx", "host-xstate"],
		["srcu_read_lock", "vcpu_enter_guest", "vmx", "host-invariant"],
		["preempt_disable", "vcpu_enter_guest", "svm", "host-invariant"],
	] as const)("without %s in %s the check reports on %s: %s", (step, flow, vendor, property) => {
		const result = check(without(step, flow), vendor);
		expect(result.violations.map((violation) => violation.property)).toContain(property);
	});
});

describe("a schedule's token", () => {
	it("reads back to the schedule", () => {
		for (const event of EVENT_KINDS) {
			const schedule = [
				{ event, at: 57 },
				{ event, at: 60, inGuest: true },
			];
			expect(parseSchedule(scheduleText(schedule))).toEqual(schedule);
		}
		expect(() => parseSchedule("irq57")).toThrow(/"irq57" is no event of a schedule/);
		expect(() => parseSchedule("earthquake@5")).toThrow(/no event "earthquake"; there are irq, /);
	});
});
