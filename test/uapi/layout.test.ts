import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KVM_CAP, KVM_EXIT, KVM_MP_STATE } from "../../src/uapi/constants.ts";
import { IOCTL } from "../../src/uapi/ioctl.ts";
import { buffer, encode, struct } from "../../src/uapi/layout.ts";
import {
	KVM_RUN_MEMBERS,
	KVM_RUN_UNION,
	STRUCTS,
	kvmRegs,
	kvmRunHead,
	kvmSegment,
} from "../../src/uapi/structs.ts";

/** Compiles and runs a C program over the headers; null where there is no compiler or no header. */
function askCompiler(expressions: readonly string[]): number[] | null {
	const folder = mkdtempSync(join(tmpdir(), "reenter-uapi-"));
	try {
		const lines = expressions.map((expression) => `printf("%lu\\n", (unsigned long)(${expression}));`);
		const source = `#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n${lines.join("\n")}\n}\n`;
		writeFileSync(join(folder, "layout.c"), source);
		const built = spawnSync("gcc", ["-o", join(folder, "layout"), join(folder, "layout.c")]);
		if (built.status !== 0) return null;
		const printed = execFileSync(join(folder, "layout"), { encoding: "utf8" });
		return printed.trim().split("\n").map(Number);
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}

function headerDefines(name: string): boolean {
	for (const path of ["/usr/include/linux/kvm.h", "/usr/include/x86_64-linux-gnu/asm/kvm.h"]) {
		try {
			if (new RegExp(`\\b${name}\\b`).test(readFileSync(path, "utf8"))) return true;
		} catch {
			// Asked of the compiler instead, which knows where its headers are.
		}
	}
	return false;
}

describe("the structs, ioctl numbers and constants of linux/kvm.h", () => {
	const claims: [string, number][] = [];
	for (const layout of STRUCTS) {
		claims.push([`sizeof(struct ${layout.name})`, layout.bytes]);
		for (const [field, at] of Object.entries(layout.offsets)) {
			const member = layout.name === "kvm_guest_debug" && field === "debugreg" ? "arch.debugreg" : field;
			const inner = layout.name === "kvm_irqchip" && field === "chip" ? "chip.dummy" : member;
			claims.push([`offsetof(struct ${layout.name}, ${inner})`, at]);
		}
	}
	for (const [field, at] of Object.entries(kvmRunHead.offsets))
		claims.push([`offsetof(struct kvm_run, ${field})`, at]);
	for (const [member, layout] of Object.entries(KVM_RUN_MEMBERS)) {
		for (const [field, at] of Object.entries(layout.offsets)) {
			const path = member === "debug" ? `debug.arch.${field}` : `${member}.${field}`;
			claims.push([`offsetof(struct kvm_run, ${path})`, KVM_RUN_UNION + at]);
		}
	}
	for (const [name, number] of Object.entries(IOCTL)) claims.push([name, number]);
	for (const [name, number] of Object.entries(KVM_EXIT)) claims.push([`KVM_EXIT_${name}`, number]);
	for (const [name, number] of Object.entries(KVM_CAP)) claims.push([`KVM_CAP_${name}`, number]);
	for (const [name, number] of Object.entries(KVM_MP_STATE)) claims.push([`KVM_MP_STATE_${name}`, number]);
	// Older headers lack what is newer than they are.
	const known = claims.filter(([text]) => !/^KVM_/.test(text) || headerDefines(text));
	const answers = askCompiler(known.map(([text]) => text));

	it.skipIf(answers === null)("are what a C compiler says (skipped without gcc or linux/kvm.h)", () => {
		const wrong = known.filter(([, value], at) => value !== answers![at]);
		expect(wrong.map(([text, value]) => `${text} is not ${value}`)).toEqual([]);
		expect(known.length).toBeGreaterThan(0.9 * claims.length);
	});
});

describe("a struct", () => {
	it("reads back what was written, whatever the values", () => {
		const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
		fc.assert(
			fc.property(fc.array(word, { minLength: 18, maxLength: 18 }), (words) => {
				const names = Object.keys(kvmRegs.fields) as (keyof typeof kvmRegs.fields)[];
				const regs = Object.fromEntries(names.map((name, at) => [name, words[at]!]));
				expect(kvmRegs.read(encode(kvmRegs, regs).view, 0)).toEqual(regs);
			}),
		);
	});

	it("aligns its fields as C does, and pads its end", () => {
		const layout = struct("t", { a: "u8", b: "u32", c: "u8", d: ["u16", 3], e: kvmSegment, f: "u8" });
		expect(layout.offsets).toEqual({ a: 0, b: 4, c: 8, d: 10, e: 16, f: 40 });
		expect(layout.bytes).toBe(48);
	});

	it("takes what is not given for 0", () => {
		const { view } = encode(kvmSegment, { base: 5n });
		expect(kvmSegment.read(view, 0)).toEqual({ ...kvmSegment.read(buffer(24).view, 0), base: 5n });
	});
});
