/**
 * The events that a check lets arrive, one row a kind: how it is put before the machine, and when it is a new one.
 * Whether and when it is delivered is the machine's: interrupts wait for IF, everything waits for GIF, an NMI for the
 * end of the one before. A new kind is a new row here and a name in `EventKind`.
 */
import type { Kernel } from "../host/kernel.ts";
import { HOST_VECTOR } from "../host/idt.ts";
import { MCG_STATUS_MCIP } from "../host/mce.ts";
import { CYCLES_COUNTER } from "../host/perf.ts";
import type { Machine } from "../kvm/api/kvm.ts";
import { KVM_REQ, VCPU_MODE } from "../kvm/requests.ts";
import { piDesc } from "../kvm/vmx/posted-intr.ts";
import { PENDING } from "../silicon/cpu/cpu.ts";
import * as L from "../silicon/cpu/layout.ts";
import { MSR } from "../silicon/cpu/msr.ts";
import { loadHere, type Vcpu } from "../kvm/vcpu.ts";
import type { Vendor } from "../silicon/models/model.ts";
import type { Configuration } from "./configuration.ts";
import { SCRIPT_DEVICE_VECTOR } from "./guest/script.ts";
import { pairOf } from "./other-vcpu.ts";
import type { EventKind } from "./types.ts";

/** Where an event can be placed. */
export type Place =
	/** Before an op of host code. */
	| "host"
	/** Before the op of a VM entry only. */
	| "entry"
	/** Behind a VM entry, before the guest's first instruction. */
	| "guest";

/** Phases of the run loop in which an event can arrive. */
export const PHASES = ["interrupts on", "interrupts off", "GIF 0", "VM entry", "the guest"] as const;
export type PhaseName = (typeof PHASES)[number];

/** What decides whether an event is delivered at an op. */
export interface DeliveryState {
	readonly interruptFlag: boolean;
	readonly gif: boolean;
	readonly nmiBlocked: boolean;
}

/** Flags that events set and host code looks at: bits of `EventRow.sets`. */
export const FLAG_READ = { needResched: 1, signalPending: 2, requests: 4, mutex: 8 } as const;

const interruptWaits = ({ interruptFlag, gif }: DeliveryState) => !interruptFlag || !gif;

export interface EventRow {
	readonly kind: EventKind;
	/** Its name in sentences. */
	readonly title: string;
	readonly places: readonly Place[];
	/** Vendors that have it; absent: all. */
	readonly exists?: (vendor: Vendor) => boolean;
	/** Whether a run under a configuration has it; absent: yes. */
	readonly existsIn?: (configuration: Configuration) => boolean;
	/** It can come several times at one place. */
	readonly repeats?: boolean;
	/** Phases in which it must have come, where these are fewer than its places allow. */
	readonly phases?: readonly PhaseName[];
	/**
	 * Puts it before the machine, and does no more: it is delivered when the machine delivers it. Runs between two ops,
	 * or behind a VM entry.
	 */
	readonly inject: (machine: Machine) => void;
	/**
	 * Whether it would be an event of its own now. Not so while one like it waits: an interrupt controller holds one of
	 * a vector, the processor one NMI, and an #MC during another is a shutdown.
	 */
	readonly isNew: (machine: Machine) => boolean;
	/** The kind that it is counted as, when that is another. */
	readonly countsAs?: EventKind;
	/**
	 * Whether its delivery waits now, and which flags it sets that somebody may look at before that. An event that waits
	 * at two ops, between which nobody looked, is the same at both and is tried at the first. Absent: it never waits.
	 */
	readonly waits?: (state: DeliveryState) => boolean;
	readonly sets?: number;
	/** Whether it changes nothing in this state. At two such ops in a row it is the same, if interrupts are as they were. */
	readonly idle?: (state: DeliveryState) => boolean;
	/**
	 * Whether it is handled at once in this state, by a handler that leaves nothing behind but counts and sees no more than
	 * the surroundings (subject.ts). At two such ops in a row with the same surroundings it is the same, unless something
	 * else comes while the handler runs: so it is tried once if it is the last event. Absent: its handler sees more.
	 */
	readonly passes?: (state: DeliveryState) => boolean;
	/** How many of its kind were handled so far; absent: nobody counts them. What arrived less this is owed. */
	readonly handled?: (machine: Machine) => number;
}

/** IA32_DEBUGCTL.LBR. */
const DEBUGCTL_LBR = 1;

/** What `perf record -b` starts and stops: branch records, and the counter whose overflows keep them. AMD's is switched by nobody. */
function toggleBranchRecords({ perf, cpu }: Kernel): void {
	perf.setDebugctl(perf.debugctl ^ DEBUGCTL_LBR);
	if (cpu.model.vendorString === "GenuineIntel")
		perf.setGlobalCtrl(perf.globalCtrl === 0 ? CYCLES_COUNTER : 0);
}

const noneInProgress = ({ cpu }: Machine) =>
	(cpu.pending & PENDING.machineCheck) === 0 &&
	!cpu.machineCheckDuringEntry &&
	(cpu.read32(L.MCG_STATUS) & MCG_STATUS_MCIP) === 0;

/** Of the vCPU's thread: raised on this CPU, so that the handler's way out or the next check sees the flag. */
const reschedule = ({ apic }: Kernel) => apic.raise(HOST_VECTOR.reschedule);

/**
 * A request from another CPU, and kvm_vcpu_kick(): an IPI only to a vCPU that says it is in the guest; whoever is outside
 * will look for requests before it enters. The IPI goes to vcpu->cpu.
 */
function requestAndKick(vcpu: Vcpu, request: number): void {
	const { kernel, thread } = vcpu;
	vcpu.requests |= request;
	if (thread !== null && kernel.smp?.wake(thread) === true) return;
	if (vcpu.mode !== VCPU_MODE.IN_GUEST_MODE) return;
	vcpu.mode = VCPU_MODE.EXITING_GUEST_MODE;
	if (vcpu.cpuNumber === vcpu.cpu.number) reschedule(kernel);
}

/**
 * __apic_accept_irq() on another CPU: posted where APICv is active, otherwise IRR, a request and the kick. Where APICv is
 * inhibited it is a device's, which is posted all the same. The machine
 * itself has one CPU, so that who kicks it is outside.
 */
function interruptGuest(machine: Machine): void {
	const { vcpu, vm, apic } = machine;
	const posted = piDesc(vcpu);
	if (posted === null || (vcpu.vmx?.apicv?.active === false && !vm.apicvInhibited)) {
		vcpu.apic!.mergeIrr(SCRIPT_DEVICE_VECTOR >> 5, 1 << (SCRIPT_DEVICE_VECTOR & 31));
		requestAndKick(vcpu, KVM_REQ.EVENT);
		return;
	}
	if (posted.testAndSetPir(SCRIPT_DEVICE_VECTOR) || posted.testAndSetOn()) return;
	// Who sends it knows whether the vCPU is in the guest; a device does not.
	if (vcpu.mode === VCPU_MODE.IN_GUEST_MODE || vm.apicvInhibited) apic.raise(HOST_VECTOR.postedInterrupt);
}

/** The device's interrupt has not reached the guest. */
function waitsInApic(vcpu: Vcpu): boolean {
	return (
		vcpu.apic!.isRequested(SCRIPT_DEVICE_VECTOR) || piDesc(vcpu)?.requested(SCRIPT_DEVICE_VECTOR) === true
	);
}

/** KVM_GET_REGS by another thread of the process: it loads the vCPU, reads, and puts it. */
function readRegisters(v: Vcpu): void {
	const { kernel, vm } = v;
	kernel.preemptDisable();
	loadHere(v);
	kernel.preemptEnable();
	vm.ops.getRflags(v);
	kernel.preemptDisable();
	vm.tree.helpers.kvm_arch_vcpu_put(v);
	kernel.preemptEnable();
}

/** KVM_SET_VCPU_EVENTS with a triple fault that was pending where the vCPU came from. */
function setTripleFault(v: Vcpu): void {
	v.tripleFaultSet = true;
	v.requests |= KVM_REQ.TRIPLE_FAULT;
}

/** All kinds, in the order in which they are tried. */
export const EVENTS: readonly EventRow[] = [
	{
		kind: "irq",
		title: "external interrupt",
		places: ["host", "guest"],
		waits: interruptWaits,
		inject: ({ apic }) => apic.raise(HOST_VECTOR.device),
		isNew: ({ apic }) => !apic.requested(HOST_VECTOR.device),
		handled: ({ kernel }) => kernel.interruptCounts[HOST_VECTOR.device]!,
	},
	{
		kind: "irq-fpu",
		title: "external interrupt whose handler uses the FPU",
		places: ["host", "guest"],
		waits: interruptWaits,
		inject: ({ apic }) => apic.raise(HOST_VECTOR.deviceFpu),
		isNew: ({ apic }) => !apic.requested(HOST_VECTOR.deviceFpu),
		handled: ({ kernel }) => kernel.interruptCounts[HOST_VECTOR.deviceFpu]!,
	},
	{
		kind: "irq-xfd",
		title: "external interrupt, whose handler uses the FPU, as the guest has written IA32_XFD",
		places: ["guest"],
		exists: (vendor) => vendor === "vmx",
		existsIn: ({ xfd }) => xfd === "own",
		inject: ({ cpu, apic }) => {
			cpu.onGuestMsr = (processor, index) => {
				if (index !== MSR.IA32_XFD) return;
				processor.onGuestMsr = null;
				apic.raise(HOST_VECTOR.otherDeviceFpu);
			};
		},
		isNew: ({ cpu }) => cpu.onGuestMsr === null,
	},
	{
		kind: "tick",
		title: "timer tick that ends the time slice",
		places: ["host", "guest"],
		waits: interruptWaits,
		inject: ({ kernel, apic }) => {
			kernel.reschedOnTick = true;
			apic.raise(HOST_VECTOR.localTimer);
		},
		isNew: ({ kernel }) => !kernel.reschedOnTick,
	},
	{
		kind: "preempt",
		title: "a wake-up wants this CPU",
		places: ["host", "guest"],
		waits: interruptWaits,
		sets: FLAG_READ.needResched,
		inject: (machine) => {
			machine.kernel.current.needResched = true;
			reschedule(machine.kernel);
		},
		isNew: ({ kernel }) => !kernel.current.needResched,
	},
	{
		kind: "signal",
		title: "signal for the vCPU's thread",
		places: ["host", "guest"],
		waits: interruptWaits,
		sets: FLAG_READ.signalPending,
		inject: (machine) => {
			machine.kernel.vcpuTask.signalPending = true;
			reschedule(machine.kernel);
		},
		isNew: ({ kernel }) => !kernel.vcpuTask.signalPending,
	},
	{
		kind: "kick",
		title: "request and kick from another CPU",
		places: ["host", "guest"],
		waits: interruptWaits,
		sets: FLAG_READ.requests,
		inject: ({ vcpu }) => requestAndKick(vcpu, KVM_REQ.OUTSIDE_GUEST_MODE),
		isNew: ({ vcpu }) => (vcpu.requests & KVM_REQ.OUTSIDE_GUEST_MODE) === 0,
	},
	{
		kind: "nmi",
		title: "NMI",
		places: ["host", "guest"],
		waits: ({ gif, nmiBlocked }) => !gif || nmiBlocked,
		passes: ({ gif, nmiBlocked }) => gif && !nmiBlocked,
		inject: ({ cpu }) => {
			cpu.pending |= PENDING.nmi;
		},
		isNew: ({ cpu }) => (cpu.pending & PENDING.nmi) === 0,
		handled: ({ kernel }) => kernel.nmis - kernel.perfSamples,
	},
	{
		kind: "perf-nmi",
		title: "NMI of perf's, which reads the call chain of user space",
		places: ["host", "guest"],
		waits: ({ gif, nmiBlocked }) => !gif || nmiBlocked,
		passes: ({ gif, nmiBlocked }) => gif && !nmiBlocked,
		inject: ({ cpu, kernel }) => {
			kernel.perfNmi = true;
			cpu.pending |= PENDING.nmi;
		},
		isNew: ({ cpu }) => (cpu.pending & PENDING.nmi) === 0,
		handled: ({ kernel }) => kernel.perfSamples,
	},
	{
		kind: "smi",
		title: "SMI",
		places: ["host", "guest"],
		waits: ({ gif }) => !gif,
		// Taken at once, it is seen by nobody: takeSmi() counts it, and that is all.
		idle: ({ gif }) => gif,
		inject: ({ cpu }) => {
			cpu.pending |= PENDING.smi;
		},
		isNew: ({ cpu }) => (cpu.pending & PENDING.smi) === 0,
		handled: ({ cpu }) => cpu.smis,
	},
	{
		kind: "breakpoint",
		title: "breakpoint of a tracer in the kernel's code",
		places: ["host"],
		phases: ["interrupts on", "interrupts off", "GIF 0"],
		idle: ({ nmiBlocked }) => !nmiBlocked,
		// Its handler ends with an IRET, and that ends the blocking of NMIs, whoever blocked them.
		inject: ({ cpu, kernel }) => {
			if (!kernel.guestContext.inGuest) cpu.nmiBlocked = false;
		},
		// Where nothing may be instrumented, nobody can set one (noinstr).
		isNew: ({ kernel }) => !kernel.guestContext.inGuest,
	},
	{
		kind: "zap",
		title: "guest memory unmapped by another CPU",
		places: ["host", "guest"],
		// A TD's private memory is the TDX module's to unmap.
		exists: (vendor) => vendor !== "tdx",
		waits: interruptWaits,
		sets: FLAG_READ.requests,
		inject: (machine) => {
			machine.vm.mmu.clear();
			requestAndKick(machine.vcpu, KVM_REQ.TLB_FLUSH);
		},
		isNew: ({ vcpu }) => (vcpu.requests & KVM_REQ.TLB_FLUSH) === 0,
	},
	{
		kind: "ioctl",
		title: "another thread's ioctl on the vCPU",
		places: ["host"],
		// For vcpu->mutex, which KVM_RUN holds until it returns to user space: all that come before are one.
		phases: ["interrupts on"],
		waits: () => true,
		sets: FLAG_READ.mutex,
		inject: ({ vcpu }) => vcpu.mutexWaiters.push(readRegisters),
		isNew: ({ vcpu }) => vcpu.mutexWaiters.length === 0,
	},
	{
		kind: "triple-fault",
		title: "another thread's KVM_SET_VCPU_EVENTS with a triple fault that is pending",
		places: ["host"],
		// A TD's events are the TDX module's.
		exists: (vendor) => vendor !== "tdx",
		// It ends a run, as vm-dead does.
		existsIn: ({ cpu }) => cpu === "changes",
		phases: ["interrupts on"],
		waits: () => true,
		sets: FLAG_READ.mutex,
		inject: ({ vcpu }) => vcpu.mutexWaiters.push(setTripleFault),
		isNew: ({ vcpu }) => !vcpu.tripleFaultSet && !vcpu.mutexWaiters.includes(setTripleFault),
	},
	{
		kind: "guest-irq",
		title: "interrupt for the guest from another CPU",
		places: ["host", "guest"],
		waits: interruptWaits,
		sets: FLAG_READ.requests,
		inject: interruptGuest,
		isNew: ({ vcpu }) => !waitsInApic(vcpu),
	},
	{
		kind: "vcpu",
		title: "the other vCPU runs on to where it communicates",
		places: ["host", "guest"],
		exists: (vendor) => vendor !== "tdx",
		existsIn: ({ vcpus }) => vcpus === "2",
		repeats: true,
		waits: interruptWaits,
		sets: FLAG_READ.requests,
		inject: (machine) => pairOf(machine)?.other.slice(),
		isNew: (machine) => pairOf(machine)?.other.canRun === true,
	},
	{
		kind: "init",
		title: "INIT for the other vCPU",
		places: ["host", "guest"],
		exists: (vendor) => vendor !== "tdx",
		existsIn: ({ vcpus }) => vcpus === "2",
		inject: ({ vm }) => {
			const other = vm.vcpus[1];
			other?.apic?.noteInit();
			if (other !== undefined) requestAndKick(other, KVM_REQ.EVENT);
		},
		isNew: (machine) =>
			pairOf(machine)?.other.canRun === true && machine.vm.vcpus[1]!.apic?.hasPendingInitOrSipi === false,
	},
	{
		kind: "vm-dead",
		title: "the VM is given up by another thread",
		places: ["host", "guest"],
		// It ends a run. The default configuration, which is searched with the most events, is spared it.
		existsIn: ({ cpu }) => cpu === "changes",
		waits: interruptWaits,
		sets: FLAG_READ.requests,
		inject: ({ vm }) => {
			vm.dead = true;
			for (const vcpu of vm.vcpus) requestAndKick(vcpu, KVM_REQ.VM_DEAD);
		},
		isNew: ({ vm }) => !vm.dead,
	},
	{
		kind: "mce",
		title: "#MC",
		places: ["host", "guest"],
		waits: ({ gif }) => !gif,
		passes: ({ gif }) => gif,
		inject: ({ cpu }) => {
			cpu.pending |= PENDING.machineCheck;
		},
		isNew: noneInProgress,
		handled: ({ kernel }) => kernel.machineChecks,
	},
	{
		kind: "mce-entry",
		title: "#MC while VM entry loads the guest",
		places: ["entry"],
		inject: ({ cpu }) => {
			cpu.machineCheckDuringEntry = true;
		},
		isNew: noneInProgress,
		countsAs: "mce",
	},
	{
		kind: "text-poke",
		title: "interrupt by which another CPU has code patched here, through an address space of its own",
		places: ["host"],
		waits: interruptWaits,
		inject: ({ kernel }) => kernel.callFromOtherCpu(() => kernel.addressSpaces.textPoke()),
		isNew: ({ apic }) => !apic.requested(HOST_VECTOR.callFunction),
	},
	{
		kind: "perf",
		title:
			"interrupt by which perf starts or stops recording branches here: DEBUGCTL, and on Intel a counter",
		places: ["host"],
		waits: interruptWaits,
		inject: ({ kernel }) => kernel.callFromOtherCpu(() => toggleBranchRecords(kernel)),
		isNew: ({ apic }) => !apic.requested(HOST_VECTOR.callFunction),
	},
	{
		kind: "perf-rdpmc",
		title: "interrupt by which perf changes CR4 here, so that user space may read counters",
		places: ["host"],
		waits: interruptWaits,
		inject: ({ kernel }) => kernel.callFromOtherCpu(() => kernel.addressSpaces.toggleCr4Pce()),
		isNew: ({ apic }) => !apic.requested(HOST_VECTOR.callFunction),
	},
	{
		kind: "td-busy",
		title: "another CPU holds a lock of the TDX module, so that TDH.VP.ENTER returns without entering",
		places: ["entry"],
		exists: (vendor) => vendor === "tdx",
		inject: ({ vcpu }) => {
			if (vcpu.tdx !== null) vcpu.tdx.td.td.busyOnce = true;
		},
		isNew: ({ vcpu }) => vcpu.tdx !== null && !vcpu.tdx.td.td.busyOnce,
	},
];

const byKind = new Map<string, EventRow>(EVENTS.map((row) => [row.kind, row]));

/** All kinds, in the order in which they are tried. */
export const EVENT_KINDS: readonly EventKind[] = EVENTS.map(({ kind }) => kind);

/** The row of a kind. */
export function eventRow(kind: EventKind): EventRow {
	return byKind.get(kind)!;
}

/** A kind by its name; undefined if there is none. */
export function findEventKind(name: string): EventKind | undefined {
	return byKind.get(name)?.kind;
}
