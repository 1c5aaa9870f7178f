/** What an edit looks for: a flow, or a node in it. */
interface Missing {
	readonly flow: string;
	readonly node?: string;
}

/** Errors of trees and patches that a user can make. Each message is one line and names the likely mend. */
export class FlowError extends Error {
	override readonly name = "FlowError";
	/** The message says already which file and part of it is meant. */
	readonly located: boolean;
	/** What is not where it is looked for: a node's reference in a flow, or a flow. */
	readonly missing: Missing | null;

	constructor(message: string, located = false, missing: Missing | null = null) {
		super(message);
		this.located = located;
		this.missing = missing;
	}
}
