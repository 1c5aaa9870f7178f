/** The page's state: one signal, kept in step with the address, and what the engine has said about it. */
import { computed, effect, signal } from "@preact/signals";
import type { Catalogue, Target } from "../worker/api.ts";
import { EngineClient } from "./engine.ts";
import { packText, unpackText } from "./pack.ts";
import { type PageState, readHash, writeHash } from "./url.ts";

/** Where the page is. */
export const state = signal<PageState>(readHash(location.hash));

/** Answers short questions; what takes long has a worker of its own, so that nobody waits for it. */
export const engine = new EngineClient();
export const checker = new EngineClient();

export const catalogue = signal<Catalogue | null>(null);

/** The patch's text; the address has it packed. */
export const patchText = signal("");

/** Changes parts of the state. @param isStep whether "back" should lead to where the page is now */
export function go(change: Partial<PageState>, isStep = false): void {
	const next = { ...state.value, ...change };
	const hash = writeHash(next);
	if (hash === writeHash(state.value)) return;
	history[isStep ? "pushState" : "replaceState"](null, "", hash);
	state.value = next;
}

/** Changes the patch. */
export function setPatch(text: string): void {
	patchText.value = text;
	if (text === "") {
		go({ patch: "" });
		return;
	}
	void packText(text).then((packed) => {
		if (patchText.value === text) go({ patch: packed });
	});
}

/** The tree that is looked at, with the patch on it. */
export const target = computed<Target>(() => ({
	tree: state.value.tree,
	patch: patchText.value,
	vendor: state.value.vendor,
}));

/** Reads the address, now and whenever it changes. */
export async function followAddress(): Promise<void> {
	const read = async () => {
		const next = readHash(location.hash);
		if (next.patch !== state.value.patch || (next.patch !== "" && patchText.value === "")) {
			patchText.value = next.patch === "" ? "" : ((await unpackText(next.patch)) ?? "");
		}
		state.value = next;
	};
	addEventListener("hashchange", () => void read());
	addEventListener("popstate", () => void read());
	await read();
	catalogue.value = await engine.ask("catalogue");
}

/** The document's title says where the page is. */
effect(() => {
	const { tab, tree, with: other } = state.value;
	document.title = `Reenter: ${tab}, ${tree}${other === "" ? "" : ` and ${other}`}`;
});
