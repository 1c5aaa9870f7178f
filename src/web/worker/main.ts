/** The worker's entry: fetches iced-x86's WebAssembly, then loads the engine, and answers the page one question at a time. */
import wasmUrl from "iced-x86/iced_x86_bg.wasm?url";
import type { Answer, Engine, Request } from "./api.ts";
import { setIcedWasm } from "./node-modules.ts";

type Methods = Record<keyof Engine, (argument: unknown) => unknown>;

async function start(): Promise<Methods> {
	const response = await fetch(wasmUrl);
	setIcedWasm(new Uint8Array(await response.arrayBuffer()));
	const { engine } = await import("./engine.ts");
	return engine as unknown as Methods;
}

const started = start();

/** One line of what went wrong, as it is shown. */
function said(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
	const { id, method, argument } = data;
	const answer = (message: Answer) => postMessage(message);
	started
		.then((methods) => answer({ id, value: methods[method](argument) }))
		.catch((error: unknown) => answer({ id, error: said(error) }));
});
