/**
 * Which entries of a table were filled since it was last emptied, so that emptying one with few entries is cheap. Tables
 * of addresses are emptied often: a MOV to CR3 empties them.
 */

/** The filled entries of one table, by word index. */
export class FillList {
	private readonly words: Int32Array;
	private count = 0;

	/** @param capacity entries to remember; with more, the table is filled as a whole */
	constructor(capacity: number) {
		this.words = new Int32Array(capacity);
	}

	/** Notes an entry. @param word index of its first word in the memory of the machine */
	add(word: number): void {
		if (this.count < this.words.length) this.words[this.count] = word;
		this.count++;
	}

	/** Whether every filled entry is remembered. */
	get isComplete(): boolean {
		return this.count <= this.words.length;
	}

	/** Number of entries noted. */
	get length(): number {
		return this.count;
	}

	/** Word index of a remembered entry. */
	at(index: number): number {
		return this.words[index]!;
	}

	/** Forgets a remembered entry, which was emptied alone; another takes its index. Only while `isComplete`. */
	remove(index: number): void {
		this.count--;
		this.words[index] = this.words[this.count]!;
	}

	/**
	 * Empties the table: the first two words of every filled entry become all ones.
	 * @param u32 the memory of the machine in words
	 * @param start of the table, and `end`, in bytes
	 */
	empty(u32: Uint32Array, start: number, end: number): void {
		const { words, count } = this;
		this.count = 0;
		if (count > words.length) {
			u32.fill(0xffffffff, start >> 2, end >> 2);
			return;
		}
		for (let at = 0; at < count; at++) {
			const word = words[at]!;
			u32[word] = 0xffffffff;
			u32[word + 1] = 0xffffffff;
		}
	}
}
