/** What a property is: something that must hold at every op of every run. */
import type { Machine } from "../../kvm/api/kvm.ts";
import type { GuestRegister } from "../../kvm/ledger.ts";
import type { OpName } from "../../silicon/ops.ts";
import type { EventKind } from "../types.ts";

/** What a property can see. */
export interface PropertyContext {
	readonly machine: Machine;
	/**
	 * Events of a kind that have arrived and were not handled yet; 0 for a kind that nobody counts. Two states that owe
	 * the same are the same to the search, however many arrived on the way.
	 */
	owed(kind: EventKind): number;
	/** What KVM_RUN has returned, on the way back to user space; null inside of it. */
	readonly kvmRunResult: number | null;
	/** Another CPU has made a request of this vCPU and stands before its kick. */
	readonly isBeingKicked: boolean;
}

/**
 * One property. It is a function of the machine's state and of its own memory: the search prunes states that it has
 * seen, so that nothing may be kept anywhere else.
 */
export interface Property {
	/** Kebab-case; what reports and `--json` name. */
	readonly name: string;
	/** One line: what must hold. */
	readonly title: string;
	/** `violation` breaks the host or a guest; `finding` is survived, and listed apart. */
	readonly degree: "violation" | "finding";
	/** 32-bit words that it keeps through a run, 0 at its start. Part of the state that is hashed. Default: 0. */
	readonly words?: number;
	/** Ops at which `onOp` is asked. Default: all. */
	readonly ops?: readonly OpName[];
	/**
	 * Asked before an op takes effect, behind the events that arrive there.
	 * @param memory its words
	 * @returns what is wrong, or null
	 */
	onOp?(context: PropertyContext, op: number, memory: Int32Array): string | null;
	/** Asked when a host function is entered. */
	onEnter?(context: PropertyContext, symbol: number, memory: Int32Array): string | null;
	/** Asked when a host function is left. */
	onLeave?(context: PropertyContext, symbol: number, memory: Int32Array): string | null;
	/** Asked behind a VM entry, before the guest's first instruction, with the guest's state in the registers. */
	onGuestEntry?(context: PropertyContext, memory: Int32Array): string | null;
	/** Told when the guest has exited, with what it left still in the registers. */
	onGuestExit?(context: PropertyContext, memory: Int32Array): void;
	/** Told when emulation or user space has written a register of the guest's. */
	onGuestWrite?(
		context: PropertyContext,
		register: GuestRegister,
		value: number | bigint,
		memory: Int32Array,
	): void;
	/** Told when KVM has the guest's translations on this CPU dropped. */
	onFlush?(context: PropertyContext, memory: Int32Array): void;
	/** Told when an event arrives, before what it does is done. */
	onEvent?(context: PropertyContext, event: EventKind, memory: Int32Array): void;
	/** Asked when the run has ended. */
	onEnd?(context: PropertyContext, memory: Int32Array): string | null;
}
