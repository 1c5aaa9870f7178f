import { describe, expect, it } from "vitest";
import { treePath } from "../../src/kvm/flow/path.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { align, commonRun, withoutTheSame } from "../../src/web/loop/align.ts";
import { outline } from "../../src/web/loop/outline.ts";

const nothing = { lanes: [], steps: {}, guest: [], guestPlace: "", exits: 0 };
const pathOf = (spec: string) => outline(treePath(findTree(spec), "vmx"), nothing);

describe("two paths side by side", () => {
	it("have the longest common run at the same height", () => {
		expect(commonRun([..."abcde"], [..."xbcye"])).toEqual([
			[1, 1],
			[2, 2],
			[4, 4],
		]);
	});

	it("differ nowhere if the trees are the same", () => {
		const { slots, moves } = align(pathOf("v6.18"), pathOf("v6.18"));
		expect(slots.every(({ left, right }) => left?.row.name === right?.row.name)).toBe(true);
		expect(moves).toEqual([]);
	});

	it("keep every row of both, and show the series' XSETBV as moved out of vmx_vcpu_run", () => {
		const [a, b] = [pathOf("v6.18"), pathOf("series-v2")];
		const { slots, moves } = align(a, b);
		expect(slots.flatMap(({ left }) => left ?? [])).toEqual(a);
		expect(slots.flatMap(({ right }) => right ?? [])).toEqual(b);
		const moved = moves.filter(({ from }) => slots[from]!.left!.row.name === "XSETBV(guest XCR0)");
		expect(moved).toHaveLength(1);
		expect(slots[moved[0]!.to]!.right!.row.flow).toBe("kvm_load_guest_xfeatures");
	});

	it("without what is the same still have all that differs", () => {
		const whole = align(pathOf("v6.18"), pathOf("series-v2"));
		const short = withoutTheSame(whole, 2);
		const differs = ({ slots }: typeof whole) =>
			slots.filter(({ left, right }) => left === null || right === null);
		expect(differs(short)).toEqual(differs(whole));
		expect(short.slots.length).toBeLessThan(whole.slots.length / 2);
		for (const { from, to } of short.moves)
			expect(short.slots[from]!.left!.row.name).toBe(short.slots[to]!.right!.row.name);
	});
});
