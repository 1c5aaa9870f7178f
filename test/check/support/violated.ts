/** What a check finds in v6.18 with edits. */
import { runCheck } from "../../../src/check/check.ts";
import { parseConfiguration } from "../../../src/check/configuration.ts";
import type { EventKind } from "../../../src/check/types.ts";
import { type Edit, applyPatches } from "../../../src/kvm/flow/patch.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { defaultModel } from "../../../src/review/review.ts";
import type { Vendor } from "../../../src/silicon/models/model.ts";

/** `property: summary` of each that the tree violates; without events or with one. */
export function violated(
	vendor: Vendor,
	edits: readonly Edit[],
	events: readonly EventKind[] = [],
	configuration = "",
) {
	const tree = applyPatches(v618, [{ title: "test", source: "", edits }], "test", "");
	const model = defaultModel(vendor);
	return runCheck({
		tree,
		base: v618,
		vendor,
		model,
		mceHandler: "task-work",
		events,
		configuration: parseConfiguration(configuration, vendor, model),
	}).violations.map(({ property, summary }) => `${property}: ${summary}`);
}
