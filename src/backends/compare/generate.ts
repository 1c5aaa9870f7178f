/** Guests from a seed: pieces in one mode, or in several with switches between them. */
import { makeRandom } from "../../host/random.ts";
import type { Segment } from "../../guests/image.ts";
import { le } from "./assembler.ts";
import { type Atom, type Choices, makeAtom } from "./atoms.ts";
import {
	ARRIVALS,
	COMMON_MEMORY,
	DATA_BYTES,
	DATA_GPA,
	type GuestMode,
	MODES,
	type ModeName,
	PSEUDO_DESCRIPTORS,
	RESUME_GPA,
	SWITCHES,
	codeAt,
} from "./machine.ts";

/** Code in one mode. */
export interface Section {
	readonly mode: GuestMode;
	readonly atoms: readonly Atom[];
}

/** A guest. Any of its pieces can be left out. */
export interface GeneratedGuest {
	/** `seed/number`: the same one again. */
	readonly name: string;
	readonly sections: readonly Section[];
	/** What the data and the registers are made from. */
	readonly dataSeed: number;
}

/** Ways through the modes, with how often each is taken. */
const ROUTES: readonly (readonly [weight: number, ...ModeName[]])[] = [
	[4, "real"],
	[3, "protected16"],
	[4, "protected32"],
	[3, "paged32"],
	[6, "long"],
	[6, "user64"],
	[1, "real", "protected32"],
	[1, "real", "protected16"],
	[1, "protected32", "long"],
	[2, "real", "protected32", "long"],
];
const ATOMS_LEAST = 4;
const ATOMS_MOST = 24;
/** Of a section's code, so that any pieces fit. */
const SECTION_CODE_BYTES = 0x3f00;

function choices(random: () => number): Choices {
	const below = (n: number) => Math.floor(random() * n);
	return {
		random,
		below,
		of: (list) => list[below(list.length)]!,
		byWeight: (list, weightOf) => {
			let left = random() * list.reduce((sum, one) => sum + weightOf(one), 0);
			for (const one of list) {
				left -= weightOf(one);
				if (left < 0) return one;
			}
			return list.at(-1)!;
		},
	};
}

/** The guest of a number under a seed. */
export function generateGuest(seed: number, number: number): GeneratedGuest {
	const random = makeRandom(Math.imul(seed, 0x0100_0193) ^ number);
	const choose = choices(random);
	const [, ...route] = choose.byWeight(ROUTES, ([weight]) => weight);
	const sections = route.map((name) => {
		const mode = MODES[name];
		const count = ATOMS_LEAST + choose.below(ATOMS_MOST - ATOMS_LEAST);
		return { mode, atoms: Array.from({ length: count }, () => makeAtom(mode, choose)) };
	});
	return { name: `${seed}/${number}`, sections, dataSeed: choose.below(2 ** 31) };
}

/** MOV QWORD PTR [RESUME], 0; UD2. */
const LEVEL_3_END = [0x48, 0xc7, 0x04, 0x25, ...le(RESUME_GPA, 4), ...le(0, 4), 0x0f, 0x0b];

/** A guest's code, one run of bytes a section, and where each piece of it stands. */
function assemble(section: Section, next: Section | undefined, arrived: boolean): number[] {
	const { mode, atoms } = section;
	const code: number[] = arrived ? [...ARRIVALS[mode.name]!] : [];
	for (const atom of atoms) code.push(...atom.emit(codeAt(mode) + code.length));
	if (next !== undefined) code.push(...SWITCHES[`${mode.name}>${next.mode.name}`]!(next.mode));
	else code.push(...(mode.cpl === 3 ? LEVEL_3_END : [0xf4]));
	if (code.length > SECTION_CODE_BYTES) throw new RangeError(`${code.length} bytes of code in one section`);
	return code;
}

/** What the guest has in memory when it begins. */
export function guestMemory({ sections, dataSeed }: GeneratedGuest): Segment[] {
	const random = makeRandom(dataSeed);
	const data = Uint8Array.from({ length: DATA_BYTES }, () => Math.floor(random() * 256));
	return [
		...COMMON_MEMORY,
		...PSEUDO_DESCRIPTORS,
		{ gpa: DATA_GPA, bytes: data },
		...sections.map((section, n) => ({
			gpa: codeAt(section.mode),
			bytes: Uint8Array.from(assemble(section, sections[n + 1], n > 0)),
		})),
	];
}

/** Linear address behind the HLT that ends the guest; those of level 3 end by #UD with RESUME 0. */
export function guestEnd({ sections }: GeneratedGuest): bigint {
	const last = sections.at(-1)!;
	return BigInt(codeAt(last.mode) + assemble(last, undefined, sections.length > 1).length);
}

/** The guest's pieces as lines: mode, kind, bytes. */
export function listing({ sections }: GeneratedGuest): string[] {
	const hex = (bytes: readonly number[]) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
	return sections.flatMap((section, n) => {
		const lines = [`${section.mode.name}:`];
		let at = codeAt(section.mode) + (n > 0 ? ARRIVALS[section.mode.name]!.length : 0);
		for (const atom of section.atoms) {
			const bytes = atom.emit(at);
			lines.push(`  ${at.toString(16).padStart(5, "0")}  ${atom.name.padEnd(24)} ${hex(bytes)}`);
			at += bytes.length;
		}
		return lines;
	});
}
