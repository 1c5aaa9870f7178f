/** An exception that an emulated instruction gives the guest, where a return value cannot carry it. */
export class GuestFault extends Error {
	override readonly name = "GuestFault";
	readonly vector: number;
	/** null: the vector pushes none. */
	readonly errorCode: number | null;
	/** Linear address for CR2, for #PF. */
	readonly linear: bigint;

	constructor(vector: number, errorCode: number | null = null, linear = 0n) {
		super(`exception ${vector} in the guest`);
		this.vector = vector;
		this.errorCode = errorCode;
		this.linear = linear;
	}
}
