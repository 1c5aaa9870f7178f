/** A violation that the tests of what is printed need: version 1 of the series loses an interrupt on TDX. */
import { runCheck } from "../../src/check/check.ts";
import { DEFAULT_CONFIGURATION } from "../../src/check/configuration.ts";
import { v618 } from "../../src/kvm/trees/base.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";

const { violations } = runCheck({
	tree: findTree("series-v1"),
	base: v618,
	vendor: "tdx",
	model: defaultModel("tdx"),
	mceHandler: "task-work",
	events: ["irq"],
	configuration: DEFAULT_CONFIGURATION,
});

/** The op at which an external interrupt is lost. */
export const LOST_AT: number = violations.find(({ property }) => property === "interrupt-serviced")!
	.schedule[0]!.at;
