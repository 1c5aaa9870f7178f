import { describe, expect, it } from "vitest";
import { findProgram, programBytes } from "../../src/guests/programs.ts";
import { reenter } from "./memory-io.ts";

const oneLine = (text: string) => text.trimEnd().split("\n").length === 1;

describe("bad input gets one clear line and exit code 2, and nothing else happens", () => {
	const elf = programBytes(findProgram("invd")!);
	const elf32 = elf.slice();
	elf32[4] = 1;
	const files = {
		"whole.elf": elf,
		"cut.elf": elf.slice(0, 100),
		"old.elf": elf32,
		"text.elf": "not an image",
		"patch.json":
			'{ "name": "p", "base": "v6.18", "edits": [ { "remove": "clgj", "from": "svm_vcpu_run" } ] }',
		"anchor.json":
			'{ "name": "p", "base": "v6.18", "edits": [ { "move": "clgi", "from": "svm_vcpu_run", "to": "vmx_vcpu_run", "before": "stgi" } ] }',
		"broken.json": "{",
		"model.json": '{ "format": "reenter-cpu-model" }',
		"text.json": "not\njson",
	};
	it.each([
		[["review", "series-v3"], /no tree "series-v3"; did you mean "series-v/],
		[["review", "patch.json"], /patch.json|p: patch 1.*svm_vcpu_run has no step "clgj"; did you mean "clgi"/],
		[["review", "anchor.json"], /vmx_vcpu_run has no step "stgi"/],
		[["review", "broken.json"], /broken.json:1: not JSON: Unexpected "{"/],
		[["review", "gone.json"], /gone.json: cannot be read/],
		[["run", "cut.elf"], /cut.elf: /],
		[["trace", "cut.elf"], /cut.elf: truncated ELF file/],
		[["run", "--snapshot-in", "s", "--smp", "2"], /--smp cannot go with it/],
		[["run", "--snapshot-in", "s", "--seed", "2"], /--seed cannot go with it/],
		[["run", "old.elf"], /old.elf: /],
		[["run", "text.elf"], /text.elf: /],
		[["run", "gone.elf"], /gone.elf: cannot be read/],
		[["run", "cut.elf", "--budget", "lots"], /--budget "lots"/],
		[["cost", "invd", "--cpu", "turing"], /no CPU model "turing"; did you mean "turin"/],
		[["cost", "invd", "--cpu", "turin", "--vendor", "vmx"], /turin has no vmx; it has svm/],
		[["cost", "invd", "--vendor", "arm"], /no vendor "arm"/],
		[["cost", "indv"], /no guest program "indv"; did you mean "invd"\?; there are invd, cpuid, /],
		[["cost", "invd", "--cpu", "model.json"], /model.json: version is missing/],
		[["cost", "invd", "--cpu", "text.json"], /text.json: not JSON: /],
		[["cost", "invd", "--xcr0", "seven"], /--xcr0 "seven"/],
		[
			["trees", "--output", "/nowhere/file"],
			/: \/nowhere\/file: cannot be written: no such file or directory$/m,
		],
		[["report", "-i", "gone.data"], /gone.data: cannot be read: no such file or directory; reenter record/],
		[["check", "v6.18", "--replay", "irq57"], /--replay "irq57" is no event of a schedule/],
		[["check", "v6.18", "--replay", "irk@5"], /no event "irk"; did you mean "irq"/],
		[
			["check", "v6.18", "--vendor", "svm", "--replay", "irq@99999"],
			/irq@99999 does not arrive: .* 6\d\d ops/,
		],
		[
			["check", "v6.18", "--vendor", "svm", "--replay", "irq@5g"],
			/irq@5g does not arrive: .*VM entry at op 5/,
		],
		[["check", "v6.18", "--vendor", "svm", "--replay", "td-busy@5"], /td-busy@5: svm has no td-busy/],
		[
			["check", "v6.18", "--vendor", "svm", "--replay", "vcpu@5"],
			/vcpu@5: there is no vcpu in this configuration/,
		],
		[["check", "v6.18", "--max-events", ""], /--max-events "": write a whole number from 0 to 3/],
		[["cost", "invd", "--xcr0", ""], /--xcr0 "" is no mask/],
		[["cost", "invd", "--xcr0", "2"], /triple-fault: XSETBV or WRMSR does not take the mask/],
		[["check", "v6.18", "--vendor", "svm", "--config", ""], /--config "" is no name/],
		[["check", "v6.18", "--vendor", "svm", "--config", "xrc0=own"], /no factor "xrc0"; did you mean "xcr0"/],
		[["check", "v6.18", "--vendor", "svm", "--config", "pke=on,pke=off"], /names pke twice/],
		[
			["check", "v6.18", "--vendor", "svm", "--mce-handler", "schedule", "--config", "mceHandler=task-work"],
			/give one/,
		],
		[
			["compare-backends", "--left", "soft:svm", "--right", "soft:vmx", "--count", "0"],
			/--count "0": write a whole number from 1 to /,
		],
		[
			["compare-backends", "--left", "soft:svm", "--right", "soft:vmx", "cut.elf"],
			/cut.elf: truncated ELF file/,
		],
		[["run", "whole.elf", "--memory", "1M"], /whole.elf: segment .* outside the guest's memory of 1 MiB/],
		[["stat", "invd", "--hz", "fast"], /--hz "fast" is no frequency/],
		[["check", "v6.18", "--mce-handler", "panic"], /mce-handler/],
		[["show", "v6.18", "vcpu_enter_gest"], /did you mean "vcpu_enter_guest"/],
		[["casebook", "dr6-reentri"], /no case "dr6-reentri"; did you mean "dr6-reentry"/],
		[["reveiw"], /no command "reveiw"; did you mean "review"/],
		[["help", "reveiw"], /no command "reveiw"; did you mean "review"/],
		[["trees", "--jsn"], /unknown option '--jsn'/],
		[["cost"], /missing required argument/],
	])("reenter %j", async (argv, message) => {
		const { code, out, err } = await reenter(argv, files);
		expect(err).toMatch(message);
		expect(oneLine(err), err).toBe(true);
		expect(out).toBe("");
		expect(code).toBe(2);
	});
});

describe("lists", () => {
	it("trees names the built-in trees and their patches", async () => {
		const { code, out } = await reenter(["trees"]);
		expect(code).toBe(0);
		for (const name of ["v6.18", "series-v1", "series-v2", "dedup"]) expect(out).toContain(name);
		expect(JSON.parse((await reenter(["trees", "--json"])).out).trees).toHaveLength(4);
	});

	it("show prints the fastpath loop as a loop", async () => {
		const { out } = await reenter(["show", "v6.18", "vcpu_enter_guest"]);
		expect(out).toMatch(/for \(;;\) {2}fastpath\n {4}kvm_x86_ops.vcpu_run\(\)/);
	});

	it("diff tells where the #MC case went", async () => {
		const { out } = await reenter(["diff", "v6.18", "series-v2:1"]);
		expect(out).toContain("moved     #MC in guest");
		expect((await reenter(["diff", "v6.18", "v6.18"])).out).toBe("v6.18 and v6.18 are the same\n");
	});

	it("models prints every op's cost with its origin", async () => {
		expect((await reenter(["models", "turin"])).out).toMatch(/xsetbv\s+[\d.]+\s+calibrated/);
	});

	it("without arguments says in a few lines what can be done", async () => {
		const { code, out } = await reenter([]);
		expect(code).toBe(0);
		expect(out.trimEnd().split("\n").length).toBeLessThanOrEqual(8);
	});

	it("help lists every command, and none of its lines is wider than 80 columns", async () => {
		const { out } = await reenter(["help"]);
		const names = [...out.matchAll(/^ {2}([a-z][\w-]*)/gm)].map(([, name]) => name!);
		expect(names).toContain("compare-backends");
		const texts = await Promise.all(names.map((name) => reenter(["help", name])));
		const lines = [out, ...texts.map((help) => help.out)].join("").split("\n");
		expect(lines.filter((line) => line.length > 80)).toEqual([]);
	});

	it("--output writes to the file and nowhere else", async () => {
		const { out, written } = await reenter(["trees", "--output", "trees.txt"]);
		expect(out).toBe("");
		expect(written.get("trees.txt")).toContain("series-v1");
	});
});

describe("check", () => {
	it("the #MC handler of before 2020 is the one that is checked, in one configuration too", async () => {
		const bounds = ["--vendor", "svm", "--max-events", "1", "--config", "exits=1"];
		const { out } = await reenter(["check", "v6.18", ...bounds, "--mce-handler", "schedule"]);
		expect(out).toContain("finding: machine-check-sleeps");
		expect(out).toContain("mceHandler=schedule");
	});
});

describe("run", () => {
	const spin = programBytes(findProgram("compute")!);
	it("prints what the guest prints and ends with the guest's exit code", async () => {
		const { code, out, err } = await reenter(["run", "invd.elf"], {
			"invd.elf": programBytes(findProgram("invd")!),
		});
		expect(out).toMatch(/^invd \d+\n$/);
		expect(err).toContain("VM-EXIT");
		expect(err).toContain("INVD");
		expect(code).toBe(0);
	});

	it("ends with 3 when the budget of instructions is used up", async () => {
		const { code, err } = await reenter(["run", "a.elf", "--budget", "1000"], { "a.elf": spin });
		expect(err).toContain("budget");
		expect(code).toBe(3);
	});
});
