/** A VM whose vendor keeps guest registers in plain fields: for tests of what lies above the vendor. */
import { FpState } from "../../../src/host/fpu.ts";
import { HrtimerQueue } from "../../../src/host/hrtimer.ts";
import type { Kernel } from "../../../src/host/kernel.ts";
import { HostPages } from "../../../src/host/pages.ts";
import { buildGuestCpuid } from "../../../src/kvm/emulate/cpuid.ts";
import { compileTree } from "../../../src/kvm/flow/compile.ts";
import { v618 } from "../../../src/kvm/trees/base.ts";
import { Lapic } from "../../../src/kvm/irqchip/lapic.ts";
import { Mmu } from "../../../src/kvm/mmu/mmu.ts";
import { Vcpu } from "../../../src/kvm/vcpu.ts";
import type { Segment, VendorOps } from "../../../src/kvm/vendor-ops.ts";
import { Vm } from "../../../src/kvm/vm.ts";
import { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { MachineMemory } from "../../../src/silicon/machine.ts";
import type { Cost, CpuModel, GuestCostClass, Vendor } from "../../../src/silicon/models/model.ts";
import { OP_NAMES, type OpName } from "../../../src/silicon/ops.ts";

const free: Cost = { cycles: 1, origin: "assumed", source: "a test" };

/** A model on which every op costs one cycle; 1 GHz, so that a cycle is a nanosecond. */
export function fakeModel(overrides: Partial<CpuModel> = {}): CpuModel {
	const classes: GuestCostClass[] = [
		"simple",
		"multiply",
		"divide",
		"string",
		"rdtsc",
		"serializing",
		"system",
		"far",
	];
	return {
		name: "fake",
		title: "Fake CPU",
		vendorString: "GenuineIntel",
		vendors: ["vmx", "tdx"],
		tscHz: 1e9,
		signature: 0xc06f2,
		features: {
			xcr0: 0x602e7,
			xss: 0x1800,
			xfd: 1 << 18,
			pku: true,
			pks: false,
			la57: false,
			xsaves: true,
			cetSs: false,
			cetIbt: false,
			physicalAddressBits: 46,
			nrips: true,
			vSpecCtrl: true,
			vnmi: true,
			ibpbExitToUser: true,
			lbrv: true,
		},
		costs: Object.fromEntries(OP_NAMES.map((name) => [name, free])) as Record<OpName, Cost>,
		guestCosts: Object.fromEntries(classes.map((name) => [name, free])) as Record<GuestCostClass, Cost>,
		...overrides,
	};
}

/** Guest state that a vendor would keep in the VMCS or VMCB. */
export interface FakeGuest {
	rip: bigint;
	rsp: bigint;
	rflags: number;
	cpl: number;
	instructionLength: number;
	interruptAllowed: boolean;
	readonly segments: Segment[];
	hvTimer: boolean;
	hvDeadline: number;
}

export interface FakeVm {
	readonly vm: Vm;
	readonly vcpu: Vcpu;
	readonly cpu: Cpu;
	readonly guest: FakeGuest;
	readonly hrtimers: HrtimerQueue;
}

export interface FakeVmOptions {
	readonly vendor?: Vendor;
	readonly model?: CpuModel;
	readonly irqchip?: boolean;
	readonly vcpus?: number;
	/** Guest memory from address 0, 2 MiB aligned in the host. */
	readonly ramBytes?: number;
}

/** Makes it. */
export function makeFakeVm(options: FakeVmOptions = {}): FakeVm {
	const model = options.model ?? fakeModel();
	const ramBytes = options.ramBytes ?? 2 << 20;
	const memory = new MachineMemory(2, ramBytes + (8 << 20));
	const cpu = new Cpu(memory, model);
	const hrtimers = new HrtimerQueue(cpu);
	const kernel = { cpu, hrtimers, current: { fpstate: null } } as unknown as Kernel;
	const guest: FakeGuest = {
		rip: 0x1000n,
		rsp: 0n,
		rflags: 2,
		cpl: 0,
		instructionLength: 2,
		interruptAllowed: true,
		segments: Array.from({ length: 10 }, () => ({
			base: 0n,
			limit: 0xffff_ffff,
			attributes: 0xa09b,
			selector: 8,
		})),
		hvTimer: false,
		hvDeadline: -1,
	};
	const vendor = options.vendor ?? "vmx";
	const tree = compileTree(v618, vendor);
	const vmOptions = { vendor, tree, irqchip: options.irqchip ?? true };
	const vm = new Vm(
		kernel,
		fakeOps(guest),
		(made) => new Mmu(made),
		vmOptions,
		new HostPages(memory, 0x1000),
	);
	const hpa = vm.reserve(ramBytes, 2 << 20);
	vm.slots.push({ gpa: 0, bytes: ramBytes, hpa, readOnly: false });
	for (let id = 0; id < (options.vcpus ?? 1); id++) {
		const vcpu = new Vcpu(vm, kernel, id);
		vm.vcpus.push(vcpu);
		vcpu.guestFpu = new FpState(model.features.xcr0 & ~0x200);
		if (vm.irqchip) vcpu.apic = new Lapic(vcpu);
		vcpu.efer = 0xd01n;
		vcpu.cr0 = 0x8001_0033n;
		vcpu.cr4 = 0x20n;
		buildGuestCpuid(vcpu);
	}
	return { vm, vcpu: vm.vcpus[0]!, cpu, guest, hrtimers };
}

function fakeOps(guest: FakeGuest): VendorOps {
	const nothing = () => {};
	return {
		vcpuCreate: nothing,
		afterSetCpuid: nothing,
		setDr7: nothing,
		syncDirtyDebugRegs: nothing,
		interceptNm: nothing,
		interceptBp: nothing,
		hostOwnedDebugctl: 0,
		flushTlb: nothing,
		handleExit: () => 1,
		getRip: () => guest.rip,
		setRip: (_v, rip) => {
			guest.rip = rip;
		},
		getRflags: () => guest.rflags,
		setRflags: (_v, rflags) => {
			guest.rflags = rflags;
		},
		getRsp: () => guest.rsp,
		setRsp: (_v, rsp) => {
			guest.rsp = rsp;
		},
		getCpl: () => guest.cpl,
		// GDTR and IDTR have negative numbers.
		getSegment: (_v, segment) => guest.segments[(segment + 10) % 10]!,
		setSegment: (_v, segment, value) => {
			guest.segments[(segment + 10) % 10] = value;
		},
		cacheControlRegisters: nothing,
		setCr0: (v, cr0) => {
			v.cr0 = cr0;
		},
		setCr3: (v, cr3) => {
			v.cr3 = cr3;
		},
		setCr4: (v, cr4) => {
			v.cr4 = cr4;
		},
		setEfer: (v, efer) => {
			v.efer = efer;
		},
		getMsr: () => undefined,
		setMsr: () => false,
		skipEmulatedInstruction: () => {
			guest.rip += BigInt(guest.instructionLength);
		},
		interruptAllowed: () => guest.interruptAllowed,
		getInterruptShadow: () => 0,
		setInterruptShadow: nothing,
		setNmiMask: nothing,
		writeTscOffset: () => {},
		nmiMasked: () => false,
		vnmiPending: () => false,
		setVnmiPending: () => false,
		nmiAllowed: () => true,
		injectIrq: nothing,
		injectNmi: nothing,
		injectException: nothing,
		cancelInjection: nothing,
		enableIrqWindow: nothing,
		enableNmiWindow: nothing,
		setHvTimer: (_v, deadline) => {
			guest.hvDeadline = deadline;
			return guest.hvTimer;
		},
		cancelHvTimer: () => {
			guest.hvDeadline = -1;
		},
		exitReasonName: (reason) => `reason ${reason}`,
		dump: () => "",
	};
}

/** Sets a general register. */
export function setGpr(vcpu: Vcpu, index: number, value: bigint | number): void {
	vcpu.regs[index] = BigInt(value);
}

/** EAX, EBX, ECX, EDX. */
export function abcd(vcpu: Vcpu): readonly number[] {
	return [L.RAX, L.RBX, L.RCX, L.RDX].map((index) => vcpu.regs32[index * 2]!);
}
