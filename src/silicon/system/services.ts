/** The services that translated code calls, bound to paging/ and system/. */
import { explicitAccess, fetchLinear, probeLinear, readLinear, writeLinear } from "../paging/access.ts";
import { PF } from "../paging/physical.ts";
import type { Services } from "../translate/services.ts";
import { deliverFault } from "./exceptions.ts";
import { boundary } from "./interrupts.ts";
import { system } from "./table.ts";

/** The processor as translated code sees it. Stateless: every function gets its processor. */
export const processorServices: Services = {
	fetch: fetchLinear,
	load: (cpu, linear, bytes) => readLinear(cpu, linear, bytes, explicitAccess(cpu)),
	store: (cpu, linear, bytes, value) => writeLinear(cpu, linear, bytes, value, explicitAccess(cpu)),
	probeStore: (cpu, linear, bytes) => {
		probeLinear(cpu, linear, bytes, explicitAccess(cpu) | PF.write);
	},
	system,
	deliverFault,
	boundary,
};
