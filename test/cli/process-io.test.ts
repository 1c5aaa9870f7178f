import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { processIo, write } from "../../src/cli/process-io.ts";

let folder = "";
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "reenter-io-"));
});
afterEach(() => {
	vi.restoreAllMocks();
	rmSync(folder, { recursive: true });
});

describe("the process's streams and files", () => {
	it("a reader of stdout that has gone away ends the program with a shell's code for SIGPIPE, which is no verdict", () => {
		const exit = vi.spyOn(process, "exit").mockImplementation((code) => {
			throw new Error(`exit ${code}`);
		});
		const path = join(folder, "pipe");
		execFileSync("mkfifo", [path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const writer = openSync(path, constants.O_WRONLY);
		closeSync(reader);
		expect(() => write(writer, "verdict\n")).toThrow("exit 141");
		expect(exit).toHaveBeenCalledTimes(1);
		closeSync(writer);
	});

	it.runIf(existsSync("/dev/full"))(
		"a full disk behind stdout is one line, and no defect of the program",
		() => {
			const full = openSync("/dev/full", "w");
			expect(() => write(full, "text")).toThrow(/cannot be written: no space left on device$/);
			closeSync(full);
		},
	);

	it("makes a folder and those that it lies in", () => {
		processIo.makeFolder(join(folder, "a/b/c"));
		expect(statSync(join(folder, "a/b/c")).isDirectory()).toBe(true);
		processIo.makeFolder(join(folder, "a/b/c"));
	});

	it.runIf(existsSync("/proc/self"))("a folder in /proc is refused, and does not take for ever", () => {
		expect(() => processIo.makeFolder("/proc/reenter/logs")).toThrow(/no such file or directory/);
	});
});
