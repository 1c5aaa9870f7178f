/**
 * The user-space program around a VM of either machine: memory, the same PC as everywhere (kvm/api/board.ts), and the loop
 * around KVM_RUN.
 *
 *     const vmm = new BackendVmm(Kvm.open({ backend: "dev" }), { guestRamBytes, seconds, onConsole });
 *     vmm.load(loadImage(bytes), { commandLine: "guest" });
 *     const result = await vmm.run();
 */
import { BOOT, type BootState, linuxState, longModeState, multibootState } from "../guests/boot.ts";
import type { LinuxImage } from "../guests/bzimage.ts";
import { type Image, ImageError } from "../guests/image.ts";
import { checkFits } from "../guests/load.ts";
import { Board } from "../kvm/api/board.ts";
import { firmwareMemory } from "../kvm/api/firmware.ts";
import type { LoadOptions, VmmResult } from "../kvm/api/vmm.ts";
import { ACPI_GPA, acpiTables } from "../kvm/devices/acpi.ts";
import type { GuestMemory, KvmSystem, KvmVcpu, KvmVm } from "../uapi/api.ts";
import { type VcpuExit, describeExit } from "../uapi/exit.ts";
import { kvmPicState } from "../uapi/structs.ts";

export interface BackendVmmOptions {
	/** Guest memory from address 0; a multiple of 2 MiB. */
	readonly guestRamBytes: number;
	/** Time since the machine was switched on, as its devices see it. */
	readonly seconds: () => number;
	/** Takes each byte that the guest prints. */
	readonly onConsole?: (byte: number) => void;
}

/** Vectors and masks of the two PICs, and the timer's 65536 counts in mode 2: what firmware leaves. */
const FIRMWARE_PICS = [
	{ irq_base: 0x08, imr: 0xb8 },
	{ irq_base: 0x70, imr: 0x20 },
] as const;
const FIRMWARE_TIMER = {
	count: 0x10000,
	mode: 2,
	rw_mode: 3,
	read_state: 3,
	write_state: 3,
	gate: 1,
} as const;

export class BackendVmm {
	readonly board: Board;
	/** KVM_RUNs that came back, by their reason. */
	readonly exitCounts = new Map<string, number>();
	/** RIP where the guest ended. */
	lastRip = 0n;
	private readonly vm: KvmVm;
	private readonly memory: GuestMemory;
	private readonly vcpu: KvmVcpu;
	private readonly guestRamBytes: number;

	/** A VM with interrupt controllers and timer in the kernel, and a vCPU with all the CPUID that KVM offers. @throws KvmError */
	constructor(kvm: KvmSystem, { guestRamBytes, seconds, onConsole }: BackendVmmOptions) {
		this.guestRamBytes = guestRamBytes;
		this.vm = kvm.createVm();
		this.vm.createIrqchip();
		this.vm.createPit2();
		this.memory = this.vm.addMemory({ slot: 0, gpa: 0, bytes: guestRamBytes });
		this.vcpu = this.vm.createVcpu(0);
		this.vcpu.setCpuid2(kvm.supportedCpuid());
		this.board = new Board({
			ramBytes: guestRamBytes,
			cpus: 1,
			seconds,
			setIrq: (gsi, level) => this.vm.irqLine(gsi, level),
			// KVM drops a mapping when memory is remapped; here it stays where it is.
			flushPage: () => {},
			onConsole: onConsole ?? null,
		});
	}

	/** Puts an image into memory and the vCPU at its start. @throws ImageError if it does not fit */
	load(image: Image, options: LoadOptions): void {
		if (image.protocol === "td") throw new ImageError("a TD image runs on the vendor tdx only");
		checkFits(image, this.guestRamBytes, image.protocol === "multiboot" ? BOOT.multibootEnd : BOOT.end);
		if (image.protocol === "multiboot") this.leaveAsFirmware();
		const state = this.stateOf(image, options);
		for (const { gpa, bytes } of state.memory) this.memory.write(gpa, bytes);
		if (image.protocol !== "long-mode") this.memory.write(ACPI_GPA, acpiTables(1));
		this.vcpu.setSregs({ ...this.vcpu.getSregs(), ...state.sregs });
		this.vcpu.setRegs(state.regs);
	}

	private stateOf(image: Image, { commandLine, initrd, parameters }: LoadOptions): BootState {
		switch (image.protocol) {
			case "multiboot":
				return multibootState(image, commandLine ?? "", this.guestRamBytes);
			case "linux":
				return linuxState(image as LinuxImage, {
					commandLine: commandLine ?? "",
					initrd: initrd ?? null,
					ramBytes: this.guestRamBytes,
					rsdpGpa: ACPI_GPA,
				});
			default:
				return longModeState(image, parameters ?? { iterations: 1 });
		}
	}

	private leaveAsFirmware(): void {
		for (const { gpa, bytes } of firmwareMemory()) this.memory.write(gpa, bytes);
		for (const [chip, state] of FIRMWARE_PICS.entries()) {
			const bytes = this.vm.getIrqchip(chip);
			const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
			kvmPicState.write(view, 0, { ...kvmPicState.read(view, 0), ...state });
			this.vm.setIrqchip(chip, bytes);
		}
		const timer = this.vm.getPit2();
		const channels = timer.channels.map((one, at) => (at === 0 ? { ...one, ...FIRMWARE_TIMER } : one));
		this.vm.setPit2({ ...timer, channels });
	}

	/** What KVM_RUN came back for. @returns null to go on */
	private serve(exit: VcpuExit): VmmResult | null {
		this.exitCounts.set(exit.reason, (this.exitCounts.get(exit.reason) ?? 0) + 1);
		switch (exit.reason) {
			case "io":
				this.board.servePort(exit.write, exit.port, exit.size, exit.count, exit.data);
				return this.board.takeEnd();
			case "mmio":
				this.board.serveMmio(exit.write, Number(exit.gpa), exit.data.length, exit.data);
				return this.board.takeEnd();
			case "intr":
			case "irq-window-open":
				return null;
			case "hlt":
				return { kind: "halted" };
			case "shutdown":
				return { kind: "triple-fault" };
			case "fail-entry":
				return { kind: "entry-failure", message: describeExit(exit) };
			default:
				return {
					kind: "internal-error",
					message: `KVM_RUN: ${describeExit(exit)} at RIP 0x${this.vcpu.getRegs().rip.toString(16)}`,
				};
		}
	}

	/** Runs the guest until it ends, in a thread, so that whoever waits can be interrupted. */
	async run(): Promise<VmmResult> {
		const thread = await this.vcpu.startThread();
		try {
			for (;;) {
				const result = this.serve(await thread.run());
				if (result === null) continue;
				this.lastRip = this.vcpu.getRegs().rip;
				return result;
			}
		} finally {
			await thread.stop();
			this.vm.close();
		}
	}
}
