/** The kernel and the initial RAM disk that this computer has for the workload `linux-boot`. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SkippedError } from "./io.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/initramfs.sh", import.meta.url));

/**
 * The newest kernel of Debian's, the cloud flavour first: it has fewer drivers.
 * @returns null if there is none
 */
export function findLinuxKernel(folder = "/boot"): string | null {
	const all = existsSync(folder) ? readdirSync(folder) : [];
	const names = all.filter((name) => name.startsWith("vmlinuz-") && name.endsWith("-amd64"));
	names.sort((a, b) => Number(a.includes("cloud")) - Number(b.includes("cloud")) || a.localeCompare(b));
	const name = names.at(-1);
	return name === undefined ? null : join(folder, name);
}

/** The kernel to boot when none is named. @throws SkippedError with what is missing */
export function installedKernel(folder = "/boot"): string {
	const kernel = findLinuxKernel(folder);
	if (kernel === null)
		throw new SkippedError(
			`no ${folder}/vmlinuz-*-amd64 to boot: apt install linux-image-cloud-amd64, or name one by --kernel`,
		);
	return kernel;
}

/** An initial RAM disk of busybox that prints a marker and powers off. @throws SkippedError with what is missing */
export function makeInitramfs(): Uint8Array {
	const folder = mkdtempSync(join(tmpdir(), "reenter-linux-"));
	try {
		const file = join(folder, "initrd.gz");
		const made = spawnSync(SCRIPT, [file], { encoding: "utf8" });
		if (made.status !== 0) {
			const why = made.error?.message ?? made.stderr.trim();
			throw new SkippedError(`no initial RAM disk, name one by --initrd: ${why}`);
		}
		return readFileSync(file);
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}
