/** What of a machine goes into a snapshot, by the rules of graph.ts; and the memory, which goes beside it. */
import { Kernel } from "../../host/kernel.ts";
import { Cpu } from "../../silicon/cpu/cpu.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { flushTlb } from "../../silicon/paging/tlb.ts";
import { SvmGuestMode } from "../../silicon/svm/guest-mode.ts";
import { VmxGuestMode } from "../../silicon/vmx/guest-mode.ts";
import type { Machine } from "../api/kvm.ts";
import { kernelIrqchip } from "../irqchip/irqchip.ts";
import type { Vmm } from "../api/vmm.ts";
import { Vcpu } from "../vcpu.ts";
import { Vm } from "../vm.ts";
import { Graph, type GraphRules } from "./graph.ts";

/** Fields that are no state: what watches, what is found again, and what goes with the TLB and the jump cache. */
const LEFT: readonly (readonly [abstract new (...args: never[]) => object, readonly string[]])[] = [
	[
		Cpu,
		[
			"observer",
			"vectors",
			"costs",
			"largePages",
			"tlbFilled",
			"jumpFilled",
			"jumpPages",
			"jumpsUnlisted",
			"guestPhysical",
			"walks",
		],
	],
	[Vcpu, ["nodeObserver", "ledger"]],
	[Vm, ["tree", "ops"]],
	[Kernel, ["observer"]],
];
const leftByClass = new Map<unknown, ReadonlySet<string>>(
	LEFT.map(([type, fields]) => [type, new Set(fields)]),
);

/**
 * Numbers a machine's objects. Call it when machine and VMM were just made, and before the guest is loaded.
 * @param vmm of the machine
 */
export function machineGraph(machine: Machine, vmm: Vmm): Graph {
	const { memory, vm } = machine;
	for (const vcpu of vm.vcpus) {
		// Made at the first VM entry otherwise, which is too late to be numbered.
		const vmcs = vcpu.vmx?.vmcs;
		if (vmcs !== undefined && vmcs.guestMode === null) vmcs.guestMode = new VmxGuestMode(vcpu.cpu, vmcs);
		const vmcb = vcpu.svm?.vmcb;
		if (vmcb !== undefined && vmcb.guestMode === null) vmcb.guestMode = new SvmGuestMode(vcpu.cpu, vmcb);
	}
	const rules: GraphRules = {
		opaque: new Set<object>([memory, machine.cpu.model]),
		foreign: new Set([memory.memory.buffer]),
		isLeft: (owner, field) => leftByClass.get(owner.constructor)?.has(field) === true,
		classes: {},
	};
	const roots: (object | null)[] = [
		machine.processors,
		machine.kernels,
		vm,
		vmm,
		kernelIrqchip(vm),
		machine.smp,
	];
	return new Graph(
		roots.filter((root) => root !== null),
		rules,
	);
}

/** Bytes of a processor's area that are state: what lies behind them is TLB and jump cache. */
const STATE_BYTES = L.TLB_READ;
const PAGE_BYTES = 4096;

/** Empties TLBs and jump caches: they hold nothing that is not found again. */
export function forgetTranslations(machine: Machine): void {
	for (const { cpu } of machine.processors) flushTlb(cpu);
}

/** Pages of a machine's Wasm memory that hold state: processors' areas, and host physical memory. */
function* statePages({ memory }: Machine): Generator<number> {
	for (let area = 0; area < memory.ramBase; area += L.CPU_AREA_BYTES) {
		for (let at = area; at < area + STATE_BYTES; at += PAGE_BYTES) yield at;
	}
	for (let at = memory.ramBase; at < memory.ramBase + memory.ramBytes; at += PAGE_BYTES) yield at;
}

/** The pages that are not all zeros. @returns their byte offsets, and their bytes one behind the other */
export function writtenPages(machine: Machine): {
	readonly offsets: Uint32Array;
	readonly bytes: Uint8Array;
} {
	const { u8, i32 } = machine.memory;
	const offsets: number[] = [];
	for (const at of statePages(machine)) {
		const end = (at + PAGE_BYTES) >> 2;
		let word = at >> 2;
		while (word < end && i32[word] === 0) word++;
		if (word < end) offsets.push(at);
	}
	const bytes = new Uint8Array(offsets.length * PAGE_BYTES);
	for (const [index, at] of offsets.entries())
		bytes.set(u8.subarray(at, at + PAGE_BYTES), index * PAGE_BYTES);
	return { offsets: Uint32Array.from(offsets), bytes };
}

/** Puts pages back; all others become zeros. */
export function putPages(machine: Machine, offsets: Uint32Array, bytes: Uint8Array): void {
	const { u8 } = machine.memory;
	for (const at of statePages(machine)) u8.fill(0, at, at + PAGE_BYTES);
	for (const [index, at] of offsets.entries()) {
		u8.set(bytes.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES), at);
	}
}
