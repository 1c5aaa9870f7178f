/** The casebook's cases, by their kind of state and then by date. */
import type { HistoryCase } from "./case.ts";
import { debugctlSnapshot, debugctlWithoutLbrv, freezeInSmm, tdxDebugctl } from "./debugctl.ts";
import { dr6Reentry } from "./dr6.ts";
import { fastpathDecode, fastpathPmu } from "./fastpath-srcu.ts";
import { guestTime } from "./guest-time.ts";
import { lateRequest } from "./late-request.ts";
import { nmiOrder } from "./nmi-order.ts";
import { postedInhibited } from "./posted-inhibited.ts";
import { predictorMark } from "./predictor-mark.ts";
import { tdInterrupts } from "./td-interrupts.ts";
import { hostCr3 } from "./host-cr3.ts";
import { pkruByXrstor, pkruNotSwapped } from "./pkru.ts";
import { specCtrlInC } from "./spec-ctrl.ts";
import { fastpathStep } from "./fastpath-step.ts";
import { fpuReload } from "./fpu-reload.ts";
import { preemptedMark } from "./preempted-mark.ts";
import { stiShadow } from "./sti-shadow.ts";
import { tdxUserReturn } from "./tdx-user-return.ts";
import { xcr0MachineCheck } from "./xcr0-machine-check.ts";
import { xcr0Preemption } from "./xcr0-preemption.ts";
import { xfdXstate } from "./xfd-xstate.ts";

export const HISTORY: readonly HistoryCase[] = [
	xcr0Preemption,
	xcr0MachineCheck,
	pkruNotSwapped,
	pkruByXrstor,
	xfdXstate,
	dr6Reentry,
	debugctlWithoutLbrv,
	debugctlSnapshot,
	freezeInSmm,
	tdxDebugctl,
	specCtrlInC,
	tdxUserReturn,
	hostCr3,
	guestTime,
	stiShadow,
	nmiOrder,
	tdInterrupts,
	postedInhibited,
	lateRequest,
	fastpathDecode,
	fastpathPmu,
	predictorMark,
	fpuReload,
	preemptedMark,
	fastpathStep,
];
