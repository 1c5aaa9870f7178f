/**
 * Whole images on two machines. They read the time, so what they do is compared, each port access and each access to where
 * no memory is, and how they end; their registers are not.
 */
import { type GuestParameters, longModeState, multibootState } from "../../guests/boot.ts";
import { type Image, ImageError } from "../../guests/image.ts";
import { loadImage } from "../../guests/load.ts";
import { PROGRAMS, programBytes } from "../../guests/programs.ts";
import { knownDifference } from "../gaps.ts";
import { type Side, commonCpuid } from "./compare.ts";
import { type Difference, lockstep } from "./lockstep.ts";
import { type Alarms, Subject } from "./subject.ts";

const LARGE_PAGE_BYTES = 2 ** 21;
/** What kvm-unit-tests take for granted. */
const MULTIBOOT_RAM_BYTES = 128 * 2 ** 20;
const EXIT = "out 0xf4 ";
const QUIET: GuestParameters = { iterations: 1, quiet: true };
/** A KVM that emulates takes seconds for what a processor does in milliseconds. */
const TIMEOUT_MS = 20_000;

export interface ImageReport {
	readonly name: string;
	/** Accesses that were the same. */
	readonly events: number;
	readonly difference: Difference | null;
	/** Why it differs, if the table of known differences has it. */
	readonly known: string | null;
}

/** An image to compare. */
export interface NamedImage {
	readonly name: string;
	readonly bytes: Uint8Array;
}

/** This project's guests for VMs. `hlt` and those whose exits depend on the processor are not among them. */
export function ownImages(): NamedImage[] {
	return PROGRAMS.filter(
		({ vendors, exitsPerIteration, name }) =>
			vendors.includes("svm") && exitsPerIteration !== null && name !== "hlt",
	).map((program) => ({ name: program.name, bytes: programBytes(program) }));
}

function imageIn(name: string, bytes: Uint8Array): Image {
	try {
		return loadImage(bytes);
	} catch (error) {
		if (error instanceof ImageError) throw new ImageError(`${name}: ${error.message}`);
		throw error;
	}
}

/** Compares two machines by one image. @throws ImageError if the file is no image that begins without firmware */
export async function compareImage(
	left: Side,
	right: Side,
	{ name, bytes }: NamedImage,
	alarms: Alarms,
): Promise<ImageReport> {
	const image = imageIn(name, bytes);
	if (image.protocol !== "long-mode" && image.protocol !== "multiboot") {
		throw new ImageError(`${name}: images of the protocol ${image.protocol} are not compared`);
	}
	const needed = Math.ceil(image.endGpa / LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES;
	const ramBytes = image.protocol === "multiboot" ? Math.max(needed, MULTIBOOT_RAM_BYTES) : needed;
	const boot =
		image.protocol === "multiboot" ? multibootState(image, name, ramBytes) : longModeState(image, QUIET);
	const cpuid = commonCpuid(left.kvm.supportedCpuid(), right.kvm.supportedCpuid());
	const [a, b] = [left, right].map(
		(side) =>
			new Subject(side.name, side.kvm, cpuid, alarms, { ramBytes, irqchip: true, timeoutMs: TIMEOUT_MS }),
	) as [Subject, Subject];
	let events = 0;
	const { difference } = await lockstep(a, b, {
		start: { memory: boot.memory, regs: boot.regs, sregs: (reset) => ({ ...reset, ...boot.sregs }) },
		ramBytes,
		eventsOnly: true,
		isOver: (done) => {
			events = done.length;
			return done.at(-1)?.startsWith(EXIT) === true;
		},
	});
	await Promise.all([a.discard(), b.discard()]);
	const known =
		difference === null
			? null
			: knownDifference({
					difference,
					pieces: [`image: ${name}`],
					modes: [],
					modules: [left.module, right.module],
				});
	return { name, events, difference, known: known?.row.reason ?? null };
}
