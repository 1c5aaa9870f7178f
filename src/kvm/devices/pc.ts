/** The user-space side of a PC, as QEMU's: which devices lie at which ports. */
import { FW_CFG_PORT, FwCfg } from "./fw-cfg.ts";
import { Cmos, DebugConsole, DebugExit, EmptyPciBus, Latch, PmTimer } from "./legacy.ts";
import { PortBus } from "./port-bus.ts";
import { COM1, Serial16550 } from "./serial.ts";

/** The port whose write ends a run (isa-debug-exit, as kvm-unit-tests sets it up). */
export const EXIT_PORT = 0xf4;
const DEBUG_CONSOLE_PORT = 0xe9;
/** PM timer ports of QEMU's pc and q35. */
const PM_TIMER_PORTS = [0xb008, 0x608] as const;

export interface PcOptions {
	readonly ramBytes: number;
	readonly cpus: number;
	/** Takes each byte of the serial port and the debug console. */
	readonly transmit: (byte: number) => void;
	/** Takes the value written to the exit port. */
	readonly onExit: (value: number) => void;
	/** Virtual time. */
	readonly seconds: () => number;
}

/** A port bus with a PC's devices on it. */
export function makePc(options: PcOptions): PortBus {
	const bus = new PortBus();
	bus.add(COM1, 8, new Serial16550(options.transmit));
	bus.add(DEBUG_CONSOLE_PORT, 1, new DebugConsole(options.transmit));
	bus.add(EXIT_PORT, 4, new DebugExit(options.onExit));
	bus.add(FW_CFG_PORT, 2, new FwCfg(options.ramBytes, options.cpus));
	bus.add(0x70, 2, new Cmos(options.ramBytes));
	for (const port of PM_TIMER_PORTS) bus.add(port, 4, new PmTimer(options.seconds));
	bus.add(0xcf8, 8, new EmptyPciBus());
	// DMA page registers, among them the POST port 0x80 that delays write to.
	bus.add(0x80, 16, new Latch(16));
	// pc-testdev: an I/O latch of 4 bytes, and interrupt lines that nobody listens to.
	bus.add(0xe0, 4, new Latch(4));
	bus.add(0x2000, 24, new Latch(24));
	return bus;
}
