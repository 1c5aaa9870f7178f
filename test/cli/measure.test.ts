import { describe, expect, it } from "vitest";
import { SERVICES } from "../../src/cli/services.ts";
import { DevKvmUnavailable } from "../../src/devkvm/libc.ts";
import type { HostInfo } from "../../src/devkvm/host.ts";
import { reenter } from "./memory-io.ts";

const closed = {
	...SERVICES,
	openDevKvm: () => {
		throw new DevKvmUnavailable("/dev/kvm is not there: load kvm_intel or kvm_amd");
	},
};
const info: HostInfo = {
	kernel: "6.18.0",
	cpu: "a processor",
	flags: new Set(),
	module: "kvm_amd",
	guest: false,
	koffi: false,
	devKvm: "/dev/kvm is reached through koffi, which is not here: npm install koffi",
	capabilities: {},
	perfCounters: true,
};

describe("without /dev/kvm", () => {
	it.each([["measure"], ["measure", "swaps"]])(
		"reenter %s says in one line what is missing, and ends with 77",
		async (...argv) => {
			const { code, out, err } = await reenter(argv, {}, closed);
			expect(err).toBe("reenter: /dev/kvm is not there: load kvm_intel or kvm_amd\n");
			expect(out).toBe("");
			expect(code).toBe(77);
		},
	);

	it("doctor says what is missing and what it means, and ends with 0", async () => {
		const { code, out } = await reenter(["doctor"], {}, { ...SERVICES, hostInfo: () => info });
		expect(out).toMatch(/✘ koffi: not here \(npm install koffi\)/);
		expect(out).toMatch(/✔ vendor module kvm_amd/);
		expect(out).toMatch(/need none of these/);
		expect(code).toBe(0);
	});
});

describe("bad arguments of measure", () => {
	it.each([
		[["measure", "swap"], /did you mean "swaps"/],
		[["measure", "--only", "invds"], /no exit "invds"; did you mean "invd"/],
		[["measure", "--fit", "/nowhere/this.json"], /\/nowhere\/this.json: cannot be written/],
		[["measure", "--rounds", "many"], /--rounds "many": write a whole number/],
		[["measure", "--compare", "a.json"], /a.json: not what measure --json prints/],
		[["cost", "invd", "--cpu", "a.json"], /a.json: format/],
		[["cost", "invd", "--cpu", "gone.json"], /gone.json: cannot be read/],
	])("%j gets one line and exit code 2", async (argv, message) => {
		const { code, err } = await reenter(argv, { "a.json": "{}" }, closed);
		expect(err).toMatch(message);
		expect(err.trimEnd().split("\n")).toHaveLength(1);
		expect(code).toBe(2);
	});
});
