/** Ops that a patch file can have done by naming them: those whose effect needs no more than a name and whose value. */
import {
	readPkru,
	rdmsrDebugctl,
	rdmsrXfd,
	rdtsc,
	wrmsrDebugctl,
	wrmsrXss,
	writePkru,
	xsetbv,
} from "../../host/access.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { OP, type OpName, customOpId } from "../../silicon/ops.ts";
import { clgi, stgi } from "../../silicon/svm/instructions.ts";
import type { CustomOp } from "../flow/custom-op.ts";
import { FlowError } from "../flow/errors.ts";
import { describeCode } from "../flow/fingerprint.ts";
import { hint } from "../flow/patch.ts";
import type { Vcpu } from "../vcpu.ts";
import { srcuReadLock, srcuReadUnlock } from "../x86/srcu.ts";
import type { OpValue } from "./document.ts";

type Effect = (v: Vcpu) => void;

/** Ops without a value, and what they do. */
const PLAIN: Readonly<Partial<Record<OpName, Effect>>> = {
	sti: (v) => v.kernel.localIrqEnable(),
	cli: (v) => v.kernel.localIrqDisable(),
	preempt_disable: (v) => v.kernel.preemptDisable(),
	preempt_enable: (v) => v.kernel.preemptEnable(),
	srcu_read_lock: srcuReadLock,
	srcu_read_unlock: srcuReadUnlock,
	clgi: (v) => clgi(v.cpu),
	stgi: (v) => stgi(v.cpu),
	rdtsc: (v) => void rdtsc(v.cpu),
	rdpkru: (v) => void readPkru(v.cpu),
	"rdmsr(ia32_xfd)": (v) => void rdmsrXfd(v.cpu),
	"rdmsr(ia32_debugctl)": (v) => void rdmsrDebugctl(v.cpu),
	// An MSR that neither guest nor host sees here: only the cost counts.
	wrmsr: (v) => v.cpu.op(OP.wrmsr),
	mov_from_cr: (v) => v.cpu.op(OP.mov_from_cr),
	mov_from_dr: (v) => v.cpu.op(OP.mov_from_dr),
	vmread: (v) => v.cpu.op(OP.vmread),
	rsb_fill: (v) => v.cpu.op(OP.rsb_fill),
};

/** Ops that load a value: the guest's, or the host's. */
const LOADS: Readonly<Partial<Record<OpName, Readonly<Partial<Record<OpValue, Effect>>>>>> = {
	xsetbv: { guest: (v) => xsetbv(v.cpu, v.xcr0), host: (v) => xsetbv(v.cpu, v.kernel.xcr0) },
	"wrmsr(ia32_xss)": {
		guest: (v) => wrmsrXss(v.cpu, v.iaXss),
		host: (v) => wrmsrXss(v.cpu, v.kernel.xss),
	},
	wrpkru: { guest: (v) => writePkru(v.cpu, v.pkru), host: (v) => writePkru(v.cpu, v.hostPkru) },
	"wrmsr(ia32_debugctl)": { host: (v) => wrmsrDebugctl(v.cpu, v.hostDebugctl) },
};

/** Names of all ops that a file can name. */
export const DECLARED_OPS: readonly string[] = [...Object.keys(PLAIN), ...Object.keys(LOADS)];

/** One function for an op and a value, however often a file names them: trees are compared by the identity of steps. */
const known = new Map<string, Effect>();

function remember(key: string, make: () => Effect): Effect {
	let effect = known.get(key);
	if (effect === undefined) {
		effect = make();
		known.set(key, effect);
		describeCode(effect, key);
	}
	return effect;
}

/**
 * What a step does that names an op.
 * @param own the ops that the patch defines
 * @throws FlowError without a place, if there is no such op, or it cannot be done by its name
 */
export function declaredOp(name: string, value: OpValue | undefined, own: readonly CustomOp[]): Effect {
	const custom = own.find((op) => op.name === name);
	if (custom !== undefined) {
		if (value !== undefined) throw new FlowError(`op ${name} is the patch's own and loads no value`);
		return remember(`custom ${name} ${custom.symbol}`, () => customEffect(custom));
	}
	const loads = LOADS[name as OpName];
	if (loads !== undefined) {
		const effect = value === undefined ? undefined : loads[value];
		if (effect !== undefined) {
			describeCode(effect, `${name} ${value}`);
			return effect;
		}
		const values = Object.keys(loads).map((one) => `"${one}"`);
		throw new FlowError(`op ${name} needs "value": ${values.join(" or ")}`);
	}
	const plain = PLAIN[name as OpName];
	if (plain !== undefined) {
		if (value !== undefined) throw new FlowError(`op ${name} loads no value`);
		describeCode(plain, name);
		return plain;
	}
	if (Object.hasOwn(OP, name)) {
		throw new FlowError(
			`op ${name} cannot be done by its name alone; insert a step that does it, or write the step in TypeScript`,
		);
	}
	throw new FlowError(`there is no op ${name}${hint(name, [...own.map((op) => op.name), ...DECLARED_OPS])}`);
}

function customEffect(op: CustomOp): Effect {
	const id = customOpId(op.name);
	const symbolId = symbol(op.symbol);
	return (v) => {
		v.cpu.enter(symbolId);
		v.cpu.op(id);
		v.cpu.leave();
	};
}

/** Several deeds as one step. @param key tells equal steps apart from others; null if there is a function among them */
export function sequence(effects: readonly Effect[], key: string | null): Effect {
	if (effects.length === 1) return effects[0]!;
	const all: Effect = (v) => {
		for (const effect of effects) effect(v);
	};
	return key === null ? all : remember(`sequence ${key}`, () => all);
}
