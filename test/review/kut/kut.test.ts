import { describe, expect, it } from "vitest";
import { parseGuestCpu } from "../../../src/kvm/api/guest-cpu.ts";
import { KutConfigError, parseUnittests } from "../../../src/review/kut/config.ts";
import {
	judge,
	KUT_STATUS,
	machineOf,
	qemuStatus,
	runnerCommand,
	selectTests,
	skipReason,
} from "../../../src/review/kut/plan.ts";

const CONFIG = `
# a comment
[one]
file = one.flat
smp = 2
test_args = 'first "second"'
qemu_params = -cpu qemu64,+x2apic -machine pit=off -m 256
groups = fast apic
timeout = 2m

[two]
file = two.flat
arch = i386

[three]
file = three.flat
qemu_params = """-cpu max \\
  -smp 1"""
groups = nodefault
check = /sys/module/kvm/parameters/enable_pmu=Y
test_args = "1 \`date +%s\`"
`;

const tests = parseUnittests(CONFIG, "unittests.cfg");
const [one, two, three] = tests as [(typeof tests)[0], (typeof tests)[0], (typeof tests)[0]];
const ALL = { names: [], group: null, all: false };

describe("unittests.cfg", () => {
	it("is read section by section, without the shell's quotes", () => {
		expect(tests.map(({ name }) => name)).toEqual(["one", "two", "three"]);
		expect(one).toMatchObject({
			smp: 2,
			args: 'first "second"',
			groups: ["fast", "apic"],
			timeoutSeconds: 120,
		});
		expect(three.params.replace(/\s+/g, " ")).toBe("-cpu max -smp 1");
	});

	it("is refused with the place of what is wrong", () => {
		expect(() => parseUnittests("[a]\nfile\n", "cfg")).toThrow(
			new KutConfigError('cfg:2: "file" is no section and no value'),
		);
	});

	it("gives the machine that QEMU's options ask for, and the machine's own clock for the shell's", () => {
		expect(machineOf(one)).toEqual({
			vcpus: 2,
			guestCpu: "qemu64,+x2apic",
			pit: false,
			ramBytes: 256 << 20,
			append: 'first "second"',
		});
		expect(machineOf(three).append).toBe("1 1767225600");
	});
});

describe("a selection", () => {
	it("is by name and by group", () => {
		expect(selectTests(tests, { names: ["two"], group: null })).toEqual([two]);
		expect(selectTests(tests, { names: [], group: "apic" })).toEqual([one]);
	});

	it("skips what is not for this machine, and says why", () => {
		expect(skipReason(one, ALL, "x86_64")).toBeNull();
		expect(skipReason(two, ALL, "x86_64")).toBe("i386 only");
		expect(skipReason(two, ALL, "i386")).toBeNull();
		expect(skipReason({ ...two, groups: ["tasks"] }, ALL, "i386")).toBe("no hardware task switches");
		expect(skipReason(three, ALL, "x86_64")).toBe("test marked as manual run only");
		const named = { ...ALL, names: ["three"] };
		const reason = skipReason(three, named, "x86_64");
		expect([{ ...ALL, all: true }, named].map((asked) => skipReason(three, asked, "x86_64"))).toEqual([
			reason,
			reason,
		]);
		expect(reason).toBe("/sys/module/kvm/parameters/enable_pmu not equal to Y");
	});
});

describe("the runner's own command", () => {
	it("has the test's machine and arguments, as run_tests.sh -v prints it", () => {
		expect(runnerCommand(one, "2m")).toBe(
			"TESTNAME=one TIMEOUT=2m MACHINE= ACCEL= ./x86/run x86/one.flat -smp 2 -append 'first \"second\"' -cpu qemu64,+x2apic -machine pit=off -m 256",
		);
		expect(runnerCommand(three, "90s")).toContain('-append "1 `date +%s`" -cpu max -smp 1');
	});
});

describe("a test's end", () => {
	const end = (value: number, log: string) => judge(one, qemuStatus(value), "", log, 1, "90s");
	it("is judged by what QEMU's exit status would be", () => {
		expect(end(0, "PASS: a\nSUMMARY: 1 tests\n")).toMatchObject({ status: "PASS", detail: "1 tests" });
		expect(end(77 >> 1, "SUMMARY: 1 tests, 1 skipped\n").status).toBe("SKIP");
		expect(end(1, "SUMMARY: 2 tests, 1 unexpected failures\n")).toMatchObject({
			status: "FAIL",
			detail: "2 tests, 1 unexpected failures",
		});
	});
	it("is a failure when there was none", () => {
		expect(judge(one, KUT_STATUS.timeout, "timeout", "", 180, "180").detail).toBe("timeout; duration=180");
		expect(judge(one, null, "triple fault at RIP 0x0", "", 1, "90s")).toMatchObject({
			status: "FAIL",
			detail: "triple fault at RIP 0x0",
		});
	});
});

describe("-cpu", () => {
	it("names a model and what is added and taken away", () => {
		const cpu = parseGuestCpu("qemu64,+umip,-x2apic,vendor=GenuineIntel,xsave=off");
		expect(cpu.model).toBe("qemu64");
		expect([...cpu.features]).toEqual([
			["umip", true],
			["x2apic", false],
			["xsave", false],
		]);
		expect(cpu.properties.get("vendor")).toBe("GenuineIntel");
	});
	it("is refused for a model that is not known", () => {
		expect(() => parseGuestCpu("z80")).toThrow("-cpu z80: no such model here");
	});
});
