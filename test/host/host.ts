/** A booted kernel on one processor, without KVM. */
import type { KernelOptions } from "../../src/host/kernel-options.ts";
import { Kernel } from "../../src/host/kernel.ts";
import { INIT_PKRU } from "../../src/host/task.ts";
import { LocalApic } from "../../src/silicon/apic/local-apic.ts";
import type { Cpu } from "../../src/silicon/cpu/cpu.ts";
import { symbolName } from "../../src/silicon/cpu/symbols.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { MachineMemory } from "../../src/silicon/machine.ts";
import { emeraldRapids } from "../../src/silicon/models/emerald-rapids.ts";
import { OP_NAMES } from "../../src/silicon/ops.ts";
import { createProcessor } from "../../src/silicon/processor.ts";

export interface Host {
	readonly cpu: Cpu;
	readonly apic: LocalApic;
	readonly kernel: Kernel;
}

/** Interrupts on, the vCPU's thread in its KVM_RUN with its registers loaded. */
export function bootHost(options: KernelOptions = {}): Host {
	const cpu = createProcessor(new MachineMemory(1, 1 << 16), emeraldRapids);
	const apic = new LocalApic(cpu);
	const kernel = new Kernel(cpu, apic, options);
	cpu.write64(L.CR0, 0x8005_0033n);
	cpu.write64(L.CR4, 0x7706e0n);
	cpu.writeNumber(L.XCR0, kernel.xcr0);
	cpu.writeNumber(L.XSS, kernel.xss);
	cpu.write32(L.PKRU, INIT_PKRU);
	cpu.interruptFlag = true;
	kernel.armTimer();
	kernel.switchFpuReturn();
	return { cpu, apic, kernel };
}

/** Names of the functions entered and the ops done, in order, while `run` runs. */
export function record({ cpu }: Host, run: () => void): string[] {
	const seen: string[] = [];
	cpu.observer = {
		onOp: (_cpu, op) => seen.push(OP_NAMES[op]!),
		onEnter: (_cpu, id) => seen.push(`${symbolName(id)}()`),
	};
	try {
		run();
	} finally {
		cpu.observer = null;
	}
	return seen;
}

/** First 8 bytes of XMM0, which stand for a task's registers. */
export const xmm0 = {
	read: (cpu: Cpu) => cpu.read64(L.XSTATE + 160),
	write: (cpu: Cpu, value: bigint) => {
		cpu.write64(L.XSTATE + 160, value);
		cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | 2);
	},
};
