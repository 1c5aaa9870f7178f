/** Versions: of the program, and of what it models. */

/** The package's version; a test holds it to package.json. */
export const VERSION = "0.1.0";

/** What `reenter --version` prints. */
export function versionText(): string {
	return `reenter ${VERSION}\nmodels KVM x86 of Linux v6.18; CPU models turin, emerald-rapids (reenter models)`;
}
