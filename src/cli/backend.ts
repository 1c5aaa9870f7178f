/** Machines as the command line names them: `dev`, `soft`, `soft:vmx`. */
import type { Side } from "../backends/compare/compare.ts";
import { Kvm } from "../backends/open.ts";
import { DevKvmUnavailable } from "../devkvm/libc.ts";
import { hint } from "../kvm/flow/patch.ts";
import { defaultModel } from "../review/review.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./io.ts";

export const SIDES = ["dev", "soft", "soft:svm", "soft:vmx"] as const;

/**
 * Opens a machine.
 * @param flag for messages
 * @returns null after one line that says why /dev/kvm cannot be used, and how it could
 */
export function openSide({ io, services }: Context, flag: string, name: string): Side | null {
	if (name === "dev") {
		try {
			return { name, module: services.hostInfo().module, kvm: services.openDevKvm() };
		} catch (error) {
			if (!(error instanceof DevKvmUnavailable)) throw error;
			io.err(`reenter: ${error.message}\n`);
			return null;
		}
	}
	if (!SIDES.some((one) => one === name)) {
		throw new UsageError(
			`${flag} "${name}": no such machine${hint(name, SIDES)}; there are ${SIDES.join(", ")}`,
		);
	}
	const vendor = name === "soft:vmx" ? "vmx" : "svm";
	const module = vendor === "vmx" ? "kvm_intel" : "kvm_amd";
	return { name, module, kvm: Kvm.open({ backend: "soft", model: defaultModel(vendor), vendor }) };
}
