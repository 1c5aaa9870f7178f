/**
 * Conditions that a patch file writes out, and the fields that it keeps on the vCPU: a flag or a cached value. What is compared
 * are numbers that KVM has at hand; reading one is no op.
 */
import { FlowError } from "../flow/errors.ts";
import { describeCode } from "../flow/fingerprint.ts";
import { hint } from "../flow/patch.ts";
import type { Vcpu } from "../vcpu.ts";
import { svmExitNames } from "../svm/exit-names.ts";
import { vmxExitNames } from "../vmx/exit-names.ts";
import { KVM_REQ } from "../requests.ts";
import type { ConditionDocument } from "./document.ts";

type Test = (v: Vcpu) => boolean;
type Value = (v: Vcpu) => number;

// biome-ignore format: one row a value
/** What a file can compare and keep, by name. */
const VALUES: Readonly<Record<string, Value>> = {
	"guest XCR0":      (v) => v.xcr0,
	"host XCR0":       (v) => v.kernel.xcr0,
	"loaded XCR0":     (v) => v.cpu.xcr0,
	"guest XSS":       (v) => v.iaXss,
	"host XSS":        (v) => v.kernel.xss,
	"loaded XSS":      (v) => v.cpu.xss,
	"guest PKRU":      (v) => v.pkru,
	"host PKRU":       (v) => v.hostPkru,
	"guest XFD":       (v) => v.guestFpu.xfd,
	"host DEBUGCTL":   (v) => v.hostDebugctl,
	"xfd_err":         (v) => v.xfdErr,
	"switch_db_regs":  (v) => v.switchDbRegs,
	"cr8":             (v) => v.apic?.cr8 ?? 0,
	"mp_state":        (v) => v.mpState,
	"mode":            (v) => v.mode,
	"requests":        (v) => v.requests,
	"hv_deadline_tsc": (v) => v.vmx?.hvDeadlineTsc ?? -1,
	"run_flags":       (v) => v.runFlags,
	"exit_fastpath":   (v) => v.exitFastpath,
	"emulated":        (v) => v.emulated,
	"r":               (v) => v.runResult,
	"cpu":             (v) => v.cpu.number,
	"vcpu->cpu":       (v) => v.cpuNumber,
	"need_resched":    (v) => (v.kernel.current.needResched ? 1 : 0),
	"signal_pending":  (v) => (v.kernel.current.signalPending ? 1 : 0),
};

/** Their names. */
export const VALUE_NAMES: readonly string[] = Object.keys(VALUES);

/** Exits by the names that trace events print, of either vendor. */
const EXIT_NAMES = [...vmxExitNames, ...svmExitNames];

/** The kernel's name of the last exit. */
function lastExit(v: Vcpu): string {
	return v.vm.ops.exitReasonName(v.svm === null ? v.vt.exitReason : v.svm.vmcb.exitCode);
}

/** The test of a known guard, by name. */
export type FindTest = (name: string) => Test;

/** One function for one meaning, however often files write it: trees are compared by the identity of tests and steps. */
const known = new Map<string, Test | ((v: Vcpu) => void)>();
/** Numbers of the tests of known guards. */
const numbers = new Map<Test, number>();

function remember<F extends Test | ((v: Vcpu) => void)>(key: string, make: () => F): F {
	let found = known.get(key) as F | undefined;
	if (found === undefined) {
		found = make();
		known.set(key, found);
		describeCode(found, key);
	}
	return found;
}

function numberOf(test: Test): number {
	let number = numbers.get(test);
	if (number === undefined) {
		number = numbers.size;
		numbers.set(test, number);
	}
	return number;
}

interface Read {
	readonly test: Test;
	readonly key: string;
}

/** Reads conditions and assignments of one file. */
export class ConditionReader {
	private fields: readonly string[] = [];

	/** The fields that the file keeps. @throws FlowError for a name that is a value's */
	declare(fields: readonly string[]): void {
		for (const field of fields)
			if (Object.hasOwn(VALUES, field)) throw new FlowError(`"${field}" is a value that is there already`);
		this.fields = fields;
	}

	/**
	 * A condition's test.
	 * @param find the test of a known guard
	 * @throws FlowError without a place
	 */
	test(condition: ConditionDocument, find: FindTest): Test {
		return this.read(condition, find).test;
	}

	/** What a step does that assigns. @throws FlowError without a place */
	assignment(field: string, to: number | string): (v: Vcpu) => void {
		if (!this.fields.includes(field))
			throw new FlowError(
				`there is no field "${field}"${hint(field, this.fields)}; "fields" names those of the patch`,
			);
		const value = this.value(to);
		return remember(`assign ${field} = ${JSON.stringify(to)}`, () => (v: Vcpu) => {
			v.extra.set(field, value(v));
		});
	}

	private value(name: number | string): Value {
		if (typeof name === "number") return () => name;
		if (this.fields.includes(name)) return (v) => v.extra.get(name) ?? 0;
		if (Object.hasOwn(VALUES, name)) return VALUES[name]!;
		const names = [...this.fields, ...VALUE_NAMES];
		throw new FlowError(`there is no value "${name}"${hint(name, names)}; "fields" names those of the patch`);
	}

	private read(condition: ConditionDocument, find: FindTest): Read {
		if (typeof condition === "string") {
			const test = find(condition);
			return { test, key: `guard ${condition} ${numberOf(test)}` };
		}
		if ("not" in condition) {
			const { test, key } = this.read(condition.not, find);
			return made(`not (${key})`, (v) => !test(v));
		}
		if ("all" in condition) {
			const parts = condition.all.map((part) => this.read(part, find));
			return made(`all (${parts.map(({ key }) => key).join(", ")})`, (v) =>
				parts.every(({ test }) => test(v)),
			);
		}
		if ("any" in condition) {
			const parts = condition.any.map((part) => this.read(part, find));
			return made(`any (${parts.map(({ key }) => key).join(", ")})`, (v) =>
				parts.some(({ test }) => test(v)),
			);
		}
		if ("exit" in condition) return exitTest(condition.exit);
		if ("request" in condition) return requestTest(condition.request);
		const { value, is } = condition;
		const left = this.value(value);
		if (is === undefined) return made(`value ${value}`, (v) => left(v) !== 0);
		const right = this.value(is);
		return made(`value ${value} is ${JSON.stringify(is)}`, (v) => left(v) === right(v));
	}
}

function made(key: string, test: Test): Read {
	return { test: remember(key, () => test), key };
}

function exitTest(exit: string): Read {
	const name = exit.toLowerCase();
	if (!EXIT_NAMES.some((one) => one.toLowerCase() === name))
		throw new FlowError(`there is no exit "${exit}"${hint(exit, EXIT_NAMES)}`);
	return made(`exit ${name}`, (v) => lastExit(v).toLowerCase() === name);
}

function requestTest(request: string): Read {
	const name = request.replace(/^KVM_REQ_/, "");
	if (!Object.hasOwn(KVM_REQ, name)) {
		const names = Object.keys(KVM_REQ).map((one) => `KVM_REQ_${one}`);
		throw new FlowError(`there is no request "${request}"${hint(`KVM_REQ_${name}`, names)}`);
	}
	const bit = KVM_REQ[name as keyof typeof KVM_REQ];
	return made(`request ${name}`, (v) => (v.requests & bit) !== 0);
}
