/** What a property is: something that must hold at every op of every run. */
import type { Machine } from "../../kvm/api/kvm.ts";
import type { Injection } from "../types.ts";

/** What a property can see. */
export interface PropertyContext {
	readonly machine: Machine;
	readonly schedule: readonly Injection[];
}

export interface Property {
	/** Kebab-case; what reports and `--json` name. */
	readonly name: string;
	/** One line: what must hold. */
	readonly title: string;
	/** `violation` breaks the host or a guest; `finding` is survived, and listed apart. */
	readonly degree: "violation" | "finding";
	/** Asked before each op takes effect. @returns what is wrong, or null */
	onOp?(context: PropertyContext, op: number): string | null;
	/** Asked when a host function is entered. */
	onEnter?(context: PropertyContext, symbol: number): string | null;
	/** Asked when the run has ended. */
	onEnd?(context: PropertyContext): string | null;
}
