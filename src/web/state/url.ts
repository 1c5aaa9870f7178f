/**
 * The page's state as its address has it, so that a link reopens it: `#loop?tree=v6.18&with=series-v1&vendor=vmx`. What is at
 * its default is left out. A patch and a guest image are compressed (pack.ts).
 */
import type { Vendor } from "../../silicon/models/model.ts";
import type { Target } from "../worker/api.ts";

/** The tabs, in order. */
export const TABS = ["loop", "move", "run", "profile", "cost"] as const;
export type Tab = (typeof TABS)[number];

export interface PageState {
	readonly tab: Tab;
	readonly tree: string;
	/** The tree beside it; "" for none. */
	readonly with: string;
	readonly vendor: Vendor;
	/** A patch on `tree`: JSON text, packed; "" for none. */
	readonly patch: string;
	/** The step that is selected: `PathRow.place`. */
	readonly step: string;
	/** A guest program, `script`, or an image that was dropped: `file:NAME`. */
	readonly guest: string;
	/** A dropped image, packed; "" for none. */
	readonly image: string;
	/** Events of the run, as `reenter check --replay` writes them: `irq@57,nmi@60g`. */
	readonly events: string;
	/** Factors of the configuration that are set, as `reenter check --config` takes them: `xcr0=host,pke=off`. */
	readonly configuration: string;
	/** A built-in CPU model, or `file` for one that was dropped; "" for the vendor's usual one. */
	readonly cpu: string;
	/** A dropped model file, packed; "" for none. */
	readonly model: string;
	/** Position in the run: a frame. */
	readonly at: number;
	/** Costs that sliders have changed: `xsetbv:100,vmresume:500`. */
	readonly costs: string;
}

export const DEFAULT_STATE: PageState = {
	tab: "loop",
	tree: "v6.18",
	with: "",
	vendor: "vmx",
	patch: "",
	step: "",
	guest: "",
	image: "",
	events: "",
	configuration: "",
	cpu: "",
	model: "",
	at: 0,
	costs: "",
};

/** What is looked at when the address says nothing. */
export const FIRST_TARGET: Target = {
	tree: DEFAULT_STATE.tree,
	patch: "",
	vendor: DEFAULT_STATE.vendor,
	cpu: "",
	configuration: "",
};

export const VENDOR_NAMES: readonly Vendor[] = ["vmx", "svm", "tdx"];
const TEXTS = [
	"tree",
	"with",
	"patch",
	"step",
	"guest",
	"image",
	"events",
	"configuration",
	"cpu",
	"model",
	"costs",
] as const;

/** All parameters of an address. */
export const PARAMETERS: readonly string[] = [...TEXTS, "vendor", "at"];

/** An address's tab and parameters. */
export function hashParts(hash: string): { readonly name: string; readonly parameters: URLSearchParams } {
	const [, name = "", query = ""] = /^#?\/?([^?]*)\??(.*)$/s.exec(hash) ?? [];
	return { name, parameters: new URLSearchParams(query) };
}

/** Reads an address's hash. What it does not know, or makes no sense, has its default. */
export function readHash(hash: string): PageState {
	const { name, parameters } = hashParts(hash);
	const tab = TABS.find((one) => one === name) ?? DEFAULT_STATE.tab;
	const vendor = VENDOR_NAMES.find((one) => one === parameters.get("vendor")) ?? DEFAULT_STATE.vendor;
	const at = Number(parameters.get("at") ?? 0);
	const texts = Object.fromEntries(TEXTS.map((key) => [key, parameters.get(key) ?? DEFAULT_STATE[key]]));
	return { ...DEFAULT_STATE, ...texts, tab, vendor, at: Number.isSafeInteger(at) && at >= 0 ? at : 0 };
}

/** Writes a state as an address's hash. */
export function writeHash(state: PageState): string {
	const parameters = new URLSearchParams();
	for (const key of [...TEXTS, "vendor", "at"] as const) {
		if (state[key] !== DEFAULT_STATE[key]) parameters.set(key, String(state[key]));
	}
	// These need no escape in a hash, and are what makes links readable.
	const query = parameters
		.toString()
		.replaceAll("%3A", ":")
		.replaceAll("%40", "@")
		.replaceAll("%2C", ",")
		.replaceAll("%3D", "=");
	return `#${state.tab}${query === "" ? "" : `?${query}`}`;
}
