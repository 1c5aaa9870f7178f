/** Versions: of the program, and of what it models. */

import { VERSION } from "../check/token.ts";

/** What `reenter --version` prints. */
export function versionText(): string {
	return `reenter ${VERSION}\nmodels KVM x86 of Linux v6.18; CPU models turin, emerald-rapids (reenter models)`;
}
