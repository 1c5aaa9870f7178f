/** The process's terminal, for commands that take its screen over. */
import { emitKeypressEvents } from "node:readline";
import type { Size } from "./screen.ts";
import type { Key } from "./state.ts";

/** Signals that end a command, and the exit codes that shells give them. */
export const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export type EndSignal = keyof typeof SIGNAL_CODES;

/** What hears of a terminal. */
export interface TerminalListener {
	onKey(key: Key): void;
	/** Its size changed, or it is back from a suspension: everything is to be drawn again. */
	onRedraw(): void;
	onSignal(signal: EndSignal): void;
}

/** A terminal whose screen can be taken over. */
export interface Terminal {
	readonly size: Size;
	write(text: string): void;
	/** Takes the screen and the keys. */
	open(listener: TerminalListener): void;
	/** Gives them back as they were. Does nothing when they are not taken. */
	close(): void;
	/** Gives them back, stops the process, and takes them again when it goes on. */
	suspend(): void;
}

/** The other screen without a cursor and without wrapping; and back. */
const TAKE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
const GIVE_BACK = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** What readline says of a key. */
interface Keypress {
	readonly name?: string;
	readonly ctrl?: boolean;
}

class ProcessTerminal implements Terminal {
	private listener: TerminalListener | null = null;
	private readonly out: (text: string) => void;
	private readonly onKeypress = (character: string | undefined, key: Keypress) =>
		this.listener?.onKey({
			character: character ?? "",
			name: key.name ?? character ?? "",
			ctrl: key.ctrl === true,
		});
	private readonly onResize = () => this.listener?.onRedraw();
	private readonly onSignal = (signal: NodeJS.Signals) => this.listener?.onSignal(signal as EndSignal);
	private readonly onExit = () => this.close();

	constructor(out: (text: string) => void) {
		this.out = out;
	}

	get size(): Size {
		const { columns, rows } = process.stdout;
		// A pseudo terminal that nobody gave a size says 0.
		return { columns: columns > 0 ? columns : 80, rows: rows > 0 ? rows : 24 };
	}

	write(text: string): void {
		this.out(text);
	}

	open(listener: TerminalListener): void {
		this.listener = listener;
		const { stdin, stdout } = process;
		emitKeypressEvents(stdin);
		stdin.setRawMode(true);
		stdin.resume();
		stdin.on("keypress", this.onKeypress);
		stdout.on("resize", this.onResize);
		for (const signal of Object.keys(SIGNAL_CODES)) process.on(signal, this.onSignal);
		process.on("exit", this.onExit);
		this.out(TAKE);
	}

	close(): void {
		if (this.listener === null) return;
		this.listener = null;
		const { stdin, stdout } = process;
		this.out(GIVE_BACK);
		process.off("exit", this.onExit);
		for (const signal of Object.keys(SIGNAL_CODES)) process.off(signal, this.onSignal);
		stdout.off("resize", this.onResize);
		stdin.off("keypress", this.onKeypress);
		stdin.setRawMode(false);
		stdin.pause();
	}

	suspend(): void {
		const { listener } = this;
		if (listener === null) return;
		this.close();
		process.once("SIGCONT", () => {
			this.open(listener);
			listener.onRedraw();
		});
		process.kill(process.pid, "SIGTSTP");
	}
}

/**
 * The terminal that stdin and stdout are; null if they are none, or one that cannot move its cursor, or one of a CI job.
 * @param out writes to stdout at once
 */
export function processTerminal(out: (text: string) => void): Terminal | null {
	const { TERM, CI } = process.env;
	const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
	return isTerminal && TERM !== "dumb" && CI === undefined ? new ProcessTerminal(out) : null;
}
