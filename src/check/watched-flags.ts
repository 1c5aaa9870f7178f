/**
 * Who looks at the flags that events set. The fields become accessors that note each read; what they hold stands in a
 * field of its own, which is what a snapshot saves.
 *
 * These are the hottest objects that there are, so V8 shall go on finding their fields by number. It does if the fields
 * that go are those which came last, and if the accessors are a prototype's that all such objects share.
 */
import type { Kernel } from "../host/kernel.ts";
import type { Task } from "../host/task.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { piDesc } from "../kvm/vmx/posted-intr.ts";
import { PostedInterruptDescriptor } from "../silicon/vmx/posted-interrupts.ts";
import { FLAG_READ } from "./events.ts";

/** Reads since they were last forgotten: bits of FLAG_READ. */
export interface FlagReads {
	bits: number;
}

/** Where a watched object has its FlagReads: no field that a snapshot finds. */
const READS = Symbol("reads");

/** The last fields of Task, and what they hold. */
const taskFlags = {
	heldSignalPending: false,
	heldNeedResched: false,
	[READS]: { bits: 0 } as FlagReads,

	get signalPending(): boolean {
		this[READS].bits |= FLAG_READ.signalPending;
		return this.heldSignalPending;
	},
	set signalPending(pending) {
		this.heldSignalPending = pending;
	},
	get needResched(): boolean {
		this[READS].bits |= FLAG_READ.needResched;
		return this.heldNeedResched;
	},
	set needResched(needed) {
		this.heldNeedResched = needed;
	},
};

/** The last fields of Vcpu, and what they hold. */
const vcpuFlags = {
	heldMode: 0,
	heldMutexWaiters: [] as Vcpu["mutexWaiters"],
	heldRequests: 0,
	[READS]: { bits: 0 } as FlagReads,

	// Whoever makes a request looks at the mode, to know whether an IPI is needed: what it does depends on what is written.
	get mode(): number {
		this[READS].bits |= FLAG_READ.requests;
		return this.heldMode;
	},
	set mode(mode) {
		this[READS].bits |= FLAG_READ.requests;
		this.heldMode = mode;
	},
	get mutexWaiters(): Vcpu["mutexWaiters"] {
		this[READS].bits |= FLAG_READ.mutex;
		return this.heldMutexWaiters;
	},
	get requests(): number {
		this[READS].bits |= FLAG_READ.requests;
		return this.heldRequests;
	},
	set requests(requests) {
		this.heldRequests = requests;
	},
};

const readOn = Object.getOwnPropertyDescriptor(PostedInterruptDescriptor.prototype, "isOn")!.get!;

/** Of a posted-interrupt descriptor: what is posted behind this look waits for the next one. */
const descriptorFlags = {
	[READS]: { bits: 0 } as FlagReads,

	get isOn(): boolean {
		this[READS].bits |= FLAG_READ.requests;
		return readOn.call(this) as boolean;
	},
};

/** In front of each class's prototype the one with its accessors. */
const prototypes = new Map<object, object>();

function prototypeFor(prototype: object, flags: object): object {
	let watching = prototypes.get(prototype);
	if (watching === undefined) {
		const accessors = Object.entries(Object.getOwnPropertyDescriptors(flags)).filter(([, { get }]) => get);
		watching = Object.create(prototype, Object.fromEntries(accessors)) as object;
		prototypes.set(prototype, watching);
	}
	return watching;
}

function watch<Flags extends object>(
	owner: Task | Vcpu | PostedInterruptDescriptor,
	flags: Flags,
	held: Partial<Flags>,
): void {
	const names = Object.keys(flags).filter((name) => !(name in held));
	for (const name of names.reverse()) delete (owner as unknown as Record<string, unknown>)[name];
	// In this order: objects that get fields behind a prototype of their own share no hidden class.
	Object.assign(owner, held);
	Object.setPrototypeOf(owner, prototypeFor(Object.getPrototypeOf(owner) as object, flags));
}

/** Watches the flags of a kernel's tasks and of a vCPU. */
export function watchFlags(kernel: Kernel, vcpu: Vcpu, reads: FlagReads): void {
	for (const task of [kernel.vcpuTask, kernel.otherTask]) {
		const { signalPending, needResched } = task;
		const held = { heldSignalPending: signalPending, heldNeedResched: needResched, [READS]: reads };
		watch(task, taskFlags, held);
	}
	const { mode, mutexWaiters, requests } = vcpu;
	const held = { heldMode: mode, heldMutexWaiters: mutexWaiters, heldRequests: requests, [READS]: reads };
	watch(vcpu, vcpuFlags, held);
	const posted = piDesc(vcpu);
	if (posted !== null) watch(posted, descriptorFlags, { [READS]: reads });
}
