import { describe, expect, it } from "vitest";
import { FIGURE_CYCLES, ownCycles, runPart, SHARED_OPS } from "../../src/host/shares.ts";
import { createSilicon } from "../../src/kvm/api/kvm.ts";
import { MODELS } from "../../src/silicon/models/models.ts";
import { OP } from "../../src/silicon/ops.ts";

describe("an op of which a profile shows several functions", () => {
	for (const model of Object.values(MODELS)) {
		it(`${model.name}: an op's cost and its functions add up to the figure that they share`, () => {
			const { cpu } = createSilicon(model, 1 << 20);
			for (const op of SHARED_OPS) {
				const { cycles, parts } = FIGURE_CYCLES[op];
				const start = cpu.cycles;
				cpu.op(OP[op]);
				for (const part of parts) runPart(cpu, part);
				expect(cpu.cycles - start).toBeCloseTo(cycles, 9);
				expect(cpu.costs[OP[op]]).toBeCloseTo(ownCycles(op), 9);
			}
		});
	}

	it("divides by instructions: each function has the share of the figure that it has of them, within a cycle", () => {
		const { cpu } = createSilicon(MODELS.turin!, 1 << 20);
		for (const op of SHARED_OPS) {
			const { cycles, parts, instructions } = FIGURE_CYCLES[op];
			for (const [at, part] of parts.entries()) {
				const start = cpu.cycles;
				runPart(cpu, part);
				const all = instructions.reduce((sum, count) => sum + count, 0);
				expect(Math.abs(cpu.cycles - start - (cycles * instructions[at + 1]!) / all)).toBeLessThan(1);
			}
		}
	});
});
