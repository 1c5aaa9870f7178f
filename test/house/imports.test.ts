import { readFileSync, readdirSync } from "node:fs";
import { join, relative, resolve, dirname } from "node:path";
import { describe, expect, it } from "vitest";

const SRC = resolve(import.meta.dirname, "../../src");

/** Rooms from the top of the house to its ground: each may use what stands behind it. */
// The package's entry, src/index.ts, is under the command line.
const ROOMS = [
	"cli",
	"web",
	"index.ts",
	"review",
	"profile",
	"check",
	"measure",
	"backends",
	"softkvm",
	"kvm",
	"devkvm",
	"host",
	"silicon",
	"guests",
	"uapi",
];

/** Rooms that belong to Node; everything else runs in a browser worker too. devkvm/ is the real machine's. */
const FACES = ["cli", "web", "devkvm"];

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
	.filter((name) => /\.tsx?$/.test(name))
	.map((name) => join(SRC, name));

const roomOf = (file: string) => relative(SRC, file).split("/")[0]!;

function importsOf(text: string): string[] {
	return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
}

describe("the house", () => {
	it("has only the rooms that DESIGN and ARCHITECTURE name", () => {
		expect(files.map(roomOf).filter((room) => !ROOMS.includes(room))).toEqual([]);
	});

	it("imports point downward only", () => {
		const upward: string[] = [];
		for (const file of files) {
			const from = ROOMS.indexOf(roomOf(file));
			for (const target of importsOf(readFileSync(file, "utf8"))) {
				if (!target.startsWith(".")) continue;
				const to = ROOMS.indexOf(roomOf(resolve(dirname(file), target)));
				if (to < from) upward.push(`${relative(SRC, file)} imports ${target}`);
			}
		}
		expect(upward).toEqual([]);
	});

	it("the page and the command line know nothing of each other", () => {
		const faces = ["cli", "web"];
		const across = files.filter((file) =>
			importsOf(readFileSync(file, "utf8")).some((target) => {
				const to = roomOf(resolve(dirname(file), target));
				return (
					target.startsWith(".") && faces.includes(to) && faces.includes(roomOf(file)) && to !== roomOf(file)
				);
			}),
		);
		expect(across.map((file) => relative(SRC, file))).toEqual([]);
	});

	it("nothing below the faces imports node: modules or reads clocks, randomness or the environment", () => {
		const banned =
			/"node:|\bDate\b|\bperformance\b|Math\.random|\bprocess\.|\bconsole\.|\bsetTimeout\b|\bcrypto\b/;
		const found: string[] = [];
		for (const file of files.filter((name) => !FACES.includes(roomOf(name)))) {
			for (const [at, line] of readFileSync(file, "utf8").split("\n").entries()) {
				const code = line.replace(/\/\/.*|^\s*\*.*|\/\*.*?\*\//g, "");
				if (banned.test(code)) found.push(`${relative(SRC, file)}:${at + 1}: ${line.trim()}`);
			}
		}
		expect(found).toEqual([]);
	});

	it("has no barrel files and no file past 620 lines", () => {
		const wrong = files.filter((file) => {
			const lines = readFileSync(file, "utf8").split("\n").length;
			return (
				(/\/index\.ts$/.test(file) && roomOf(file) !== "index.ts") ||
				(lines > 620 && !file.includes("/guests/images/"))
			);
		});
		expect(wrong.map((file) => relative(SRC, file))).toEqual([]);
	});

	it("leaves nothing unfinished behind in comments", () => {
		const marker = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME"].join("|")})\\b`);
		expect(
			files.filter((file) => marker.test(readFileSync(file, "utf8"))).map((file) => relative(SRC, file)),
		).toEqual([]);
	});
});
