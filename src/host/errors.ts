/** What the host kernel does not survive, as typed errors. The checker turns them into violations. */

const VECTOR_NAMES: Readonly<Record<number, string>> = { 6: "#UD", 7: "#NM", 13: "#GP", 14: "#PF" };

/** A fault of kernel code for which there is no fixup: an oops, or worse. */
export class HostFault extends Error {
	override readonly name = "HostFault";
	readonly vector: number;
	readonly errorCode: number;
	/** Innermost function first. */
	readonly callStack: readonly string[];

	constructor(vector: number, errorCode: number, callStack: readonly string[]) {
		const what = VECTOR_NAMES[vector] ?? `exception ${vector}`;
		super(`${what} in the host kernel${callStack.length > 0 ? `, in ${callStack[0]}` : ""}`);
		this.vector = vector;
		this.errorCode = errorCode;
		this.callStack = callStack;
	}
}

/** A rule of the kernel's that the flow broke: an interrupt flag enabled twice, an unbalanced count. */
export class HostInvariant extends Error {
	override readonly name = "HostInvariant";
}
