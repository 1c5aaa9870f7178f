/** A request that cannot be carried out: one line, for exit code 2. */
export class ReviewError extends Error {
	override readonly name = "ReviewError";
}
