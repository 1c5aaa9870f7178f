/**
 * Cached guest-physical mappings (SDM Vol. 3C, 29.4.1): from pages of guest physical memory to host physical memory,
 * with the accesses that the second level was found to allow. Walks of guest page tables live on it.
 */

const ENTRIES = 512;

/** The cache of one processor, for one set of second-level tables. */
export class GuestPhysicalTlb {
	/** Page numbers plus 1, 0 for none. */
	private readonly pages = new Float64Array(ENTRIES);
	private readonly hpas = new Float64Array(ENTRIES);
	private readonly rights = new Uint8Array(ENTRIES);
	/** Nothing was entered since the last flush. */
	isEmpty = true;

	/**
	 * Looks a guest physical address up.
	 * @param wanted accesses: read 1, write 2, fetch 4
	 * @returns the host physical address, or -1
	 */
	lookUp(gpa: number, wanted: number): number {
		// Below 4 GiB, where nearly all is, without divisions.
		if (gpa <= 0xffffffff) {
			const word = gpa >>> 0;
			const number = word >>> 12;
			const slot = number & (ENTRIES - 1);
			if (this.pages[slot] !== number + 1 || (this.rights[slot]! & wanted) !== wanted) return -1;
			return this.hpas[slot]! + (word & 4095);
		}
		const page = Math.floor(gpa / 4096);
		const at = page % ENTRIES;
		if (this.pages[at] !== page + 1 || (this.rights[at]! & wanted) !== wanted) return -1;
		return this.hpas[at]! + (gpa % 4096);
	}

	/**
	 * Enters a mapping.
	 * @param allowed accesses that need not be looked at again, accessed and dirty flags included
	 */
	fill(gpa: number, hpa: number, allowed: number): void {
		const page = Math.floor(gpa / 4096);
		const at = page % ENTRIES;
		this.rights[at] = this.pages[at] === page + 1 ? this.rights[at]! | allowed : allowed;
		this.pages[at] = page + 1;
		this.hpas[at] = hpa - (gpa % 4096);
		this.isEmpty = false;
	}

	/** Drops the mapping of a page, as an EPT violation does (SDM 29.4.3.1). */
	drop(gpa: number): void {
		const page = Math.floor(gpa / 4096);
		const at = page % ENTRIES;
		if (this.pages[at] !== page + 1) return;
		this.pages[at] = 0;
		this.hpas[at] = 0;
		this.rights[at] = 0;
	}

	/** Drops all mappings, and leaves nothing of them: a search would take it for state. */
	flush(): void {
		if (this.isEmpty) return;
		this.pages.fill(0);
		this.hpas.fill(0);
		this.rights.fill(0);
		this.isEmpty = true;
	}
}
