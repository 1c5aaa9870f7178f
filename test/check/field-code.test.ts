import { describe, expect, it } from "vitest";
import { type Field, fieldScan } from "../../src/check/search/field-code.ts";

describe("the code that compares fields", () => {
	it("finds what differs, and goes on to when it gets code for this machine alone", () => {
		const owners: Record<string, unknown>[] = Array.from({ length: 9 }, (_, at) => ({
			cycles: at,
			mode: at % 2 === 0,
			"IA32 name": "on",
			guest: null,
			base: BigInt(at),
		}));
		const fields = owners.flatMap((object, owner) =>
			Object.keys(object).map((name): Field => ({ owner, name, hashed: true })),
		);
		const scan = fieldScan(owners, fields);
		const saved = fields.map(({ owner, name }) => owners[owner]![name]);
		const numbers = new Int32Array(fields.length);
		const now: unknown[] = [];
		owners[0]!.cycles = 0.5;
		owners[5]!.guest = owners[3];
		owners[6]!["IA32 name"] = "off";
		owners[8]!.base = 7n;
		const differ = [
			[0, 0.5],
			[28, owners[3]],
			[32, "off"],
			[44, 7n],
		];
		for (let call = 0; call < 160_000; call++) {
			const count = scan(saved, numbers, now);
			if (call % 20_000 !== 1) continue;
			expect(Array.from({ length: count }, (_, at) => [numbers[at], now[at]])).toEqual(differ);
		}
	});
});
