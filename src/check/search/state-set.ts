/** A set of hashes of 64 bits, each in two words: open addressing in typed arrays, which a search fills with millions. */

const FIRST_CAPACITY = 1 << 12;

export class StateSet {
	private words: Uint32Array;
	private mask: number;
	size = 0;

	constructor(capacity = FIRST_CAPACITY) {
		this.words = new Uint32Array(2 * capacity);
		this.mask = capacity - 1;
	}

	/** A set of its own with the same hashes. */
	copy(): StateSet {
		const copy = new StateSet(1);
		copy.words = this.words.slice();
		copy.mask = this.mask;
		copy.size = this.size;
		return copy;
	}

	/** @returns whether it was not there before */
	add(high: number, low: number): boolean {
		if (2 * this.size > this.mask) this.grow();
		return this.put(high >>> 0, low >>> 0);
	}

	clear(): void {
		this.words.fill(0);
		this.size = 0;
	}

	private put(high: number, low: number): boolean {
		const { words, mask } = this;
		// Two zeros are an empty place.
		const second = high === 0 && low === 0 ? 1 : low;
		for (let at = high & mask; ; at = (at + 1) & mask) {
			const one = words[2 * at]!;
			const other = words[2 * at + 1]!;
			if (one === high && other === second) return false;
			if (one !== 0 || other !== 0) continue;
			words[2 * at] = high;
			words[2 * at + 1] = second;
			this.size++;
			return true;
		}
	}

	private grow(): void {
		const old = this.words;
		this.mask = 2 * this.mask + 1;
		this.words = new Uint32Array(2 * old.length);
		this.size = 0;
		for (let at = 0; at < old.length; at += 2)
			if (old[at] !== 0 || old[at + 1] !== 0) this.put(old[at]!, old[at + 1]!);
	}
}
