/**
 * What few guests do, for `instructions=rare`: an access that goes to user space twice, faults and single steps that KVM
 * injects, a task priority that holds an interrupt back.
 */
import * as L from "../../silicon/cpu/layout.ts";
import { MSR } from "../../silicon/cpu/msr.ts";
import { I, type Line, fromDr, pop, push, set, toCr8, wrmsr } from "./assemble.ts";

/** Linear address that the page tables of these guests do not map. */
const NOT_MAPPED = 1n << 46n;
/** RFLAGS with IF, and with TF too. */
const RFLAGS = { open: 0x202, step: 0x302 } as const;
/** A vector of a lower class than the timer's. */
export const LOW_VECTOR = 0x31;
/** A deadline that does not come by itself, and is not the last one. */
const EARLIER_DEADLINE = 1n << 35n;
/** The task priority that holds its class back. */
const LOW_CLASS = LOW_VECTOR >> 4;

/** XCHG with a device: it is read, and when user space has answered it is written, which is a second exit to user space. */
export const exchangeWithDevice = (address: number): Line[] => [
	set(L.RAX, address),
	set(L.RCX, 0x5a),
	I.xchg,
];

/** OUTS from a page that is not there: KVM, which reads it, injects the #PF. */
export const outsFromNowhere = (port: number): Line[] => [set(L.RDX, port), set(L.RSI, NOT_MAPPED), I.outsb];

/** #PF: the instruction is done once more, from where there is something. @param address of that */
export const pageFaultHandler = (address: number): Line[] => [pop(L.RDI), set(L.RSI, address), I.iretq];

/** CPUID under RFLAGS.TF: KVM emulates it, and injects the single step's #DB. */
export const steppedCpuid = (): Line[] => [set(L.RAX, RFLAGS.step), push(L.RAX), I.popfq, I.cpuid];

/** #DB: reads DR6, and goes on without TF. */
export const debugHandler = (): Line[] => [
	fromDr(6),
	pop(L.RSI),
	pop(L.RDI),
	pop(L.RAX),
	set(L.RAX, RFLAGS.open),
	push(L.RAX),
	push(L.RDI),
	push(L.RSI),
	I.iretq,
];

/**
 * Sleeps with an interrupt that waits for a lower task priority, until the timer, whose class is higher, ends that. The priority is
 * raised when nothing is above it: on SVM without an exit.
 */
export const sleepUnderPriority = (icr: number): Line[] => [
	I.cli,
	...wrmsr(MSR.IA32_TSC_DEADLINE, EARLIER_DEADLINE),
	...wrmsr(icr, LOW_VECTOR),
	set(L.RAX, LOW_CLASS),
	toCr8,
	I.sti,
	I.hlt,
	set(L.RAX, 0),
	toCr8,
];

/**
 * Task priority by CR8, and back to what it was by the register of the local APIC; by either with an exit behind it, and an
 * interrupt to itself that waits for it to go down again.
 */
export const raisedPriority = (icr: number, tpr: number): Line[] => [
	set(L.RAX, LOW_CLASS),
	toCr8,
	...wrmsr(tpr, 0),
	set(L.RAX, LOW_CLASS),
	toCr8,
	...wrmsr(icr, LOW_VECTOR),
	I.invd,
	...wrmsr(tpr, (LOW_CLASS + 1) << 4),
	I.invd,
	set(L.RAX, 0),
	toCr8,
	...wrmsr(MSR.IA32_TSC_DEADLINE, 0),
];
