/**
 * Fields that nobody assigns behind the constructor: `readonly`, which TypeScript holds everybody to, and a test this table. A search
 * walks through them; it need not look at each state whether they are as they were. A field that is missing here costs time, no more.
 */
import { AddressSpaces } from "../../host/address-space.ts";
import { FpState } from "../../host/fpu.ts";
import { GuestContext } from "../../host/guest-context.ts";
import { HrtimerQueue } from "../../host/hrtimer.ts";
import { HwBreakpoints } from "../../host/hw-breakpoint.ts";
import { Kernel } from "../../host/kernel.ts";
import { HostPages } from "../../host/pages.ts";
import { PerfCpu } from "../../host/perf.ts";
import { RemoteLines } from "../../host/remote-lines.ts";
import { QueuedRwLock } from "../../host/spinlock.ts";
import { Task } from "../../host/task.ts";
import { UserReturnMsrs } from "../../host/user-return.ts";
import { Vmm } from "../../kvm/api/vmm.ts";
import { ProgramRunner } from "../../kvm/flow/program.ts";
import { IoBus } from "../../kvm/io-bus.ts";
import { ApicTimer } from "../../kvm/irqchip/apic-timer.ts";
import { IoApic } from "../../kvm/irqchip/ioapic.ts";
import { Lapic } from "../../kvm/irqchip/lapic.ts";
import { PicPair } from "../../kvm/irqchip/pic.ts";
import { Pit } from "../../kvm/irqchip/pit.ts";
import { Mmu } from "../../kvm/mmu/mmu.ts";
import { SvmVcpu } from "../../kvm/svm/svm-vcpu.ts";
import { TdxVcpu } from "../../kvm/tdx/tdx-vcpu.ts";
import { Vcpu } from "../../kvm/vcpu.ts";
import { Vm } from "../../kvm/vm.ts";
import { VmxVcpu } from "../../kvm/vmx/vmx-vcpu.ts";
import { LocalApic } from "../../silicon/apic/local-apic.ts";
import { Cpu } from "../../silicon/cpu/cpu.ts";
import { SvmGuestMode } from "../../silicon/svm/guest-mode.ts";
import { Td, TdVcpu } from "../../silicon/tdx/td.ts";
import { VmxGuestMode } from "../../silicon/vmx/guest-mode.ts";
import { PostedInterruptDescriptor } from "../../silicon/vmx/posted-interrupts.ts";
import { VirtualApic } from "../../silicon/vmx/virtual-apic.ts";

/** By class. */
// biome-ignore format: one class a row
export const FIXED: readonly (readonly [abstract new (...args: never[]) => object, readonly string[]])[] = [
	[AddressSpaces, ["contexts", "cpu"]],
	[FpState, ["features", "image"]],
	[GuestContext, ["cpu", "rcuData"]],
	[HrtimerQueue, ["cpu", "timers"]],
	[HwBreakpoints, ["addresses", "cpu", "debugreg"]],
	[Kernel, ["apic", "calls", "cpu", "fpu", "guestContext", "hasIbpbExitToUser", "hostPebs", "hrtimers", "kvm", "mceHandler", "otherSyscalls", "otherTask", "rcuData", "timekeeper", "userPkru", "userStackKey", "vcpuTask", "xcr0", "xss"]],
	[HostPages, ["free", "memory"]],
	[PerfCpu, ["cpu"]],
	[RemoteLines, ["cpu", "hz", "lines"]],
	[QueuedRwLock, ["stat"]],
	[Task, ["mm", "name", "taskWork", "userFpstate", "userGsBase"]],
	[UserReturnMsrs, ["cpu", "noted"]],
	[Vmm, ["guestRamBytes", "machine"]],
	[ProgramRunner, ["vcpu"]],
	[IoBus, ["zones"]],
	[ApicTimer, ["vcpu"]],
	[IoApic, ["vm"]],
	[Lapic, ["timer", "vcpu"]],
	[PicPair, ["master", "onOutput", "slave"]],
	[Pit, ["channels", "tscHz", "vm"]],
	[Mmu, ["format", "freeTables", "gpaModulus", "rootHpa", "usedTables", "vm"]],
	[SvmVcpu, ["hostVmcb", "tscAux", "vmcb"]],
	[TdxVcpu, ["posted", "td"]],
	[Vcpu, ["exception", "extra", "halt", "id", "interrupt", "msrs", "pmu", "preemptNotifier", "run", "vm", "vt"]],
	[Vm, ["ioBus", "kernel", "memory", "mmu", "mmuLock", "pages", "slots", "taken", "vcpus", "vendor"]],
	[VmxVcpu, ["userReturnMsrs", "vmcs"]],
	[LocalApic, ["cpu"]],
	[Cpu, ["base", "codeCycles", "cyclesAt", "deadlineAt", "guestPhysical", "index", "limitAt", "memory", "model", "physicalEnd", "rflagsAt"]],
	[SvmGuestMode, ["cpu", "npt", "vmcb"]],
	[Td, ["attributes", "initialImage", "memory", "msrBitmapHpa", "secureEptRoot", "vcpus", "xfam"]],
	[TdVcpu, ["image", "index", "td", "veInfo", "virtualApicHpa", "vmcs"]],
	[VmxGuestMode, ["cpu", "ept", "onDeadline", "virtualApic", "vmcs"]],
	[PostedInterruptDescriptor, ["hpa"]],
	[VirtualApic, ["mode"]],
];
