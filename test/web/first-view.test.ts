import { describe, expect, it } from "vitest";
import { firstView } from "../../src/web/build/first-view.ts";
import { DEFAULT_STATE, FIRST_TARGET, readHash } from "../../src/web/state/url.ts";
import { engine } from "../../src/web/worker/engine.ts";

/** What the plugin makes of the module, by command of vite. */
async function made(command: "build" | "serve"): Promise<unknown> {
	const { config, load } = firstView() as unknown as {
		config(config: object, environment: { command: string }): void;
		load(id: string): Promise<string | null>;
	};
	config({}, { command });
	const source = await load("\0virtual:first-view");
	return new Function(source!.replace("export const firstView =", "return"))();
}

describe("what the build brings along", () => {
	it("is what the engine says of the address without anything in it", async () => {
		expect(readHash("")).toEqual(DEFAULT_STATE);
		expect(await made("build")).toEqual({
			catalogue: engine.catalogue(),
			machine: engine.machine(FIRST_TARGET),
			loop: engine.loop(FIRST_TARGET),
		});
	});

	it("is nothing while the page is worked on", async () => {
		expect(await made("serve")).toBeNull();
	});
});
