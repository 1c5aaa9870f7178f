/** SETcc, CMOVcc and Jcc see the flags that any instruction left, however the flags are kept. */
import { describe, expect, test } from "vitest";
import { Differential, type Start } from "./differential.ts";
import { Random } from "./random.ts";

/** Instructions that write flags, on (E)AX, (E)BX and CL: their bytes for an operand size of 1, 2, 4 or 8. */
type Producer = readonly [string, (bytes: number) => number[] | null];

function sized(bytes: number, narrow: readonly number[], wide: readonly number[]): number[] {
	if (bytes === 1) return [...narrow];
	return [...(bytes === 2 ? [0x66] : bytes === 8 ? [0x48] : []), ...wide];
}
/** An opcode whose lowest bit says "not 8 bits". */
function pair(name: string, opcode: readonly number[], ...rest: number[]): Producer {
	const wide = [...opcode.slice(0, -1), opcode.at(-1)! | 1];
	return [name, (bytes) => sized(bytes, [...opcode, ...rest], [...wide, ...rest])];
}
/** Without an 8-bit form; a mandatory prefix stands before REX. */
function wide(name: string, prefix: readonly number[], opcode: readonly number[]): Producer {
	return [
		name,
		(bytes) =>
			bytes === 1
				? null
				: [...(bytes === 2 ? [0x66] : []), ...prefix, ...(bytes === 8 ? [0x48] : []), ...opcode],
	];
}
function plain(name: string, ...code: number[]): Producer {
	return [name, (bytes) => (bytes === 4 ? code : null)];
}

const SHIFTS = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"];
const PRODUCERS: readonly Producer[] = [
	...["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"].map((name, at) => pair(name, [at * 8], 0xd8)),
	pair("test", [0x84], 0xd8),
	pair("inc", [0xfe], 0xc0),
	pair("dec", [0xfe], 0xc8),
	pair("neg", [0xf6], 0xd8),
	pair("not", [0xf6], 0xd0),
	pair("mul", [0xf6], 0xe3),
	pair("one-operand imul", [0xf6], 0xeb),
	...SHIFTS.map((name, at) => pair(`${name} by 1`, [0xd0], 0xc0 + at * 8)),
	...SHIFTS.map((name, at) => pair(`${name} by 5`, [0xc0], 0xc0 + at * 8, 5)),
	...SHIFTS.map((name, at) => pair(`${name} by 32`, [0xc0], 0xc0 + at * 8, 32)),
	...SHIFTS.map((name, at) => pair(`${name} by cl`, [0xd2], 0xc0 + at * 8)),
	wide("shld by 3", [], [0x0f, 0xa4, 0xd8, 3]),
	wide("shrd by cl", [], [0x0f, 0xad, 0xd8]),
	wide("imul", [], [0x0f, 0xaf, 0xc3]),
	wide("bt", [], [0x0f, 0xa3, 0xd8]),
	wide("btc", [], [0x0f, 0xbb, 0xd8]),
	wide("bsf", [], [0x0f, 0xbc, 0xc3]),
	wide("bsr", [], [0x0f, 0xbd, 0xc3]),
	wide("tzcnt", [0xf3], [0x0f, 0xbc, 0xc3]),
	wide("lzcnt", [0xf3], [0x0f, 0xbd, 0xc3]),
	wide("popcnt", [0xf3], [0x0f, 0xb8, 0xc3]),
	pair("xadd", [0x0f, 0xc0], 0xd8),
	pair("cmpxchg", [0x0f, 0xb0], 0xd9),
	plain("adcx", 0x66, 0x0f, 0x38, 0xf6, 0xc3),
	plain("adox", 0xf3, 0x0f, 0x38, 0xf6, 0xc3),
	plain("andn", 0xc4, 0xe2, 0x60, 0xf2, 0xc0),
	plain("blsr", 0xc4, 0xe2, 0x78, 0xf3, 0xcb),
	plain("blsi", 0xc4, 0xe2, 0x78, 0xf3, 0xdb),
	plain("blsmsk", 0xc4, 0xe2, 0x78, 0xf3, 0xd3),
	plain("bzhi", 0xc4, 0xe2, 0x70, 0xf5, 0xc3),
	plain("bextr", 0xc4, 0xe2, 0x70, 0xf7, 0xc3),
	plain("sahf", 0x9e),
	plain("lahf", 0x9f),
	plain("cmc", 0xf5),
	plain("clc", 0xf8),
	plain("stc", 0xf9),
	plain("cmpsb", 0xa6),
	plain("scasb", 0xae),
];

type Consumer = (condition: number) => number[];
const CONSUMERS: Readonly<Record<string, Consumer>> = {
	SETcc: (condition) => [0x0f, 0x90 + condition, 0xc2],
	CMOVcc: (condition) => [0x0f, 0x40 + condition, 0xd6],
	// Over MOV EDX, 1 or not.
	Jcc: (condition) => [0x0f, 0x80 + condition, 5, 0, 0, 0, 0xba, 1, 0, 0, 0],
	// Two ways lead to the SETcc, so that it knows nothing of what left the flags.
	"SETcc at a join": (condition) => [0xe3, 0x00, 0x0f, 0x90 + condition, 0xc2],
	// LAHF and SETO: all six flags as they are.
	"LAHF and SETO": () => [0x9f, 0x0f, 0x90, 0xc2],
};

/** 32-bit code differs in how instructions are encoded, not in how flags are kept: one form stands for all. */
function consumersFor(bitness: 32 | 64): [string, Consumer][] {
	return Object.entries(CONSUMERS).filter(([name]) => bitness === 64 || name === "Jcc");
}

function start(random: Random, window: { from: number }, bitness: number): Start {
	const regs = Array.from({ length: 16 }, () => BigInt.asUintN(bitness, random.value()));
	if (bitness === 32) regs.fill(0n, 8);
	if (random.oneIn(4)) regs[3] = regs[0]!;
	regs[1] = (regs[1]! & ~0xffn) | BigInt(random.below(70));
	regs[4] = regs[6] = regs[7] = BigInt(window.from + 0x800);
	return { regs, flags: 2 | (random.next() & 0x8d5) };
}

function check(
	pair: Differential,
	random: Random,
	bitness: number,
	code: readonly number[],
	name: string,
	inputs: number,
): void {
	pair.code(code);
	for (let input = 0; input < inputs; input++) {
		const begin = start(random, pair.window, bitness);
		const wrong = pair.run(begin);
		if (wrong !== null && wrong.length > 0) {
			const regs = begin.regs.slice(0, 4).map((value) => value.toString(16));
			expect([name, ...regs, begin.flags.toString(16), ...wrong]).toEqual([]);
		}
	}
}

for (const bitness of [64, 32] as const) {
	describe(`${bitness}-bit mode`, () => {
		for (const [name, consume] of consumersFor(bitness)) {
			test(`${name} behind every instruction that writes flags`, () => {
				const pair = new Differential(bitness);
				const random = new Random(7);
				for (const [producer, bytesOf] of PRODUCERS) {
					for (const bytes of bitness === 64 ? [1, 2, 4, 8] : [1, 2, 4]) {
						const first = bytesOf(bytes);
						if (first === null) continue;
						for (let condition = 0; condition < (name.startsWith("LAHF") ? 1 : 16); condition++) {
							const code = [...first, ...consume(condition)];
							check(pair, random, bitness, code, `${producer} ${bytes}, condition ${condition}`, 2);
						}
					}
				}
				expect(pair.compared).toBeGreaterThan(100);
			});
		}
		test("three in a row, each of which may leave some flags of the one before", () => {
			const pair = new Differential(bitness);
			const random = new Random(11);
			for (let round = 0; round < 700; round++) {
				const code: number[] = [];
				const names: string[] = [];
				while (names.length < 3) {
					const [name, bytesOf] = random.pick(PRODUCERS);
					const bytes = random.pick(bitness === 64 ? [1, 2, 4, 8] : [1, 2, 4]);
					const one = bytesOf(bytes);
					if (one === null) continue;
					code.push(...one);
					names.push(`${name} ${bytes}`);
				}
				const [name, consume] = random.pick(Object.entries(CONSUMERS));
				const condition = random.below(16);
				code.push(...consume(condition));
				check(pair, random, bitness, code, `${names.join("; ")}; ${name} ${condition}`, 4);
			}
			expect(pair.compared).toBeGreaterThan(700);
		});
	});
}
