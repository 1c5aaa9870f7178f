/** 64-bit addresses as two halves. They are taken and put together through memory: arithmetic on BigInts would allocate. */

const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

/** Low half of a value. @param value taken modulo 2^64 */
export function lowHalf(value: bigint): number {
	whole[0] = value;
	return halves[0]!;
}

/** High half of a value, unsigned. @param value taken modulo 2^64 */
export function highHalf(value: bigint): number {
	whole[0] = value;
	return halves[1]!;
}

/** The value of two halves, each taken modulo 2^32. */
export function fromHalves(low: number, high: number): bigint {
	halves[0] = low;
	halves[1] = high;
	return whole[0]!;
}
