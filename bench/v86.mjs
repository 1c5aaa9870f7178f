// Runs one benchmark program under v86 and prints its time and result as JSON. Exit code 77: v86 is not installed.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Watch } from "./watch.mjs";

const image = readFileSync(process.argv[2]);
let main;
try {
	main = createRequire(import.meta.url).resolve("v86");
} catch {
	process.exit(77);
}
const { V86 } = await import(main.replace(/\.js$/, ".mjs"));
const watch = new Watch();
const emulator = new V86({
	wasm_path: join(dirname(main), "v86.wasm"),
	memory_size: 128 << 20,
	autostart: true,
	multiboot: { buffer: image.buffer.slice(image.byteOffset, image.byteOffset + image.length) },
	disable_keyboard: true,
	disable_mouse: true,
	disable_speaker: true,
});
emulator.add_listener("serial0-output-byte", (byte) => {
	watch.take(String.fromCharCode(byte));
	if (!watch.isComplete) return;
	process.stdout.write(JSON.stringify(watch.result));
	process.exit(0);
});
