/** The services that translated code calls, bound to paging/ and system/. */
import { awaitsEndbranch, checkEndbranch } from "../cet/tracker.ts";
import type { Cpu } from "../cpu/cpu.ts";
import {
	explicitAccess,
	fetchLinear,
	probeLinear,
	readLinear,
	STACK,
	writeLinear,
} from "../paging/access.ts";
import { PF } from "../paging/physical.ts";
import type { Services } from "../translate/services.ts";
import { afterInstruction, beforeInstruction, breaksBefore, deliverPendingDebug } from "./debug.ts";
import { deliverFault } from "./exceptions.ts";
import { checkBranch } from "./far-transfers.ts";
import { boundary } from "./interrupts.ts";
import { system } from "./table.ts";

function access(cpu: Cpu, stack: boolean | undefined): number {
	return stack === true ? explicitAccess(cpu) | STACK : explicitAccess(cpu);
}

/** The processor as translated code sees it. Stateless: every function gets its processor. */
export const processorServices: Services = {
	fetch: fetchLinear,
	load: (cpu, linear, bytes, stack) => readLinear(cpu, linear, bytes, access(cpu, stack)),
	store: (cpu, linear, bytes, value, stack) => writeLinear(cpu, linear, bytes, value, access(cpu, stack)),
	probeStore: (cpu, linear, bytes, stack) => {
		probeLinear(cpu, linear, bytes, access(cpu, stack) | PF.write);
	},
	checkBranch,
	system,
	deliverFault,
	boundary,
	deliverPendingDebug,
	awaitsEndbranch,
	checkEndbranch,
	breaksBefore,
	beforeInstruction,
	afterInstruction,
};
