/** The engine's methods for the page. */
import { EVENTS } from "../../check/events.ts";
import { SCRIPT_GUEST } from "../../check/guest/script.ts";
import type { Image } from "../../guests/image.ts";
import { loadImage } from "../../guests/load.ts";
import { programImage } from "../../guests/program-image.ts";
import { PROGRAMS, findProgram } from "../../guests/programs.ts";
import { opCost } from "../../kvm/flow/custom-op.ts";
import { treePath } from "../../kvm/flow/path.ts";
import { HISTORY } from "../../kvm/trees/history/cases.ts";
import { BUILT_IN_TREES } from "../../kvm/trees/trees.ts";
import { findWorkload, workloadNames } from "../../profile/workloads/workloads.ts";
import { measureCost } from "../../review/cost.ts";
import { recordRun } from "../../review/recording/record.ts";
import { surveyTree } from "../../review/survey.ts";
import { MODELS } from "../../silicon/models/models.ts";
import { VENDORS, type Vendor } from "../../silicon/models/model.ts";
import { OP_NAMES } from "../../silicon/ops.ts";
import type { Engine } from "./api.ts";
import { concludeCheck, shareCheck, warmCheck } from "./check.ts";
import { profileView } from "./profile.ts";
import { configurationOf, machineView, modelOf, namedFactors } from "./setting.ts";
import { treeOf } from "./trees.ts";

/** The guest by whose exit a tree's cost is told in one figure. */
const usualGuest = (vendor: Vendor) => (vendor === "tdx" ? "td-vmcall" : "invd");

/** The image of a run; null: the check's own guest. @throws ImageError, or Error for a guest that there is not */
function imageOf(guest: string, bytes: Uint8Array | null): Image | null {
	if (bytes !== null) return loadImage(bytes);
	if (guest === SCRIPT_GUEST) return null;
	if (findProgram(guest) === undefined) {
		const file = /^file:(.*)/.exec(guest)?.[1];
		throw new Error(
			file === undefined
				? `no guest "${guest}", only ${PROGRAMS.map(({ name }) => name).join(", ")}`
				: `the link has no more than the name of the image ${file}: drop the file on the page`,
		);
	}
	return programImage(guest);
}

/** Everything that the page asks. */
export const engine: Engine = {
	catalogue: () => ({
		trees: BUILT_IN_TREES,
		cases: HISTORY.flatMap(({ name, title, vendors, shows }) => {
			const factors = Object.entries(shows.configuration).map(([factor, value]) => `${factor}=${value}`);
			const shared = { title, vendors, configuration: factors.join(","), eventsMax: shows.events.length };
			return [
				{ ...shared, name: `${name}-before`, isFixed: false },
				{ ...shared, name: `${name}-after`, isFixed: true },
			];
		}),
		guests: PROGRAMS.map(({ name, description, vendors }) => ({ name, description, vendors })),
		events: EVENTS.map(({ kind, title, exists }) => ({
			kind,
			title,
			vendors: VENDORS.filter((vendor) => exists?.(vendor) ?? true),
		})),
		models: Object.values(MODELS).map(({ name, title, vendors }) => ({ name, title, vendors })),
		workloads: workloadNames().map((name) => {
			const { label, vendors } = findWorkload(name);
			return { name, label, vendors };
		}),
	}),

	machine: machineView,

	loop(target) {
		const tree = treeOf(target);
		const { vendor } = target;
		const model = modelOf(target);
		const { named: factors, without } = namedFactors(target);
		return {
			name: tree.name,
			title: tree.title,
			cpu: model.name,
			rows: treePath(tree, vendor),
			survey: surveyTree(tree, vendor, model, factors),
			cost: measureCost({ guest: usualGuest(vendor), tree, vendor, model, factors }),
			without,
		};
	},

	warm(target) {
		warmCheck(target);
		return null;
	},
	share: shareCheck,
	conclude: ({ results, ...target }) => concludeCheck(target, results),

	record({ guest, image, schedule, ...target }) {
		const unknown = schedule.find(({ event }) => !EVENTS.some(({ kind }) => kind === event));
		if (unknown !== undefined)
			throw new Error(`no event "${unknown.event}", only ${EVENTS.map(({ kind }) => kind).join(", ")}`);
		return recordRun({
			tree: treeOf(target),
			vendor: target.vendor,
			model: modelOf(target),
			configuration: configurationOf(target),
			image: imageOf(guest, image),
			schedule,
		});
	},

	cost({ guest, ...target }) {
		const { named: factors } = namedFactors(target);
		const { vendor } = target;
		return measureCost({ guest, tree: treeOf(target), vendor, model: modelOf(target), factors });
	},

	costs(target) {
		const tree = treeOf(target);
		const model = modelOf(target);
		const names = [...OP_NAMES, ...tree.customOps.map(({ name }) => name)];
		return Object.fromEntries(names.map((name) => [name, opCost(tree, model, name)]));
	},

	profile: ({ workload, ...target }) => profileView(target, workload),
};
