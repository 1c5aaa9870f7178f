/** Colours, in one place. No meaning hangs on them alone. */
import pc from "picocolors";

export type Style = ReturnType<typeof makeStyle>;

/** Styles that colour, or that leave text alone. */
export function makeStyle(color: boolean) {
	const colors = pc.createColors(color);
	return {
		good: colors.green,
		bad: colors.red,
		event: colors.yellow,
		dim: colors.dim,
		bold: colors.bold,
	};
}
