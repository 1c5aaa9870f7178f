/** What a worker is told and what it tells. */
import type { KutMachine } from "../../review/kut/plan.ts";
import type { Vendor } from "../../silicon/models/model.ts";

export interface KutTask {
	/** The built test. */
	readonly path: string;
	/** Names of a built-in tree and of a CPU model. */
	readonly tree: string;
	readonly model: string;
	readonly vendor: Vendor;
	readonly seed: number;
	readonly machine: KutMachine;
	readonly timeoutSeconds: number;
}

export type KutMessage =
	| { readonly kind: "console"; readonly text: string }
	/** `code` is null when the guest did not exit; then `reason` says why. */
	| { readonly kind: "end"; readonly code: number | null; readonly reason: string };

/** A test's end. */
export interface KutEnd {
	/** QEMU's exit status, KUT_STATUS.timeout, or null. */
	readonly code: number | null;
	readonly reason: string;
	readonly log: string;
	readonly seconds: number;
}
