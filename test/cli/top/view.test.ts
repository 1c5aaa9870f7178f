import { describe, expect, it } from "vitest";
import { makeStyle } from "../../../src/cli/style.ts";
import { drawText, pageLines, screenLines } from "../../../src/cli/top/screen.ts";
import { firstState, type Key, pressKey, shownRows, type TopState } from "../../../src/cli/top/state.ts";
import { KEYS } from "../../../src/cli/top/keys.ts";
import { LiveTree } from "../../../src/profile/live.ts";
import { FRAME } from "../../../src/profile/frames.ts";
import { invdRecording } from "./recording.ts";

const recording = await invdRecording(300);
const PLAIN = makeStyle(false);
const SIZE = { columns: 80, rows: 24 };
const NAMED: Readonly<Record<string, Key>> = {
	UP: { character: "", name: "up", ctrl: false },
	DOWN: { character: "", name: "down", ctrl: false },
	END: { character: "", name: "end", ctrl: false },
	PGDN: { character: "", name: "pagedown", ctrl: false },
	ENTER: { character: "\r", name: "return", ctrl: false },
	ESC: { character: "", name: "escape", ctrl: false },
	"CTRL-C": { character: "\x03", name: "c", ctrl: true },
	"CTRL-Z": { character: "\x1a", name: "z", ctrl: true },
};

const start: TopState = {
	...firstState({ weight: "samples", guest: false, inlining: "kernel", delaySeconds: 2, entries: null }),
	recording,
	calls: recording.calls,
};

/** Presses keys one by one: names of NAMED, or characters. */
function press(state: TopState, ...keys: readonly string[]) {
	let step: ReturnType<typeof pressKey> = { state, effect: null };
	for (const key of keys) {
		for (const one of NAMED[key] === undefined ? [...key] : [key]) {
			const pressed = NAMED[one] ?? { character: one, name: one.toLowerCase(), ctrl: false };
			step = pressKey(step.state, pressed, pageLines(SIZE));
		}
	}
	return step;
}

const shares = (state: TopState) => shownRows(state).reduce((sum, row) => sum + row.overheadPercent, 0);
// biome-ignore lint/suspicious/noControlCharactersInRegex: SGR sequences begin with ESC
const bare = (line: string) => line.replace(/\x1b\[[0-9;]*m/g, "");

describe("the screen of the live view", () => {
	it("has perf top's lines: samples, columns, symbols by their overhead, and how to get help", () => {
		const lines = screenLines(start, SIZE, PLAIN).map(bare);
		expect(lines[0]).toMatch(
			/^Samples: \d+K? of event 'cycles', period 499, Event count \(approx\.\): \d+[KM]$/,
		);
		expect(lines[1]).toBe("invd on v6.18, vmx, emerald-rapids (modelled), 1 vCPU, 303 exits");
		expect(lines[2]).toMatch(/^Overhead {2}Shared Object {2,}Symbol$/);
		expect(lines[3]).toMatch(/^ {2}\d\d\.\d\d% {2}\[kernel\] {2,}\[k\] vmx_vmexit$/);
		expect(lines.at(-1)).toMatch(/'\?' for help/);
	});

	for (const size of [SIZE, { columns: 20, rows: 6 }, { columns: 300, rows: 100 }, { columns: 1, rows: 1 }]) {
		it(`fills ${size.columns} by ${size.rows} characters, and never more`, () => {
			for (const state of [
				start,
				press(start, "?").state,
				press(start, "ENTER").state,
				press(start, "f").state,
			]) {
				const lines = screenLines(state, size, makeStyle(true));
				expect(lines.length).toBe(size.rows);
				for (const line of lines) expect(bare(line).length).toBeLessThanOrEqual(size.columns);
			}
		});
	}

	it("shows the part of a long table that the cursor is in", () => {
		const last = shownRows(start).at(-1)!.symbol;
		const size = { columns: 80, rows: 8 };
		expect(screenLines(start, size, PLAIN).join("\n")).not.toContain(last);
		expect(screenLines(press(start, "END").state, size, PLAIN).join("\n")).toContain(last);
	});

	it("leaves no attribute on behind a line, however it is cut", () => {
		for (const columns of [1, 9, 40]) {
			for (const line of screenLines(start, { columns, rows: 10 }, makeStyle(true)))
				if (line.includes("\x1b[")) expect(line.endsWith("\x1b[0m")).toBe(true);
		}
	});

	it("is drawn over what was there: each line and what is below is cleared behind it, the screen is not", () => {
		expect(drawText(["a", "b"])).toBe("\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
	});
});

describe("keys of the live view", () => {
	it("q quits; CTRL-C interrupts, also while something is asked; CTRL-Z suspends", () => {
		expect(press(start, "q").effect).toBe("quit");
		expect(press(start, "f", "1", "CTRL-C").effect).toBe("interrupt");
		expect(press(start, "CTRL-Z").effect).toBe("suspend");
	});

	it("d sets the delay between refreshes, and refuses what is none", () => {
		expect(press(start, "d", "0.5", "ENTER")).toMatchObject({
			effect: "delay",
			state: { delaySeconds: 0.5 },
		});
		const { effect, state } = press(start, "d", "0", "ENTER");
		expect(effect).toBeNull();
		expect(state.delaySeconds).toBe(2);
		expect(state.message).toMatch(/^"0" is no delay/);
	});

	it("e shows so many entries; 0 shows all again", () => {
		const three = press(start, "e", "3", "ENTER").state;
		expect(shownRows(three).length).toBe(3);
		expect(shownRows(press(three, "e", "0", "ENTER").state)).toEqual(shownRows(start));
	});

	it("f filters by count of samples or by percent, and changes no share", () => {
		const all = shownRows(start);
		const middle = all[3]!;
		const byCount = shownRows(press(start, "f", String(middle.weight), "ENTER").state);
		expect(byCount).toEqual(all.filter(({ weight }) => weight >= middle.weight));
		const byPercent = shownRows(press(start, "f", "5%", "ENTER").state);
		expect(byPercent).toEqual(all.filter(({ overheadPercent }) => overheadPercent >= 5));
		expect(byPercent.length).toBeGreaterThan(1);
	});

	it("K hides the kernel's symbols, U all others; shares are then of the rest", () => {
		const guest = { ...start, guest: true, weight: "cycles" as const };
		const objects = (state: TopState) => new Set(shownRows(state).map(({ object }) => object));
		expect(objects(guest)).toContain("[guest.kernel.kallsyms]");
		const user = press(guest, "K").state;
		expect(objects(user)).not.toContain("[kernel]");
		expect(shares(user)).toBeCloseTo(100, 6);
		expect(objects(press(guest, "U").state)).toEqual(new Set(["[kernel]"]));
		expect(shownRows(press(guest, "K", "K").state)).toEqual(shownRows(guest));
	});

	it("ENTER says why the chosen symbol is there, s of one by its name; any other key goes back", () => {
		const second = shownRows(start)[1]!.symbol;
		const explained = press(start, "DOWN", "ENTER").state;
		expect(explained.text!.lines[0]).toMatch(new RegExp(`^${second}: called \\d+ times`));
		expect(press(explained, "S").state.text).toBeNull();
		const asked = press(start, "s").state;
		// Nothing is filled in: what is typed is the name.
		expect(asked.question!.text).toBe("");
		expect(press(asked, "vcpu_enter_guest", "ENTER").state.text!.lines[1]).toMatch(/inlines it.*vcpu_run/);
		expect(press(asked, "vcpu_enter_gest", "ENTER").state.message).toMatch(
			/was not executed.*vcpu_enter_guest/,
		);
	});

	it("the cursor stays on its symbol while rows change places, and does not leave the table", () => {
		const { selected } = press(start, "DOWN", "DOWN").state;
		expect(selected).toBe(shownRows(start)[2]!.symbol);
		expect(press(start, "UP").state.selected).toBe(shownRows(start)[0]!.symbol);
		expect(press(start, "END", "DOWN", "PGDN").state.selected).toBe(shownRows(start).at(-1)!.symbol);
	});

	it("i goes through what may be inlined: without inlining vcpu_enter_guest has a row", () => {
		const has = (state: TopState) => shownRows(state).some(({ symbol }) => symbol === "vcpu_enter_guest");
		expect(has(start)).toBe(false);
		const inlinings = [
			press(start, "i").state,
			press(start, "i", "i").state,
			press(start, "i", "i", "i").state,
		];
		expect(inlinings.map(({ inlining }) => inlining).sort()).toEqual(["all", "kernel", "none"]);
		expect(inlinings.map((state) => has(state))).toEqual(
			inlinings.map(({ inlining }) => inlining === "none"),
		);
	});

	it("every key that the help names does something, and one that it does not name says so", () => {
		for (const { keys } of KEYS) {
			for (const key of keys.split(" ")) {
				if (["S", "ESC", "UP", "PGUP"].includes(key)) continue;
				const { state, effect } = press(start, key);
				expect(effect !== null || state !== start, key).toBe(true);
				expect(state.message, key).not.toMatch(/No key/);
			}
		}
		expect(press(start, "w").state.message).toMatch(/No key "w"/);
	});

	it("backspace and escape do in a question what they do everywhere", () => {
		const asked = press(start, "e", "12").state;
		const erased = pressKey(asked, { character: "\x7f", name: "backspace", ctrl: false }, 20).state;
		expect(erased.question!.text).toBe("1");
		expect(press(asked, "ESC").state.question).toBeNull();
	});
});

describe("samples from one refresh to the next", () => {
	const tree = (samples: readonly number[]) => ({
		symbols: ["a"],
		parent: [-1, 0],
		symbol: [-1, 0],
		cycles: samples,
		samples,
		calls: samples,
	});

	it("fade to 7/8, and the new ones are added whole", () => {
		const live = new LiveTree();
		expect(live.refresh(tree([0, 80]), false).samples[1]).toBe(80);
		expect(live.refresh(tree([0, 80]), false).samples[1]).toBe(70);
		expect(live.refresh(tree([0, 180]), false).samples[1]).toBe(70 * (7 / 8) + 100);
	});

	it("are forgotten when zeroing is on", () => {
		const live = new LiveTree();
		live.refresh(tree([0, 80]), false);
		expect(live.refresh(tree([0, 90]), true).samples[1]).toBe(10);
	});

	it("nodes that are new begin at zero", () => {
		const live = new LiveTree();
		live.refresh({ ...tree([0]), parent: [-1], symbol: [-1] }, false);
		expect(live.refresh(tree([0, 5]), false).samples).toEqual([0, 5]);
	});
});

it("the guest is no row unless it is asked for", () => {
	expect(shownRows(start).map(({ symbol }) => symbol)).not.toContain(FRAME.guest);
});
