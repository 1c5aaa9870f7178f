/** What a search finds in a tree that a test has edited. */
import { parseConfiguration } from "../../../src/check/configuration.ts";
import { search } from "../../../src/check/search/search.ts";
import type { EventKind } from "../../../src/check/types.ts";
import type { Tree } from "../../../src/kvm/flow/flow.ts";
import { type Edit, applyPatches } from "../../../src/kvm/flow/patch.ts";
import { linkTree } from "../../../src/kvm/flow/program.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { defaultModel } from "../../../src/review/review.ts";
import type { Vendor } from "../../../src/silicon/models/model.ts";

/** What a search is asked for; what is left out is v6.18, one event, the default configuration, to its end. */
export interface Asked {
	readonly vendor: Vendor;
	readonly kinds: readonly EventKind[];
	readonly edits?: readonly Edit[];
	readonly base?: Tree;
	readonly eventsMax?: number;
	readonly configuration?: string;
	readonly stopAtFirst?: boolean;
}

/** `property, N events: detail` of each property with its least schedule. */
export function found({
	vendor,
	kinds,
	edits = [],
	base = v618,
	eventsMax = 1,
	configuration = "default",
	stopAtFirst = false,
}: Asked): string[] {
	const model = defaultModel(vendor);
	const tree = applyPatches(base, [{ title: "test", source: "", edits }], "test", "");
	const setup = {
		program: linkTree(tree, vendor),
		model,
		configuration: parseConfiguration(configuration, vendor, model),
	};
	return search({ setup, eventsMax, kinds, stopAtFirst }).found.map(
		({ failure, schedule }) => `${failure.property}, ${schedule.length} events: ${failure.detail}`,
	);
}
