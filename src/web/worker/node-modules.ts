/**
 * What iced-x86 asks of Node's `fs`, `path` and `util`, for the worker: its WebAssembly as bytes that were fetched before, and
 * the codecs that browsers have as globals. The bundler puts this file in their place.
 */
let wasm: Uint8Array | null = null;

/** Keeps the bytes that iced-x86 will ask for. To be called before it is imported. */
export function setIcedWasm(bytes: Uint8Array): void {
	wasm = bytes;
}

/** `fs`: whatever is asked for, it is iced-x86's WebAssembly. */
export function readFileSync(): Uint8Array {
	if (wasm === null) throw new Error("iced-x86 was imported before its WebAssembly was fetched");
	return wasm;
}

/** `path`. */
export function join(...parts: readonly string[]): string {
	return parts.join("/");
}

const { TextDecoder: Decoder, TextEncoder: Encoder } = globalThis;
export { Decoder as TextDecoder, Encoder as TextEncoder };
