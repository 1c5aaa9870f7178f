/** The workloads by name. Every guest program is one too, alone on its machine. */
import { PROGRAMS } from "../../guests/programs.ts";
import { hint } from "../../kvm/flow/patch.ts";
import { ProfileError } from "../errors.ts";
import type { Workload } from "./workload.ts";

const GUEST_ITERATIONS = 20_000;

/** Workloads that are more than a guest in a loop. */
export const WORKLOADS: readonly Workload[] = [];

/** All names that `findWorkload` takes. */
export function workloadNames(): string[] {
	return [...WORKLOADS.map(({ name }) => name), ...PROGRAMS.map(({ name }) => name)];
}

/**
 * A workload by its name.
 * @throws ProfileError with the nearest name if there is none
 */
export function findWorkload(name: string): Workload {
	const workload = WORKLOADS.find((one) => one.name === name);
	if (workload !== undefined) return workload;
	const program = PROGRAMS.find((one) => one.name === name);
	if (program === undefined) {
		const names = workloadNames();
		throw new ProfileError(`no workload "${name}"${hint(name, names)}; there are ${names.join(", ")}`);
	}
	return {
		name,
		label: program.description,
		guest: name,
		vendors: program.vendors,
		vcpus: 1,
		iterations: GUEST_ITERATIONS,
		parameters: { osxsave: true },
	};
}
