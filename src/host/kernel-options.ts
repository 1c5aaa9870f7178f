/** What a host kernel is booted with. */
import type { KvmParameters } from "./kvm-parameters.ts";
import type { MceHandler } from "./mce.ts";

/** Its command line, its configuration, and parameters of its modules, as far as they matter here. */
export interface KernelOptions {
	/** XCR0 that the kernel runs with. Default: all the model has. */
	readonly xcr0?: number;
	/** IA32_XSS that the kernel runs with. */
	readonly xss?: number;
	readonly mceHandler?: MceHandler;
	/** Protection key of the pages that user-space stacks lie on; user space allows itself that key. Default: 0. */
	readonly userStackKey?: number;
	/** vmscape= of the command line: "off" leaves the predictors alone on the way to user space. Default: as the processor needs. */
	readonly vmscape?: "off";
	/**
	 * perf samples this host by PEBS (`perf top`'s event is cycles:P), and guests have a vPMU: each VM entry and VM exit then
	 * switches PEBS' MSRs. Intel only. Default false.
	 */
	readonly hostPebs?: boolean;
	/** CONFIG_HZ: other CPUs' ticks write what this one reads, so often (remote-lines.ts). Default 0: never. */
	readonly tickHz?: number;
	/** Parameters that kvm_intel and kvm_amd are loaded with. */
	readonly kvm?: Partial<KvmParameters>;
}
