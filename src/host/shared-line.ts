/** A line of the cache that several CPUs write: whoever comes after another one waits until it has come over. */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { OP } from "../silicon/ops.ts";

export class SharedLine {
	/** The CPU that has written it last; null: none. */
	private owner: Cpu | null = null;

	/** A CPU writes it. */
	write(cpu: Cpu): void {
		if (this.owner !== null && this.owner !== cpu) cpu.op(OP.cacheline_transfer);
		this.owner = cpu;
	}
}
