/** The committed images are what the sources give, where a compiler is there to say so. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadImage } from "../../src/guests/load.ts";
import { PROGRAMS, programBytes } from "../../src/guests/programs.ts";

/** The compiler that the committed images were made with; another one may choose other instructions. */
const MADE_WITH = "12.2.0";

function gccVersion(): string | null {
	const ask = (option: string) => spawnSync("gcc", [option], { encoding: "utf8" });
	const machine = ask("-dumpmachine");
	return machine.status === 0 && machine.stdout.startsWith("x86_64")
		? ask("-dumpfullversion").stdout.trim()
		: null;
}

const version = gccVersion();
const reason =
	version === null ? "no gcc for x86-64" : version !== MADE_WITH ? `gcc ${version}, not ${MADE_WITH}` : "";

test.skipIf(reason !== "")(`guests/ gives the committed images ${reason}`, () => {
	const folder = mkdtempSync(join(tmpdir(), "reenter-test-"));
	try {
		const script = join(import.meta.dirname, "..", "..", "scripts", "build-guests.mjs");
		execFileSync("node", [script, "--out", folder], { stdio: "pipe" });
		for (const program of PROGRAMS) {
			const built = loadImage(new Uint8Array(readFileSync(join(folder, program.name))));
			expect(built, program.name).toEqual(loadImage(programBytes(program)));
		}
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
});
