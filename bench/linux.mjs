// Boots a Debian kernel with a busybox initramfs to the marker that its /init prints, here and under QEMU's TCG, in turn,
// and prints wall times beside each other. Needs a kernel in /boot (linux-image-cloud-amd64), busybox-static and cpio.
//
//     npm run bench:linux                                    each CPU model once, under v6.18
//     npm run bench:linux -- --trees v6.18,series-v2 --models turin --rounds 3
//
// Exit code 0: every boot reached its marker; 1: one did not; 77: something is missing here, and what.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { findLinuxKernel } from "../dist/cli/linux-files.js";
import { readOptions } from "../dist/cli/script-options.js";

const MARKER = "reenter: booted";
const TIMEOUT_MS = 600_000;
const MEMORY_MIB = 256;
/** A module for the process that boots: it says at its end what it had resident at most, of which the guest's memory is part. */
const TELL_MEMORY = `data:text/javascript,${encodeURIComponent(
	'process.on("exit", () => console.error("resident memory, at most: " + (process.resourceUsage().maxRSS / 1024).toFixed(0) + " MiB"));',
)}`;
const root = fileURLToPath(new URL("..", import.meta.url));

const values = readOptions("bench:linux", {
	kernel: { type: "string" },
	models: { type: "string", default: "turin,emerald-rapids" },
	trees: { type: "string", default: "v6.18" },
	rounds: { type: "string", default: "1" },
});

function skip(why) {
	console.log(`skipped: booting Linux (${why})`);
	process.exit(77);
}

const kernel =
	values.kernel ?? findLinuxKernel() ?? skip("no /boot/vmlinuz-*-amd64: apt install linux-image-cloud-amd64");
if (!existsSync(kernel)) {
	console.error(`bench:linux: no kernel ${kernel}`);
	process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), "reenter-linux-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const initrd = join(folder, "initrd.gz");
const made = spawnSync(join(root, "scripts/initramfs.sh"), [initrd], { encoding: "utf8" });
if (made.status !== 0) skip(made.stderr.trim());

/** Runs a command, and times it to its end. */
function time(command, args) {
	const started = performance.now();
	const ran = spawnSync(command, args, { encoding: "utf8", timeout: TIMEOUT_MS, maxBuffer: 1 << 28 });
	return {
		seconds: (performance.now() - started) / 1000,
		booted: ran.status === 0 && ran.stdout.includes(MARKER),
		out: `${ran.stdout ?? ""}${ran.stderr ?? ""}`,
		report: ran.stderr ?? "",
	};
}

const start = ["--kernel", kernel, "--initrd", initrd];
const reenter = (model, tree) =>
	time(process.execPath, [
		"--import",
		TELL_MEMORY,
		join(root, "bin/reenter.js"),
		"run",
		...start,
		"--cpu",
		model,
		"--tree",
		tree,
	]);
const qemu = () =>
	time("qemu-system-x86_64", [
		..."-accel tcg -cpu max -nographic -no-reboot -m".split(" "),
		String(MEMORY_MIB),
		...["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 earlyprintk=serial"],
	]);

let hasQemu = true;
try {
	execFileSync("qemu-system-x86_64", ["--version"]);
} catch {
	hasQemu = false;
	console.log("qemu-system-x86_64 is not installed: nothing to compare with");
}

let failed = false;
console.log(`${kernel}, ${MEMORY_MIB} MiB, to "${MARKER}" and soft off; wall seconds`);
for (let round = 0; round < Number(values.rounds); round++) {
	for (const model of values.models.split(",")) {
		for (const tree of values.trees.split(",")) {
			const other = hasQemu ? qemu() : null;
			const own = reenter(model, tree);
			const beside =
				other === null
					? ""
					: `   QEMU TCG ${other.booted ? other.seconds.toFixed(1) : "did not boot"}   ratio ${(own.seconds / other.seconds).toFixed(1)}`;
			console.log(`${model} ${tree}: ${own.booted ? own.seconds.toFixed(1) : "did not boot"}${beside}`);
			if (!own.booted) {
				failed = true;
				console.log(own.out.split("\n").slice(-30).join("\n"));
			} else if (round === 0) console.log(own.report.replace(/^/gm, "    "));
		}
	}
}
process.exitCode = failed ? 1 : 0;
