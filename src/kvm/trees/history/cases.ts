/** The casebook's cases, by their kind of state and then by date. */
import type { HistoryCase } from "./case.ts";
import { xcr0MachineCheck } from "./xcr0-machine-check.ts";

export const HISTORY: readonly HistoryCase[] = [xcr0MachineCheck];
