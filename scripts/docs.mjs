// Writes what commands print into the documents that show it: the block of README.md between the markers, tables of
// docs/*.md, and whole files: schema/patch.json, docs/findings.md and its charts. With --check nothing is written, and a difference is an error.
import { execFileSync, spawnSync } from "node:child_process";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const check = process.argv.includes("--check");
const root = new URL("..", import.meta.url);

function reenter(...args) {
	const options = { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } };
	try {
		return execFileSync(process.execPath, ["bin/reenter.js", ...args], options);
	} catch (error) {
		// Exit code 1 is a verdict, not a failure.
		if (error.status === 1) return error.stdout;
		throw error;
	}
}

function replaceBlock(file, name, content) {
	const url = new URL(file, root);
	const text = readFileSync(url, "utf8");
	const begin = `<!-- begin ${name} -->`;
	const end = `<!-- end ${name} -->`;
	const from = text.indexOf(begin);
	const to = text.indexOf(end);
	if (from < 0 || to < 0) throw new Error(`${file} has no block ${name}`);
	const next = `${text.slice(0, from + begin.length)}\n${content.trimEnd()}\n${text.slice(to)}`;
	if (next === text) return;
	if (check) {
		process.stderr.write(
			`${file}: the block "${name}" is not what the command prints now; run npm run docs\n`,
		);
		process.exitCode = 1;
	} else writeFileSync(url, next);
}

const fenced = (text) => `\`\`\`\n${text}\`\`\``;
replaceBlock("README.md", "review", fenced(reenter("review", "series-v1", "series-v2")));

// What the mails say of the INVD round trip, next to what the model gives.
const PUBLISHED = [
	["turin", "v6.18", [], "patch 3", "~2000"],
	["turin", "series-v2:1-3", [], "patch 3", "~1500"],
	["turin", "series-v2:1-3", ["--pke"], "patch 4", "~1560"],
	["turin", "series-v2", ["--pke"], "patch 4", "~1500"],
	["emerald-rapids", "v6.18", [], "patch 3", "~1300"],
	["emerald-rapids", "series-v2:1-3", [], "patch 3", "~1000"],
	["emerald-rapids", "series-v2:1-3", ["--pke"], "patch 4", "~810"],
	["emerald-rapids", "series-v2", ["--pke"], "patch 4", "~770"],
];
const rows = PUBLISHED.map(([cpu, tree, options, mail, published]) => {
	const printed = reenter("cost", "invd", "--cpu", cpu, "--tree", tree, ...options, "--json");
	const { cyclesPerExit } = JSON.parse(printed);
	const command = ["reenter cost invd --cpu", cpu, "--tree", tree, ...options].join(" ");
	return `| \`${command}\` | ${published} (${mail}) | ${cyclesPerExit} |`;
});
const table = ["| command | published | printed |", "|---|---|---:|", ...rows].join("\n");
replaceBlock("docs/costs.md", "published and printed", table);
const { costTable } = await import("../dist/silicon/models/table.js");
const { MODELS } = await import("../dist/silicon/models/models.js");
for (const model of Object.values(MODELS))
	replaceBlock("docs/costs.md", `costs of ${model.name}`, costTable(model));

// docs/patches.md shows the examples and what commands say of them.
for (const name of [
	"patch-2-v1.json",
	"patch-2-v2.json",
	"pv-clock.json",
	"pkru-if-loaded.json",
	"vendor-module.ts",
]) {
	const text = readFileSync(new URL(`examples/${name}`, root), "utf8");
	replaceBlock("docs/patches.md", name, `\`\`\`${name.endsWith(".ts") ? "ts" : "jsonc"}\n${text}\`\`\``);
}
const { VALUE_NAMES } = await import("../dist/kvm/patch/condition.js");
replaceBlock("docs/patches.md", "values", `${VALUE_NAMES.map((name) => `\`${name}\``).join(", ")}.`);
const patchDocs = {
	diff: ["diff", "--patch", "examples/patch-2-v1.json"],
	"check v1": ["check", "--patch", "examples/patch-2-v1.json", "--vendor", "tdx"],
	"check v2": ["check", "--patch", "examples/patch-2-v2.json", "--vendor", "tdx"],
	"check pkru-if-loaded": [
		"check",
		"--patch",
		"examples/pkru-if-loaded.json",
		..."--vendor svm --config pkru=host --max-events 1 --context 0".split(" "),
	],
	"diff vendor": ["diff", "--patch", "examples/vendor-module.ts", "--vendor", "counting-vmx"],
};
for (const [name, words] of Object.entries(patchDocs))
	replaceBlock("docs/patches.md", name, fenced(reenter(...words)));

// docs/check.md shows a counterexample, what a token of another tree gets, and the line for a mail.
const violated = reenter("check", "series-v1", "--vendor", "tdx");
const first = violated.slice(violated.indexOf("violated: "));
replaceBlock(
	"docs/check.md",
	"counterexample",
	fenced(first.slice(0, first.indexOf("\n", first.indexOf("replay: ")) + 1)),
);
const token = /replay: reenter replay (\S+)/.exec(violated)[1];
const refused = spawnSync(process.execPath, ["bin/reenter.js", "replay", token, "series-v2"], {
	cwd: root,
	encoding: "utf8",
});
replaceBlock(
	"docs/check.md",
	"token of another tree",
	fenced(`$ reenter replay ${token} series-v2\n${refused.stderr}`),
);
const passed = reenter("check", "series-v2", "--vendor", "svm").trimEnd();
const footer = passed.slice(passed.indexOf("Checked-by-model:"));
replaceBlock("docs/casebook.md", "table", fenced(reenter("casebook")));
// Minutes: with --full alone.
if (process.argv.includes("--full"))
	replaceBlock("docs/casebook.md", "default bounds", fenced(reenter("casebook", "--bounds", "default")));
const { HISTORY } = await import("../dist/kvm/trees/history/cases.js");
const stories = HISTORY.map((entry) => {
	const { fix, shows } = entry;
	const configuration = Object.entries(shows.configuration).map(([factor, value]) => `${factor}=${value}`);
	const needs = [...shows.events, ...configuration].map((word) => `\`${word}\``);
	return [
		`### ${entry.title}`,
		`\`${entry.name}\`, ${entry.vendors.join(", ")}; ${fix.commits.join(", ")} (${fix.date}, ${fix.author})`,
		entry.story,
		...(entry.differs === "" ? [] : [`Here: ${entry.differs}`]),
		`Shown by ${needs.length === 0 ? "a run without events" : needs.join(", ")}; violates \`${shows.property}\`.`,
	].join("\n\n");
});
replaceBlock("docs/casebook.md", "stories", stories.join("\n\n"));
replaceBlock("docs/check.md", "footer", fenced(`${footer}\n`));

/** A file that is printed as a whole. */
function holdFile(file, content, command) {
	const url = new URL(file, root);
	if (existsSync(url) && readFileSync(url, "utf8") === content) return;
	if (check) {
		process.stderr.write(`${file} is not what ${command} prints; run npm run docs\n`);
		process.exitCode = 1;
	} else writeFileSync(url, content);
}

// The JSON Schema of patch files, for editors.
holdFile("schema/patch.json", reenter("schema"), "reenter schema");

// docs/findings.md and its charts.
const folder = mkdtempSync(join(tmpdir(), "reenter-docs-"));
try {
	mkdirSync(join(folder, "img"));
	const page = join(folder, "findings.md");
	reenter("explain", "pku", "--charts", join(folder, "img"), "--output", page);
	for (const name of readdirSync(join(folder, "img")))
		holdFile(`docs/img/${name}`, readFileSync(join(folder, "img", name), "utf8"), "reenter explain pku");
	holdFile("docs/findings.md", readFileSync(page, "utf8"), "reenter explain pku");
} finally {
	rmSync(folder, { recursive: true, force: true });
}
