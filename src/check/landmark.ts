/** Places of a run that two runs have in common: a step, which time it runs, and how many ops into it. */
import type { Machine } from "../kvm/api/kvm.ts";
import type { NodePlace } from "../kvm/flow/compile.ts";
import type { RunWitness } from "./subject.ts";

/** Where an event arrived: the step, which time it ran, and how many ops into it. */
export interface Landmark {
	readonly flow: string;
	readonly step: string;
	readonly occurrence: number;
	readonly opsInto: number;
	readonly entry: number;
}

/** Finds the landmark of an op count, or the op count of a landmark. */
export class LandmarkFinder implements RunWitness {
	private readonly counts = new Map<string, number>();
	private readonly wanted: { readonly at: number } | Landmark;
	private last: { key: string; flow: string; step: string; occurrence: number; at: number } | null = null;
	landmark: Landmark | null = null;
	at = -1;

	constructor(wanted: { readonly at: number } | Landmark) {
		this.wanted = wanted;
	}

	get isDone(): boolean {
		return this.landmark !== null || this.at >= 0;
	}

	onNode(place: NodePlace, _machine: Machine, at: number): void {
		const key = `${place.flow}/${place.node.name}`;
		const occurrence = (this.counts.get(key) ?? 0) + 1;
		this.counts.set(key, occurrence);
		if ("at" in this.wanted) {
			if (this.landmark === null && at >= this.wanted.at && this.last !== null) {
				const { flow, step, occurrence: times } = this.last;
				this.landmark = { flow, step, occurrence: times, opsInto: this.wanted.at - this.last.at, entry: 0 };
			}
		} else if (
			place.flow === this.wanted.flow &&
			place.node.name === this.wanted.step &&
			occurrence === this.wanted.occurrence
		) {
			this.at = at + this.wanted.opsInto;
		}
		this.last = { key, flow: place.flow, step: place.node.name, occurrence, at };
	}
}
