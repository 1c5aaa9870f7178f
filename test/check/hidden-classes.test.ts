/** A search looks at every field of a machine at every state: V8 has to find them by number. */
import { setFlagsFromString } from "node:v8";
import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { Inventory } from "../../src/check/search/inventory.ts";
import { snapshotRules } from "../../src/check/search/rules.ts";
import { Subject } from "../../src/check/subject.ts";
import { linkTree } from "../../src/kvm/flow/program.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { VENDORS } from "../../src/silicon/models/model.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";

setFlagsFromString("--allow-natives-syntax");
/** Whether V8 finds an object's fields by number; a dictionary's it looks up by name. */
const isFast = new Function("object", "return %HasFastProperties(object)") as (object: object) => boolean;

describe("Of a machine that is searched", () => {
	for (const vendor of VENDORS) {
		it(`no object is a dictionary to V8, on ${vendor}`, () => {
			const program = linkTree(v618, vendor);
			const subject = new Subject({
				program,
				model: defaultModel(vendor),
				configuration: DEFAULT_CONFIGURATION,
			});
			for (let blocks = 0; blocks < 100; blocks++) subject.runBlock();
			const { owners, fields } = new Inventory(subject.roots, snapshotRules(subject, []));
			subject.detach();
			const withFields = [...new Set(fields.map(({ owner }) => owners[owner]!))];
			expect(withFields.length).toBeGreaterThan(50);
			expect(withFields.filter((object) => !isFast(object)).map((object) => object.constructor.name)).toEqual(
				[],
			);
		});
	}
});
