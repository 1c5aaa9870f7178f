/** Faults of host instructions. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import type { Fault } from "../silicon/cpu/fault.ts";

/** Delivers what a host instruction ran into, if it did, to the kernel's exception handler. */
export function hostFault(cpu: Cpu, fault: Fault | null): void {
	if (fault !== null) cpu.vectors!.exception(cpu, fault.vector, fault.errorCode ?? 0);
}
