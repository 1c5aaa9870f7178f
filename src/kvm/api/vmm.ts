/**
 * The user-space program around a VM, as QEMU is: guest memory, devices, and the loop around KVM_RUN.
 *
 *     const vmm = new Vmm(createMachine({ model: turin, vendor: "svm", tree }), { onConsole: (byte) => ... });
 *     vmm.load(loadImage(bytes), { parameters: { iterations: 1000, osxsave: true } });
 *     const result = vmm.run();          // { kind: "exit", code: 0 }
 */
import { BOOT, type GuestParameters, linuxState, longModeState, multibootState } from "../../guests/boot.ts";
import type { LinuxImage } from "../../guests/bzimage.ts";
import { type BootProtocol, type Image, ImageError } from "../../guests/image.ts";
import { checkFits } from "../../guests/load.ts";
import type { Hrtimer } from "../../host/hrtimer.ts";
import type { Smp } from "../../host/smp.ts";
import { ACPI_GPA, acpiTables } from "../devices/acpi.ts";
import { writeGuestPhysical } from "../emulate/guest-memory.ts";
import { kvmSetIrq } from "../irqchip/routing.ts";
import { Board, type DeviceEnd } from "./board.ts";
import { leaveAsFirmware } from "./firmware.ts";
import { buildGuestCpuid } from "../emulate/cpuid.ts";
import { symbol } from "../../silicon/cpu/symbols.ts";
import { kvmVcpuHasEvents } from "../emulate/simple.ts";
import { KVM_EXIT, KVM_HC_MAP_GPA_RANGE, MP_STATE } from "../requests.ts";
import { type KvmRun, loadHere, type Vcpu } from "../vcpu.ts";
import { kvmRun, kvmRunThread, type Machine, startVcpuThread } from "./kvm.ts";
import { goToWakingVector, sleepUntil } from "./suspend.ts";
import { boot, bootTd } from "./vmm-boot.ts";

/** How a run ended. */
export type VmmResult =
	| DeviceEnd
	| { readonly kind: "triple-fault" }
	/** HLT, and no event can come. */
	| { readonly kind: "halted" }
	/** VM entry failed. */
	| { readonly kind: "entry-failure"; readonly message: string }
	/** KVM could not emulate an instruction, or did not expect an exit. */
	| { readonly kind: "internal-error"; readonly message: string }
	/** The budget was used up. */
	| { readonly kind: "budget"; readonly instructions: number };

export interface VmmOptions {
	/** Guest memory from address 0; a multiple of 2 MiB. */
	readonly guestRamBytes?: number;
	/** Guest memory is mapped by 2 MiB pages. Default true; false as for memory without huge pages. */
	readonly hugePages?: boolean;
	/** Takes each byte that the guest prints. */
	readonly onConsole?: (byte: number) => void;
}

export interface LoadOptions {
	/** Multiboot: the program's name and its arguments. Linux: the kernel's command line. */
	readonly commandLine?: string;
	/** Linux: the initial RAM disk. */
	readonly initrd?: Uint8Array;
	/** Guests of this project. */
	readonly parameters?: GuestParameters;
}

const MIB = 2 ** 20;
const LARGE_PAGE_BYTES = 2 * MIB;
/** A TD's private memory ends here: its image lies right below. */
const TD_MEMORY_END = 1n << 32n;
const EINVAL = 22;
const SMALL_PAGE_BYTES = 4096;
/** What QEMU gives a machine that asks for nothing else; kvm-unit-tests touch all of it. */
const MULTIBOOT_RAM_BYTES = 128 * MIB;
/** A distribution's kernel with a small initial RAM disk boots in less; nobody runs it in less. */
const LINUX_RAM_BYTES = 256 * MIB;
/** Plain instructions of the VMM for one exit: ioctl wrapper, run loop, dispatch to a device. Assumed. */
const VMM_INSTRUCTIONS = 400;
const CYCLES_PER_INSTRUCTION_LEAST = 0.2;
const BUDGET_CHECK_CYCLES_LEAST = 1e6;
/** Virtual time that a budget takes for one instruction, whatever is done in it: so waiting comes to an end as well. */
const CYCLES_PER_BUDGET_UNIT = 1000;

const RAM_BYTES_LEAST: Readonly<Record<BootProtocol, number>> = {
	"long-mode": LARGE_PAGE_BYTES,
	multiboot: MULTIBOOT_RAM_BYTES,
	linux: LINUX_RAM_BYTES,
	td: LARGE_PAGE_BYTES,
};

/** Guest memory that an image needs: what it occupies, rounded up, with room to spare. */
export function guestRamBytesFor(image: Image): number {
	const end = image.protocol === "td" ? MIB : image.endGpa;
	return Math.max(RAM_BYTES_LEAST[image.protocol], Math.ceil(end / LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES);
}

/** Host memory for a machine with a guest of this size: the kernel's tables, the slot and its alignment. */
export function hostRamBytesFor(guestRamBytes: number): number {
	return guestRamBytes + 2 * LARGE_PAGE_BYTES;
}

/** The VMM's own loop around the ioctl; QEMU's name for it. */
const KVM_CPU_EXEC = symbol("kvm_cpu_exec");

function spendInUserSpace({ cpu }: Vcpu): void {
	cpu.enter(KVM_CPU_EXEC);
	cpu.code(VMM_INSTRUCTIONS);
	cpu.leave();
}

export class Vmm {
	readonly machine: Machine;
	readonly guestRamBytes: number;
	private readonly board: Board;
	private result: VmmResult | null = null;
	/** The threads of several vCPUs are to end where nothing is under way. */
	private resting = false;

	/** Gives the VM its memory, and its vCPU what CPUID says. */
	constructor(machine: Machine, options: VmmOptions = {}) {
		this.machine = machine;
		const { vm, cpu } = machine;
		this.guestRamBytes = options.guestRamBytes ?? LARGE_PAGE_BYTES;
		// A slot whose addresses differ modulo 2 MiB gets no large pages.
		const hpa =
			options.hugePages === false
				? vm.reserve(this.guestRamBytes + SMALL_PAGE_BYTES, LARGE_PAGE_BYTES) + SMALL_PAGE_BYTES
				: vm.reserve(this.guestRamBytes, LARGE_PAGE_BYTES);
		vm.slots.push({ gpa: 0, bytes: this.guestRamBytes, hpa, readOnly: false });
		for (const vcpu of vm.vcpus) if (vcpu.cpuid.length === 0) buildGuestCpuid(vcpu);
		if (vm.vendor === "tdx") vm.hypercallExits |= 1 << KVM_HC_MAP_GPA_RANGE;
		this.board = new Board({
			ramBytes: this.guestRamBytes,
			cpus: vm.vcpus.length,
			seconds: () => (machine.smp?.running?.cpu ?? cpu).cycles / cpu.model.tscHz,
			setIrq: (gsi, level) => kvmSetIrq(vm, gsi, level),
			flushPage: () => vm.mmu.zap(),
			onConsole: options.onConsole ?? null,
		});
	}

	/** What the guest printed since `load`, one character a byte. */
	get consoleText(): string {
		return this.board.consoleText;
	}

	/**
	 * Puts an image into guest memory and the vCPU at its start. Loading the same image again writes only the
	 * bytes that changed, so that code which was translated stays so.
	 * @throws ImageError if it does not fit
	 */
	load(image: Image, options: LoadOptions = {}): void {
		const { vm, vcpu } = this.machine;
		const isTd = vm.vendor === "tdx";
		if (isTd !== (image.protocol === "td")) {
			throw new ImageError(
				isTd
					? "the vendor tdx runs TD images only, which begin at the reset vector"
					: "a TD image runs on the vendor tdx only",
			);
		}
		if (!isTd)
			checkFits(image, this.guestRamBytes, image.protocol === "multiboot" ? BOOT.multibootEnd : BOOT.end);
		this.board.restart();
		loadHere(vcpu);
		switch (image.protocol) {
			case "long-mode":
				boot(vcpu, longModeState(image, options.parameters ?? { iterations: 1 }));
				break;
			case "multiboot":
				leaveAsFirmware(vm, vcpu.cpu.cycles);
				boot(vcpu, multibootState(image, options.commandLine ?? "", this.guestRamBytes));
				writeGuestPhysical(vm, ACPI_GPA, acpiTables(vm.vcpus.length));
				break;
			case "linux":
				this.loadLinux(image as LinuxImage, options);
				break;
			case "td":
				bootTd(vcpu, image, options.parameters ?? { iterations: 1 });
				break;
			default:
				image.protocol satisfies never;
		}
		vm.tree.helpers.kvm_arch_vcpu_put(vcpu);
	}

	private loadLinux(kernel: LinuxImage, { commandLine, initrd }: LoadOptions): void {
		const { vm, vcpu } = this.machine;
		const state = linuxState(kernel, {
			commandLine: commandLine ?? "",
			initrd: initrd ?? null,
			ramBytes: this.guestRamBytes,
			rsdpGpa: ACPI_GPA,
		});
		boot(vcpu, state);
		writeGuestPhysical(vm, ACPI_GPA, acpiTables(vm.vcpus.length));
	}

	/**
	 * Runs the guest until it ends.
	 * @param budget after which to stop: guest instructions, VM exits, and thousands of cycles of virtual time
	 */
	run(budget = Number.POSITIVE_INFINITY): VmmResult {
		if (this.machine.smp !== null) return this.runThreads(this.machine.smp, budget);
		const { kernel } = this.machine;
		const limit = this.spent + budget;
		const watchdog = budget === Number.POSITIVE_INFINITY ? null : this.startWatchdog(limit, budget);
		try {
			for (;;) {
				const result = this.step(limit);
				if (result !== null) return result;
				watchdog?.rearm();
			}
		} finally {
			if (watchdog !== null) kernel.hrtimers.cancel(watchdog.timer);
		}
	}

	/**
	 * What a budget counts, of all CPUs: guest instructions, and VM exits, since one instruction can exit for each
	 * element of a string that KVM emulates; and time, since a vCPU can wait for ever while a timer ticks.
	 */
	private get spent(): number {
		const { processors, vm } = this.machine;
		const cycles = processors.reduce((latest, { cpu }) => Math.max(latest, cpu.cycles), 0);
		const exits = vm.vcpus.reduce((sum, { stat }) => sum + stat.exits, 0);
		return this.instructions + exits + cycles / CYCLES_PER_BUDGET_UNIT;
	}
	/** Guest instructions of all CPUs. */
	private get instructions(): number {
		return this.machine.processors.reduce((sum, { cpu }) => sum + cpu.instructions, 0);
	}

	/** Runs the threads of all vCPUs. */
	private runThreads(smp: Smp, budget: number): VmmResult {
		const { vm } = this.machine;
		const limit = this.spent + budget;
		this.result = null;
		for (const vcpu of vm.vcpus) {
			if (vcpu.thread === null) startVcpuThread(this.machine, vcpu, this.vcpuThread(vcpu));
		}
		const isLimited = limit !== Number.POSITIVE_INFINITY;
		const how = smp.run(() => this.result !== null || (isLimited && this.spent >= limit));
		if (this.result !== null) return this.result;
		return how === "stopped" ? { kind: "budget", instructions: this.instructions } : { kind: "halted" };
	}

	/** Whether a vCPU's thread has nothing more to do. */
	private isDone(vcpu: Vcpu): boolean {
		return this.resting ? vcpu.completeUserspaceIo === null : this.result !== null;
	}

	/** One vCPU's thread: KVM_RUN and what it asks for, until the machine ends. */
	private *vcpuThread(vcpu: Vcpu): Generator<void, void> {
		while (!this.isDone(vcpu)) {
			if (this.resting) vcpu.kernel.current.signalPending = true;
			yield* kvmRunThread(vcpu);
			spendInUserSpace(vcpu);
			// Devices are shared, and have clocks.
			while (vcpu.cpu.cycles > vcpu.cpu.horizon) yield;
			const result = this.serve(vcpu);
			this.result ??= result;
			vcpu.kernel.current.signalPending = false;
		}
		vcpu.thread = null;
	}

	/** Brings all vCPUs to where nothing is under way: out of KVM_RUN, what they asked of user space completed. */
	rest(): void {
		const { vcpu, smp } = this.machine;
		if (smp !== null) {
			this.restThreads(smp);
			return;
		}
		while (vcpu.completeUserspaceIo !== null) {
			this.machine.kernel.vcpuTask.signalPending = true;
			if (this.step() !== null) return;
		}
	}

	/** A signal for each thread, which ends it. */
	private restThreads(smp: Smp): void {
		this.resting = true;
		for (const vcpu of this.machine.vm.vcpus) {
			// One whose thread has ended the machine may have asked of user space what is still to be completed.
			if (vcpu.thread === null && !this.isDone(vcpu))
				startVcpuThread(this.machine, vcpu, this.vcpuThread(vcpu));
			const { thread, kernel } = vcpu;
			if (thread === null) continue;
			thread.task.signalPending = true;
			if (!smp.wake(thread)) smp.sendReschedule(kernel);
		}
		smp.rest();
		this.resting = false;
	}

	/**
	 * A timer that interrupts the vCPU thread by a signal when the budget may be used up, or when the vCPU may wait for
	 * ever. It is off then, since a wait for it would be none; `rearm` is for a vCPU that went on all the same.
	 */
	private startWatchdog(limit: number, budget: number): { readonly timer: Hrtimer; rearm(): void } {
		const { cpu, kernel } = this.machine;
		const least = Math.min(BUDGET_CHECK_CYCLES_LEAST, Math.max(budget, 1));
		const interval = () => Math.max((limit - this.spent) * CYCLES_PER_INSTRUCTION_LEAST, least);
		let armed = false;
		const rearm = (): void => {
			if (!armed) kernel.hrtimers.start(timer, cpu.cycles + interval());
			armed = true;
		};
		const timer: Hrtimer = {
			expiresCycles: 0,
			callback: () => {
				armed = false;
				if (this.spent >= limit || this.isIdle()) kernel.vcpuTask.signalPending = true;
				else rearm();
			},
		};
		rearm();
		return { timer, rearm };
	}

	/** The vCPU halted, nothing waits for it, and no timer is left that could wake it. */
	private isIdle(): boolean {
		const { kernel, vcpu } = this.machine;
		const armed = vcpu.apic?.timer.hvTimerInUse === true;
		const nothingDue = kernel.hrtimers.nextCycles === Number.POSITIVE_INFINITY;
		return vcpu.mpState === MP_STATE.HALTED && nothingDue && !armed && !kvmVcpuHasEvents(vcpu);
	}

	/**
	 * One KVM_RUN and what it asks of user space.
	 * @param limit of `spent`
	 * @returns null to go on
	 */
	step(limit = Number.POSITIVE_INFINITY): VmmResult | null {
		kvmRun(this.machine.vcpu);
		return this.afterRun(limit);
	}

	/** What user space does when KVM_RUN has returned. @param limit of `spent` @returns null to go on */
	afterRun(limit = Number.POSITIVE_INFINITY): VmmResult | null {
		const { cpu, vcpu, kernel } = this.machine;
		spendInUserSpace(vcpu);
		const result = this.serve(vcpu);
		if (result !== null) return result;
		kernel.vcpuTask.signalPending = false;
		return this.spent >= limit ? { kind: "budget", instructions: cpu.instructions } : null;
	}

	/** What KVM_RUN came back for. @returns null to go on */
	private serve(vcpu: Vcpu): VmmResult | null {
		const { run } = vcpu;
		if (run.exitReason !== KVM_EXIT.IO) return this.serveOther(vcpu);
		const { write, port, bytes, count, data } = run.io;
		this.board.servePort(write, port, bytes, count, data);
		if (this.board.isSuspended) return this.suspend(vcpu);
		return this.board.takeEnd();
	}

	/** ACPI's S3, up to the alarm that ends it. @returns null to go on */
	private suspend(vcpu: Vcpu): VmmResult | null {
		if (this.machine.vm.vcpus.length > 1) {
			return { kind: "internal-error", message: "ACPI's S3 is there for machines with one vCPU alone" };
		}
		const seconds = this.board.wakeSeconds;
		if (seconds === null) return { kind: "halted" };
		// An OUT has no more to do; the processor that would complete it is reset.
		vcpu.completeUserspaceIo = null;
		sleepUntil(vcpu.kernel, seconds * vcpu.cpu.model.tscHz);
		this.board.wake();
		goToWakingVector(vcpu);
		return null;
	}

	/**
	 * A TD wants a range of addresses to be private, or shared. Memory stays what it was added as; where there is none, nothing is to
	 * be done.
	 */
	private mapGpaRange({ hypercall }: KvmRun): void {
		const [gpa, pages] = hypercall.args as [bigint, bigint];
		const { slots } = this.machine.vm;
		const end = gpa + pages * BigInt(SMALL_PAGE_BYTES);
		const isInSlot = slots.some((slot) => gpa < BigInt(slot.gpa + slot.bytes) && end > BigInt(slot.gpa));
		hypercall.ret = gpa < TD_MEMORY_END || isInSlot ? EINVAL : 0;
	}

	private serveOther({ run }: Vcpu): VmmResult | null {
		switch (run.exitReason) {
			case KVM_EXIT.HYPERCALL:
				this.mapGpaRange(run);
				return null;
			case KVM_EXIT.MMIO:
				this.board.serveMmio(run.mmio.write, run.mmio.gpa, run.mmio.bytes, run.mmio.data);
				return null;
			case KVM_EXIT.INTR:
				return this.isIdle() ? { kind: "halted" } : null;
			case KVM_EXIT.UNKNOWN:
			case KVM_EXIT.IRQ_WINDOW_OPEN:
				return null;
			case KVM_EXIT.HLT:
				return { kind: "halted" };
			case KVM_EXIT.SHUTDOWN:
				return { kind: "triple-fault" };
			case KVM_EXIT.FAIL_ENTRY:
				return { kind: "entry-failure", message: run.message };
			default:
				return {
					kind: "internal-error",
					message: run.message || `KVM_RUN returned exit reason ${run.exitReason}`,
				};
		}
	}
}
