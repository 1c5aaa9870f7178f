/** A slice of the mutants, always the same one: each is caught, or a row says why it is not. docs/mutants.md has the rest. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { Judge } from "./judge.ts";
import { doesNothing, mutantName } from "./mutations.ts";
import { judgingModules, modulesOf } from "./program-key.ts";
import { rowFor } from "./survivors.ts";

/** One in this many. */
const SLICE = 60;

describe("what was found of mutants", () => {
	const path = (name: string) => join(import.meta.dirname, name);

	it("counts for the modules that the judge and the trees import, whatever becomes of the others", () => {
		const modules = modulesOf(judgingModules(import.meta.dirname, "ts"));
		for (const name of [
			"check/search/search.ts",
			"kvm/x86/vcpu-enter-guest.ts",
			"silicon/vmx/entry.ts",
			"host/kernel.ts",
			"check/properties/balance.ts",
		])
			expect(modules).toContain(path(`../../src/${name}`));
		expect(modules.filter((one) => /src\/(cli|web|profile|review|softkvm)\//.test(one))).toEqual([]);
	});
});

describe("mutants of series-v2", () => {
	const judge = new Judge(findTree("series-v2"), "tdx");
	const mutants = judge.mutants();

	it("have names of their own, and are patches that apply", () => {
		expect(new Set(mutants.map(mutantName)).size).toBe(mutants.length);
		for (const mutant of mutants) expect(() => judge.mutate(mutant)).not.toThrow();
	});

	it("leave out, double and move steps, and drop guards both ways", () => {
		const count = (mutation: string) => mutants.filter((one) => one.mutation === mutation).length;
		for (const mutation of ["deleted", "twice", "earlier", "later", "always", "never"])
			expect(count(mutation), mutation).toBeGreaterThan(30);
	});

	it("are caught, or a row of the survivors' table says why not", () => {
		const slice = mutants.filter((mutant, at) => at % SLICE === 0 && !doesNothing(mutant.node));
		const unjudged = slice
			.filter((mutant) => judge.judge(mutant, "quick").caught === null && rowFor(mutant, "tdx") === undefined)
			.map(mutantName);
		expect(slice.length).toBeGreaterThan(8);
		expect(unjudged).toEqual([]);
	});

	it("that break what must hold are caught by the property that says so", () => {
		const caughtBy = (name: string) => {
			const mutant = mutants.find((one) => mutantName(one) === name);
			return mutant === undefined ? "no such mutant" : judge.judge(mutant, "quick").caught?.by;
		};
		expect(caughtBy("vmx_handle_exit_irqoff: EXTERNAL_INTERRUPT never")).toBe("interrupt-serviced");
		expect(caughtBy("tdx_load_host_xsave_state: XSETBV(host XCR0) deleted")).toBe("host-xstate");
		expect(caughtBy("vcpu_enter_guest: srcu_read_unlock deleted")).toBe("srcu-held");
		expect(caughtBy("kvm_arch_vcpu_ioctl_run: kvm_put_guest_fpu deleted")).toBe("host-fpu");
		expect(caughtBy("vt_vcpu_run: is_td_vcpu never")).toBe("host-invariant");
	});
});
