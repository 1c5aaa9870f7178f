/** What the worker of a live view is told, and what it tells. */
import type { WorkloadArguments } from "../profile-options.ts";
import type { LiveRecording } from "./state.ts";

export interface LiveTask {
	readonly workload: string;
	readonly args: WorkloadArguments & { readonly nmi?: boolean; readonly guest?: boolean };
}

/** `flag` is one word that is set to ask for a recording: the guest's next VM exit answers. */
export interface LiveWorkerData extends LiveTask {
	readonly flag: Int32Array;
}

export type LiveMessage =
	| { readonly kind: "recording"; readonly recording: LiveRecording }
	/** The guest ended by itself. */
	| { readonly kind: "end"; readonly how: string }
	/** Bad usage or bad input; or `skipped`, this computer lacks what it takes. */
	| { readonly kind: "refused"; readonly message: string; readonly skipped?: boolean };

/** A run under way. */
export interface LiveRun {
	/** Asks for a recording of what there is so far. */
	ask(): void;
	stop(): void;
}

/** Starts a run. @param onMessage hears what it tells; @param onDefect of an error that nobody expected */
export type StartLive = (
	task: LiveTask,
	onMessage: (message: LiveMessage) => void,
	onDefect: (error: unknown) => void,
) => LiveRun;
