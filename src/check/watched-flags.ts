/**
 * Who looks at the flags that events set. The fields become accessors that note each read; what they hold stands in a
 * field of its own, which is what a snapshot saves.
 */
import type { Kernel } from "../host/kernel.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { FLAG_READ } from "./events.ts";

/** Reads since they were last forgotten: bits of FLAG_READ. */
export interface FlagReads {
	bits: number;
}

/** @param writesCount a write counts too: what an event does depends on the field */
function watch(owner: object, field: string, bit: number, reads: FlagReads, writesCount = false): void {
	const held = `${field} (held)`;
	const holder = owner as Record<string, unknown>;
	const value = holder[field];
	delete holder[field];
	holder[held] = value;
	Object.defineProperty(owner, field, {
		get() {
			reads.bits |= bit;
			return (this as Record<string, unknown>)[held];
		},
		set(value: unknown) {
			if (writesCount) reads.bits |= bit;
			(this as Record<string, unknown>)[held] = value;
		},
		enumerable: false,
		configurable: true,
	});
}

/** Watches the flags of a kernel's tasks and of a vCPU. */
export function watchFlags(kernel: Kernel, vcpu: Vcpu, reads: FlagReads): void {
	for (const task of [kernel.vcpuTask, kernel.otherTask]) {
		watch(task, "needResched", FLAG_READ.needResched, reads);
		watch(task, "signalPending", FLAG_READ.signalPending, reads);
	}
	watch(vcpu, "requests", FLAG_READ.requests, reads);
	watch(vcpu, "mutexWaiters", FLAG_READ.mutex, reads);
	// Whoever makes a request looks at the mode, to know whether an IPI is needed.
	watch(vcpu, "mode", FLAG_READ.requests, reads, true);
}
