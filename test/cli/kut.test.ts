import { describe, expect, it } from "vitest";
import type { KutTask } from "../../src/cli/kut/task.ts";
import { SERVICES } from "../../src/cli/services.ts";
import { reenter } from "./memory-io.ts";

const CONFIG = "[good]\nfile = good.flat\n[bad]\nfile = bad.flat\ntimeout = 5\n[gone]\nfile = gone.flat\n";
const FILES = {
	"kut/x86/unittests.cfg": CONFIG,
	"kut/config.mak": "ARCH=x86_64\n",
	"kut/x86/good.flat": "",
	"kut/x86/bad.flat": "",
};

function run(...argv: string[]) {
	return runBuild(FILES, ...argv);
}

function runBuild(files: Record<string, string>, ...argv: string[]) {
	const tasks: KutTask[] = [];
	const services = {
		...SERVICES,
		runKutTask: async (task: KutTask) => {
			tasks.push(task);
			const good = task.path.endsWith("good.flat");
			const log = good
				? "PASS: it & that\nSUMMARY: 1 tests\n"
				: "FAIL: this\nSUMMARY: 1 tests, 1 unexpected failures\n";
			return { code: good ? 1 : 3, reason: "", log, seconds: 0.5 };
		},
	};
	return reenter(["kut", "kut", ...argv], files, services).then((outcome) => ({ ...outcome, tasks }));
}

describe("reenter kut", () => {
	it("prints a line a test in the order of the list, counts, and 1 when one failed", async () => {
		const { out, err, code, tasks } = await run("-j", "3", "--vendor", "svm");
		expect(out).toBe(
			"PASS good (1 tests)\nFAIL bad (1 tests, 1 unexpected failures)\nSKIP gone (Test file 'kut/x86/gone.flat' not found)\n",
		);
		expect(err).toBe("3 tests: 1 passed, 1 failed, 1 skipped\n");
		expect(code).toBe(1);
		expect(tasks.map(({ timeoutSeconds, vendor }) => [timeoutSeconds, vendor])).toEqual([
			[90, "svm"],
			[5, "svm"],
		]);
	});

	it("lists, and runs what is named", async () => {
		expect((await run("-l")).out).toBe("good\nbad\ngone\n");
		expect(JSON.parse((await run("-l", "--json")).out)).toEqual({ tests: ["good", "bad", "gone"] });
		const { out, code } = await run("good");
		expect([out, code]).toEqual(["PASS good (1 tests)\n", 0]);
	});

	it("with -v prints how run_tests.sh starts what runs, and with -a runs what is marked nodefault", async () => {
		const config = `${CONFIG}groups = nodefault\n[quiet]\nfile = good.flat\ngroups = nodefault\n`;
		const files = { ...FILES, "kut/x86/unittests.cfg": config };
		expect((await runBuild(files)).out).toContain("SKIP quiet (test marked as manual run only)\n");
		expect((await runBuild(files, "-a", "-v")).out).toMatch(
			/SKIP gone .*\nTESTNAME=quiet TIMEOUT=90s MACHINE= ACCEL= .\/x86\/run x86\/good.flat -smp 1\nPASS quiet \(1 tests\)\n$/,
		);
	});

	it.each([
		[["-j", "0"], /-j "0"/],
		[["--parallel", "0"], /-j "0"/],
		[["--jobs", "0"], /-j "0"/],
		[["--timeout", "x", "gone"], /--timeout "x"/],
		[["--seed", "x", "gone"], /--seed "x"/],
		[["--tree", "mine.json"], /--tree "mine.json": kut takes built-in trees/],
	])("refuses %j before any test runs", async (argv, message) => {
		const { out, err, code, tasks } = await run(...argv);
		expect([out, tasks, code]).toEqual(["", [], 2]);
		expect(err).toMatch(message);
	});

	it("runs what is of the build's own architecture", async () => {
		const config = `${CONFIG}arch = x86_64\n[old]\nfile = good.flat\narch = i386\n`;
		const files = { ...FILES, "kut/x86/unittests.cfg": config, "kut/config.mak": "CC=gcc\nARCH=i386\n" };
		expect((await runBuild(files, "gone", "old")).out).toBe("SKIP gone (x86_64 only)\nPASS old (1 tests)\n");
		const { err, code } = await runBuild({ ...files, "kut/config.mak": "ARCH=arm64\n" }, "old");
		expect([err, code]).toEqual(["reenter: kut/config.mak: want ARCH=i386 or ARCH=x86_64, found arm64\n", 2]);
	});

	it.each(["-t", "--tap13", "--tap"])("prints TAP with %s, and writes JUnit's XML and logs", async (tap) => {
		const { out, written } = await run(tap, "--junit", "out.xml", "--logs", "logs");
		expect(out).toBe(
			"TAP version 13\n1..3\nok 1 - good: it & that\nnot ok 2 - bad: this\nok 3 - gone # skip Test file 'kut/x86/gone.flat' not found\n",
		);
		expect(written.get("logs/bad.log")).toContain("FAIL: this");
		expect(written.get("out.xml")).toContain('tests="3" failures="1" skipped="1"');
	});

	it("refuses a test that is not there, with a hint", async () => {
		const { err, code } = await run("goood");
		expect(code).toBe(2);
		expect(err).toContain('no test "goood"');
	});
});
