// Feeds random images, page tables, VMCSs and VMCBs to the software machine. Each case has a number, by which it is run again.
//
//     npm run fuzz -- --minutes 1 --seed 1          exit code 1 if any case failed
//     npm run fuzz -- --kind vmcb --case 1234       one case
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const inherit = { stdio: "inherit" };
const tsc = join(root, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", join(root, "scripts/fuzz/tsconfig.json")], inherit);
const run = join(root, "build/fuzz/test/fuzz/run.js");
// glibc keeps what V8 gives back after compiling, in pieces: then resident memory says little of what is in use.
const env = { ...process.env, MALLOC_MMAP_THRESHOLD_: "32768", MALLOC_TRIM_THRESHOLD_: "131072" };
process.exitCode =
	spawnSync(process.execPath, [run, ...process.argv.slice(2)], { ...inherit, env }).status ?? 1;
