/** The properties that a check holds a tree against. */
import { accessServed } from "./access-served.ts";
import { atomicSchedule } from "./atomic-schedule.ts";
import { exitReported } from "./exit-reported.ts";
import { guestDebugRegisters } from "./guest-debug-registers.ts";
import { guestDebugctl } from "./guest-debugctl.ts";
import { guestCounter } from "./guest-counter.ts";
import { guestCr2 } from "./guest-cr2.ts";
import { guestFpu } from "./guest-fpu.ts";
import { guestMsrs } from "./guest-msrs.ts";
import { guestRuns } from "./guest-runs.ts";
import { guestTranslations } from "./guest-translations.ts";
import { guestXfd } from "./guest-xfd.ts";
import { guestXstate } from "./guest-xstate.ts";
import { guestInterrupts } from "./guest-interrupts.ts";
import { hostAddressSpace } from "./host-address-space.ts";
import { hostDebugRegisters } from "./host-debug-registers.ts";
import { guestTaskPriority } from "./guest-task-priority.ts";
import { guestTimer } from "./guest-timer.ts";
import { hostFpu } from "./host-fpu.ts";
import { runResult } from "./run-result.ts";
import { hostCounters } from "./host-counters.ts";
import { hostDebugctl } from "./host-debugctl.ts";
import { hostMsrs } from "./host-msrs.ts";
import { hostReturns } from "./host-returns.ts";
import { hostXfd } from "./host-xfd.ts";
import { hostXstate } from "./host-xstate.ts";
import { interruptDelivered } from "./interrupt-delivered.ts";
import { interruptServiced } from "./interrupt-serviced.ts";
import { machineCheckHandled } from "./machine-check-handled.ts";
import { nmiDelivered } from "./nmi-delivered.ts";
import { balance } from "./balance.ts";
import { contextTracking } from "./context-tracking.ts";
import { guestTime } from "./guest-time.ts";
import { preemptionReported } from "./preemption-reported.ts";
import { predictorBarrier } from "./predictor-barrier.ts";
import { postedInterrupts } from "./posted-interrupts.ts";
import { requestsSeen } from "./requests-seen.ts";
import { srcuHeld } from "./srcu-held.ts";
import { interruptShadow } from "./interrupt-shadow.ts";
import { machineCheckSleeps } from "./machine-check-sleeps.ts";
import { nmiBlocking } from "./nmi-blocking.ts";
import { nmiNoinstr } from "./nmi-noinstr.ts";
import { perfCallchain } from "./perf-callchain.ts";
import { smiTaken } from "./smi-taken.ts";
import { vcpuCpu } from "./vcpu-cpu.ts";
import { OP, OP_COUNT } from "../../silicon/ops.ts";
import type { Property } from "./property.ts";

/** A fault of host code that the kernel has no fixup for. Raised by the machine itself. */
export const HOST_FAULT = "host-fault";
/** A rule of the kernel's broken by the flow: unbalanced counts, interrupts enabled twice. Asserted by the engine. */
export const HOST_INVARIANT = "host-invariant";
/** The guest runs to its end and finds its own state as it left it. The guest program itself looks. */
export const GUEST_ENDS = "guest-ends";

export const PROPERTIES: readonly Property[] = [
	interruptServiced,
	machineCheckHandled,
	hostXstate,
	hostXfd,
	hostFpu,
	hostDebugRegisters,
	hostCounters,
	hostDebugctl,
	hostMsrs,
	hostReturns,
	hostAddressSpace,
	guestXstate,
	guestXfd,
	guestFpu,
	guestDebugRegisters,
	guestDebugctl,
	guestMsrs,
	guestCr2,
	guestTaskPriority,
	guestTimer,
	guestRuns,
	guestCounter,
	preemptionReported,
	guestTranslations,
	guestInterrupts,
	interruptDelivered,
	nmiDelivered,
	balance,
	runResult,
	accessServed,
	exitReported,
	vcpuCpu,
	contextTracking,
	guestTime,
	predictorBarrier,
	requestsSeen,
	postedInterrupts,
	srcuHeld,
	interruptShadow,
	nmiBlocking,
	nmiNoinstr,
	perfCallchain,
	smiTaken,
	atomicSchedule,
	machineCheckSleeps,
];

/** A question at an op: of which property, its number, and what is asked. */
export interface OpQuestion {
	readonly property: Property;
	readonly index: number;
	readonly ask: NonNullable<Property["onOp"]>;
}

/** @param isAsked whether the ops that a property names, if it does, are the ones in question */
const questions = (isAsked: (ops: Property["ops"]) => boolean): readonly OpQuestion[] =>
	PROPERTIES.flatMap((property, index) =>
		property.onOp !== undefined && isAsked(property.ops) ? [{ property, index, ask: property.onOp }] : [],
	);

const AT_ANY_OP = questions((ops) => ops === undefined);
const AT_OP = Array.from({ length: OP_COUNT }, (_, op) =>
	questions((ops) => ops?.some((name) => OP[name] === op) ?? true),
);

/** What is asked at an op. */
export function questionsAt(op: number): readonly OpQuestion[] {
	return AT_OP[op] ?? AT_ANY_OP;
}
