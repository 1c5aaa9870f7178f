/** Asks the properties of any machine that runs, whatever guest it has; a check has its own way, which saves its state. */
import type { Machine } from "../../kvm/api/kvm.ts";
import type { GuestLedger, GuestRegister } from "../../kvm/ledger.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import type { OpObserver } from "../../silicon/cpu/observers.ts";
import { eventRow } from "../events.ts";
import type { EventKind } from "../types.ts";
import { PROPERTIES, questionsAt } from "./properties.ts";
import type { Property, PropertyContext } from "./property.ts";

/** Of one vCPU's run, from before its first KVM_RUN. */
export class Judge implements OpObserver, PropertyContext, GuestLedger {
	readonly machine: Machine;
	/** What KVM_RUN returns is seen by its caller alone: nothing is asked of it here. */
	readonly kvmRunResult = null;
	/** What arrives from other CPUs does so at once: request and kick. */
	readonly isBeingKicked = false;
	private readonly raised = new Map<EventKind, number>();
	private readonly memory = PROPERTIES.map(({ words }) => new Int32Array(words ?? 0));
	private readonly fail: (property: Property, detail: string) => void;

	/** @param fail told of everything that is wrong, each time that it is asked */
	constructor(machine: Machine, fail: (property: Property, detail: string) => void) {
		this.machine = machine;
		this.fail = fail;
	}

	private ask(question: (property: Property, words: Int32Array) => string | null | undefined): void {
		for (const [at, property] of PROPERTIES.entries()) {
			const detail = question(property, this.memory[at]!) ?? null;
			if (detail !== null) this.fail(property, detail);
		}
	}

	private tell(what: (property: Property, words: Int32Array) => void): void {
		for (const [at, property] of PROPERTIES.entries()) what(property, this.memory[at]!);
	}

	owed(kind: EventKind): number {
		const { handled } = eventRow(kind);
		return handled === undefined ? 0 : (this.raised.get(kind) ?? 0) - handled(this.machine);
	}

	/** An event arrives: to be called before it is injected. */
	onEvent(kind: EventKind): void {
		this.tell((property, words) => property.onEvent?.(this, kind, words));
		const countsAs = eventRow(kind).countsAs ?? kind;
		this.raised.set(countsAs, (this.raised.get(countsAs) ?? 0) + 1);
	}

	onOp(_cpu: Cpu, op: number): void {
		for (const { property, index, ask } of questionsAt(op)) {
			const detail = ask.call(property, this, op, this.memory[index]!);
			if (detail !== null) this.fail(property, detail);
		}
	}

	onEnter(_cpu: Cpu, symbol: number): void {
		this.ask((property, words) => property.onEnter?.(this, symbol, words));
	}

	onLeave(_cpu: Cpu, symbol: number): void {
		this.ask((property, words) => property.onLeave?.(this, symbol, words));
	}

	onGuestEntry(_cpu: Cpu): void {
		this.ask((property, words) => property.onGuestEntry?.(this, words));
	}

	onGuestExit(_cpu: Cpu): void {
		this.tell((property, words) => property.onGuestExit?.(this, words));
	}

	wrote(register: GuestRegister, value: number | bigint): void {
		this.tell((property, words) => property.onGuestWrite?.(this, register, value, words));
	}

	flushedTlb(): void {
		this.tell((property, words) => property.onFlush?.(this, words));
	}

	/** The run has ended. */
	onEnd(): void {
		this.ask((property, words) => property.onEnd?.(this, words));
	}
}
