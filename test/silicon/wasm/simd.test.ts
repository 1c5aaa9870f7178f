/** Every vector opcode is the one of its name: wabt disassembles it so. */
import { describe, expect, test } from "vitest";
import wabt from "wabt";
import { Code, encodeModule, OPCODE, TYPE } from "../../../src/silicon/wasm/builder.ts";
import { SATURATING, SIMD } from "../../../src/silicon/wasm/simd.ts";

/** i8x16ExtractLaneS → i8x16.extract_lane_s */
function textOf(name: string): string {
	const [, shape, rest] = /^(v128|[if]\d+x\d+)(.*)$/.exec(name)!;
	const words = rest!
		.replace(/([a-z])(?=[A-Z])/g, "$1_")
		.replace(/(\d)(?=[SU]|Zero|Splat|Lane)/g, "$1_")
		.replace(/([HLwh])(?=[IF]\d)/g, "$1_")
		.replace(/(?<=S|U)(?=Zero)/g, "_")
		.toLowerCase();
	return `${shape}.${words.replace(/(\d)_?(?=x\d)/g, "$1")}`;
}

function append(code: Code, name: string, opcode: number): void {
	if (name === "v128Const") code.v128(0x0706_0504_0302_0100n, 0x0f0e_0d0c_0b0a_0908n);
	else if (name === "i8x16Shuffle") code.shuffle(Array.from({ length: 16 }, (_, at) => 31 - at));
	else if (/Lane/.test(name)) code.simdLane(opcode, 1);
	else if (/^v128(Load|Store)/.test(name)) code.simdAccess(opcode, 300);
	else code.simd(opcode);
	code.op(OPCODE.unreachable);
}

/** Opcodes one after the other, each where any operands will do. */
function bodyOf(opcodes: readonly (readonly [string, number])[]): Code {
	const code = new Code();
	code.op(OPCODE.unreachable);
	for (const [name, opcode] of opcodes) append(code, name, opcode);
	return code;
}

async function disassemble(body: Code): Promise<string> {
	const { readWasm } = await wabt();
	const bytes = encodeModule({
		types: [{ parameters: [], results: [TYPE.v128] }],
		imports: [{ kind: "memory", name: "memory" }],
		globals: [],
		functions: [{ type: 0, locals: [], parts: [body], exportName: "f" }],
	});
	const module = readWasm(bytes, { readDebugNames: false });
	const text = module.toText({ foldExprs: false, inlineExport: false });
	module.validate();
	module.destroy();
	return text;
}

describe("vector opcodes", () => {
	test("each is what its name says", async () => {
		const opcodes = Object.entries(SIMD);
		const lines = (await disassemble(bodyOf(opcodes))).split("\n").map((line) => line.trim());
		const found = lines
			.filter((line) => /^(v128|[if]\d+x\d+)\./.test(line))
			.map((line) => line.split(" ")[0]);
		expect(found).toEqual(opcodes.map(([name]) => textOf(name)));
	});

	test("immediates stand as given", async () => {
		expect(await disassemble(bodyOf([["v128Const", 12]]))).toContain(
			"0x03020100 0x07060504 0x0b0a0908 0x0f0e0d0c",
		);
		expect(await disassemble(bodyOf([["i8x16Shuffle", 13]]))).toContain("31 30 29 28");
		expect(await disassemble(bodyOf([["v128Load", 0]]))).toContain("offset=300");
	});

	test("truncations that saturate", async () => {
		for (const [name, opcode] of Object.entries(SATURATING)) {
			const code = new Code();
			code.op(OPCODE.unreachable);
			code.saturating(opcode);
			code.op(OPCODE.unreachable);
			const [to, from, sign] = [name.slice(0, 3), name.slice(3, 6), name.slice(6)];
			expect(await disassemble(code)).toContain(
				`${to}.trunc_sat_${from.toLowerCase()}_${sign.toLowerCase()}`,
			);
		}
	});
});
