/** A guest that differs, made short: pieces are left out as long as the same difference stays (delta debugging, Zeller 1999). */
import type { GeneratedGuest } from "./generate.ts";

/** Comparisons that one guest is given at most. */
const TRIALS_MAX = 250;

/** All pieces in order, by section and place. */
type Place = readonly [section: number, atom: number];

function without(guest: GeneratedGuest, dropped: ReadonlySet<Place>): GeneratedGuest {
	const gone = new Set([...dropped].map(([section, atom]) => `${section}.${atom}`));
	const sections = guest.sections.map((section, n) => ({
		...section,
		atoms: section.atoms.filter((_, at) => !gone.has(`${n}.${at}`)),
	}));
	return { ...guest, sections };
}

const places = ({ sections }: GeneratedGuest): Place[] =>
	sections.flatMap(({ atoms }, section) => atoms.map((_, atom): Place => [section, atom]));

/**
 * Leaves out what is not needed.
 * @param isSame whether a guest still has the difference
 * @returns the shortest guest found
 */
export async function minimise(
	guest: GeneratedGuest,
	isSame: (guest: GeneratedGuest) => Promise<boolean>,
): Promise<GeneratedGuest> {
	let best = guest;
	let trials = 0;
	for (
		let chunk = Math.ceil(places(best).length / 2);
		chunk >= 1;
		chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)
	) {
		for (let first = 0; first < places(best).length && trials < TRIALS_MAX; ) {
			const candidate = without(best, new Set(places(best).slice(first, first + chunk)));
			trials++;
			if (await isSame(candidate)) best = candidate;
			else first += chunk;
		}
		// Once more with single pieces: what one needed may be gone.
	}
	return best;
}
