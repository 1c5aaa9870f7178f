/** What is around the vCPUs of a machine, whichever KVM runs them: a PC's devices, what the guest prints, and its end. */
import { HOST_BOOT_EPOCH_SECONDS } from "../../host/kernel.ts";
import { makePc, type Pc } from "../devices/pc.ts";

/** How a guest ends by a device. */
export type DeviceEnd =
	/** The guest wrote to the exit port. */
	| { readonly kind: "exit"; readonly code: number }
	/** The guest turned the machine off: ACPI's S5. */
	| { readonly kind: "power-off" }
	/** The guest asked for a reset, by the keyboard controller or the chipset. */
	| { readonly kind: "reset" };

export interface BoardOptions {
	/** Guest memory from address 0. */
	readonly ramBytes: number;
	readonly cpus: number;
	/** Time since the machine was switched on. */
	readonly seconds: () => number;
	/** KVM_IRQ_LINE. */
	readonly setIrq: (gsi: number, level: boolean) => void;
	/** The page of a guest physical address is unmapped from KVM's tables. */
	readonly flushPage: (gpa: number) => void;
	/** Takes each byte that the guest prints. */
	readonly onConsole: ((byte: number) => void) | null;
}

export class Board {
	/** What the guest printed, one character a byte. */
	consoleText = "";
	/** What a device said of the machine's end, until it is asked for. */
	private ended: DeviceEnd | null = null;
	/** The guest suspended the machine to RAM, and nothing has woken it yet. */
	isSuspended = false;
	private readonly pc: Pc;

	constructor({ onConsole, ...pc }: BoardOptions) {
		this.pc = makePc({
			...pc,
			transmit: (byte) => {
				this.consoleText += String.fromCharCode(byte);
				onConsole?.(byte);
			},
			onExit: (code) => {
				this.ended = { kind: "exit", code };
			},
			onPowerOff: () => {
				this.ended = { kind: "power-off" };
			},
			onSuspend: () => {
				this.isSuspended = true;
			},
			onReset: () => {
				this.ended = { kind: "reset" };
			},
		});
	}

	/** What a device has said of the machine's end since this was asked last; null: nothing. */
	takeEnd(): DeviceEnd | null {
		const { ended } = this;
		this.ended = null;
		return ended;
	}

	/** A guest begins. */
	restart(): void {
		this.consoleText = "";
		this.ended = null;
		this.isSuspended = false;
	}

	/** When the RTC's alarm will wake the machine from S3, in seconds since it was switched on; null if it will not. */
	get wakeSeconds(): number | null {
		const { rtc, pm1Event } = this.pc;
		const { alarm } = rtc;
		return alarm === null || !pm1Event.wakesByAlarm ? null : alarm - HOST_BOOT_EPOCH_SECONDS;
	}

	/** It has done so. */
	wake(): void {
		this.isSuspended = false;
		this.pc.rtc.ring();
		this.pc.pm1Event.wokeByAlarm();
	}

	/** KVM_EXIT_MMIO. @param bytes that `data` holds, and takes the answer to a read in */
	serveMmio(write: boolean, gpa: number, bytes: number, data: Uint8Array): void {
		// Devices take 4 bytes at a time: wider accesses become several, as in QEMU's memory API.
		for (let first = 0; first < bytes; first += 4) {
			const part = Math.min(4, bytes - first);
			let value = 0;
			if (write) {
				for (let i = part - 1; i >= 0; i--) value = value * 256 + data[first + i]!;
				this.pc.memory.write(gpa + first, part, value);
				continue;
			}
			value = this.pc.memory.read(gpa + first, part);
			for (let i = 0; i < part; i++, value = Math.floor(value / 256)) data[first + i] = value % 256;
		}
	}

	/** KVM_EXIT_IO: each element to or from the port's device. @param bytes of an element */
	servePort(write: boolean, port: number, bytes: number, count: number, data: Uint8Array): void {
		for (let at = 0; at < count * bytes; at += bytes) {
			if (write) {
				let value = 0;
				for (let i = bytes - 1; i >= 0; i--) value = value * 256 + data[at + i]!;
				this.pc.ports.write(port, bytes, value);
			} else {
				let value = this.pc.ports.read(port, bytes);
				for (let i = 0; i < bytes; i++, value = Math.floor(value / 256)) data[at + i] = value % 256;
			}
		}
	}
}
