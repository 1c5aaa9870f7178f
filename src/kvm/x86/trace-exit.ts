/** The tracepoints kvm_entry and kvm_exit, which perf kvm stat counts by: every VM exit passes them, fastpath or not. */
import { HostInvariant } from "../../host/errors.ts";
import type { Vcpu } from "../vcpu.ts";
import type { KvmTracepoint, KvmTracepoints } from "./tracepoints.ts";

const X86_CR4_OSXSAVE = 1 << 18;
const X86_CR4_PKE = 1 << 22;

/** What the swaps of XCR0, XSS and PKRU at an exit depend on, and how many exits there were with it. */
export interface SwapState {
	readonly osxsave: boolean;
	readonly pke: boolean;
	readonly xcr0: number;
	readonly xss: number;
	/** The guest's PKRU is not the host's. */
	readonly pkruDiffers: boolean;
	exits: number;
	/** Of these, exits after which the fastpath went back into the guest. */
	reentered: number;
}

/** Who listens to the tracepoints. */
export interface KvmTracer {
	kvmEntry(v: Vcpu): void;
	/** @param reason the vendor's exit reason number */
	kvmExit(v: Vcpu, reason: number): void;
	/** All others; absent: not wanted. */
	tracepoint?<N extends KvmTracepoint>(v: Vcpu, name: N, fields: KvmTracepoints[N]): void;
}

/** Tracepoints are protected by RCU, which does not watch a CPU that context tracking takes for the guest's. */
function assertRcuWatches(v: Vcpu, name: string): void {
	if (v.kernel.guestContext.inGuest) throw new HostInvariant(`RCU not watching for tracepoint: ${name}`);
}

/** trace_kvm_entry(). */
export function traceKvmEntry(v: Vcpu): void {
	assertRcuWatches(v, "kvm_entry");
	v.tracer?.kvmEntry(v);
}

/** Counts an exit by its vendor's reason, and by what it swaps. */
export function traceKvmExit(v: Vcpu, reason: number): void {
	assertRcuWatches(v, "kvm_exit");
	v.tracer?.kvmExit(v, reason);
	const { stat } = v;
	const { byReason } = stat;
	byReason.set(reason, (byReason.get(reason) ?? 0) + 1);
	const last = stat.swapState;
	if (last === null || !isState(v, last)) stat.swapState = swapStateOf(v);
	stat.swapState!.exits++;
}

function isState(v: Vcpu, state: SwapState): boolean {
	return (
		state.osxsave === ((v.cr4Bits & X86_CR4_OSXSAVE) !== 0) &&
		state.pke === ((v.cr4Bits & X86_CR4_PKE) !== 0) &&
		state.xcr0 === v.xcr0 &&
		state.xss === v.iaXss &&
		state.pkruDiffers === (v.pkru !== v.hostPkru)
	);
}

function swapStateOf(v: Vcpu): SwapState {
	const { swapStates } = v.stat;
	const known = swapStates.find((state) => isState(v, state));
	if (known !== undefined) return known;
	const made: SwapState = {
		osxsave: (v.cr4Bits & X86_CR4_OSXSAVE) !== 0,
		pke: (v.cr4Bits & X86_CR4_PKE) !== 0,
		xcr0: v.xcr0,
		xss: v.iaXss,
		pkruDiffers: v.pkru !== v.hostPkru,
		exits: 0,
		reentered: 0,
	};
	swapStates.push(made);
	return made;
}

/** The exit that was counted last was one that the fastpath goes back from. */
export function countReentry(v: Vcpu): void {
	v.stat.exits++;
	const { swapState } = v.stat;
	if (swapState !== null) swapState.reentered++;
}
