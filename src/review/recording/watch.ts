/** Which part of a run is recorded: begins the recorder, passes on what it wants to see, and ends the run. */
import { fetchLinear } from "../../silicon/paging/access.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import type { OpObserver } from "../../silicon/cpu/observers.ts";
import * as L from "../../silicon/cpu/layout.ts";
import type { Recorder } from "./recorder.ts";
import { stepGuest } from "./stepper.ts";

/** A part of a run: from a VM entry on, up to the one behind the last of some exits. */
export interface RecordWindow {
	/** Exits before it; "loop": it begins at the guest's first RDTSC, where guests of this project begin their loop. */
	readonly skip: number | "loop";
	/** Exits in it. */
	readonly exits: number;
}

/** Thrown through the machine when enough is recorded. */
export class Cut extends Error {
	override readonly name = "Cut";
}

/** Instructions of one stay in the guest that are recorded one by one where there is a window. */
const INSTRUCTIONS_MAX = 200;
const RDTSC = [0x0f, 0x31] as const;

/** Whether the guest's next instruction is RDTSC. */
function isRdtsc(cpu: Cpu): boolean {
	const before = cpu.read32(L.FAULT);
	const at = cpu.read64(L.SEG + L.CS * L.SEG_BYTES + L.SEG_BASE) + cpu.read64(L.RIP);
	const is = RDTSC.every((byte, n) => {
		const offset = fetchLinear(cpu, at + BigInt(n));
		return offset >= 0 && cpu.memory.u8[offset] === byte;
	});
	cpu.write32(L.FAULT, before);
	return is;
}

export class Watch {
	private readonly recorder: Recorder;
	private readonly framesMax: number;
	private readonly window: RecordWindow | null;
	/** Instructions since the VM entry. */
	private instructions = 0;

	/** @param window null: the whole run is recorded */
	constructor(recorder: Recorder, framesMax: number, window: RecordWindow | null) {
		this.recorder = recorder;
		this.framesMax = framesMax;
		this.window = window;
		this.beginIfDue();
	}

	private beginIfDue(): void {
		if (this.window === null || this.window.skip === this.recorder.exits) this.recorder.begin();
	}

	/** Sees each op before another observer does. */
	observe(inner: OpObserver | null): OpObserver {
		const { recorder } = this;
		return {
			onOp: (cpu, op) => {
				if (recorder.count >= this.framesMax) throw new Cut();
				recorder.onOp(op);
				inner?.onOp(cpu, op);
			},
			onEnter: (cpu, symbol) => {
				recorder.onEnter(symbol);
				inner?.onEnter?.(cpu, symbol);
			},
			onLeave: (cpu, symbol) => {
				recorder.onLeave();
				inner?.onLeave?.(cpu, symbol);
			},
			onGuestEntry: (cpu) => {
				if (this.window !== null && recorder.exitsRecorded >= this.window.exits) throw new Cut();
				this.instructions = 0;
				recorder.onGuestEntry();
				if (!recorder.isOn) this.beginIfDue();
				inner?.onGuestEntry?.(cpu);
			},
			onGuestExit: (cpu) => {
				recorder.onGuestExit(cpu);
				inner?.onGuestExit?.(cpu);
			},
		};
	}

	/** Steps the guest, as far as its instructions are wanted. @returns puts the processor's own executor back */
	step(cpu: Cpu): () => void {
		return stepGuest(cpu, (running) => this.onInstruction(running));
	}

	private onInstruction(cpu: Cpu): boolean {
		const { recorder, window } = this;
		if (!recorder.isOn) {
			if (window?.skip !== "loop") return false;
			if (!isRdtsc(cpu)) return true;
			recorder.begin();
		}
		if (window !== null && this.instructions++ === INSTRUCTIONS_MAX) {
			recorder.onUnwatched();
			return false;
		}
		recorder.onInstruction(cpu);
		return recorder.count < this.framesMax;
	}
}
