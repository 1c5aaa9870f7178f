/** The bands beside the path: a lane each, thin where it is as the host has it, wide where it is the guest's or shut. */
import { LINE_HEIGHT } from "../ui/metrics.ts";
import type { LaneSegment } from "./outline.ts";

/** Width of one lane in pixels, of one tree and of two: `--lane` of the style sheet. */
export const LANE_WIDTH = 26;
export const LANE_WIDTH_NARROW = 17;

/** What a value is called, in the details and the legend. */
export const VALUE_TEXT: Readonly<Record<string, string>> = {
	host: "the host's",
	guest: "the guest's",
	both: "the same for host and guest",
	neither: "neither the host's nor the guest's",
	varies: "differs from passage to passage",
	on: "on",
	off: "off",
};

/** How wide a value is drawn, and its class. */
const DRAWN: Readonly<Record<string, number>> = {
	host: 2,
	both: 2,
	on: 2,
	guest: 13,
	off: 13,
	neither: 13,
	varies: 7,
};

/** Patterns that tell wide values apart without colour. Once a page. */
export function LanePatterns() {
	return (
		<svg class="offscreen" aria-hidden="true" width="0" height="0">
			<defs>
				<pattern
					id="lane-guest"
					width="6"
					height="6"
					patternUnits="userSpaceOnUse"
					patternTransform="rotate(45)"
				>
					<rect width="6" height="6" class="lane-guest-ground" />
					<rect width="2" height="6" class="lane-guest-line" />
				</pattern>
				<pattern id="lane-both" width="26" height="8" patternUnits="userSpaceOnUse">
					<rect width="26" height="3" class="lane-both-line" />
				</pattern>
				<pattern id="lane-neither" width="5" height="5" patternUnits="userSpaceOnUse">
					<rect width="5" height="5" class="lane-neither-ground" />
					<circle cx="2.5" cy="2.5" r="1.1" class="lane-neither-dot" />
				</pattern>
			</defs>
		</svg>
	);
}

/** All lanes of a list of lines. What they show is said in words by the details of the selected step. */
export function Lanes({
	segments,
	count,
	lines,
	pitch,
}: {
	readonly segments: readonly LaneSegment[];
	readonly count: number;
	readonly lines: number;
	/** Width of a lane in pixels. */
	readonly pitch: number;
}) {
	return (
		<svg class="lanes" aria-hidden="true" width={count * pitch} height={lines * LINE_HEIGHT}>
			{segments.map(({ lane, from, to, value }) => {
				const wide = (DRAWN[value] ?? 2) > 2;
				const width = wide ? Math.min(DRAWN[value]!, pitch / 2 + 1) : 2;
				const top = from * LINE_HEIGHT + (wide ? 1 : 0);
				const bottom = (to + 1) * LINE_HEIGHT - (wide ? 1 : 0);
				return (
					<rect
						key={`${lane} ${from}`}
						class={`lane lane-${value}`}
						x={lane * pitch + (pitch - width) / 2}
						y={top}
						width={width}
						height={Math.max(2, bottom - top)}
						rx={wide ? 3 : 0}
					/>
				);
			})}
		</svg>
	);
}

/** The names above the lanes. */
export function LaneHead({
	lanes,
}: {
	readonly lanes: readonly { readonly name: string; readonly title: string }[];
}) {
	return (
		<div class="lane-head" aria-hidden="true">
			{lanes.map(({ name, title }) => (
				<span key={name} title={title}>
					{name === "preempt" ? "PRE" : name}
				</span>
			))}
		</div>
	);
}

/** How to read the lanes. */
export function LaneLegend() {
	return (
		<ul class="legend" aria-label="how to read the bands">
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-host" x="6" width="2" height="16" />
				</svg>
				host’s value, flag on
			</li>
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-guest" width="13" height="16" rx="3" />
				</svg>
				guest’s value
			</li>
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-off" width="13" height="16" rx="3" />
				</svg>
				flag off
			</li>
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-both" x="6" width="2" height="16" />
				</svg>
				both have the same
			</li>
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-neither" width="13" height="16" rx="3" />
				</svg>
				neither’s
			</li>
			<li>
				<svg width="14" height="16" aria-hidden="true">
					<rect class="lane lane-varies" x="3" width="7" height="16" rx="3" />
				</svg>
				varies
			</li>
		</ul>
	);
}
