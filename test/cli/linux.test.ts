import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { SkippedError } from "../../src/cli/io.ts";
import { findLinuxKernel, installedKernel, makeInitramfs } from "../../src/cli/linux-files.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { startSession } from "../../src/profile/record.ts";
import { reportRows } from "../../src/profile/report.ts";
import { linuxWorkload } from "../../src/profile/workloads/linux.ts";
import { defaultModel } from "../../src/review/review.ts";
import { reenter } from "./memory-io.ts";

describe("the workload linux-boot", () => {
	it("is skipped with what is missing where there is no kernel", () => {
		expect(() => installedKernel("/nowhere")).toThrow(SkippedError);
		expect(() => installedKernel("/nowhere")).toThrow(/no \/nowhere\/vmlinuz-\*-amd64 to boot: apt install/);
	});

	for (const [line, files, message] of [
		["top linux-boot --kernel gone --initrd i", {}, /^reenter: gone: cannot be read/],
		["stat linux-boot --kernel k --initrd i", { k: "text", i: "" }, /^reenter: the kernel: .+/],
		["stat invd --kernel k", { k: "text" }, /^reenter: --kernel is for the workload linux-boot/],
	] as const)
		it(`${line} is bad input`, async () => {
			const { code, err } = await reenter(line.split(" "), files);
			expect(code).toBe(2);
			expect(err).toMatch(message);
			expect(err.trimEnd().split("\n").length).toBe(1);
		});
});

/** Past the decompression of the kernel and into its first messages. */
const INSTRUCTIONS = 108e6;

const kernel = findLinuxKernel();
const initrd = (() => {
	try {
		return kernel === null ? null : makeInitramfs();
	} catch (error) {
		if (error instanceof SkippedError) return null;
		throw error;
	}
})();
const isThere = kernel !== null && initrd !== null && existsSync(kernel);

describe.skipIf(!isThere)(
	`booting ${kernel ?? "a kernel (skipped: none in /boot, or no busybox and cpio)"}`,
	() => {
		it("is profiled from its first exits on: ports of the serial console, and the guest most of the time", () => {
			const session = startSession({
				workload: linuxWorkload({ kernel: readFileSync(kernel!), initrd: initrd! }),
				tree: findTree("v6.18"),
				vendor: "svm",
				model: defaultModel("svm"),
				countsGuest: true,
			});
			expect(session.vmm.run(INSTRUCTIONS).kind).toBe("budget");
			const { calls, exits, console } = session.recording();
			expect(console).toContain("Linux version");
			expect(exits).toBeGreaterThan(1000);
			const rows = reportRows(calls, { inlined: new Set(), guest: true });
			expect(rows[0]!.object).toBe("[guest.kernel.kallsyms]");
			expect(rows.map(({ symbol }) => symbol)).toContain("svm_vcpu_run");
		}, 60_000);
	},
);
