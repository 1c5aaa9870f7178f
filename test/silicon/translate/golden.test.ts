/**
 * The WebAssembly that short inputs become, as text, with how many instructions of which kind. A change of the translator
 * shows here as a diff of code. What is meant is accepted by the command in ACCEPT.
 */
import wabt from "wabt";
import { expect, test } from "vitest";
import { BareMachine } from "./bare-machine.ts";

const ACCEPT = "npx vitest run test/silicon/translate/golden.test.ts --update";
const HLT = 0xf4;
const AT = 0x1000;

// biome-ignore format: assembly beside its machine code
const INPUTS: readonly (readonly [name: string, bitness: 32 | 64, assembly: string, code: readonly number[]])[] = [
	["add-flags-dead",  64, "add rax, rbx; add rax, rcx; xor edx, edx", [0x48, 0x01, 0xd8, 0x48, 0x01, 0xc8, 0x31, 0xd2]],
	["adc",             64, "add eax, ebx; adc edx, ecx",               [0x01, 0xd8, 0x11, 0xca]],
	["load",            64, "mov rax, [rbx+8*rcx+16]",                  [0x48, 0x8b, 0x44, 0xcb, 0x10]],
	["store",           64, "mov [rbx], eax",                           [0x89, 0x03]],
	["modify",          64, "add dword [rbx], 1",                       [0x83, 0x03, 0x01]],
	["locked",          64, "lock cmpxchg [rbx], rcx",                  [0xf0, 0x48, 0x0f, 0xb1, 0x0b]],
	["compare-branch",  64, "cmp rax, rbx; jl +2; xor eax, eax",        [0x48, 0x39, 0xd8, 0x7c, 0x02, 0x31, 0xc0]],
	["loop",            64, "1: add eax, ecx; dec ecx; jnz 1b",         [0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa]],
	["push-pop",        64, "push rax; pop rbx",                        [0x50, 0x5b]],
	["call",            64, "call +0",                                  [0xe8, 0, 0, 0, 0]],
	["return",          64, "ret",                                      [0xc3]],
	["shift",           64, "shl eax, cl; sar rbx, 3",                  [0xd3, 0xe0, 0x48, 0xc1, 0xfb, 0x03]],
	["multiply",        64, "imul rax, rbx; mul ecx",                   [0x48, 0x0f, 0xaf, 0xc3, 0xf7, 0xe1]],
	["divide",          64, "div ecx",                                  [0xf7, 0xf1]],
	["byte-registers",  64, "mov ah, bl; movzx ecx, ah",                [0x88, 0xdc, 0x0f, 0xb6, 0xcc]],
	["condition-moves", 64, "test eax, eax; setz dl; cmovs ecx, ebx",   [0x85, 0xc0, 0x0f, 0x94, 0xc2, 0x0f, 0x48, 0xcb]],
	["vector",          64, "paddd xmm0, xmm1; movaps [rbx], xmm0",     [0x66, 0x0f, 0xfe, 0xc1, 0x0f, 0x29, 0x03]],
	["stack-32",        32, "push eax; pop ebx; lea eax, [esp+4]",      [0x50, 0x5b, 0x8d, 0x44, 0x24, 0x04]],
];

/** The text of a region's function: signature, locals and body; the rest of a module is the same for all. */
function bodyOf(wat: string): string {
	const lines = wat.split("\n");
	const first = lines.findIndex((line) => line.startsWith("  (func "));
	const last = lines.findIndex((line, at) => at > first && !line.startsWith("    "));
	return lines.slice(first, last).join("\n");
}

/** How many instructions a body has, the most frequent kinds first. */
function opCounts(body: string): string[] {
	const counts = new Map<string, number>();
	for (const line of body.split("\n").slice(1)) {
		const name = /^\s+([a-z][\w.]*)/.exec(line)?.[1];
		if (name !== undefined && name !== "end") counts.set(name, (counts.get(name) ?? 0) + 1);
	}
	const sorted = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
	const total = sorted.reduce((sum, [, count]) => sum + count, 0);
	return [
		`;; ${total} instructions`,
		...sorted.map(([name, count]) => `;; ${String(count).padStart(5)} ${name}`),
	];
}

test.each(INPUTS)("%s is translated as its golden file says", async (name, bitness, assembly, code) => {
	const machine = new BareMachine(bitness);
	machine.cpu.setGpr(1, 1n);
	machine.cpu.setGpr(3, 0x8000n);
	machine.cpu.setGpr(4, 0x9000n);
	machine.poke(0x9000, [(AT + code.length) & 0xff, AT >> 8]);
	machine.poke(AT, [...code, HLT]);
	machine.run(AT);
	const { readWasm } = await wabt();
	const module = readWasm(machine.modules[0]!, { readDebugNames: false, simd: true });
	const body = bodyOf(module.toText({ foldExprs: false, inlineExport: false }));
	module.destroy();
	const text = [`;; ${bitness} bits: ${assembly}; hlt`, ...opCounts(body), body, ""].join("\n");
	await expect(text, `to accept what changed: ${ACCEPT}`).toMatchFileSnapshot(`golden/${name}.wat`);
});
