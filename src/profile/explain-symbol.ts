/** Why a symbol shows up in a profile: what its time is made of. */
import { hint } from "../kvm/flow/patch.ts";
import { type CallTreeData, bySymbol, nodeName } from "./call-tree.ts";
import { ProfileError } from "./errors.ts";
import { FRAME } from "./frames.ts";
import type { Recording } from "./record.ts";
import { viewTree } from "./report.ts";
import { inlinableIn } from "./symbols.ts";

/** A part of a symbol's time. */
export interface Part {
	readonly what: string;
	readonly count: number;
	readonly cycles: number;
}

export interface SymbolExplanation {
	readonly symbol: string;
	/** The symbol under which this build has it; itself unless it is inlined. */
	readonly shownAs: string;
	/** Samples of the symbol that shows, in percent of the host's. */
	readonly sampledPercent: number;
	/** Cycles of the symbol that shows, exactly, in percent of the host's, without the processor's own work. */
	readonly exactPercent: number;
	readonly calls: number;
	readonly ops: readonly Part[];
	readonly code: Part;
	/** Functions that were inlined into it. */
	readonly inlined: readonly Part[];
	/** The processor's own work whose samples land here. */
	readonly skid: Part | null;
	readonly callers: readonly Part[];
}

/** Symbols at which the processor goes on behind a VM exit; on SVM the NMI waits for STGI. */
const BEHIND_EXIT: ReadonlySet<string> = new Set(["vmx_vmexit", "svm_vcpu_run", "tdx_vcpu_run"]);

function sumOf(tree: CallTreeData, weight: "cycles" | "samples", without: readonly string[]): number {
	return bySymbol(tree, weight)
		.filter(({ name }) => !without.includes(name))
		.reduce((sum, row) => sum + row.weight, 0);
}

/** The nearest ancestor, or the node itself, that has a symbol. */
function shownNode(tree: CallTreeData, node: number, inlined: ReadonlySet<string>): number {
	let at = node;
	while (at > 0 && inlined.has(nodeName(tree, at))) at = tree.parent[at]!;
	return at;
}

/**
 * Explains a symbol of a recording that was made with `ops`.
 * @throws ProfileError if it does not occur in it
 */
export function explainSymbol(
	{ calls: tree, ops }: Pick<Recording, "calls" | "ops">,
	symbol: string,
	inlined: ReadonlySet<string>,
): SymbolExplanation {
	const nodes = tree.parent
		.map((_, node) => node)
		.filter((node) => node > 0 && nodeName(tree, node) === symbol);
	if (nodes.length === 0) throw new ProfileError(`${symbol} was not executed${hint(symbol, tree.symbols)}`);
	const shownAs = nodeName(tree, shownNode(tree, nodes[0]!, inlined));
	const parts = new Map<string, { count: number; cycles: number }>();
	const inlinedParts = new Map<string, { count: number; cycles: number }>();
	const callers = new Map<string, { count: number; cycles: number }>();
	const put = (
		map: Map<string, { count: number; cycles: number }>,
		key: string,
		count: number,
		cycles: number,
	) => {
		const old = map.get(key) ?? { count: 0, cycles: 0 };
		map.set(key, { count: old.count + count, cycles: old.cycles + cycles });
	};
	const own = new Set(nodes);
	let cycles = 0;
	let calls = 0;
	for (const node of nodes) {
		cycles += tree.cycles[node]!;
		calls += tree.calls[node]!;
		put(callers, nodeName(tree, tree.parent[node]!) || "(no caller)", tree.calls[node]!, tree.cycles[node]!);
	}
	let opCycles = 0;
	for (const row of ops) {
		if (!own.has(row.node)) continue;
		put(parts, row.op, row.count, row.cycles);
		opCycles += row.cycles;
	}
	for (let node = 1; node < tree.parent.length; node++) {
		const name = nodeName(tree, node);
		if (!inlined.has(name) || own.has(node)) continue;
		if (own.has(shownNode(tree, node, inlined)))
			put(inlinedParts, name, tree.calls[node]!, tree.cycles[node]!);
	}
	let skid: Part | null = null;
	if (BEHIND_EXIT.has(shownAs)) {
		let count = 0;
		let work = 0;
		for (let node = 1; node < tree.parent.length; node++) {
			if (nodeName(tree, node) !== FRAME.vmExit) continue;
			count += tree.calls[node]!;
			work += tree.cycles[node]!;
		}
		skid = { what: "VM exit, by skid", count, cycles: work };
	}
	const apart = [FRAME.guest, FRAME.idle, FRAME.vmEntry, FRAME.vmExit];
	const view = viewTree(tree, inlined, true);
	const shownOf = (weight: "cycles" | "samples") =>
		bySymbol(view, weight).find(({ name }) => name === shownAs)?.weight ?? 0;
	const list = (map: ReadonlyMap<string, { count: number; cycles: number }>) =>
		[...map].map(([what, part]) => ({ what, ...part })).sort((a, b) => b.cycles - a.cycles);
	const percent = (part: number, whole: number) => (whole === 0 ? 0 : (100 * part) / whole);
	return {
		symbol,
		shownAs,
		sampledPercent: percent(shownOf("samples"), sumOf(view, "samples", [FRAME.guest, FRAME.idle])),
		exactPercent: percent(shownOf("cycles"), sumOf(view, "cycles", apart)),
		calls,
		ops: list(parts),
		code: { what: "plain code", count: calls, cycles: cycles - opCycles },
		inlined: list(inlinedParts),
		skid,
		callers: list(callers),
	};
}

/** The explanation as text. */
export function explanationText(explained: SymbolExplanation): string {
	const { symbol, shownAs, calls } = explained;
	const each = (part: Part) => (calls === 0 ? 0 : part.cycles / calls).toFixed(1).padStart(9);
	const row = (part: Part) => `  ${each(part)}  ${part.what}`;
	const lines = [
		`${symbol}: called ${calls} times`,
		shownAs === symbol
			? `It has a symbol of its own: ${explained.sampledPercent.toFixed(2)} % of the host's samples, ${explained.exactPercent.toFixed(2)} % of its cycles outside of VM entry and exit.`
			: `It has no symbol: the compiler inlines it (static in ${inlinableIn(symbol) ?? "its file"}), so perf shows its cycles under ${shownAs}.`,
		"",
		"Cycles a call:",
		...explained.ops.map(row),
		row(explained.code),
	];
	if (explained.inlined.length > 0) {
		lines.push("Inlined into it, cycles a call of it:", ...explained.inlined.map(row));
	}
	if (explained.skid !== null && explained.skid.count > 0) {
		const { cycles, count } = explained.skid;
		lines.push(
			"By skid:",
			`  ${(cycles / count).toFixed(1).padStart(9)}  the processor's own work of a VM exit: no host instruction is under way in it, so`,
			"             the counter's NMI is taken behind it, and perf notes it here",
		);
	}
	lines.push(
		"Called by:",
		...explained.callers.map((part) => `  ${String(part.count).padStart(9)}  ${part.what}`),
	);
	return `${lines.join("\n")}\n`;
}
