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

/** Where two sets of page tables lie, a PML4 and what it leads to each, which map the guest's 64 KiB to themselves. */
export const TABLES = 0x8000;
export const OTHER_TABLES = 0xc000;
const PRESENT_WRITABLE = 3;
export const CR0_WP = 1n << 16n;
export const CR4_DE = 8n;

/** Where the page table of a set lies: the fourth of its pages. */
export function pageTableAt(tables: number): number {
	return tables + 0x3000;
}

/** The same guest in 64-bit mode at level 0, with CR0.WP. */
export function longModeGuest(kvm: KvmSystem, code: readonly number[]): RealModeGuest {
	const guest = realModeGuest(kvm, code);
	const { memory, vcpu } = guest;
	const entry = (at: number, gpa: number) =>
		memory.write(at, Uint8Array.of((gpa & 0xff) | PRESENT_WRITABLE, gpa >> 8));
	for (const tables of [TABLES, OTHER_TABLES]) {
		for (let level = 0; level < 3; level++) entry(tables + level * 0x1000, tables + (level + 1) * 0x1000);
		for (let page = 0; page < 16; page++) entry(pageTableAt(tables) + page * 8, page << 12);
	}
	const sregs = vcpu.getSregs();
	vcpu.setSregs({
		...sregs,
		cr0: 0x8000_0033n | CR0_WP,
		cr3: BigInt(TABLES),
		cr4: 0x20n,
		efer: 0x500n,
		cs: {
			...sregs.cs,
			selector: 8,
			limit: 0xffff_ffff,
			type: 11,
			s: 1,
			dpl: 0,
			present: 1,
			db: 0,
			l: 1,
			g: 1,
		},
		ss: { ...sregs.ss, selector: 16, limit: 0xffff_ffff, type: 3, s: 1, dpl: 0, present: 1, db: 1, g: 1 },
	});
	return guest;
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
