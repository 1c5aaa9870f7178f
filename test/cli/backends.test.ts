import { describe, expect, it } from "vitest";
import { SERVICES } from "../../src/cli/services.ts";
import { DevKvmUnavailable } from "../../src/devkvm/libc.ts";
import { findProgram, programBytes } from "../../src/guests/programs.ts";
import { runImageOn } from "../../src/review/run.ts";
import { SoftKvm } from "../../src/softkvm/system.ts";
import { reenter } from "./memory-io.ts";

const pio = programBytes(findProgram("pio")!);
const files = { "pio.elf": pio, "text.txt": "no image" };
const without = {
	...SERVICES,
	openDevKvm: () => {
		throw new DevKvmUnavailable("/dev/kvm is not there: load kvm_intel or kvm_amd");
	},
};

describe("reenter run --backend", () => {
	it("without /dev/kvm says so in one line and is skipped", async () => {
		const { code, out, err } = await reenter(["run", "pio.elf", "--backend", "dev"], files, without);
		expect({ code, out, err }).toEqual({
			code: 77,
			out: "",
			err: "reenter: /dev/kvm is not there: load kvm_intel or kvm_amd\n",
		});
	});

	it("names the machines when it is given another", async () => {
		const { code, err } = await reenter(["run", "pio.elf", "--backend", "hard"], files, without);
		expect(code).toBe(2);
		expect(err).toBe('reenter: --backend "hard": there are dev, the real /dev/kvm, and soft\n');
	});

	it("dev takes no options that are the software machine's", async () => {
		const { code, err } = await reenter(
			["run", "pio.elf", "--backend", "dev", "--budget", "5"],
			files,
			without,
		);
		expect(code).toBe(2);
		expect(err).toMatch(/--budget is the software machine's/);
	});

	it("the same program around a VM runs a guest over KVM's user API to its end", async () => {
		let text = "";
		const kvm = SoftKvm.open();
		const outcome = await runImageOn(kvm, {
			bytes: pio,
			fileName: "pio.elf",
			seconds: () => kvm.cycles / 1e9,
			onConsole: (byte) => {
				text += String.fromCharCode(byte);
			},
		});
		expect(outcome).toMatchObject({ kind: "exit", code: 0, message: "" });
		expect(text).toMatch(/^pio \d+\n$/);
		expect(outcome.exitCounts.io!.count).toBeGreaterThan(3);
		expect(kvm.usedBytes).toBe(0);
	});
});

describe("reenter compare-backends", () => {
	it("without /dev/kvm says so in one line and is skipped", async () => {
		const { code, err } = await reenter(["compare-backends"], files, without);
		expect(code).toBe(77);
		expect(err.trim().split("\n")).toHaveLength(1);
	});

	it("knows its machines by name", async () => {
		const { code, err } = await reenter(["compare-backends", "--left", "soft:smv"], files, without);
		expect(code).toBe(2);
		expect(err).toBe(
			'reenter: --left "soft:smv": no such machine; did you mean "soft:svm"?; there are dev, soft, soft:svm, soft:vmx\n',
		);
	});

	it("compares generated guests and images of two machines, and prints JSON", async () => {
		const sides = ["--left", "soft:svm", "--right", "soft:vmx"];
		const { code, out } = await reenter(["compare-backends", "pio.elf", "--count", "3", ...sides], files);
		expect(code).toBe(0);
		expect(out).toMatch(/^✔ pio.elf: \d+ accesses alike$/m);
		expect(out).toMatch(/3 equal, but for what is listed; 0 with differences that nothing explains/);
		const json = await reenter(["compare-backends", "--count", "2", "--json", ...sides], files);
		expect(JSON.parse(json.out)).toMatchObject({ images: [], generated: { guests: 2, equal: 2, found: [] } });
	});

	it("a file that is no image is one line", async () => {
		const sides = ["--left", "soft:svm", "--right", "soft:vmx"];
		const { code, err } = await reenter(["compare-backends", "text.txt", ...sides], files);
		expect(code).toBe(2);
		expect(err.trim().split("\n")).toHaveLength(1);
	});
});
