import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_CONFIGURATION, allConfigurations } from "../../src/check/configuration.ts";
import { EVENT_KINDS } from "../../src/check/events.ts";
import { makeToken, readToken, tokenHash, tokenMismatch } from "../../src/check/token.ts";
import { changedFlows, flowLetters } from "../../src/kvm/flow/fingerprint.ts";
import { step, nothing } from "../../src/kvm/flow/flow.ts";
import { applyPatches, insert, move, remove } from "../../src/kvm/flow/patch.ts";
import { findTree, BUILT_IN_TREES } from "../../src/kvm/trees/trees.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { MODELS, defaultModel } from "../../src/silicon/models/models.ts";

const target = (tree = v618, vendor: "vmx" | "svm" | "tdx" = "vmx") => ({ tree, vendor });
const run = {
	model: defaultModel("vmx"),
	configuration: DEFAULT_CONFIGURATION,
	guest: "mixed",
	schedule: [],
};
const patched = (...edits: Parameters<typeof applyPatches>[1][number]["edits"]) =>
	applyPatches(v618, [{ title: "test", source: "", edits }], "test", "");

describe("a replay token", () => {
	const injection = fc.record({
		event: fc.constantFrom(...EVENT_KINDS),
		at: fc.nat(9999),
		inGuest: fc.constantFrom(true, undefined),
	});
	const configurations = allConfigurations("vmx", defaultModel("vmx"));

	it("says again what it was made of, in 80 characters or less for up to three events", () => {
		fc.assert(
			fc.property(
				fc.constantFrom("vmx", "svm", "tdx"),
				fc.constantFrom(...configurations),
				fc.array(injection, { maxLength: 3 }),
				(vendor, configuration, drawn) => {
					const schedule = drawn.map(({ event, at, inGuest }) =>
						inGuest === true ? { event, at, inGuest: true } : { event, at },
					);
					const model = defaultModel(vendor as "vmx");
					const token = makeToken(target(v618, vendor as "vmx"), { ...run, model, configuration, schedule });
					expect(token.length).toBeLessThanOrEqual(80);
					const replay = readToken(token)!;
					expect(replay).toMatchObject({ vendor, configuration, guest: "mixed", schedule, model: "" });
					expect(replay.treeHash).toBe(tokenHash(v618));
				},
			),
			{ seed: 80, numRuns: 300 },
		);
	});

	it("names a CPU model that is not the vendor's usual one", () => {
		const other = { ...MODELS.turin!, name: "milan" };
		const token = makeToken(target(v618, "svm"), { ...run, model: other });
		expect(readToken(token)!.model).toBe("milan");
	});

	it("is read whole or not at all", () => {
		const token = makeToken(target(), { ...run, schedule: [{ event: "irq", at: 57 }] });
		for (const broken of [
			"",
			"r1:",
			"r2" + token.slice(2),
			token.replace(".vmx", ""),
			`${token}x`,
			token.replace(/a57$/, "?57"),
		])
			expect(readToken(broken)).toBeNull();
		expect(readToken(`${token}\n`)).not.toBeNull();
	});
});

describe("the hash of a tree", () => {
	it("tells all built-in trees apart", () => {
		const hashes = BUILT_IN_TREES.map(({ name }) => tokenHash(findTree(name)));
		expect(new Set(hashes).size).toBe(hashes.length);
	});

	it("is that of its flows, not of its name or of how it was patched", () => {
		const moved = patched(move("clgi", "svm_vcpu_run", "vcpu_enter_guest", { at: "start" }));
		const same = patched(
			remove("clgi", "svm_vcpu_run"),
			insert(
				[...v618.flows.get("svm_vcpu_run")!.body].find(({ name }) => name === "clgi")!,
				"vcpu_enter_guest",
				{
					at: "start",
				},
			),
		);
		expect(tokenHash(same)).toBe(tokenHash(moved));
		expect(tokenHash({ ...moved, name: "other" })).toBe(tokenHash(moved));
		expect(tokenHash(moved)).not.toBe(tokenHash(v618));
	});

	it("has the order and the instructions of steps in it", () => {
		const order = patched(move("clgi", "svm_vcpu_run", "svm_vcpu_run", { at: "start" }));
		expect(tokenHash(order)).not.toBe(tokenHash(v618));
		const [one, two] = [4, 5].map((n) => patched(insert(step("s", nothing, n), "vcpu_run", { at: "start" })));
		expect(tokenHash(one!)).not.toBe(tokenHash(two!));
	});
});

describe("a token of another tree", () => {
	const mismatch = (tree: typeof v618, made: typeof v618) =>
		tokenMismatch(target(tree), readToken(makeToken(target(made), run))!, undefined);

	it("says nothing of the same tree", () => expect(mismatch(v618, { ...v618 })).toBeNull());

	it("names the flow that changed", () => {
		const changed = patched(insert(step("s", nothing), "vmx_vcpu_run", { at: "start" }));
		expect(mismatch(v618, changed)).toBe("it is of another tree: vmx_vcpu_run differs");
		expect(mismatch(changed, v618)).toBe("it is of another tree: vmx_vcpu_run differs");
	});

	it("names every flow that changed, one by one, in the letters of a vendor", () => {
		const names = flowLetters(target()).map(([name]) => name);
		for (const name of names) {
			const changed = patched(insert(step("s", nothing), name, { at: "start" }));
			const letters = flowLetters(target(changed)).map(([, letter]) => letter);
			const found = changedFlows(target(), letters.join(""));
			// One letter in 64 stands for both by chance; the whole hash tells even then.
			expect(found.length === 0 || found.includes(name), name).toBe(true);
			expect(tokenHash(changed)).not.toBe(tokenHash(v618));
		}
	});

	it("names exactly the flows that differ when the token's tree is a known one", () => {
		const replay = readToken(makeToken(target(findTree("series-v1"), "tdx"), run))!;
		const made = target(findTree("series-v1"), "tdx");
		expect(tokenMismatch(target(findTree("series-v2"), "tdx"), replay, made)).toBe(
			"it is of series-v1: vmx_handle_exit_irqoff, vt_handle_exit_irqoff differ",
		);
	});
});
