/** What interrupts and exceptions of root mode come from and lead to: interfaces that the host and its local APIC implement. */
import type { Cpu } from "./cpu.ts";

/** What the host's IDT leads to. `host/` implements it. */
export interface HostVectors {
	/** An external interrupt, delivered with IF = 1; the vector is in service until the handler's EOI. */
	interrupt(cpu: Cpu, vector: number): void;
	/** Behind the handler of an interrupt that came through the IDT: the kernel may reschedule here. */
	returnFromInterrupt(cpu: Cpu): void;
	nmi(cpu: Cpu): void;
	/** #MC taken in root mode. */
	machineCheck(cpu: Cpu): void;
	/** A fault of a host instruction. Throws when the kernel has no fixup for it. */
	exception(cpu: Cpu, vector: number, errorCode: number): void;
}

/** The physical local APIC as far as delivery goes. `silicon/apic/` implements it. */
export interface InterruptController {
	/** The vector that would be delivered now, or -1. */
	highestPending(): number;
	/** Moves the highest pending vector from IRR to ISR and returns it: what an interrupt acknowledge does. */
	acknowledge(): number;
	/** End of interrupt, of the highest vector in service. */
	eoi(): void;
}
