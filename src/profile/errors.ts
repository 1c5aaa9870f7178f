/** A workload or a file that cannot be profiled: one line for whoever gave it. */
export class ProfileError extends Error {
	override readonly name = "ProfileError";
}
