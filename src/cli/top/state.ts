/**
 * What the live view of `reenter top` is showing, and what a key does to it. No clock, no terminal: keys and recordings
 * go in, a state comes out, and screen.ts makes lines of it. The keys are perf top's.
 */
import type { CallTreeData } from "../../profile/call-tree.ts";
import type { RecordedData } from "../../profile/data.ts";
import { explainSymbol, explanationText } from "../../profile/explain-symbol.ts";
import { ProfileError } from "../../profile/errors.ts";
import { type ReportRow, reportRows } from "../../profile/report.ts";
import { INLININGS, type Inlining } from "../../profile/symbols.ts";
import { inlinedOf } from "../profile-options.ts";
import { KEYS } from "./keys.ts";

/** A key, as node's readline names it. */
export interface Key {
	/** What was typed, for keys that stand for a character; else "". */
	readonly character: string;
	/** `return`, `escape`, `up`, `pagedown`, `backspace`, or the character's own name. */
	readonly name: string;
	readonly ctrl: boolean;
}

/** What is seen of a run while it goes on: a recording without its tracepoints. */
export type LiveRecording = Omit<RecordedData, "events" | "stats">;

/** What perf top asks for in its last line. */
export type Question = "delay" | "entries" | "filter" | "symbol";

export interface Filter {
	readonly unit: "count" | "percent";
	readonly least: number;
}

export interface TopState {
	/** The newest; null before the first. */
	readonly recording: LiveRecording | null;
	/** Its samples as they are shown: fading ones. */
	readonly calls: CallTreeData | null;
	/** How the run ended; null while it goes on. */
	readonly ended: string | null;
	readonly weight: "samples" | "cycles";
	readonly guest: boolean;
	readonly inlining: Inlining;
	/** From one refresh to the next, in seconds. */
	readonly delaySeconds: number;
	/** Rows at most; null: as many as fit. */
	readonly entries: number | null;
	readonly filter: Filter;
	readonly hidesKernel: boolean;
	readonly hidesUser: boolean;
	readonly zeroes: boolean;
	/** The symbol that the cursor is on; null: the first. */
	readonly selected: string | null;
	/** What is asked, and what has been typed so far. */
	readonly question: { readonly what: Question; readonly text: string } | null;
	/** A text in the table's place: the help, or why a symbol is there. */
	readonly text: { readonly lines: readonly string[]; readonly first: number } | null;
	/** The last line, until the next key. */
	readonly message: string;
}

/** What a key asks of whoever holds the terminal. */
export type Effect = "quit" | "interrupt" | "suspend" | "snapshot" | "delay";

export interface Step {
	readonly state: TopState;
	readonly effect: Effect | null;
}

/** The state at the start. */
export function firstState(
	options: Pick<TopState, "weight" | "guest" | "inlining" | "delaySeconds" | "entries">,
): TopState {
	return {
		...options,
		recording: null,
		calls: null,
		ended: null,
		filter: { unit: "count", least: 0 },
		hidesKernel: false,
		hidesUser: false,
		zeroes: false,
		selected: null,
		question: null,
		text: null,
		message: "",
	};
}

/** Rows as the filters leave them. Shares are of what is not hidden, as perf top drops hidden symbols' samples. */
export function shownRows(state: TopState): ReportRow[] {
	const { recording, calls, weight, guest, filter } = state;
	if (recording === null || calls === null) return [];
	const all = reportRows(calls, { weight, guest, inlined: inlinedOf(recording, state.inlining) });
	const kept = all.filter(({ object }) => !(object === "[kernel]" ? state.hidesKernel : state.hidesUser));
	const sum = kept.reduce((total, row) => total + row.weight, 0);
	const rows = kept.map((row) => ({ ...row, overheadPercent: (100 * row.weight) / sum }));
	const passes = (row: ReportRow) =>
		(filter.unit === "count" ? row.weight : row.overheadPercent) >= filter.least;
	return rows.filter(passes).slice(0, state.entries ?? rows.length);
}

/** Place of the cursor among rows. */
export function selectedIndex(state: TopState, rows: readonly ReportRow[]): number {
	return Math.max(
		0,
		rows.findIndex(({ symbol }) => symbol === state.selected),
	);
}

const only = (state: TopState): Step => ({ state, effect: null });

const say = (state: TopState, message: string): Step => only({ ...state, message });

/** Why a symbol is there, in the table's place. */
function explain(state: TopState, symbol: string | undefined): Step {
	const { recording } = state;
	if (recording === null || symbol === undefined) return say(state, "Nothing has been sampled yet");
	try {
		const why = explainSymbol(recording, symbol, inlinedOf(recording, state.inlining));
		return only({ ...state, text: { lines: explanationText(why).trimEnd().split("\n"), first: 0 } });
	} catch (error) {
		if (error instanceof ProfileError) return say(state, error.message);
		throw error;
	}
}

function answered(state: TopState, what: Question, text: string): Step {
	const value = Number(text.replace(/%$/, ""));
	switch (what) {
		case "delay":
			if (!(value >= 0.1 && value <= 3600)) return say(state, `"${text}" is no delay of 0.1 to 3600 seconds`);
			return { state: { ...state, delaySeconds: value }, effect: "delay" };
		case "entries":
			if (!Number.isSafeInteger(value) || value < 0) return say(state, `"${text}" is no number of entries`);
			return only({ ...state, entries: value === 0 ? null : value });
		case "filter":
			if (!(value >= 0) || text === "") return say(state, `"${text}" is no count; write 100, or 0.5%`);
			return only({ ...state, filter: { unit: text.endsWith("%") ? "percent" : "count", least: value } });
		case "symbol":
			return explain(state, text);
		default:
			return what satisfies never;
	}
}

function typed(state: TopState, key: Key): Step {
	const { what, text } = state.question!;
	if (key.name === "return" || key.name === "enter") {
		const after = { ...state, question: null };
		return text === "" ? only(after) : answered(after, what, text);
	}
	if (key.name === "escape") return only({ ...state, question: null });
	if (key.name === "backspace") return only({ ...state, question: { what, text: text.slice(0, -1) } });
	if (key.character < " " || key.ctrl) return only(state);
	return only({ ...state, question: { what, text: text + key.character } });
}

const ask = (state: TopState, what: Question): Step => only({ ...state, question: { what, text: "" } });

/** Lines by which a key moves a cursor or a text; null for other keys. */
function movement({ name }: Key, page: number): number | null {
	switch (name) {
		case "up":
			return -1;
		case "down":
			return 1;
		case "pageup":
			return -page;
		case "pagedown":
		case "space":
			return page;
		case "home":
			return Number.NEGATIVE_INFINITY;
		case "end":
			return Number.POSITIVE_INFINITY;
		default:
			return null;
	}
}

const clamp = (value: number, greatest: number) => Math.max(0, Math.min(greatest, value));

/** Keys that turn pages of a text; any letter of the table leaves it. */
function pressInText(state: TopState, key: Key, page: number): Step {
	const { lines, first } = state.text!;
	const by = movement(key, page);
	if (by === null) return only({ ...state, text: null });
	return only({ ...state, text: { lines, first: clamp(first + by, Math.max(0, lines.length - page)) } });
}

/** The help: one line a key. */
export function helpLines(): string[] {
	const width = Math.max(...KEYS.map(({ keys }) => keys.length));
	return ["Keys of reenter top:", "", ...KEYS.map(({ keys, does }) => `  ${keys.padEnd(width)}  ${does}`)];
}

function pressInTable(state: TopState, key: Key, page: number): Step {
	const rows = shownRows(state);
	const at = selectedIndex(state, rows);
	const by = movement(key, page);
	if (by !== null) return only({ ...state, selected: rows[clamp(at + by, rows.length - 1)]?.symbol ?? null });
	switch (key.name === "return" || key.name === "enter" ? "a" : key.character) {
		case "q":
		case "Q":
			return { state, effect: "quit" };
		case "h":
		case "?":
			return only({ ...state, text: { lines: helpLines(), first: 0 } });
		case "d":
			return ask(state, "delay");
		case "e":
			return ask(state, "entries");
		case "E":
			return say(state, "One event is counted: cycles");
		case "f":
			return ask(state, "filter");
		case "s":
			return ask(state, "symbol");
		case "a":
			return explain(state, rows[at]?.symbol);
		case "i": {
			const next = INLININGS[(INLININGS.indexOf(state.inlining) + 1) % INLININGS.length]!;
			return say({ ...state, inlining: next }, `Inlined: ${next}`);
		}
		case "K":
			return only({ ...state, hidesKernel: !state.hidesKernel });
		case "U":
			return only({ ...state, hidesUser: !state.hidesUser });
		case "z": {
			const zeroes = !state.zeroes;
			return say({ ...state, zeroes }, zeroes ? "Zeroing samples at each refresh" : "Samples fade");
		}
		case "P":
			return { state, effect: "snapshot" };
		case "S":
			return only(state);
		default:
			return say(state, key.character > " " ? `No key "${key.character}": press ? for help` : "");
	}
}

/**
 * What a key does.
 * @param page lines of the table on the screen
 */
export function pressKey(before: TopState, key: Key, page: number): Step {
	const state = { ...before, message: "" };
	if (key.ctrl && key.name === "c") return { state, effect: "interrupt" };
	if (key.ctrl && key.name === "z") return { state, effect: "suspend" };
	if (state.question !== null) return typed(state, key);
	return state.text === null ? pressInTable(state, key, page) : pressInText(state, key, page);
}
