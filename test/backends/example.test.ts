import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");

it("the example of docs/kvm-api.md runs as it stands there", async () => {
	const page = readFileSync(`${ROOT}/docs/kvm-api.md`, "utf8");
	const code = /```ts\n([\s\S]*?)```/.exec(page)![1]!;
	const here = code.replace('"reenter/kvm"', '"../../src/backends/open.ts"');
	expect(here).not.toBe(code);
	const file = `${import.meta.dirname}/example-of-the-page.ts`;
	writeFileSync(file, here);
	try {
		const { exits } = (await import(file)) as { exits: readonly { reason: string; port?: number }[] };
		expect(exits).toMatchObject([{ reason: "io", write: true, port: 16 }, { reason: "hlt" }]);
	} finally {
		rmSync(file);
	}
});
