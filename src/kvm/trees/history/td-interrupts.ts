/** Version 1 of the series that this project began with (8934c592bcbf, 2025): interrupts of TD exits. */
import { applyPatches } from "../../flow/patch.ts";
import { v618 } from "../base.ts";
import { SERIES } from "../series.ts";
import type { HistoryCase } from "./case.ts";

/** A built-in series as a tree. */
function series(name: "series-v1" | "series-v2") {
	const { title, patches } = SERIES[name]!;
	return applyPatches(v618, patches, name, title);
}

export const tdInterrupts: HistoryCase = {
	name: "td-interrupts",
	title: "The host interrupt that ended a TD's run is never serviced",
	fix: { commits: ["63669bd1d50f", "8934c592bcbf"], date: "2025-11", author: "Sean Christopherson" },
	vendors: ["tdx"],
	state: "interrupts",
	story:
		"To handle machine checks on VM entry outside of the fastpath, version 1 of a patch put a wrapper in front of " +
		"vmx_handle_exit_irqoff(), which returned early for TDs. But TDs had been using that function: it runs the handler " +
		"of the interrupt that a TD exit has acknowledged. The vector stayed in service, the local APIC held back all of " +
		"its class and below, the host's watchdog reported a hard lockup and the TD did not boot. Reviewers had not seen " +
		"it; the series was dropped the day it was reported. Version 2 adds a case to the shared function instead.",
	differs: "",
	before: series("series-v1"),
	after: series("series-v2"),
	shows: {
		events: ["irq"],
		configuration: {},
		property: "interrupt-serviced",
		tells: [/vt_handle_exit_irqoff/, /is_td_vcpu/, /handle_external_interrupt_irqoff/],
	},
};
