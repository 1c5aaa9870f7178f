/** The page's state: one signal, kept in step with the address, and what the engine has said about it. */
import { batch, computed, effect, signal } from "@preact/signals";
import type { Catalogue, FirstView, LoopView, MachineView, Target } from "../worker/api.ts";
import { CheckPool } from "./check-pool.ts";
import { EngineClient } from "./engine.ts";
import { hashProblems } from "./link-problems.ts";
import { packText, unpackText } from "./pack.ts";
import { FIRST_TARGET, type PageState, readHash, writeHash } from "./url.ts";

/** Where the page is. */
export const state = signal<PageState>(readHash(location.hash));

/** Answers short questions; checks have workers of their own, so that nobody waits for them. */
export const engine = new EngineClient();
export const checks = new CheckPool(navigator.hardwareConcurrency);

/** What the build has brought along, so that nobody waits for the engine to be loaded. */
const brought: Promise<FirstView | null> = import("virtual:first-view").then(({ firstView }) => firstView);
const machineKey = ({ vendor, cpu }: Target) => `${vendor} ${cpu}`;

/** The engine's view of a tree's loop. @throws EngineError through the promise */
export async function askLoop(of: Target): Promise<LoopView> {
	const isFirst = Object.entries(FIRST_TARGET).every(([key, value]) => of[key as keyof Target] === value);
	const first = isFirst ? await brought : null;
	return first?.loop ?? engine.ask("loop", of);
}

async function askMachine(of: Target): Promise<MachineView> {
	const first = machineKey(of) === machineKey(FIRST_TARGET) ? await brought : null;
	return first?.machine ?? engine.ask("machine", { ...of, configuration: "" });
}

export const catalogue = signal<Catalogue | null>(null);
/** What the chosen machine is made of; null until it is known, or if it cannot be. */
export const machine = signal<MachineView | null>(null);

/** What of the address could not be read; "" if all was. */
export const linkProblem = signal("");

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

/** The text of the CPU model's file; the address has it packed. */
export const modelText = signal("");
/** `PageState.cpu` of a model file. */
export const MODEL_FILE = "file";

/** Takes a model file's text. */
export async function setModelFile(text: string): Promise<void> {
	modelText.value = text;
	go({ cpu: MODEL_FILE, model: await packText(text) }, true);
}

/** The tree that is looked at, with the patch on it, on the machine that is chosen. */
export const target = computed<Target>(() => {
	const { tree, vendor, cpu, configuration } = state.value;
	return {
		tree,
		patch: patchText.value,
		vendor,
		cpu: cpu === MODEL_FILE ? modelText.value : cpu,
		configuration,
	};
});

/** Another tree on the same machine. */
export const besideTarget = computed<Target | null>(() =>
	state.value.with === "" ? null : { ...target.value, tree: state.value.with, patch: "" },
);

/** A packed text of the address; what cannot be unpacked is said, and is as if it were not there. */
async function unpacked(packed: string, what: string): Promise<string> {
	if (packed === "") return "";
	const text = await unpackText(packed);
	if (text === null)
		linkProblem.value = `this link's ${what} is cut off or damaged: the page is shown without it`;
	return text ?? "";
}

/** Reads the address, now and whenever it changes. */
export async function followAddress(): Promise<void> {
	const read = async () => {
		const { hash } = location;
		const next = readHash(hash);
		linkProblem.value = hashProblems(hash).join("; ");
		const patch = await unpacked(next.patch, "patch");
		const model = await unpacked(next.model, "CPU model");
		const cpu = next.cpu === MODEL_FILE && model === "" ? "" : next.cpu;
		batch(() => {
			patchText.value = patch;
			modelText.value = model;
			state.value = { ...next, cpu };
		});
	};
	addEventListener("hashchange", () => void read());
	addEventListener("popstate", () => void read());
	await read();
	catalogue.value = (await brought)?.catalogue ?? (await engine.ask("catalogue"));
	// The first question that it is asked shall find it loaded. If it cannot be, who asks is told.
	engine.ask("warm", FIRST_TARGET).catch(() => {});
}

/** The document's title says where the page is. */
effect(() => {
	const { tab, tree, with: other } = state.value;
	document.title = `Reenter: ${tab}, ${tree}${other === "" ? "" : ` and ${other}`}`;
});

let machineAsked = "";
/** What there is to choose for the machine. */
effect(() => {
	const of = target.value;
	const key = machineKey(of);
	if (key === machineAsked) return;
	machineAsked = key;
	const keep = (value: MachineView | null) => {
		if (machineAsked === key) machine.value = value;
	};
	// What is wrong with a model is said by each tab that asks for it.
	askMachine(of).then(keep, () => keep(null));
});
