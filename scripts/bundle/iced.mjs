// Bundles iced-x86, the decoder, with its WebAssembly memory made a shared one.
//
// A WebAssembly memory that grows leaves its old ArrayBuffer detached, and iced-x86's grows at the first decode. Once any buffer
// of a thread was detached, V8 (11.3, JSArrayBuffer::DetachInternal) has optimized code ask at every access of every typed array
// whether its buffer is detached; the whole machine is typed arrays. A shared memory grows without detaching anything.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const WASM = "iced_x86_bg.wasm";
const LOADED = "virtual:iced-x86-wasm";
const MEMORY_SECTION = 5;
const SHARED_WITH_MAXIMUM = 3;
/** Pages of 64 KiB that a decoder may grow to: address space, not memory. */
const PAGES_MAX = 4096;

/** How LEB128 writes a number (WebAssembly Core Specification, 5.2.2). */
function leb(value) {
	const bytes = [];
	for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
	return [...bytes, value];
}

/** Reads a LEB128 number. @returns it, and where the byte behind it stands */
function readLeb(bytes, at) {
	let value = 0;
	for (let shift = 0; ; shift += 7) {
		const byte = bytes[at++];
		value += (byte & 127) * 2 ** shift;
		if (byte < 128) return [value, at];
	}
}

/**
 * A module whose own memory is shared (WebAssembly threads, limits with flag 3).
 * @param {Uint8Array} module with one memory that has no maximum
 */
export function shareMemory(module) {
	for (let at = 8; at < module.length; ) {
		const [length, body] = readLeb(module, at + 1);
		if (module[at] !== MEMORY_SECTION) {
			at = body + length;
			continue;
		}
		const [memories, flagsAt] = readLeb(module, body);
		const [pages] = readLeb(module, flagsAt + 1);
		if (memories !== 1 || module[flagsAt] !== 0) throw new Error(`${WASM}: not one memory without a maximum`);
		const limits = [1, SHARED_WITH_MAXIMUM, ...leb(pages), ...leb(PAGES_MAX)];
		const section = [MEMORY_SECTION, ...leb(limits.length), ...limits];
		return Buffer.concat([module.subarray(0, at), Buffer.from(section), module.subarray(body + length)]);
	}
	throw new Error(`${WASM}: no memory section`);
}

/** The bundler's plugin. The WebAssembly stands beside the bundle's files, from where it is read. */
export const sharedIced = {
	name: "shared-iced-x86",
	resolveId: (id) => (id === LOADED ? `\0${LOADED}` : null),
	load: (id) =>
		id === `\0${LOADED}`
			? `import { readFileSync } from "node:fs";
export const bytes = readFileSync(new URL("${WASM}", import.meta.url));`
			: null,
	transform(code, id) {
		if (!id.endsWith("iced_x86.js")) return null;
		// It takes its views to be stale when they are of no length: detached.
		const stale = /\.byteLength === 0/g;
		const read =
			/const path = require\('path'\)\.join\(.*\);\nconst bytes = require\('fs'\)\.readFileSync\(path\);/;
		if (!read.test(code) || !stale.test(code))
			throw new Error(`${id}: loads in another way than iced-x86 1.21`);
		return code
			.replace(read, `const { bytes } = require("${LOADED}");`)
			.replace(stale, ".buffer !== wasm.memory.buffer");
	},
	generateBundle() {
		const file = createRequire(import.meta.url).resolve(`iced-x86/${WASM}`);
		this.emitFile({ type: "asset", fileName: WASM, source: shareMemory(readFileSync(file)) });
	},
};
