/** The user-space side of a PC, as QEMU's: which devices lie at which ports and addresses. */
import { HOST_BOOT_EPOCH_SECONDS } from "../../host/kernel.ts";
import { PM_PORT } from "./acpi.ts";
import { Bus } from "./bus.ts";
import { FW_CFG_PORT, FwCfg } from "./fw-cfg.ts";
import { HPET_BYTES, HPET_GPA, Hpet } from "./hpet.ts";
import { DebugConsole, DebugExit, Latch, Pm1Control, Pm1Event, PmTimer, ResetPort } from "./legacy.ts";
import { addPci } from "./pci.ts";
import { RTC_PORT, Rtc } from "./rtc.ts";
import { COM1, COM1_IRQ, Serial16550 } from "./serial.ts";
import { addTestdev } from "./testdev.ts";

/** The port whose write ends a run (isa-debug-exit, as kvm-unit-tests sets it up). */
export const EXIT_PORT = 0xf4;
const DEBUG_CONSOLE_PORT = 0xe9;
/** PM timer of QEMU's pc before its firmware moves it. */
const OLD_PM_TIMER_PORT = 0xb008;
const TESTDEV_SLOT = 2;
const RESET_CONTROL_PORT = 0xcf9;
const KEYBOARD_COMMAND_PORT = 0x64;

export interface PcOptions {
	readonly ramBytes: number;
	readonly cpus: number;
	/** Takes each byte of the serial port and the debug console. */
	readonly transmit: (byte: number) => void;
	/** Takes the value written to the exit port. */
	readonly onExit: (value: number) => void;
	/** The guest turned the machine off. */
	readonly onPowerOff: () => void;
	/** The guest suspended the machine to RAM: ACPI's S3. */
	readonly onSuspend: () => void;
	/** The guest asked for a reset. */
	readonly onReset: () => void;
	/** Virtual time. */
	readonly seconds: () => number;
	/** KVM_IRQ_LINE. */
	readonly setIrq: (gsi: number, level: boolean) => void;
	/** The page of a guest physical address is unmapped from KVM's tables. */
	readonly flushPage: (gpa: number) => void;
}

/** A machine's devices. */
export interface Pc {
	readonly ports: Bus;
	/** What lies in guest physical memory where no RAM is. */
	readonly memory: Bus;
	readonly serial: Serial16550;
	readonly rtc: Rtc;
	readonly pm1Event: Pm1Event;
}

/** The buses of a PC with its devices on them. */
export function makePc(options: PcOptions): Pc {
	const { transmit, seconds, setIrq, ramBytes } = options;
	const ports = new Bus();
	const memory = new Bus();
	const serial = new Serial16550({ transmit, setIrq: (level) => setIrq(COM1_IRQ, level) });
	ports.add(COM1, 8, serial);
	ports.add(DEBUG_CONSOLE_PORT, 1, new DebugConsole(transmit));
	ports.add(EXIT_PORT, 4, new DebugExit(options.onExit));
	ports.add(FW_CFG_PORT, 2, new FwCfg(ramBytes, options.cpus));
	const rtc = new Rtc({ ramBytes, timeOfDay: () => HOST_BOOT_EPOCH_SECONDS + seconds() });
	ports.add(RTC_PORT, 2, rtc);
	for (const port of [PM_PORT.timer, OLD_PM_TIMER_PORT]) ports.add(port, 4, new PmTimer(seconds));
	const pm1Event = new Pm1Event();
	ports.add(PM_PORT.event, 4, pm1Event);
	ports.add(PM_PORT.control, 2, new Pm1Control(options.onSuspend, options.onPowerOff));
	// DMA page registers, among them the POST port 0x80 that delays write to.
	ports.add(0x80, 16, new Latch(16));
	addPci(ports, memory, TESTDEV_SLOT);
	// One of the ports of PCI configuration, for accesses of a byte.
	ports.add(RESET_CONTROL_PORT, 1, ResetPort.control(options.onReset));
	ports.add(KEYBOARD_COMMAND_PORT, 1, ResetPort.keyboard(options.onReset));
	addTestdev(ports, memory, { setIrq, flushPage: options.flushPage });
	memory.add(HPET_GPA, HPET_BYTES, new Hpet(seconds));
	return { ports, memory, serial, rtc, pm1Event };
}
