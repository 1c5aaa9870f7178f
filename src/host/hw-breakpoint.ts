/** Breakpoints of perf and ptrace on one CPU (arch/x86/kernel/hw_breakpoint.c, v6.18). */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import * as L from "../silicon/cpu/layout.ts";
import { moveToDr } from "./access.ts";

/** DR7 with nothing enabled. */
export const DR7_FIXED_1 = 0x400;
/** DR6 with nothing reported: DR6_RESERVED. */
export const DR6_RESERVED = 0xffff_0ff0;
/** L0-L3 and G0-G3. */
export const DR7_ENABLES = 0xff;

/** cpu_debugreg and cpu_dr7: what the kernel wants in the debug registers of its CPU. */
export class HwBreakpoints {
	private readonly cpu: Cpu;
	/** Linear addresses of DR0-DR3. */
	readonly addresses: readonly number[];
	private readonly debugreg = [0, 0, 0, 0];
	dr7 = DR7_FIXED_1;

	constructor(cpu: Cpu) {
		this.cpu = cpu;
		this.addresses = this.debugreg;
	}

	/** hw_breakpoint_active(). */
	get active(): boolean {
		return (this.dr7 & DR7_ENABLES) !== 0;
	}

	/** arch_install_hw_breakpoint(): an instruction breakpoint in all tasks. @param slot 0 to 3 */
	install(slot: number, address: number): void {
		this.debugreg[slot] = address;
		moveToDr(this.cpu, L.DR0 + 8 * slot, address);
		this.dr7 |= 2 << (2 * slot);
		moveToDr(this.cpu, L.DR7, this.dr7);
	}

	/** hw_breakpoint_restore(): behind a guest that had its own values in the registers. */
	restore(): void {
		for (let slot = 0; slot < 4; slot++) moveToDr(this.cpu, L.DR0 + 8 * slot, this.debugreg[slot]!);
		moveToDr(this.cpu, L.DR6, DR6_RESERVED);
		moveToDr(this.cpu, L.DR7, this.dr7);
	}
}
