/** A WebAssembly module whose own memory is shared. */
export function shareMemory(module: Uint8Array): Uint8Array<ArrayBuffer>;
