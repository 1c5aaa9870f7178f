// Guest speed: the programs of bench/guests, built by gcc for 32 and 64 bits, here, under QEMU's TCG and under v86 (32 bits
// alone), one after the other in one run. A program's time is that between two characters that it prints, so that nothing
// of starting a machine is in it. Then: the time to the first instruction, and what is translated and kept.
//
//     npm run bench:silicon -- --rounds 3 --programs sieve,crc32
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { loadImage } from "../dist/guests/load.js";
import { createMachine } from "../dist/kvm/api/kvm.js";
import { guestRamBytesFor, hostRamBytesFor, Vmm } from "../dist/kvm/api/vmm.js";
import { runImage } from "../dist/review/run.js";
import { findTree } from "../dist/kvm/trees/trees.js";
import { MODELS } from "../dist/silicon/models/models.js";
import { translatorOf } from "../dist/silicon/processor.js";
import { Watch } from "./watch.mjs";
import { readOptions } from "../dist/cli/script-options.js";

const PROGRAMS = ["sieve", "crc32", "matrix", "list", "qsort", "memory", "branchy"];
const TIMEOUT_MS = 120_000;
const CFLAGS =
	"-O2 -Wall -Wextra -Wno-main -Wno-unused-function -ffreestanding -fno-builtin -nostdlib -static -no-pie -fno-pic -fcf-protection=none -fno-stack-protector -mgeneral-regs-only -mno-red-zone -Wl,--build-id=none";
const sources = fileURLToPath(new URL("guests", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "reenter-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const values = readOptions("bench:silicon", {
	rounds: { type: "string", default: "1" },
	programs: { type: "string", default: PROGRAMS.join(",") },
	bits: { type: "string", default: "64,32" },
});

/** Builds a program as a multiboot image. @returns its path */
function build(program, bits) {
	const path = join(folder, `${program}.${bits}`);
	const files = ["start.S", "programs.c"].map((name) => join(sources, name));
	const flags = [`-m${bits}`, ...CFLAGS.split(" "), `-DPROGRAM=${program}`, "-T", join(sources, "guest.ld")];
	execFileSync("gcc", [...flags, ...files, "-o", path], { stdio: "inherit" });
	// Multiboot loaders take 32-bit ELF files.
	if (bits === 64) execFileSync("objcopy", ["-O", "elf32-i386", path, path]);
	return path;
}

function reenter(path) {
	const watch = new Watch();
	runImage({
		bytes: readFileSync(path),
		fileName: "bench",
		tree: findTree("v6.18"),
		model: MODELS.turin,
		vendor: "svm",
		budgetInstructions: Number.POSITIVE_INFINITY,
		onConsole: (byte) => watch.take(String.fromCharCode(byte)),
	});
	return watch.result;
}

function qemu(path) {
	const options =
		"-accel tcg -cpu max -m 128 -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel";
	return new Promise((resolve) => {
		const watch = new Watch();
		const child = spawn("qemu-system-x86_64", [...options.split(" "), path], {
			stdio: ["ignore", "pipe", "ignore"],
			timeout: TIMEOUT_MS,
		});
		child.stdout.on("data", (chunk) => watch.take(chunk.toString("latin1")));
		child.on("error", () => resolve(null));
		child.on("close", () => resolve(watch.result));
	});
}

/** In a process of its own: the guest's last write makes v86 throw. */
function v86(path) {
	return new Promise((resolve) => {
		let out = "";
		const child = spawn(process.execPath, [fileURLToPath(new URL("v86.mjs", import.meta.url)), path], {
			stdio: ["ignore", "pipe", "ignore"],
			timeout: TIMEOUT_MS,
		});
		child.stdout.on("data", (chunk) => {
			out += chunk;
		});
		child.on("close", (code) => resolve(code === 0 ? JSON.parse(out) : null));
	});
}

const geometric = (ratios) =>
	Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
const best = (results) =>
	results.reduce((least, one) => (one === null ? least : Math.min(least, one.seconds)), Infinity);
const show = (seconds) => (Number.isFinite(seconds) ? seconds.toFixed(2) : "-").padStart(9);

for (const tool of ["gcc", "objcopy"]) {
	try {
		execFileSync(tool, ["--version"]);
	} catch {
		console.log(`skipped: the benchmark programs need ${tool}`);
		process.exit(77);
	}
}

console.log(`load ${loadavg()[0].toFixed(1)} at the start; seconds, the least of ${values.rounds} rounds`);
for (const bits of values.bits.split(",").map(Number)) {
	console.log(
		`\n${bits} bits       reenter       TCG${bits === 32 ? "       v86" : ""}   reenter/TCG${bits === 32 ? "  reenter/v86" : ""}`,
	);
	const toTcg = [];
	const toV86 = [];
	for (const program of values.programs.split(",")) {
		const path = build(program, bits);
		const times = { own: [], tcg: [], v86: [] };
		for (let round = 0; round < Number(values.rounds); round++) {
			times.tcg.push(await qemu(path));
			times.own.push(reenter(path));
			if (bits === 32) times.v86.push(await v86(path));
		}
		const all = [...times.own, ...times.tcg, ...times.v86].filter((one) => one !== null);
		const answers = new Set(all.map(({ value }) => value));
		if (answers.size > 1) {
			console.log(`${program}: results differ: ${[...answers].join(" ")}`);
			process.exitCode = 1;
		}
		const [own, tcg, other] = [best(times.own), best(times.tcg), best(times.v86)];
		const ratio = own / tcg;
		if (Number.isFinite(ratio) && ratio > 0) toTcg.push(ratio);
		if (Number.isFinite(own / other) && own / other > 0) toV86.push(own / other);
		const last = bits === 32 ? `${show(other)} ${show(ratio)}    ${show(own / other)}` : ` ${show(ratio)}`;
		console.log(`${program.padEnd(9)} ${show(own)} ${show(tcg)} ${last}`);
	}
	if (toTcg.length > 0) console.log(`geometric mean: ${geometric(toTcg).toFixed(2)} of TCG's time`);
	if (toV86.length > 0) console.log(`geometric mean: ${geometric(toV86).toFixed(2)} of v86's time`);
	else if (bits === 32)
		console.log("v86 is not installed, or did not run the programs: nothing to compare with");
}

/** Runs a guest on a machine that is looked into. @param codeBytesMax host memory for translated code @returns its figures */
function look(path, codeBytesMax) {
	const image = loadImage(readFileSync(path));
	const guestRamBytes = guestRamBytesFor(image);
	const started = performance.now();
	const machine = createMachine({
		model: MODELS.turin,
		vendor: "svm",
		tree: findTree("v6.18"),
		ramBytes: hostRamBytesFor(guestRamBytes),
	});
	const translator = translatorOf(machine.memory);
	if (codeBytesMax !== undefined) translator.codeBytesMax = codeBytesMax;
	const vmm = new Vmm(machine, { guestRamBytes });
	vmm.load(image);
	vmm.run(1);
	const firstMs = performance.now() - started;
	const running = performance.now();
	vmm.run();
	return {
		firstMs,
		seconds: (performance.now() - running) / 1000,
		kept: translator.codeBytes,
		...translator.stats,
	};
}

const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const first = build("qsort", 64);
for (const codeBytesMax of [undefined, 256 << 10]) {
	const seen = look(first, codeBytesMax);
	if (codeBytesMax === undefined) {
		console.log(`\nfrom an image to its first instruction, the machine made: ${seen.firstMs.toFixed(0)} ms`);
	}
	console.log(
		`code cache, qsort${codeBytesMax === undefined ? "" : `, at most ${mib(codeBytesMax)}`}: ${mib(seen.kept)} kept, ${seen.coldRegions + seen.hotRegions} regions in ${seen.modules} modules, ${seen.evictions} evictions, ${seen.seconds.toFixed(2)} s`,
	);
}
console.log(`resident memory of this process: ${mib(process.memoryUsage().rss)}`);
