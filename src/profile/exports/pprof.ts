/**
 * pprof's profile.proto (github.com/google/pprof), written by hand: a dozen fields of protocol buffers. Not compressed,
 * which `go tool pprof` reads as well.
 */
import type { CallTreeData, Weight } from "../call-tree.ts";

const VARINT = 0;
const BYTES = 2;

/** A protocol buffer message under construction. */
class Message {
	private readonly bytes: number[] = [];

	varint(value: number): void {
		let left = value;
		while (left >= 128) {
			this.bytes.push((left % 128) + 128);
			left = Math.floor(left / 128);
		}
		this.bytes.push(left);
	}

	number(field: number, value: number): void {
		if (value === 0) return;
		this.varint(field * 8 + VARINT);
		this.varint(value);
	}

	block(field: number, bytes: ArrayLike<number>): void {
		this.varint(field * 8 + BYTES);
		this.varint(bytes.length);
		for (let at = 0; at < bytes.length; at++) this.bytes.push(bytes[at]!);
	}

	packed(field: number, values: readonly number[]): void {
		const list = new Message();
		for (const value of values) list.varint(value);
		this.block(field, list.bytes);
	}

	message(field: number, fill: (message: Message) => void): void {
		const inner = new Message();
		fill(inner);
		this.block(field, inner.bytes);
	}

	finish(): Uint8Array {
		return Uint8Array.from(this.bytes);
	}
}

/**
 * A call tree with two values a sample: samples, and cycles.
 * @param periodCycles cycles from one sample to the next
 * @param shown the value that readers show first: default_sample_type
 */
export function pprofBytes(tree: CallTreeData, periodCycles: number, shown: Weight = "samples"): Uint8Array {
	const strings = [""];
	const indexes = new Map([["", 0]]);
	const text = (value: string) => {
		let index = indexes.get(value);
		if (index === undefined) {
			index = strings.push(value) - 1;
			indexes.set(value, index);
		}
		return index;
	};
	const profile = new Message();
	const valueType = (field: number, type: string, unit: string) =>
		profile.message(field, (message) => {
			message.number(1, text(type));
			message.number(2, text(unit));
		});
	valueType(1, "samples", "count");
	valueType(1, "cycles", "cycles");
	for (let node = 1; node < tree.parent.length; node++) {
		const samples = tree.samples[node]!;
		const cycles = Math.round(tree.cycles[node]!);
		if (samples === 0 && cycles === 0) continue;
		const locations: number[] = [];
		for (let at = node; at > 0; at = tree.parent[at]!) locations.push(tree.symbol[at]! + 1);
		profile.message(2, (message) => {
			message.packed(1, locations);
			message.packed(2, [samples, cycles]);
		});
	}
	for (const id of tree.symbols.keys()) {
		profile.message(4, (location) => {
			location.number(1, id + 1);
			location.message(4, (line) => line.number(1, id + 1));
		});
	}
	for (const [id, name] of tree.symbols.entries()) {
		profile.message(5, (entry) => {
			entry.number(1, id + 1);
			entry.number(2, text(name));
			entry.number(3, text(name));
		});
	}
	valueType(11, "cycles", "cycles");
	profile.number(12, periodCycles);
	profile.number(14, text(shown));
	for (const value of strings) profile.block(6, new TextEncoder().encode(value));
	return profile.finish();
}
