/** The engine's methods for the page. */
import { runCheck } from "../../check/check.ts";
import { DEFAULT_CONFIGURATION, parseConfiguration } from "../../check/configuration.ts";
import { EVENTS } from "../../check/events.ts";
import { SCRIPT_GUEST } from "../../check/guest/script.ts";
import type { Image } from "../../guests/image.ts";
import { loadImage } from "../../guests/load.ts";
import { programImage } from "../../guests/program-image.ts";
import { PROGRAMS, findProgram } from "../../guests/programs.ts";
import { opCost } from "../../kvm/flow/custom-op.ts";
import { treePath } from "../../kvm/flow/path.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { BUILT_IN_TREES, findTree } from "../../kvm/trees/trees.ts";
import { findWorkload, workloadNames } from "../../profile/workloads/workloads.ts";
import { measureCost } from "../../review/cost.ts";
import { recordRun } from "../../review/recording/record.ts";
import { surveyTree } from "../../review/survey.ts";
import { defaultModel } from "../../silicon/models/models.ts";
import type { Vendor } from "../../silicon/models/model.ts";
import { OP_NAMES } from "../../silicon/ops.ts";
import type { EventKind } from "../../check/types.ts";
import type { Engine } from "./api.ts";
import { profileView } from "./profile.ts";
import { treeOf } from "./trees.ts";

/** The guest by whose exit a tree's cost is told in one figure. */
const usualGuest = (vendor: Vendor) => (vendor === "tdx" ? "td-vmcall" : "invd");

/** The image of a run; null: the check's own guest. @throws ImageError, or Error for a guest that there is not */
function imageOf(guest: string, bytes: Uint8Array | null): Image | null {
	if (bytes !== null) return loadImage(bytes);
	if (guest === SCRIPT_GUEST) return null;
	if (findProgram(guest) === undefined) throw new Error(`no guest "${guest}": drop its file on the page`);
	return programImage(guest);
}

/** The kinds of event that an answer at once looks at. */
const FIRST_KINDS: readonly EventKind[] = ["irq", "nmi", "mce", "mce-entry", "preempt"];

/** Everything that the page asks. */
export const engine: Engine = {
	catalogue: () => ({
		trees: BUILT_IN_TREES,
		cases: HISTORY.flatMap(({ name, title }) => [
			{ name: `${name}-before`, title },
			{ name: `${name}-after`, title },
		]),
		guests: PROGRAMS.map(({ name, description, vendors }) => ({ name, description, vendors })),
		events: EVENTS.map(({ kind, title }) => ({ kind, title })),
		workloads: workloadNames().map((name) => {
			const { label, vendors } = findWorkload(name);
			return { name, label, vendors };
		}),
	}),

	loop(target) {
		const tree = treeOf(target);
		const { vendor } = target;
		const model = defaultModel(vendor);
		return {
			name: tree.name,
			title: tree.title,
			cpu: model.name,
			rows: treePath(tree, vendor),
			survey: surveyTree(tree, vendor, model),
			cost: measureCost({ guest: usualGuest(vendor), tree, vendor, model }),
		};
	},

	check({ kinds, ...target }) {
		const { vendor, tree } = target;
		const began = performance.now();
		const check = runCheck({
			tree: treeOf(target),
			base: target.patch === "" ? findTree("v6.18") : treeOf({ tree, patch: "" }),
			vendor,
			model: defaultModel(vendor),
			mceHandler: "task-work",
			configuration: DEFAULT_CONFIGURATION,
			eventsMax: 1,
			...(kinds === "first" ? { events: FIRST_KINDS } : {}),
		});
		const kindsLeft = kinds === "first" ? EVENTS.length - FIRST_KINDS.length : 0;
		return { vendor, check, kindsLeft, tookMs: performance.now() - began };
	},

	record({ guest, image, schedule, configuration, ...target }) {
		const model = defaultModel(target.vendor);
		return recordRun({
			tree: treeOf(target),
			vendor: target.vendor,
			model,
			configuration: parseConfiguration(configuration, target.vendor, model),
			image: imageOf(guest, image),
			schedule,
		});
	},

	cost({ guest, vendor, ...reference }) {
		return measureCost({ guest, tree: treeOf(reference), vendor, model: defaultModel(vendor) });
	},

	costs(target) {
		const tree = treeOf(target);
		const model = defaultModel(target.vendor);
		const names = [...OP_NAMES, ...tree.customOps.map(({ name }) => name)];
		return Object.fromEntries(names.map((name) => [name, opCost(tree, model, name)]));
	},

	profile: ({ workload, ...target }) => profileView(target, workload),
};
