/** What a workload is: a guest, the machine it runs on, and what happens beside it. */
import type { GuestParameters } from "../../guests/boot.ts";
import type { Image } from "../../guests/image.ts";
import type { GuestVendor } from "../../guests/programs.ts";
import type { KernelOptions } from "../../host/kernel-options.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import type { LoadOptions } from "../../kvm/api/vmm.ts";

export interface Workload {
	readonly name: string;
	/** One line: what it does, and what it stands for. */
	readonly label: string;
	/** A program of guests/programs.ts, or another image with what it is loaded with. */
	readonly guest: string | ({ readonly image: Image } & Pick<LoadOptions, "commandLine" | "initrd">);
	readonly vendors: readonly GuestVendor[];
	readonly vcpus: number;
	/** Physical CPUs beyond one a vCPU. Default 0; a machine with one CPU has no threads. */
	readonly moreCpus?: number;
	/** The guest's iterations, enough for a profile whose first places do not change. */
	readonly iterations: number;
	/** Guest memory; default: what the image needs. */
	readonly guestRamBytes?: number;
	/** Default true. */
	readonly hugePages?: boolean;
	readonly parameters?: Omit<GuestParameters, "iterations">;
	readonly kernel?: KernelOptions;
	/**
	 * The guest that it stands for, unlike ours, fills the first-level caches between two exits: host code comes from the second
	 * level then (silicon/cpu/first-level.ts).
	 */
	readonly evicts?: boolean;
	/** It writes page after page, so that each exit waits for its stores (silicon/cpu/store-buffer.ts). */
	readonly streams?: boolean;
	/** While it is profiled, the host pays for that: `perf top` samples by PEBS, and the guest has a vPMU (`hostPebs`). */
	readonly perfTop?: boolean;
	/** Starts what runs beside the vCPUs: threads of the VMM. Called when the guest is loaded. */
	readonly start?: (machine: Machine) => void;
}
