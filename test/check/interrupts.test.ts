/** Interrupts for the guest: what is lost when a step of their way is left out, with and without APICv. */
import { describe, expect, it } from "vitest";
import { step } from "../../src/kvm/flow/flow.ts";
import { insert, move, remove } from "../../src/kvm/flow/patch.ts";
import { KVM_REQ } from "../../src/kvm/requests.ts";
import { makeRequest } from "../../src/kvm/vcpu.ts";
import { found } from "./support/found.ts";

const ENTER = "vcpu_enter_guest";
const IN_GUEST = "mode = IN_GUEST_MODE";
const SYNC = "sync_pir_to_irr (before entry)";

const COMPLETE = {
	vmx: ["vmx_complete_interrupts", "vmx_vcpu_run"],
	svm: ["svm_complete_interrupts", "svm_vcpu_run"],
} as const;

describe("an interrupt that KVM injects", () => {
	it.each(["vmx", "svm"] as const)(
		"%s: is lost if it is forgotten when its delivery was interrupted",
		(vendor) => {
			const [name, flow] = COMPLETE[vendor];
			const forget = step("forget", (v) => {
				v.interrupt.injected = false;
			});
			expect(
				found({ vendor, edits: [insert(forget, flow, { after: name })], kinds: ["zap"] }),
			).toContainEqual(
				expect.stringMatching(
					/guest-interrupts, 1 events: vector 0x4[0-3] is in service, and the guest never got it/,
				),
			);
		},
	);

	it("is injected twice if it is taken for interrupted when it was not (on VMX the entry would fail)", () => {
		const [name, flow] = COMPLETE.svm;
		const note = step("note", (v) => {
			v.extra.set("injects", v.interrupt.injected && !v.extra.has("again") ? 1 : 0);
		});
		const again = step("injected again", (v) => {
			if (v.extra.get("injects") !== 1) return;
			v.extra.set("again", 1);
			v.interrupt.injected = true;
			makeRequest(v, KVM_REQ.EVENT);
		});
		const edits = [insert(again, flow, { after: name }), insert(note, flow, { before: name })];
		expect(found({ vendor: "svm", edits, kinds: [] })).toContainEqual(
			expect.stringMatching(
				/guest-interrupts, 0 events: the guest ended an interrupt that was not in service/,
			),
		);
	});
});

describe("an interrupt that is posted (APICv)", () => {
	it("reaches the guest in v6.18, wherever it comes", () => {
		expect(found({ vendor: "vmx", configuration: "apicv=on", kinds: ["guest-irq"] })).toEqual([]);
	});

	it("is left in PIR if it comes before the mode says that the guest runs, and PIR was looked at before that", () => {
		const edits = [move(SYNC, ENTER, ENTER, { before: IN_GUEST })];
		expect(found({ vendor: "vmx", edits, configuration: "apicv=on", kinds: ["guest-irq"] })).toContainEqual(
			expect.stringMatching(/posted-interrupts, 1 events: the guest runs while PIR holds an interrupt/),
		);
	});

	it("is left in PIR by a fastpath that does not look at it", () => {
		const edits = [remove("sync_pir_to_irr", ENTER)];
		expect(found({ vendor: "vmx", edits, configuration: "apicv=on", kinds: ["guest-irq"] })).toContainEqual(
			expect.stringMatching(/posted-interrupts, 0 events: the guest runs while PIR holds an interrupt/),
		);
	});
});
