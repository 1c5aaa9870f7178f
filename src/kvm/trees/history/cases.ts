/** The casebook's cases, by their kind of state and then by date. */
import type { HistoryCase } from "./case.ts";
import { fastpathDecode, fastpathPmu } from "./fastpath-srcu.ts";
import { guestTime } from "./guest-time.ts";
import { lateRequest } from "./late-request.ts";
import { predictorMark } from "./predictor-mark.ts";
import { tdInterrupts } from "./td-interrupts.ts";
import { xcr0MachineCheck } from "./xcr0-machine-check.ts";

export const HISTORY: readonly HistoryCase[] = [
	xcr0MachineCheck,
	guestTime,
	tdInterrupts,
	lateRequest,
	fastpathDecode,
	fastpathPmu,
	predictorMark,
];
