import { describe, expect, test } from "vitest";
import { SnapshotError } from "../../src/kvm/snapshot/graph.ts";
import { snapshotHeader } from "../../src/kvm/snapshot/snapshot.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { runImage, type RunOptions, type RunOutcome } from "../../src/review/run.ts";
import { MODELS } from "../../src/silicon/models/models.ts";
import { kernelThatCounts } from "./counting-kernel.ts";

const TARGETS: readonly Target[] = [
	["turin", "svm"],
	["emerald-rapids", "vmx"],
];

type Target = readonly [model: string, vendor: "svm" | "vmx"];

interface Ran {
	readonly text: string;
	readonly outcome: RunOutcome;
	readonly snapshot: Uint8Array;
}

function run(target: Target, more: Partial<RunOptions>): Ran {
	let text = "";
	let snapshot: Uint8Array = new Uint8Array(0);
	const outcome = runImage({
		bytes: kernelThatCounts(),
		fileName: "counts",
		tree: findTree("v6.18"),
		model: MODELS[target[0]]!,
		vendor: target[1],
		budgetInstructions: 20_000,
		onConsole: (byte) => {
			text += String.fromCharCode(byte);
		},
		onSnapshot: (bytes) => {
			snapshot = bytes;
		},
		...more,
	});
	return { text, outcome, snapshot };
}

describe("a run that goes on from a snapshot", () => {
	test.each(TARGETS)("on %s prints, counts and ends as the run that was stopped there does", (...target) => {
		// The first run is cut into pieces, each of which goes on from the snapshot of the piece before.
		for (const piece of [777, 1500, 4001]) {
			let at = run(target, { budgetInstructions: piece });
			for (let pieces = 0; pieces < 1 && at.outcome.kind === "budget"; pieces++) {
				const once = run(target, { snapshotIn: at.snapshot, budgetInstructions: piece });
				const twice = run(target, { snapshotIn: at.snapshot, budgetInstructions: piece });
				expect(twice.text).toBe(once.text);
				expect(twice.outcome).toEqual(once.outcome);
				expect(Buffer.compare(twice.snapshot, once.snapshot)).toBe(0);
				at = once;
			}
		}
	});
});

test("a snapshot that was read from a file, as a Buffer in the middle of other bytes, is the same", () => {
	const target = TARGETS[0]!;
	const { snapshot } = run(target, { budgetInstructions: 777 });
	const file = Buffer.concat([Buffer.from("..."), snapshot]).subarray(3);
	const once = run(target, { snapshotIn: snapshot });
	const again = run(target, { snapshotIn: file });
	expect(again.text).toBe(once.text);
	expect(again.outcome).toEqual(once.outcome);
});

test("a run of two vCPUs, one of which waits for its SIPI, goes on from a snapshot as well", () => {
	const target = TARGETS[1]!;
	const at = run(target, { vcpus: 2, budgetInstructions: 1500 });
	expect(snapshotHeader(at.snapshot).vcpus).toBe(2);
	const once = run(target, { snapshotIn: at.snapshot, budgetInstructions: 1500 });
	const twice = run(target, { snapshotIn: at.snapshot, budgetInstructions: 1500 });
	expect(once.text.length).toBeGreaterThan(10);
	expect(twice.text).toBe(once.text);
	expect(twice.outcome).toEqual(once.outcome);
	expect(Buffer.compare(twice.snapshot, once.snapshot)).toBe(0);
});

test("a snapshot of a guest that has ended says so, and is not gone on with", () => {
	const target = TARGETS[0]!;
	// MOV AL, 0 and OUT F4H, AL in place of MOV DX, 3F8H.
	const bytes = kernelThatCounts();
	bytes.set([0xb0, 0, 0xe6, 0xf4], Buffer.from(bytes).indexOf(Buffer.of(0x66, 0xba, 0xf8, 3)));
	const { snapshot, outcome } = run(target, { bytes });
	expect(outcome.kind).toBe("exit");
	expect(snapshotHeader(snapshot).ended).toBe("exit");
	expect(() => run(target, { snapshotIn: snapshot })).toThrow(
		"the guest of this snapshot has ended (exit): there is nothing to go on with",
	);
});

test("what is no snapshot, or one of another version, model or tree, is refused in one sentence with both", () => {
	const target = TARGETS[0]!;
	const { snapshot } = run(target, { budgetInstructions: 500 });
	expect(snapshotHeader(snapshot)).toMatchObject({ model: "turin", vendor: "svm", tree: "v6.18", vcpus: 1 });
	const refused = (bytes: Uint8Array, more: Partial<RunOptions> = {}) => {
		try {
			run(target, { snapshotIn: bytes, ...more });
		} catch (error) {
			expect(error).toBeInstanceOf(SnapshotError);
			return (error as Error).message;
		}
		throw new Error("it was taken");
	};
	expect(refused(new Uint8Array(100))).toMatch(/not a snapshot/);
	expect(refused(snapshot.subarray(0, snapshot.length - 5000))).toMatch(/truncated/);
	const other = snapshot.slice();
	other[16] = 9;
	expect(refused(other)).toMatch(/format 9; this program reads format 1/);
	expect(refused(snapshot, { tree: findTree("series-v2") })).toMatch(
		/^the snapshot is of v6\.18, svm on turin \([0-9a-f]{8}\), and this is series-v2, svm on turin \([0-9a-f]{8}\)$/,
	);
});
