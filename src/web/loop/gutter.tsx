/** The loops of the path, drawn as what they are: a line back from the last step to the first. */
import { LINE_HEIGHT } from "../ui/metrics.ts";
import type { LoopSpan } from "./outline.ts";

/** Width of the gutter in pixels. */
export const GUTTER_WIDTH = 44;
const RADIUS = 9;
const RIGHT = GUTTER_WIDTH - 4;

/** The line of one loop. */
function loopPath({ from, to, level }: LoopSpan): string {
	const x = 8 + level * 14;
	const top = from * LINE_HEIGHT + LINE_HEIGHT / 2;
	const bottom = to * LINE_HEIGHT + LINE_HEIGHT / 2;
	return [
		`M ${RIGHT} ${bottom}`,
		`H ${x + RADIUS}`,
		`Q ${x} ${bottom} ${x} ${bottom - RADIUS}`,
		`V ${top + RADIUS}`,
		`Q ${x} ${top} ${x + RADIUS} ${top}`,
		`H ${RIGHT - 3}`,
	].join(" ");
}

/** The gutter of a list of lines. */
export function Gutter({ loops, lines }: { readonly loops: readonly LoopSpan[]; readonly lines: number }) {
	return (
		<svg class="gutter" aria-hidden="true" width={GUTTER_WIDTH} height={lines * LINE_HEIGHT}>
			{loops.map((span) => {
				const y = span.from * LINE_HEIGHT + LINE_HEIGHT / 2;
				return (
					<g key={span.from} class={`loop-line loop-${span.name}`}>
						<path d={loopPath(span)} />
						<polygon points={`${RIGHT},${y} ${RIGHT - 7},${y - 4} ${RIGHT - 7},${y + 4}`} />
					</g>
				);
			})}
		</svg>
	);
}
