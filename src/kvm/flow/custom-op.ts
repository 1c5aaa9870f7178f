/** Ops that a patch defines: a name, a symbol, and what they cost. */
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import type { Cost, CpuModel } from "../../silicon/models/model.ts";
import { customOpId } from "../../silicon/ops.ts";
import type { Tree } from "./flow.ts";

/** One op of out-of-tree code. It passes the door as any op does, and changes no state of the machine. */
export interface CustomOp {
	readonly name: string;
	/** The function that is on the call stack while it is done. */
	readonly symbol: string;
	/** Its cost on a CPU model, by the model's name; `default` stands for all others. */
	readonly costs: Readonly<Record<string, Cost>>;
}

/** What an op of the patch costs on a model. */
export function customCost(op: CustomOp, model: CpuModel): Cost {
	const cost = op.costs[model.name] ?? op.costs.default;
	return (
		cost ?? { cycles: 0, origin: "assumed", source: `the patch gives ${op.name} no cost on ${model.name}` }
	);
}

/** The cost of an op by its name: the model's, or the tree's own. An op that another tree defines has none. */
export function opCost(tree: Tree, model: CpuModel, name: string): Cost {
	const own = tree.customOps.find((op) => op.name === name);
	return own === undefined ? model.costs[name as keyof typeof model.costs] : customCost(own, model);
}

/** Makes the ops of a tree cost what the tree says; where time stands still, and plain code costs nothing, they cost nothing. */
export function installCustomOps(cpu: Cpu, tree: Tree): void {
	const timeless = cpu.model.costs.code.cycles === 0;
	for (const op of tree.customOps)
		cpu.costs[customOpId(op.name)] = timeless ? 0 : customCost(op, cpu.model).cycles;
}
