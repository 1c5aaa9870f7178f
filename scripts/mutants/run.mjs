// Judges the check by mutants of the trees that are known good: docs/mutants.md.
//
//     npm run mutants                                  all of them; stop it and go on when you like
//     npm run mutants -- --vendor tdx --shard 1/2      half of one vendor's
//     npm run mutants -- --sample 20                   one in twenty, always the same
//     npm run mutants -- --report --docs               what was found so far, into docs/mutants.md
//     npm run mutants -- --patch "vcpu_enter_guest: local_irq_disable deleted" > m.json && npx reenter check --patch m.json
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const inherit = { stdio: ["inherit", 2, 2] };
const tsc = join(root, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", join(root, "scripts/mutants/tsconfig.json")], inherit);
const run = join(root, "build/mutants/test/mutants/run.js");
process.exitCode =
	spawnSync(process.execPath, [run, ...process.argv.slice(2)], { stdio: "inherit" }).status ?? 1;
