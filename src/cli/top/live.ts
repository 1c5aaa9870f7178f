/** The live view of `reenter top`: a terminal, a run in a worker, and the state between them. */
import { LiveTree } from "../../profile/live.ts";
import { reportText } from "../../profile/report.ts";
import type { Context } from "../context.ts";
import { EXIT, type Io, SkippedError, UsageError } from "../io.ts";
import { writeUserFile } from "../output.ts";
import { drawText, pageLines, screenLines } from "./screen.ts";
import { type Effect, firstState, type Key, pressKey, shownRows, type TopState } from "./state.ts";
import type { LiveMessage, LiveTask } from "./task.ts";
import { SIGNAL_CODES, type Terminal } from "./terminal.ts";

/** perf top's delay, in seconds; and the one until there is something to see. */
const FIRST_DELAY_SECONDS = 0.25;

export type LiveOptions = Parameters<typeof firstState>[0];

/** A table in a file of its own, perf's P. @returns what is said of it */
function writeSnapshot(io: Io, state: TopState): string {
	const exists = (path: string) => {
		try {
			io.readFile(path);
			return true;
		} catch {
			return false;
		}
	};
	let number = 0;
	while (exists(`reenter.hist.${number}`)) number++;
	const path = `reenter.hist.${number}`;
	try {
		writeUserFile(io, path, reportText(shownRows(state)));
	} catch (error) {
		if (error instanceof UsageError) return error.message;
		throw error;
	}
	return `Written to ${path}`;
}

class LiveView {
	private state: TopState;
	private readonly context: Context;
	private readonly terminal: Terminal;
	private readonly tree = new LiveTree();
	private readonly onEnd: (code: number) => void;
	private cancelRefresh = () => {};
	/** Asks the run for a recording. */
	ask = () => {};

	constructor(context: Context, terminal: Terminal, options: LiveOptions, onEnd: (code: number) => void) {
		this.context = context;
		this.terminal = terminal;
		this.state = firstState(options);
		this.onEnd = onEnd;
	}

	start(): void {
		this.terminal.open({
			onKey: (key) => this.press(key),
			onRedraw: () => this.draw(),
			onSignal: (signal) => this.onEnd(SIGNAL_CODES[signal]),
		});
		this.draw();
		this.refreshAfter(FIRST_DELAY_SECONDS);
	}

	stop(): void {
		this.cancelRefresh();
		this.terminal.close();
	}

	private draw(): void {
		const { terminal, context } = this;
		terminal.write(drawText(screenLines(this.state, terminal.size, context.style)));
	}

	private refreshAfter(seconds: number): void {
		this.cancelRefresh();
		this.cancelRefresh = this.context.services.alarms.after(seconds * 1000, () => {
			this.ask();
			const isFirst = this.state.calls?.samples.every((count) => count === 0) ?? true;
			this.refreshAfter(isFirst ? FIRST_DELAY_SECONDS : this.state.delaySeconds);
		});
	}

	private press(key: Key): void {
		const { state, effect } = pressKey(this.state, key, pageLines(this.terminal.size));
		this.state = state;
		if (effect !== null) this.carryOut(effect);
		if (effect === null || effect === "snapshot" || effect === "delay") this.draw();
	}

	private carryOut(effect: Effect): void {
		switch (effect) {
			case "quit":
				this.onEnd(EXIT.holds);
				break;
			case "interrupt":
				this.onEnd(SIGNAL_CODES.SIGINT);
				break;
			case "suspend":
				this.terminal.suspend();
				break;
			case "snapshot":
				this.state = { ...this.state, message: writeSnapshot(this.context.io, this.state) };
				break;
			case "delay":
				this.refreshAfter(this.state.delaySeconds);
				break;
			default:
				effect satisfies never;
		}
	}

	hear(message: Exclude<LiveMessage, { readonly kind: "refused" }>): void {
		if (message.kind === "end") {
			this.cancelRefresh();
			this.state = { ...this.state, ended: `ended by ${message.how}` };
		} else {
			const { recording } = message;
			const calls = this.tree.refresh(recording.calls, this.state.zeroes);
			this.state = { ...this.state, recording, calls };
		}
		this.draw();
	}
}

/**
 * Shows a run until it is quit.
 * @returns the exit code: 0 for q, 130 for an interrupt
 * @throws UsageError if the workload cannot be run
 */
export function runLive(
	context: Context,
	terminal: Terminal,
	task: LiveTask,
	options: LiveOptions,
): Promise<number> {
	return new Promise((resolve, reject) => {
		let isOver = false;
		const finish = (settle: () => void) => {
			if (isOver) return;
			isOver = true;
			view.stop();
			run.stop();
			settle();
		};
		const view = new LiveView(context, terminal, options, (code) => finish(() => resolve(code)));
		const run = context.services.startLive(
			task,
			(message) => {
				if (isOver) return;
				if (message.kind !== "refused") view.hear(message);
				else {
					const { message: why, skipped } = message;
					finish(() => reject(skipped === true ? new SkippedError(why) : new UsageError(why)));
				}
			},
			(error) => finish(() => reject(error)),
		);
		view.ask = () => run.ask();
		view.start();
	});
}
