/** What perf has on, on one CPU (arch/x86/events/intel/core.c, v6.18). */
import type { Cpu } from "../silicon/cpu/cpu.ts";
import * as L from "../silicon/cpu/layout.ts";
import { wrmsr, wrmsrDebugctl } from "./access.ts";

/** Fixed-function counter 1, unhalted core cycles, in IA32_PERF_GLOBAL_CTRL (SDM Vol. 3B, 20.2.2). */
export const CYCLES_COUNTER = 2 ** 33;

/** Its registers, as perf wants them. */
export class PerfCpu {
	/** IA32_DEBUGCTL. */
	debugctl = 0;
	/**
	 * IA32_PERF_GLOBAL_CTRL, cpuc->intel_ctrl: all events exclude guests (perf_event_attr.exclude_guest, as `perf record` sets it).
	 * AMD's counters are the host's by a bit of their own, and nothing switches them.
	 */
	globalCtrl = 0;
	private readonly cpu: Cpu;

	constructor(cpu: Cpu) {
		this.cpu = cpu;
	}

	/** update_debugctlmsr(): perf starts or stops something. */
	setDebugctl(value: number): void {
		this.debugctl = value;
		wrmsrDebugctl(this.cpu, value);
	}

	/** intel_pmu_enable_all(), and with 0 intel_pmu_disable_all(). @param value counters that count outside of guests */
	setGlobalCtrl(value: number): void {
		this.globalCtrl = value;
		wrmsr(this.cpu, L.PERF_GLOBAL_CTRL, BigInt(value));
	}
}
