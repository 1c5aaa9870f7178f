import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { EXIT, UsageError } from "../../../src/cli/io.ts";
import { main } from "../../../src/cli/main.ts";
import { SERVICES } from "../../../src/cli/services.ts";
import type { LiveMessage, LiveTask } from "../../../src/cli/top/task.ts";
import type { TerminalListener } from "../../../src/cli/top/terminal.ts";
import { invdRecording } from "./recording.ts";

const recording = await invdRecording(100);

/** `reenter top` on a terminal and with a run that the test holds in its hands. */
function liveTop(argv: readonly string[]) {
	const screen: string[] = [];
	const written = new Map<string, string>();
	const timers: { milliseconds: number; ring: () => void }[] = [];
	let listener: TerminalListener | null = null;
	let tell: (message: LiveMessage) => void = () => {};
	let task: LiveTask | null = null;
	const calls = { asked: 0, stopped: 0, closed: 0 };
	let errors = "";
	const missing = (path: string): Uint8Array => {
		if (written.has(path)) return new Uint8Array();
		throw new Error("ENOENT");
	};
	const code = main(
		["top", ...argv],
		{
			out: (text) => screen.push(text),
			outByte: () => {},
			err: (text) => {
				errors += text;
			},
			progressColumns: null,
			color: false,
			readFile: missing,
			makeFolder: () => {},
			checkWritable: () => {},
			writeFile: (path, text) => written.set(path, String(text)),
			terminal: {
				size: { columns: 80, rows: 24 },
				write: (text) => screen.push(text),
				open: (one) => {
					listener = one;
				},
				close: () => {
					calls.closed++;
				},
				suspend: () => {},
			},
		},
		{
			...SERVICES,
			alarms: {
				after: (milliseconds, ring) => {
					const timer = { milliseconds, ring };
					timers.push(timer);
					return () => timers.splice(timers.indexOf(timer), 1);
				},
			},
			startLive: (asked, onMessage) => {
				task = asked;
				tell = onMessage;
				return {
					ask: () => {
						calls.asked++;
					},
					stop: () => {
						calls.stopped++;
					},
				};
			},
		},
	);
	return {
		code,
		screen,
		written,
		timers,
		calls,
		errors: () => errors,
		task: () => task,
		tell: (message: LiveMessage) => tell(message),
		press: (character: string, ctrl = false) => listener!.onKey({ character, name: character, ctrl }),
		listener: () => listener!,
		ring: () => timers.shift()!.ring(),
	};
}

describe("reenter top on a terminal", () => {
	it("asks the run for samples after each delay, and draws what comes", async () => {
		const top = liveTop(["invd", "-d", "3", "--tree", "series-v2"]);
		expect(top.task()).toMatchObject({ workload: "invd", args: { tree: "series-v2" } });
		top.ring();
		expect(top.calls.asked).toBe(1);
		top.tell({ kind: "recording", recording });
		expect(top.screen.at(-1)).toContain("vmx_vmexit");
		top.ring();
		expect(top.timers.at(-1)!.milliseconds).toBe(3000);
		top.press("q");
		expect(await top.code).toBe(EXIT.holds);
		expect(top.calls).toMatchObject({ stopped: 1, closed: 1 });
		expect(top.timers).toEqual([]);
	});

	it("ends with 130 by CTRL-C and by SIGINT, the terminal given back", async () => {
		const byKey = liveTop(["invd"]);
		byKey.press("c", true);
		expect(await byKey.code).toBe(130);
		const bySignal = liveTop(["invd"]);
		bySignal.listener().onSignal("SIGINT");
		expect(await bySignal.code).toBe(130);
		expect(bySignal.calls.closed).toBe(1);
	});

	it("draws nothing more once it is over", async () => {
		const top = liveTop(["invd"]);
		top.press("q");
		const before = top.screen.length;
		top.tell({ kind: "recording", recording });
		expect(top.screen.length).toBe(before);
		await top.code;
	});

	it("a workload that is refused gives the terminal back and one line", async () => {
		const top = liveTop(["nosuch"]);
		top.tell({ kind: "refused", message: new UsageError('no workload "nosuch"').message });
		expect(await top.code).toBe(EXIT.usage);
		expect(top.calls.closed).toBe(1);
		expect(top.errors()).toBe('reenter: no workload "nosuch"\n');
	});

	it("a workload whose files this computer lacks is skipped", async () => {
		const top = liveTop(["linux-boot"]);
		top.tell({ kind: "refused", message: "no kernel", skipped: true });
		expect(await top.code).toBe(EXIT.skipped);
		expect(top.errors()).toBe("reenter: skipped: no kernel\n");
	});

	it("says how the guest ended, and stays until it is quit", async () => {
		const top = liveTop(["invd"]);
		top.tell({ kind: "recording", recording });
		top.tell({ kind: "end", how: "exit code 0" });
		expect(top.screen.at(-1)).toContain("ended by exit code 0");
		expect(top.timers).toEqual([]);
		top.press("P");
		top.press("P");
		expect([...top.written.keys()]).toEqual(["reenter.hist.0", "reenter.hist.1"]);
		expect(top.written.get("reenter.hist.0")).toMatch(/^Overhead {2}Shared Object +Symbol\n/);
		top.press("q");
		await top.code;
	});

	it("prints once with --stdio, --json, --output or --explain", async () => {
		const words = ["invd", "--iterations", "50"];
		for (const more of [["--stdio"], ["--json"], ["--output", "a.txt"], ["--explain", "vmx_vmexit"]]) {
			const top = liveTop([...words, ...more]);
			expect(await top.code).toBe(EXIT.holds);
			expect(top.task()).toBeNull();
		}
	});

	it("refuses a patch on stdin, where its keys come from", async () => {
		const top = liveTop(["invd", "--patch", "-"]);
		expect(await top.code).toBe(EXIT.usage);
		expect(top.errors()).toMatch(/--patch - reads stdin.*--stdio/);
	});
});

const ROOT = resolve(import.meta.dirname, "../../..");

function whyNoPty(): string | null {
	if (!existsSync(`${ROOT}/dist/cli/top/live.js`)) return "dist/ is not built";
	return spawnSync("script", ["--version"]).status === 0 ? null : "util-linux' script is not installed";
}

const why = whyNoPty();
describe.skipIf(why !== null)(
	`reenter top on a pseudo terminal${why === null ? "" : ` (skipped: ${why})`}`,
	() => {
		/** Runs it under `script`, and types a text once the table is there. */
		const onPty = (typed: string) =>
			new Promise<{ code: number | null; out: string }>((done) => {
				const { CI: _, ...env } = process.env;
				const command =
					"node bin/reenter.js top invd -d 0.2; code=$?; stty -a | grep -o -- '-*icanon'; exit $code";
				const child = spawn("script", ["-qec", command, "/dev/null"], {
					cwd: ROOT,
					env: { ...env, TERM: "xterm", COLUMNS: "80", LINES: "24" },
				});
				let out = "";
				let hasTyped = false;
				child.stdout.on("data", (data) => {
					out += String(data);
					if (hasTyped || !/%.* vmx_vmexit/.test(out)) return;
					hasTyped = true;
					child.stdin.write(typed);
				});
				child.on("close", (code) => done({ code, out }));
			});

		it("takes the other screen, redraws, and leaves the terminal as it was", {
			timeout: 30_000,
		}, async () => {
			const { code, out } = await onPty("q");
			expect(code).toBe(0);
			expect(out.startsWith("\x1b[?1049h")).toBe(true);
			const [inside, after] = out.split("\x1b[?1049l");
			expect(inside!.split("\x1b[H").length).toBeGreaterThan(3);
			expect(after!.trim()).toBe("icanon");
		});

		it("CTRL-C: exit code 130, the terminal as it was", { timeout: 30_000 }, async () => {
			const { code, out } = await onPty("\x03");
			expect(code).toBe(130);
			expect(out.split("\x1b[?25h\x1b[?1049l").at(-1)!.trim()).toBe("icanon");
		});
	},
);
