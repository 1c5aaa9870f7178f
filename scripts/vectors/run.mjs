// Runs random cases on this machine's own processor and on the software one, and prints where they differ. Needs gcc.
// KIND: x87, integer, mmx, vector, string, stack, segment, branch, legacy (docs/vectors.md).
//
//     npm run vectors -- KIND SEED CASES          CASES of each encoding; exit code 1 if any differ
//     npm run vectors -- KIND SEED CASES --write  also writes the sample that npm test runs
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const build = join(root, "build", "vectors");
const CFLAGS = ["-O2", "-Wall", "-Wextra", "-static", "-no-pie", "-fcf-protection=none"];

mkdirSync(build, { recursive: true });
const native = join(build, "native");
const inherit = { stdio: "inherit" };
// Far from the low addresses that the cases use.
const link = "-Wl,-Ttext-segment=0x10000000";
execFileSync("gcc", [...CFLAGS, link, join(root, "scripts/vectors/native.c"), "-o", native], inherit);
execFileSync(
	process.execPath,
	[join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "scripts/vectors/tsconfig.json")],
	inherit,
);
const run = join(build, "test/silicon/vectors/run.js");
process.exitCode =
	spawnSync(process.execPath, [run, root, native, ...process.argv.slice(2)], inherit).status ?? 1;
