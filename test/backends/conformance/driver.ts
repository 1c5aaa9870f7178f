/**
 * One suite, two machines: a statement about an ioctl is written once and holds on the software KVM, on SVM and on VMX,
 * and on /dev/kvm where there is one. What a machine does not have is skipped with the reason.
 */
import { afterEach, beforeEach, describe, it } from "vitest";
import { hostInfo } from "../../../src/devkvm/host.ts";
import { DevKvm } from "../../../src/devkvm/system.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { SoftKvm } from "../../../src/softkvm/system.ts";
import type { GuestMemory, KvmSystem, KvmVcpu, KvmVm } from "../../../src/uapi/api.ts";
import { UNAVAILABLE } from "../../devkvm/support.ts";

export interface Machine {
	readonly name: string;
	/** kvm_intel, kvm_amd, or another vendor module; that of the software machine is the one it models. */
	readonly module: string;
	readonly backend: "dev" | "soft";
	readonly unavailable: string | null;
	open(): KvmSystem;
}

const SOFT_RAM_BYTES = 64 << 20;

const MACHINES: readonly Machine[] = [
	{
		name: "soft svm",
		module: "kvm_amd",
		backend: "soft",
		unavailable: null,
		open: () => SoftKvm.open({ model: turin, vendor: "svm", ramBytes: SOFT_RAM_BYTES }),
	},
	{
		name: "soft vmx",
		module: "kvm_intel",
		backend: "soft",
		unavailable: null,
		open: () => SoftKvm.open({ model: emeraldRapids, vendor: "vmx", ramBytes: SOFT_RAM_BYTES }),
	},
	{
		name: "/dev/kvm",
		module: UNAVAILABLE === null ? hostInfo().module : "none",
		backend: "dev",
		unavailable: UNAVAILABLE,
		open: () => DevKvm.open(),
	},
];

/** A statement's surroundings: the machine that it is made about. */
export interface Bench {
	readonly machine: Machine;
	/** Open while the statement is tried. */
	readonly kvm: KvmSystem;
	/**
	 * States something.
	 * @param skip the reason for which this machine is left out; null to state it
	 */
	states(statement: string, work: () => void | Promise<void>, skip?: string | null): void;
}

/** Makes the statements of a subject about each machine. */
export function onEachMachine(subject: string, make: (bench: Bench) => void): void {
	for (const machine of MACHINES) {
		const why = machine.unavailable === null ? "" : ` (skipped: ${machine.unavailable})`;
		describe.skipIf(machine.unavailable !== null)(`${subject} of ${machine.name}${why}`, () => {
			let open: KvmSystem | null = null;
			beforeEach(() => {
				open = machine.open();
			});
			afterEach(() => {
				open?.close();
				open = null;
			});
			make({
				machine,
				get kvm() {
					return open!;
				},
				states: (statement, work, skip = null) =>
					skip === null ? it(statement, work) : it.skip(`${statement} (skipped: ${skip})`, work),
			});
		});
	}
}

/** A VM with one vCPU in real mode at 0:1000H. */
export interface RealModeGuest {
	readonly vm: KvmVm;
	readonly memory: GuestMemory;
	readonly vcpu: KvmVcpu;
}

export interface RealModeOptions {
	readonly irqchip?: boolean;
	readonly logDirtyPages?: boolean;
}

/** 64 KiB of memory with code at 1000H, and a stack. */
export function realModeGuest(
	kvm: KvmSystem,
	code: readonly number[],
	options: RealModeOptions = {},
): RealModeGuest {
	const vm = kvm.createVm();
	if (options.irqchip === true) vm.createIrqchip();
	const memory = vm.addMemory({
		slot: 0,
		gpa: 0,
		bytes: 0x10000,
		logDirtyPages: options.logDirtyPages === true,
	});
	memory.write(0x1000, Uint8Array.from(code));
	const vcpu = vm.createVcpu(0);
	vcpu.setCpuid2(kvm.supportedCpuid());
	const sregs = vcpu.getSregs();
	vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
	vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n, rsp: 0x8000n, rflags: 2n });
	return { vm, memory, vcpu };
}

/** Real-mode instructions. */
export const ASM = {
	hlt: [0xf4],
	nop: [0x90],
	sti: [0xfb],
	cli: [0xfa],
	iret: [0xcf],
	/** JMP to itself. */
	spin: [0xeb, 0xfe],
	cpuid: [0x0f, 0xa2],
	movAl: (value: number) => [0xb0, value],
	movAx: (value: number) => [0xb8, value & 0xff, value >> 8],
	movDx: (value: number) => [0xba, value & 0xff, value >> 8],
	movDsAx: [0x8e, 0xd8],
	/** OUT imm8, AL. */
	out: (port: number) => [0xe6, port],
	/** OUT DX, EAX. */
	outDxEax: [0x66, 0xef],
	/** IN AL, imm8. */
	in: (port: number) => [0xe4, port],
	/** MOV [moffs16], AL. */
	storeAl: (offset: number) => [0xa2, offset & 0xff, offset >> 8],
	/** MOV AL, [moffs16]. */
	loadAl: (offset: number) => [0xa0, offset & 0xff, offset >> 8],
} as const;
