/** Errors of trees and patches that a user can make. Each message is one line and names the likely mend. */
export class FlowError extends Error {
	override readonly name = "FlowError";
}
