/**
 * Records a run, of the check's guest or of any image, with the check's properties asked. Of an image they are all asked but
 * two: that the guest ends well is for its writer to say, and what KVM_RUN returns is not seen here.
 */
import type { Configuration } from "../../check/configuration.ts";
import {
	applyConfiguration,
	applyNeighbour,
	guestParameters,
	kernelOptions,
} from "../../check/configuration.ts";
import { eventRow } from "../../check/events.ts";
import { Judge } from "../../check/properties/judge.ts";
import { Subject } from "../../check/subject.ts";
import type { Injection } from "../../check/types.ts";
import type { Image } from "../../guests/image.ts";
import { HostFault, HostInvariant } from "../../host/errors.ts";
import { createMachine } from "../../kvm/api/kvm.ts";
import { Vmm, type VmmResult, guestRamBytesFor, hostRamBytesFor } from "../../kvm/api/vmm.ts";
import { compileTree } from "../../kvm/flow/compile.ts";
import { customCost } from "../../kvm/flow/custom-op.ts";
import type { Tree } from "../../kvm/flow/flow.ts";
import { linkTree } from "../../kvm/flow/program.ts";
import type { OpObserver } from "../../silicon/cpu/observers.ts";
import { callStackOf } from "../../silicon/cpu/symbols.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import { OP_NAMES, OP_SLOTS, customOpId } from "../../silicon/ops.ts";
import { Recorder } from "./recorder.ts";
import { type Recording, endText } from "./recording.ts";
import { Cut, type RecordWindow, Watch } from "./watch.ts";

export interface RecordOptions {
	readonly tree: Tree;
	readonly vendor: Vendor;
	readonly model: CpuModel;
	readonly configuration: Configuration;
	/** The guest; null: the check's own list of exits. */
	readonly image: Image | null;
	readonly schedule: readonly Injection[];
	/** Frames after which the recording is cut. Default 6000. */
	readonly framesMax?: number;
	/** The part of the run that is recorded. Default: all of it, each instruction of the guest. */
	readonly window?: RecordWindow;
	/** Iterations of a guest of this project. Default 1. */
	readonly iterations?: number;
}

const FRAMES_MAX = 6000;
/** Records a run. @throws ImageError if the image does not fit or does not run on the vendor */
export function recordRun(options: RecordOptions): Recording {
	return options.image === null ? recordScript(options) : recordImage(options, options.image);
}

/** Costs of a tree's ops on a model, by op. Ops that other trees define cost nothing: this one does not do them. */
function costsOf({ tree, model }: RecordOptions): Float64Array {
	const costs = new Float64Array(OP_SLOTS);
	for (const [op, name] of OP_NAMES.entries()) costs[op] = model.costs[name].cycles;
	for (const op of tree.customOps) costs[customOpId(op.name)] = customCost(op, model).cycles;
	return costs;
}

/** Blocks after which a run is taken for stuck, as the check does. */
const BLOCKS_MAX = 100_000;

function recordScript(options: RecordOptions): Recording {
	const { tree, vendor, model, configuration, schedule } = options;
	let recorder: Recorder | null = null;
	const seen = new Set<string>();
	const subject = new Subject(
		{ program: linkTree(tree, vendor), model, configuration },
		{
			onNode: (place) => recorder?.onNode(place),
			onEvent: ({ event, inGuest }) =>
				recorder?.onEvent(`${eventRow(event).title}${inGuest === true ? " in the guest" : ""}`),
			onFailure: ({ property, detail, callStack, degree }) => {
				if (seen.has(property) || degree !== "violation") return;
				seen.add(property);
				recorder?.onViolation(property, detail, callStack);
			},
		},
	);
	const { cpu, vcpu } = subject.machine;
	recorder = new Recorder(subject.machine, costsOf(options));
	const watch = watchOf(recorder, options);
	cpu.observer = watch.observe(cpu.observer);
	vcpu.tracer = recorder;
	const restore = watch.step(cpu);
	let isCut = false;
	try {
		subject.setSchedule(schedule);
		for (let blocks = 0; subject.runBlock(); blocks++) if (blocks === BLOCKS_MAX) subject.livelock();
	} catch (error) {
		if (!(error instanceof Cut)) throw error;
		isCut = true;
	} finally {
		restore();
		subject.detach();
	}
	const { end } = subject.ledger;
	return recorder.finish(end === null ? cutText(options) : endText(end), isCut);
}

function watchOf(recorder: Recorder, { framesMax = FRAMES_MAX, window }: RecordOptions): Watch {
	return new Watch(recorder, framesMax, window ?? null);
}

function cutText({ window }: RecordOptions): string {
	return window === undefined ? "the recording was cut here" : "the guest goes on here";
}

function recordImage(options: RecordOptions, image: Image): Recording {
	const { tree, vendor, model, configuration, iterations = 1 } = options;
	const guestRamBytes = guestRamBytesFor(image);
	const machine = createMachine({
		model,
		vendor,
		tree: compileTree(tree, vendor, true),
		ramBytes: hostRamBytesFor(guestRamBytes),
		kernel: kernelOptions(configuration),
	});
	applyConfiguration(machine, configuration);
	const vmm = new Vmm(machine, { guestRamBytes });
	vmm.load(image, {
		parameters: { ...guestParameters(configuration, model, vendor), iterations },
		commandLine: "guest",
	});
	applyNeighbour(machine, configuration);
	const { cpu, vcpu } = machine;
	cpu.stackDepth = 0;
	const recorder = new Recorder(machine, null);
	const seen = new Set<string>();
	const judge = new Judge(machine, ({ name, degree }, detail) => {
		if (seen.has(name) || degree !== "violation") return;
		seen.add(name);
		recorder.onViolation(name, detail, callStackOf(cpu));
	});
	const watch = watchOf(recorder, options);
	cpu.observer = watch.observe(injector(options, judge, recorder));
	vcpu.tracer = recorder;
	vcpu.ledger = judge;
	vcpu.nodeObserver = { onNode: (_vcpu, place) => recorder.onNode(place) };
	const restore = watch.step(cpu);
	try {
		const end = runToEnd(vmm);
		judge.onEnd();
		return recorder.finish(endText(end), false);
	} catch (error) {
		if (error instanceof Cut) return recorder.finish(cutText(options), true);
		if (error instanceof HostFault) recorder.onViolation("host-fault", error.message, error.callStack);
		else if (error instanceof HostInvariant)
			recorder.onViolation("host-invariant", error.message, callStackOf(cpu));
		else throw error;
		return recorder.finish(error.message, false);
	} finally {
		restore();
		cpu.observer = null;
		cpu.guest = null;
		vcpu.ledger = null;
	}
}

function runToEnd(vmm: Vmm): VmmResult {
	for (;;) {
		const end = vmm.step();
		if (end !== null) return end;
	}
}

/** Lets the schedule's events arrive at their ops, and the properties be asked behind them. */
function injector({ schedule }: RecordOptions, judge: Judge, recorder: Recorder): OpObserver {
	let next = 0;
	const { machine } = judge;
	const arrive = (inGuest: boolean) => {
		for (let due = schedule[next]; due !== undefined; due = schedule[next]) {
			if (due.at !== recorder.ops || (due.inGuest === true) !== inGuest) return;
			next++;
			const row = eventRow(due.event);
			if (!row.isNew(machine)) continue;
			recorder.onEvent(`${row.title}${inGuest ? " in the guest" : ""}`);
			judge.onEvent(due.event);
			row.inject(machine);
		}
	};
	return {
		onOp: (cpu, op) => {
			arrive(false);
			judge.onOp(cpu, op);
		},
		onEnter: (cpu, symbol) => judge.onEnter(cpu, symbol),
		onLeave: (cpu, symbol) => judge.onLeave(cpu, symbol),
		onGuestEntry: (cpu) => {
			arrive(true);
			judge.onGuestEntry(cpu);
		},
		onGuestExit: (cpu) => judge.onGuestExit(cpu),
	};
}
