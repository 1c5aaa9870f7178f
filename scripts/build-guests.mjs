// Builds the guest programs of guests/ into src/guests/images/*.ts. Needs gcc and binutils for x86-64.
//
//     npm run guests                  build and write
//     npm run guests -- --check       build and compare with what is there; exit code 1 if they differ
//     npm run guests -- --out FOLDER  build the ELF files into a folder and write nothing else
//
// The images are committed, so that nobody needs a compiler to run them.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const sources = join(root, "guests");
const images = join(root, "src", "guests", "images");
const LINE = 96;

/** Programs and their kind; the registry is src/guests/programs.ts. */
export const PROGRAMS = [
	...[
		"invd",
		"cpuid",
		"wbinvd",
		"hlt",
		"pio",
		"wrmsr-tscdeadline",
		"rdmsr",
		"vmcall",
		"compute",
		"xstate",
		"empty",
		"pio-kernel",
		"mmio",
		"mmio-kernel",
		"mov-cr8",
		"page-fault",
		"self-ipi",
	].map((name) => ({ name, kind: "long-mode" })),
	{ name: "mixed", kind: "long-mode", files: ["state.c"] },
	{ name: "timer-userspace", kind: "long-mode" },
	...["halt-poll", "mmu-stress", "pkeys"].map((name) => ({
		name,
		kind: "long-mode",
		files: ["smp.S", "smp.c"],
	})),
	...["td-mixed", "td-cpuid", "td-vmcall", "td-script"].map((name) => ({ name, kind: "td" })),
];

const CFLAGS = [
	"-O2",
	"-m64",
	"-std=gnu11",
	"-Wall",
	"-Wextra",
	"-Werror",
	"-ffreestanding",
	"-nostdlib",
	"-static",
	"-no-pie",
	"-fno-pic",
	"-mno-sse",
	"-mno-mmx",
	"-mno-80387",
	"-mno-red-zone",
	"-mcmodel=small",
	"-fno-stack-protector",
	"-fcf-protection=none",
	"-fno-asynchronous-unwind-tables",
	"-fno-tree-loop-distribute-patterns",
	"-fno-ident",
	"-Wl,--build-id=none",
	"-Wl,-n",
	"-Wl,-z,noexecstack",
	"-Wl,--no-warn-rwx-segments",
];

const PARTS = {
	"long-mode": { script: "guest.ld", files: ["start.S", "vm.c", "lib.c"] },
	// Linked above 2 GiB, where absolute addresses do not fit 32 signed bits.
	td: { script: "td.ld", files: ["td-start.S", "td.c", "lib.c"], flags: ["-fPIE", "-fvisibility=hidden"] },
};

/** Bytes of one program, stripped. @param {{ name: string, kind: string, files?: string[] }} program @param {string} folder for temporary files */
export function build({ name, kind, files: own = [] }, folder) {
	const part = PARTS[kind];
	const output = join(folder, name);
	const files = [...part.files, ...own, `${name}.c`].map((file) => join(sources, file));
	const flags = [...CFLAGS, ...(part.flags ?? [])];
	execFileSync("gcc", [...flags, "-I", sources, "-T", join(sources, part.script), "-o", output, ...files], {
		stdio: ["ignore", "inherit", "inherit"],
	});
	execFileSync("strip", ["-s", "-R", ".comment", output]);
	return readFileSync(output);
}

/** The TypeScript module that embeds an image. */
export function moduleText(name, bytes) {
	const base64 = Buffer.from(bytes).toString("base64");
	const lines = [];
	for (let at = 0; at < base64.length; at += LINE) lines.push(`\t"${base64.slice(at, at + LINE)}",`);
	return `/** guests/${name}.c as an ELF64 file in base64. Made by \`npm run guests\`. */\nexport const image = [\n${lines.join("\n")}\n].join("");\n`;
}

function main() {
	const outAt = process.argv.indexOf("--out");
	if (outAt >= 0) {
		for (const program of PROGRAMS) build(program, process.argv[outAt + 1]);
		return;
	}
	const check = process.argv.includes("--check");
	const folder = mkdtempSync(join(tmpdir(), "reenter-guests-"));
	let differing = 0;
	try {
		for (const program of PROGRAMS) {
			const text = moduleText(program.name, build(program, folder));
			const path = join(images, `${program.name}.ts`);
			if (!check) writeFileSync(path, text);
			else if (readFileSync(path, "utf8") !== text) {
				console.error(
					`src/guests/images/${program.name}.ts differs from what guests/${program.name}.c gives`,
				);
				differing++;
			}
		}
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
	process.exitCode = differing > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
