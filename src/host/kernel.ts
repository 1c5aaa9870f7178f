/**
 * The Linux around KVM on one CPU: interrupt flag, preemption, the scheduler, and the way to user space and back. What
 * interrupts, NMIs and machine checks lead to is in idt.ts and mce.ts. Follows v6.18; each method names the kernel function
 * that it stands for.
 */
import type { LocalApic } from "../silicon/apic/local-apic.ts";
import type { Cpu } from "../silicon/cpu/cpu.ts";
import { callStackOf, symbol } from "../silicon/cpu/symbols.ts";
import type { HostVectors } from "../silicon/cpu/host-vectors.ts";
import { XFEATURE } from "../silicon/cpu/control.ts";
import { segmentAt } from "../silicon/cpu/segments.ts";
import { OP } from "../silicon/ops.ts";
import * as L from "../silicon/cpu/layout.ts";
import { readPkru, writeIbpb, writePkru } from "./access.ts";
import { AddressSpaces } from "./address-space.ts";
import { HostFault, HostInvariant } from "./errors.ts";
import { FpuCpu, kernelFeatures, restoreFpregs, saveFpregs } from "./fpu.ts";
import { FN, rcuNoteContextSwitch, runFunction } from "./functions.ts";
import { GuestContext } from "./guest-context.ts";
import { HwBreakpoints } from "./hw-breakpoint.ts";
import { HrtimerQueue } from "./hrtimer.ts";
import { HOST_VECTOR, handleInterrupt, handleNmi } from "./idt.ts";
import { type MceHandler, doMachineCheck } from "./mce.ts";
import { switchPebsMsrs } from "./pebs.ts";
import { CYCLES_COUNTER, PerfCpu } from "./perf.ts";
import { type RemoteLines, rcuData, timekeeper } from "./remote-lines.ts";
import type { KernelOptions } from "./kernel-options.ts";
import type { KvmParameters } from "./kvm-parameters.ts";
import { BEFORE_SWITCH, runPart } from "./shares.ts";
import type { SharedLine } from "./shared-line.ts";
import type { OtherCpus } from "./smp.ts";
import { Task, userPkru } from "./task.ts";
import { USER_MSRS, UserReturnMsrs, type UserMsrs } from "./user-return.ts";

/** Time of day when the host's cycles stood at 0: 2026-01-01 00:00:00 UTC. */
export const HOST_BOOT_EPOCH_SECONDS = 1_767_225_600;

const SYM = {
	kernelFpu: symbol("kernel_fpu_begin"),
	machineCheck: symbol("exc_machine_check"),
	schedule: symbol("schedule"),
	switchTo: symbol("__switch_to"),
	preemptSchedule: symbol("preempt_schedule"),
	preemptScheduleIrq: symbol("preempt_schedule_irq"),
	exitToUser: symbol("exit_to_user_mode_loop"),
	onUserReturn: symbol("kvm_on_user_return"),
	writeIbpb: symbol("write_ibpb"),
	syscallEntry: symbol("entry_SYSCALL_64"),
	switchFpuReturn: symbol("switch_fpu_return"),
} as const;

const FS_BASE = segmentAt(L.FS) + L.SEG_BASE;
const GS_BASE = segmentAt(L.GS) + L.SEG_BASE;
/** Where user space takes page faults. */
const USER_FAULT = 0x7f12_0000_0000n;
const XMM0 = L.XSTATE + 160;
const XMM1 = XMM0 + 16;
/** What kernel code that uses the FPU leaves in XMM0. */
const KERNEL_XMM0 = 0xfee1_dead_0bad_c0den;

/** Base of the kernel's per-CPU data, of CPU 0. */
export const KERNEL_GS_BASE = 0xffff_8880_0000_1000n;

export class Kernel implements HostVectors {
	readonly cpu: Cpu;
	readonly apic: LocalApic;
	readonly hrtimers: HrtimerQueue;
	userReturn: UserReturnMsrs;
	breakpoints: HwBreakpoints;
	addressSpaces: AddressSpaces;
	/** Guest time and context tracking of this CPU. */
	readonly guestContext: GuestContext;
	readonly fpu = new FpuCpu();
	/** MSRs that user space relies on. */
	userMsrs: UserMsrs = USER_MSRS;
	/** GS base in the kernel: where this CPU's data is. */
	gsBase = KERNEL_GS_BASE;
	/** What perf has on, on this CPU. */
	perf: PerfCpu;
	/** x86_spec_ctrl_current, per CPU. */
	specCtrl = 0;
	/** X86_FEATURE_IBPB_EXIT_TO_USER: what a guest has taught the predictors is forgotten before user space runs. */
	readonly hasIbpbExitToUser: boolean;
	/** x86_ibpb_exit_to_user, per CPU: the way to user space does an IBPB first (commit 2f8f173413f1). */
	ibpbExitToUser = false;
	/** What other CPUs want this one to do: the call_single queue. */
	readonly calls: (() => void)[] = [];
	/** kvm_host.xcr0, kvm_host.xss: what the kernel runs with. */
	readonly xcr0: number;
	readonly xss: number;
	/** What other CPUs write of the timekeeper, and of this CPU's rcu_data. */
	readonly timekeeper: RemoteLines;
	private readonly rcuData: RemoteLines;
	/** Entries and exits switch PEBS' MSRs: see KernelOptions. */
	readonly hostPebs: boolean;
	readonly mceHandler: MceHandler;
	readonly kvm: KvmParameters;
	/** The thread that calls KVM_RUN. */
	readonly vcpuTask: Task;
	/** Another runnable task, with a user space of its own. */
	readonly otherTask: Task;
	current: Task;
	/** PKRU of user space: the kernel's default, and the key of the stacks. The same in all tasks. */
	readonly userPkru: number;
	preemptCount = 0;
	/** The host's other CPUs and the threads on all of them; null when this one is alone. */
	smp: OtherCpus | null = null;
	/** Depth of interrupt, NMI and #MC handlers. */
	handlerDepth = 0;
	/** Interrupts handled, by vector. */
	readonly interruptCounts = new Float64Array(256);
	/** #MCs handled. */
	machineChecks = 0;
	nmis = 0;
	/** The next NMI is a counter's overflow: perf takes a sample with the call chain of user space. */
	perfNmi = false;
	/** Protection key of the pages that user-space stacks lie on. */
	readonly userStackKey: number;
	/** Of the NMIs: those that took a sample. */
	perfSamples = 0;
	/** Call chains of user space that perf could not read. */
	callchainsLost = 0;
	/** What another VM's vCPU, whose thread the other task is then, does to the processor when it runs; null: it is none. */
	neighbour: (() => void) | null = null;
	/** A task that was switched out goes on on another CPU: makes this one that one; null: it stays. Interrupts are off. */
	changeCpu: (() => void) | null = null;
	/** System calls that the other task does when it runs next. */
	readonly otherSyscalls: (() => void)[] = [];
	/** The next timer tick finds that the current task has used up its slice. */
	reschedOnTick = false;
	/** kvm_posted_intr_wakeup and the like hang on here. */
	onPostedInterrupt: () => void = () => {};

	constructor(cpu: Cpu, apic: LocalApic, options: KernelOptions = {}) {
		this.cpu = cpu;
		this.apic = apic;
		const { features } = cpu.model;
		this.xcr0 = options.xcr0 ?? features.xcr0;
		this.xss = options.xss ?? features.xss;
		this.hasIbpbExitToUser = features.ibpbExitToUser && options.vmscape !== "off";
		this.timekeeper = timekeeper(cpu, options.tickHz ?? 0);
		this.rcuData = rcuData(cpu, options.tickHz ?? 0);
		this.perf = new PerfCpu(cpu);
		this.hostPebs = options.hostPebs === true && switchPebsMsrs(cpu);
		if (this.hostPebs) this.perf.globalCtrl = CYCLES_COUNTER;
		this.mceHandler = options.mceHandler ?? "task-work";
		this.userStackKey = options.userStackKey ?? 0;
		this.userPkru = userPkru(this.userStackKey);
		this.kvm = { nrips: features.nrips, enableApicv: false, haltPollNs: 0, tdpMmu: true, ...options.kvm };
		this.hrtimers = new HrtimerQueue(cpu);
		this.guestContext = new GuestContext(cpu, this.rcuData);
		// What XFD can switch off, a task gets when it asks for it (arch_prctl(ARCH_REQ_XCOMP_PERM)); these did not.
		const image = kernelFeatures(this.xcr0, this.xss) & ~features.xfd;
		this.vcpuTask = new Task("vcpu", image, this.userPkru, 0);
		this.otherTask = new Task("other", image, this.userPkru, 1);
		for (const task of [this.vcpuTask, this.otherTask]) task.userFpstate.xfd = features.xfd;
		this.current = this.vcpuTask;
		this.userReturn = new UserReturnMsrs(cpu);
		this.breakpoints = new HwBreakpoints(cpu);
		this.addressSpaces = new AddressSpaces(cpu, this.vcpuTask.mm);
		cpu.vectors = this;
		cpu.apic = apic;
	}

	/** What the boot code leaves in the registers that no task changes, and the current task's bases. */
	bootRegisters(): void {
		const { cpu, current } = this;
		this.addressSpaces.boot();
		cpu.write64(L.STAR, USER_MSRS.star);
		cpu.write64(L.LSTAR, USER_MSRS.lstar);
		cpu.write64(L.SFMASK, USER_MSRS.sfmask);
		cpu.write64(L.TSC_AUX, USER_MSRS.tscAux);
		this.userReturn.online([L.STAR, L.LSTAR, L.SFMASK, L.TSC_AUX]);
		cpu.write64(GS_BASE, this.gsBase);
		cpu.write64(FS_BASE, current.fsBase);
		cpu.write64(L.KERNEL_GS_BASE, current.gsBase);
		cpu.write32(L.SPEC_CTRL, this.specCtrl);
		cpu.writeNumber(L.PERF_GLOBAL_CTRL, this.perf.globalCtrl);
	}

	/** smp_call_function_single() from another CPU: `call` runs in this one's interrupt handler. */
	callFromOtherCpu(call: () => void): void {
		this.calls.push(call);
		this.apic.raise(HOST_VECTOR.callFunction);
	}

	/** Programs the CPU's deadline for the next timer, whose expiry raises the local timer's vector. */
	armTimer(): void {
		const { cpu, hrtimers } = this;
		hrtimers.onChange = () => {
			cpu.deadline = hrtimers.nextCycles;
			this.smp?.somethingWillHappen(this);
		};
		cpu.onDeadline = () => {
			cpu.deadline = Number.POSITIVE_INFINITY;
			if (hrtimers.nextCycles <= cpu.cycles) this.apic.raise(HOST_VECTOR.localTimer);
			else cpu.deadline = hrtimers.nextCycles;
		};
		hrtimers.onChange();
	}

	// ---- interrupt flag and preemption ---------------------------------------------------------------

	/** local_irq_enable(). What was pending arrives right behind it. */
	localIrqEnable(): void {
		this.cpu.op(OP.sti);
		if (this.cpu.interruptFlag) throw new HostInvariant("local_irq_enable() with interrupts already on");
		this.cpu.interruptFlag = true;
		// STI takes effect behind the next instruction; the window is that instruction's boundary.
		this.cpu.poll();
	}

	/** local_irq_disable(). */
	localIrqDisable(): void {
		this.cpu.op(OP.cli);
		if (!this.cpu.interruptFlag) throw new HostInvariant("local_irq_disable() with interrupts already off");
		this.cpu.interruptFlag = false;
	}

	/** preempt_disable(). */
	preemptDisable(): void {
		this.cpu.op(OP.preempt_disable);
		this.preemptCount++;
	}

	/** preempt_enable(): reschedules here if that was asked for. */
	preemptEnable(): void {
		this.cpu.op(OP.preempt_enable);
		if (this.preemptCount === 0) throw new HostInvariant("preempt_enable() without preempt_disable()");
		this.preemptCount--;
		this.preemptCheck();
	}

	private preemptCheck(): void {
		if (
			this.preemptCount === 0 &&
			this.current.needResched &&
			this.cpu.interruptFlag &&
			this.handlerDepth === 0
		) {
			this.cpu.enter(SYM.preemptSchedule);
			this.schedule();
			this.cpu.leave();
		}
	}

	// ---- scheduler -----------------------------------------------------------------------------------

	/** Whether sleeping is not allowed here: in_atomic() || irqs_disabled(). */
	get atomic(): boolean {
		return this.preemptCount > 0 || !this.cpu.interruptFlag;
	}

	/** Whether the current task may be preempted here. */
	get preemptible(): boolean {
		return !this.atomic && this.handlerDepth === 0 && this.cpu.guest === null;
	}

	/**
	 * The current task sleeps: the CPU idles until an interrupt comes. With several CPUs the others run meanwhile, behind
	 * the step that called this.
	 * @returns false when no interrupt can ever come
	 * @throws HostInvariant where it may not sleep ("BUG: scheduling while atomic")
	 */
	idle(): boolean {
		if (this.atomic) throw new HostInvariant("the task sleeps with preemption or interrupts off");
		if (this.smp !== null) return this.smp.sleep(this);
		return this.idleToTimer();
	}

	/**
	 * A CPU that has nothing to do idles to its next timer.
	 * @returns false if it has none, or one that cannot fire: an interrupt that was acknowledged and never ended keeps it pending
	 */
	idleToTimer(): boolean {
		const { cpu, hrtimers } = this;
		const next = hrtimers.nextCycles;
		if (next === Number.POSITIVE_INFINITY) return false;
		cpu.idleUntil(next);
		cpu.onDeadline(cpu);
		cpu.poll();
		return hrtimers.nextCycles !== next;
	}

	/**
	 * context_switch() from the current task to another one of this CPU, which goes on from here.
	 * @param line of the task whose state changes, which its waker writes as well
	 */
	contextSwitch(next: Task, line?: SharedLine): void {
		const { cpu, current } = this;
		cpu.enter(SYM.schedule);
		line?.write(cpu);
		this.localIrqDisable();
		rcuNoteContextSwitch(cpu, this.rcuData);
		runFunction(cpu, FN.dequeue_task_fair);
		runFunction(cpu, FN.pick_next_task_fair);
		current.preemptNotifier?.schedOut();
		this.switchTo(current, next);
		next.preemptNotifier?.schedIn();
		this.localIrqEnable();
		cpu.leave();
	}

	/**
	 * schedule(): the other task runs in user space for a while, then this one is back. What the switch
	 * does to the FPU is what the kernel does: registers are saved with XSAVES now, and loaded with
	 * XRSTORS when a task returns to user space.
	 */
	schedule(): void {
		const { cpu } = this;
		if (this.smp?.scheduleOther(this) === true) return;
		cpu.enter(SYM.schedule);
		const wasEnabled = cpu.interruptFlag;
		if (wasEnabled) this.localIrqDisable();
		const previous = this.current;
		previous.needResched = false;
		previous.preemptNotifier?.schedOut();
		this.switchTo(previous, this.otherTask);
		this.neighbour?.();
		if (!cpu.interruptFlag) this.localIrqEnable();
		while (this.otherSyscalls.length > 0) this.otherSyscalls.shift()!();
		this.returnToUser(this.otherTask);
		this.localIrqDisable();
		this.changeCpu?.();
		this.switchTo(this.otherTask, previous);
		previous.preemptNotifier?.schedIn();
		if (wasEnabled) this.localIrqEnable();
		cpu.leave();
	}

	/** __switch_to(): switch_fpu(), x86_pkru_load(), then the stacks. */
	private switchTo(previous: Task, next: Task): void {
		const { cpu } = this;
		for (const part of BEFORE_SWITCH) runPart(cpu, part);
		cpu.enter(SYM.switchTo);
		if (!previous.needFpuLoad) {
			saveFpregs(cpu, previous.fpstate);
			previous.needFpuLoad = true;
		}
		cpu.op(OP.switch_to);
		this.addressSpaces.switchTo(next.mm);
		this.switchBases(previous, next);
		if (cpu.model.features.pku) {
			previous.pkru = readPkru(cpu);
			if (previous.pkru !== next.pkru) writePkru(cpu, next.pkru);
		}
		this.current = next;
		cpu.leave();
		runPart(cpu, "finish_task_switch");
	}

	/** save_fsgs() and x86_fsgsbase_load(): FS base, and what SWAPGS will make the GS base in user space. */
	private switchBases(previous: Task, next: Task): void {
		const { cpu } = this;
		// Where user space can write its bases, what is in the register counts, whatever put it there.
		previous.gsBase = cpu.read64(L.KERNEL_GS_BASE);
		cpu.op(OP.swap_segment_base);
		cpu.write64(FS_BASE, next.fsBase);
		cpu.op(OP.swap_segment_base);
		cpu.write64(L.KERNEL_GS_BASE, next.gsBase);
	}

	/**
	 * exit_to_user_mode_prepare() and the way into user space and back: task work, signals, the FPU
	 * registers, then user code runs for a moment.
	 */
	returnToUser(task: Task): void {
		const { cpu } = this;
		cpu.enter(SYM.exitToUser);
		this.runTaskWork(task);
		this.localIrqDisable();
		if (task.needFpuLoad) this.switchFpuReturn();
		cpu.enter(SYM.onUserReturn);
		this.userReturn.restore();
		cpu.leave();
		if (this.ibpbExitToUser) {
			cpu.enter(SYM.writeIbpb);
			writeIbpb(cpu);
			cpu.leave();
			this.ibpbExitToUser = false;
		}
		runPart(cpu, "do_syscall_64");
		cpu.enter(SYM.syscallEntry);
		cpu.op(OP.user_transition);
		cpu.leave();
		runPart(cpu, "__x64_sys_ioctl");
		cpu.firstLevel?.evict();
		// User code takes a page fault on its way: its address stays in CR2.
		cpu.write64(L.CR2, USER_FAULT + task.gsBase);
		cpu.interruptFlag = true;
		cpu.poll();
		cpu.leave();
	}

	/** User space gives itself other rights: WRPKRU. */
	userWritesPkru(pkru: number): void {
		if (!this.cpu.model.features.pku) return;
		this.current.userPkru = pkru;
		this.cpu.write32(L.PKRU, pkru);
	}

	/** User space computes: the low half of XMM1 has another value. It came from an interrupt, if that used the FPU. */
	userWritesXmm1(value: number): void {
		const { cpu } = this;
		if (this.current.needFpuLoad) this.switchFpuReturn();
		this.current.userXmm1 = value;
		cpu.write32(XMM1, value);
		cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | XFEATURE.sse);
	}

	/** task_work_run(): what was queued for this task, in a context that may sleep. */
	runTaskWork(task: Task): void {
		if (task.taskWork.length === 0) return;
		this.cpu.op(OP.task_work_run);
		while (task.taskWork.length > 0) task.taskWork.shift()!.run();
	}

	/** switch_fpu_return(): loads the current task's image. */
	switchFpuReturn(): void {
		this.cpu.enter(SYM.switchFpuReturn);
		restoreFpregs(this.cpu, this.fpu, this.current.fpstate);
		this.current.needFpuLoad = false;
		this.cpu.leave();
	}

	/** fpregs_lock(): no context switch and no interrupt's use of the FPU until fpregs_unlock(). */
	fpregsLock(): void {
		this.preemptDisable();
		this.fpu.locked = true;
	}

	/** fpregs_unlock(). */
	fpregsUnlock(): void {
		this.fpu.locked = false;
		this.preemptEnable();
	}

	/** kernel_fpu_begin(), some use of the registers, kernel_fpu_end(); nothing, where irq_fpu_usable() says no. */
	useKernelFpu(): void {
		const { cpu, current } = this;
		if (this.fpu.inKernelFpu || this.fpu.locked) return;
		cpu.enter(SYM.kernelFpu);
		this.preemptCount++;
		if (!current.needFpuLoad) {
			saveFpregs(cpu, current.fpstate);
			current.needFpuLoad = true;
		}
		// XMM0 is not what it was.
		cpu.write64(XMM0, KERNEL_XMM0);
		cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | XFEATURE.sse);
		this.preemptCount--;
		cpu.leave();
	}

	// ---- what the IDT leads to -----------------------------------------------------------------------

	/** An external interrupt's handler, from the IDT or called by KVM for a vector acknowledged at VM exit. */
	interrupt(_cpu: Cpu, vector: number): void {
		handleInterrupt(this, vector);
	}

	/** irqentry_exit(): preemption behind an interrupt. */
	returnFromInterrupt(cpu: Cpu): void {
		if (this.preemptCount > 0 || !this.current.needResched || this.handlerDepth > 0) return;
		cpu.enter(SYM.preemptScheduleIrq);
		this.schedule();
		cpu.leave();
	}

	/** An NMI's handler. */
	nmi(_cpu: Cpu): void {
		handleNmi(this);
	}

	/** Whether PKRU lets the kernel read the current task's user stack now. */
	get userReadable(): boolean {
		return !this.cpu.model.features.pku || ((this.cpu.pkru >>> (2 * this.userStackKey)) & 1) === 0;
	}

	/** #MC taken while host code ran. The kernel's own code was hit, so no user task is to blame. */
	machineCheck(cpu: Cpu): void {
		cpu.enter(SYM.machineCheck);
		doMachineCheck(this, false);
		cpu.leave();
	}

	/** A fault of a kernel instruction that has no fixup. */
	exception(cpu: Cpu, vector: number, errorCode: number): void {
		throw new HostFault(vector, errorCode, callStackOf(cpu));
	}
}
