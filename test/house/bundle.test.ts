import { describe, expect, it } from "vitest";
import wabt from "wabt";
import { shareMemory } from "../../scripts/bundle/iced.mjs";

describe("the bundle's decoder", () => {
	it("has a memory that grows without detaching a buffer, which would cost every typed array", async () => {
		const text =
			'(module (memory (export "memory") 22) (func (export "f") (result i32) (memory.grow (i32.const 1))))';
		const { buffer } = (await wabt()).parseWat("grows.wat", text).toBinary({});
		const instance = new WebAssembly.Instance(new WebAssembly.Module(shareMemory(buffer)));
		const { memory, f } = instance.exports as { memory: WebAssembly.Memory; f: () => number };
		const before = memory.buffer;
		expect([f(), before.byteLength, memory.buffer.byteLength]).toEqual([22, 22 << 16, 23 << 16]);
		expect(before).toBeInstanceOf(SharedArrayBuffer);
	});

	it("is refused when its module is not of the expected form", () => {
		expect(() => shareMemory(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))).toThrow("no memory section");
	});
});
