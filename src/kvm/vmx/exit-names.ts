/** Names of VMX exit reasons, for VMX guests and TDs. */
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";

const NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(EXIT_REASON).map(([name, reason]) => [
		reason,
		name.replace(/([A-Z])/g, "_$1").toUpperCase(),
	]),
);

/** Name of a basic exit reason, as trace events print it. @param reason with or without the failed-entry bit */
export function exitReasonName(reason: number): string {
	return NAMES.get(reason & 0xffff) ?? `EXIT_REASON_${reason & 0xffff}`;
}
