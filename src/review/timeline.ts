/** Runs a guest under one tree after the other, for a timeline. */
import type { Configuration } from "../check/configuration.ts";
import type { Injection } from "../check/types.ts";
import type { Image } from "../guests/image.ts";
import type { VendorTree } from "../kvm/flow/vendor-module.ts";
import { type Timeline, timelineRun } from "../profile/timeline/timeline.ts";
import type { CpuModel } from "../silicon/models/model.ts";
import { ReviewError } from "./errors.ts";
import { recordRun } from "./recording/record.ts";

/** What a timeline shows. */
export interface TimelineOptions {
	/** The guest's name. */
	readonly guest: string;
	/** Its image; null: the check's guest, `script`. */
	readonly image: Image | null;
	/** The trees, in the order in which they are drawn. */
	readonly targets: readonly (VendorTree & { readonly model: CpuModel })[];
	readonly configuration: Configuration;
	readonly schedule: readonly Injection[];
	/** Exits that are shown, and those before them; "loop": those before the guest's loop. */
	readonly exits: number;
	readonly skip: number | "loop";
}

/** Frames of one exit, generously: an exit to user space with a long call chain and stepped instructions has some hundred. */
const FRAMES_PER_EXIT = 2000;
const FRAMES_LEAST = 100_000;

/**
 * Runs the guest under each tree.
 * @throws ReviewError if it ends before the part that is to be shown; ImageError if it does not run there
 */
export function recordTimeline(options: TimelineOptions): Timeline {
	const { guest, image, targets, configuration, schedule, exits, skip } = options;
	const runs = targets.map(({ tree, vendor, model }) => {
		const frames = recordRun({
			tree,
			vendor,
			model,
			configuration,
			image,
			schedule,
			// One more than is shown: a guest's last iteration is followed by its end.
			iterations: (skip === "loop" ? 0 : skip) + exits + 1,
			window: { skip: image === null && skip === "loop" ? 0 : skip, exits },
			framesMax: FRAMES_LEAST + exits * FRAMES_PER_EXIT,
		});
		if (frames.count === 0)
			throw new ReviewError(
				`${guest} on ${tree.name}: ${frames.end} before the part that is asked for; skip fewer exits`,
			);
		return timelineRun({ tree: tree.name, vendor: tree.loadedModule ?? vendor, cpu: model.name }, frames);
	});
	return { guest, hz: targets[0]!.model.tscHz, runs };
}
