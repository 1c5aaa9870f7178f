/** Errors of trees and patches that a user can make. Each message is one line and names the likely mend. */
export class FlowError extends Error {
	override readonly name = "FlowError";
	/** The message says already which file and part of it is meant. */
	readonly located: boolean;

	constructor(message: string, located = false) {
		super(message);
		this.located = located;
	}
}
