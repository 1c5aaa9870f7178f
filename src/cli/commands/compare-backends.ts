/** `reenter compare-backends`. */
import type { CompareReport, Side } from "../../backends/compare/compare.ts";
import { type ImageReport, type NamedImage, compareImage, ownImages } from "../../backends/compare/images.ts";
import { KvmError } from "../../uapi/api.ts";
import { ImageError } from "../../guests/image.ts";
import { openSide } from "../backend.ts";
import type { CommonOptions, Context } from "../context.ts";
import { EXIT, UsageError } from "../io.ts";
import { wholeNumber } from "../numbers.ts";
import { emit, progressLine } from "../output.ts";
import { readUserFile } from "../patch-source.ts";
import type { Registry } from "../registry.ts";
import { compareText } from "../text/compare.ts";

interface CompareArguments extends CommonOptions {
	readonly left: string;
	readonly right: string;
	readonly count?: string;
	readonly seed: string;
	readonly first: string;
}

/** Guests that are generated when neither images nor a count are given. */
const DEFAULT_COUNT = 100;

/** Numbers of guests, and of what they are generated from. */
const GREATEST = 2 ** 31 - 1;

/** The images of the command line; `guests` is this project's own. */
function imagesOf({ io }: Context, files: readonly string[]): NamedImage[] {
	return files.flatMap((file) =>
		file === "guests" ? ownImages() : [{ name: file, bytes: readUserFile(io, file) }],
	);
}

async function compareAll(
	context: Context,
	sides: readonly [Side, Side],
	files: readonly string[],
	options: CompareArguments,
): Promise<{ images: ImageReport[]; report: CompareReport | null }> {
	const { io, services } = context;
	const count =
		options.count === undefined
			? files.length > 0
				? null
				: DEFAULT_COUNT
			: wholeNumber("--count", options.count, 1, GREATEST);
	const seed = wholeNumber("--seed", options.seed, 0, GREATEST);
	const first = wholeNumber("--first", options.first, 0, GREATEST);
	const images: ImageReport[] = [];
	for (const image of imagesOf(context, files)) {
		images.push(await compareImage(sides[0], sides[1], image, services.alarms));
	}
	if (count === null) return { images, report: null };
	const report = await services.compareBackends({
		left: sides[0],
		right: sides[1],
		seed,
		count,
		first,
		alarms: services.alarms,
		onProgress: progressLine(io, "guests"),
	});
	return { images, report };
}

async function compareCommand(
	context: Context,
	files: readonly string[],
	options: CompareArguments,
): Promise<number> {
	const { io, style } = context;
	const left = openSide(context, "--left", options.left);
	if (left === null) return EXIT.skipped;
	const right = openSide(context, "--right", options.right);
	if (right === null) {
		left.kvm.close();
		return EXIT.skipped;
	}
	try {
		const { images, report } = await compareAll(context, [left, right], files, options);
		emit(
			io,
			options,
			() => compareText(report, images, style),
			() => ({ images, generated: report }),
		);
		const differs =
			images.some(({ difference, known }) => difference !== null && known === null) ||
			(report?.found.length ?? 0) > 0;
		return differs ? EXIT.violated : EXIT.holds;
	} catch (error) {
		if (error instanceof ImageError) throw new UsageError(error.message);
		if (!(error instanceof KvmError)) throw error;
		io.err(`reenter: a machine refuses what is compared with: ${error.message}\n`);
		return EXIT.skipped;
	} finally {
		left.kvm.close();
		right.kvm.close();
	}
}

/** Adds `reenter compare-backends`. */
export function registerCompareBackends({ context, command, action }: Registry): void {
	command(
		"compare-backends [images...]",
		"guests on two machines in lock step: the software KVM and /dev/kvm; guests: this project's own",
	)
		.option("--left <machine>", "dev, soft, soft:svm or soft:vmx", "soft")
		.option("--right <machine>", "the other one", "dev")
		.option("--count <n>", "guests to generate (100 if no image is given)")
		.option("--seed <n>", "what they are generated from", "1")
		.option("--first <n>", "number of the first: to try one again", "0")
		.action(action((files: string[], options: CompareArguments) => compareCommand(context, files, options)));
}
