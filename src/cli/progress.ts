/** The progress of a check on a terminal: how far, how fast, how long it will take. Elsewhere there is none. */
import type { Progress } from "../check/types.ts";
import type { Context } from "./context.ts";
import { status } from "./output.ts";

const NS_PER_SECOND = 1e9;
/** A line is not rewritten more often than this. */
const INTERVAL_NS = 1e8;
/** Before this share is done, the time that is left is anybody's guess. */
const ESTIMATE_FROM = 0.02;

/** `1.2 M`, `35 k`, `812`. */
function short(count: number): string {
	if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
	return count >= 1e4 ? `${Math.round(count / 1e3)} k` : String(Math.round(count));
}

/** One line on stderr, rewritten in place. @param what is checked */
export function checkProgress({ io, services }: Context, what: string): (progress: Progress) => void {
	if (io.progressColumns === null) return () => {};
	const start = services.clock.now();
	let last = Number.NEGATIVE_INFINITY;
	return ({ done, schedules, states }) => {
		const now = services.clock.now();
		if (done >= 1) {
			status(io, "");
			return;
		}
		if (now - last < INTERVAL_NS) return;
		last = now;
		const seconds = (now - start) / NS_PER_SECOND;
		const left = done < ESTIMATE_FROM ? "" : `, ${Math.ceil((seconds * (1 - done)) / done)} s left`;
		status(
			io,
			`checking ${what}: ${Math.floor(100 * done)} %, ${short(schedules)} schedules, ${short(states)} states, ` +
				`${short(schedules / seconds)} schedules/s${left}`,
		);
	};
}
