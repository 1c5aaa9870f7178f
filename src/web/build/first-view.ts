/**
 * What the page shows when nothing is asked for, worked out by the engine while the page is built: it is there before the
 * worker has loaded the engine. `npm run web` has none, since the engine changes while it runs.
 */
import type { Plugin } from "vite";
import { FIRST_TARGET } from "../state/url.ts";

const NAME = "virtual:first-view";

/** Makes `virtual:first-view`. */
export function firstView(): Plugin {
	let isBuild = false;
	return {
		name: "reenter-first-view",
		config: (_config, { command }) => {
			isBuild = command === "build";
		},
		resolveId: (id) => (id === NAME ? `\0${NAME}` : null),
		async load(id) {
			if (id !== `\0${NAME}`) return null;
			if (!isBuild) return "export const firstView = null;";
			const { engine } = await import("../worker/engine.ts");
			const text = JSON.stringify({
				catalogue: engine.catalogue(),
				machine: engine.machine(FIRST_TARGET),
				loop: engine.loop(FIRST_TARGET),
			});
			return `export const firstView = JSON.parse(${JSON.stringify(text)});`;
		},
	};
}
