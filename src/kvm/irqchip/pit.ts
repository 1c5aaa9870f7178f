/**
 * The 8254 timer (arch/x86/kvm/i8254.c; Intel 8254 data sheet): channel 0 raises interrupt 0, channel 2 and its gate
 * are behind port 61H.
 */
import type { Hrtimer } from "../../host/hrtimer.ts";
import type { StructValue } from "../../uapi/layout.ts";
import type { KvmPitState2, kvmPitChannelState } from "../../uapi/structs.ts";
import type { Vm } from "../vm.ts";
import { pulseIrq } from "./routing.ts";

const PIT_HZ = 1_193_182;
const PORT_COUNTER_0 = 0x40;
const PORT_CONTROL = 0x43;
const PORT_SPEAKER = 0x61;
/** Hz at which the refresh request bit of port 61H toggles. */
const REFRESH_HZ = 66_287;
/** Periods below this would keep the host busy: min_timer_period_us. */
const LEAST_PERIOD_NS = 200_000;
const READ_BACK = 3;

type PitChannelState = StructValue<typeof kvmPitChannelState>;

class Channel {
	mode = 0;
	/** Counts from here; 65536 stands for 0. */
	reload = 0x10000;
	startCycles = 0;
	gate = true;
	/** 1 low byte, 2 high byte, 3 low then high. */
	access = 3;
	private readHigh = false;
	private writeHigh = false;
	private writtenLow = 0;
	/** A latched count or status, or -1. */
	private latchedCount = -1;
	private latchedStatus = -1;
	private readonly tscHz: number;

	constructor(tscHz: number) {
		this.tscHz = tscHz;
	}

	/** Input clocks since the count was loaded. */
	private ticks(cycles: number): number {
		return Math.floor(((cycles - this.startCycles) * PIT_HZ) / this.tscHz);
	}

	/** pit_get_count(). */
	count(cycles: number): number {
		const { reload } = this;
		const ticks = this.ticks(cycles);
		switch (this.mode) {
			case 0:
			case 1:
			case 4:
			case 5:
				return (reload - ticks) & 0xffff;
			case 3:
				// Square wave: counts down by two.
				return reload - ((2 * ticks) % reload);
			default:
				return reload - (ticks % reload);
		}
	}

	/** pit_get_out(). */
	output(cycles: number): boolean {
		const { reload } = this;
		const ticks = this.ticks(cycles);
		switch (this.mode) {
			case 0:
				return ticks >= reload;
			case 1:
				return ticks < reload;
			case 2:
				return ticks % reload === 0 && ticks !== 0;
			case 3:
				return ticks % reload < (reload + 1) >> 1;
			default:
				return ticks === reload;
		}
	}

	control(value: number, cycles: number): void {
		const access = (value >> 4) & 3;
		if (access === 0) {
			this.latchCount(cycles);
			return;
		}
		this.access = access;
		this.mode = (value >> 1) & 7;
		if (this.mode > 5) this.mode -= 4;
		this.readHigh = false;
		this.writeHigh = false;
	}

	latchCount(cycles: number): void {
		if (this.latchedCount < 0) this.latchedCount = this.count(cycles);
	}

	latchStatus(cycles: number): void {
		const output = this.output(cycles) ? 0x80 : 0;
		if (this.latchedStatus < 0) this.latchedStatus = output | (this.access << 4) | (this.mode << 1);
	}

	read(cycles: number): number {
		if (this.latchedStatus >= 0) {
			const status = this.latchedStatus;
			this.latchedStatus = -1;
			return status;
		}
		const count = this.latchedCount >= 0 ? this.latchedCount : this.count(cycles);
		const high = this.access === 2 || (this.access === 3 && this.readHigh);
		if (this.access === 3) this.readHigh = !this.readHigh;
		if (this.access !== 3 || high) this.latchedCount = -1;
		return (high ? count >> 8 : count) & 0xff;
	}

	/** @returns whether the count is complete */
	write(value: number, cycles: number): boolean {
		if (this.access === 3 && !this.writeHigh) {
			this.writtenLow = value;
			this.writeHigh = true;
			return false;
		}
		const count = this.access === 3 ? this.writtenLow | (value << 8) : this.access === 2 ? value << 8 : value;
		this.writeHigh = false;
		this.reload = count === 0 ? 0x10000 : count;
		this.startCycles = cycles;
		return true;
	}

	/** A rising gate starts the count anew in all modes but 0 and 4. */
	setGate(on: boolean, cycles: number): void {
		if (on && !this.gate && this.mode !== 0 && this.mode !== 4) this.startCycles = cycles;
		this.gate = on;
	}

	/** kvm_vm_ioctl_get_pit2(). @param nsOf makes ns of cycles */
	getState(nsOf: (cycles: number) => number): PitChannelState {
		return {
			count: this.reload,
			latched_count: Math.max(this.latchedCount, 0),
			count_latched: this.latchedCount < 0 ? 0 : this.access,
			status_latched: this.latchedStatus < 0 ? 0 : 1,
			status: Math.max(this.latchedStatus, 0),
			read_state: this.access === 3 && this.readHigh ? 4 : this.access,
			write_state: this.access === 3 && this.writeHigh ? 4 : this.access,
			write_latch: this.writtenLow,
			rw_mode: this.access,
			mode: this.mode,
			bcd: 0,
			gate: this.gate ? 1 : 0,
			count_load_time: BigInt(Math.round(nsOf(this.startCycles))),
		};
	}

	/** kvm_vm_ioctl_set_pit2(). @param cycles the time: counting begins anew */
	setState(state: PitChannelState, cycles: number): void {
		this.reload = state.count === 0 ? 0x10000 : state.count;
		this.latchedCount = state.count_latched === 0 ? -1 : state.latched_count;
		this.latchedStatus = state.status_latched === 0 ? -1 : state.status;
		this.access = state.rw_mode & 3;
		this.readHigh = state.read_state === 4;
		this.writeHigh = state.write_state === 4;
		this.writtenLow = state.write_latch;
		this.mode = state.mode;
		this.gate = state.gate !== 0;
		this.startCycles = cycles;
	}

	get isPeriodic(): boolean {
		return this.mode === 2 || this.mode === 3;
	}
}

export class Pit implements Hrtimer {
	expiresCycles = 0;
	private readonly vm: Vm;
	private readonly tscHz: number;
	private readonly channels: readonly [Channel, Channel, Channel];
	private speaker = 0;

	constructor(vm: Vm) {
		this.vm = vm;
		this.tscHz = vm.kernel.cpu.model.tscHz;
		this.channels = [new Channel(this.tscHz), new Channel(this.tscHz), new Channel(this.tscHz)];
		this.channels[2].gate = false;
	}

	/** KVM_GET_PIT2. */
	getState(): KvmPitState2 {
		const nsOf = (cycles: number) => (cycles * 1e9) / this.tscHz;
		return {
			channels: this.channels.map((channel) => channel.getState(nsOf)),
			flags: 0,
			reserved: Array.from({ length: 9 }, () => 0),
		};
	}

	/** KVM_SET_PIT2: the counts are loaded now. @param cycles the time */
	setState(state: KvmPitState2, cycles: number): void {
		for (const [at, channel] of this.channels.entries()) channel.setState(state.channels[at]!, cycles);
		this.start(cycles);
	}

	/** @param cycles the time @returns the byte, or -1 for a port that is not the timer's */
	read(port: number, cycles: number): number {
		if (port === PORT_SPEAKER) {
			const refresh = Math.floor((cycles * REFRESH_HZ) / this.tscHz) & 1;
			return (this.speaker & 3) | (refresh << 4) | ((this.channels[2].output(cycles) ? 1 : 0) << 5);
		}
		if (port === PORT_CONTROL) return 0;
		return this.channels[port - PORT_COUNTER_0]?.read(cycles) ?? -1;
	}

	/** @returns whether the port is the timer's */
	write(port: number, value: number, cycles: number): boolean {
		if (port === PORT_SPEAKER) {
			this.speaker = value & 3;
			this.channels[2].setGate((value & 1) !== 0, cycles);
			return true;
		}
		if (port === PORT_CONTROL) {
			this.control(value, cycles);
			return true;
		}
		const channel = this.channels[port - PORT_COUNTER_0];
		if (channel === undefined) return false;
		if (channel.write(value, cycles) && channel === this.channels[0]) this.start(cycles);
		return true;
	}

	private control(value: number, cycles: number): void {
		const select = value >> 6;
		if (select !== READ_BACK) {
			this.channels[select]!.control(value, cycles);
			return;
		}
		for (const [at, channel] of this.channels.entries()) {
			if ((value & (2 << at)) === 0) continue;
			if ((value & 0x20) === 0) channel.latchCount(cycles);
			if ((value & 0x10) === 0) channel.latchStatus(cycles);
		}
	}

	private get periodCycles(): number {
		const cycles = (this.channels[0].reload * this.tscHz) / PIT_HZ;
		return Math.max(cycles, (LEAST_PERIOD_NS * this.tscHz) / 1e9);
	}

	/** kvm_free_pit(). */
	stop(): void {
		this.vm.kernel.hrtimers.cancel(this);
	}

	/** create_pit_timer(). */
	private start(cycles: number): void {
		const channel = this.channels[0];
		const { hrtimers } = this.vm.kernel;
		hrtimers.cancel(this);
		if (channel.mode === 1 || channel.mode === 5) return;
		const oneShot = (channel.reload * this.tscHz) / PIT_HZ;
		hrtimers.start(this, cycles + (channel.isPeriodic ? this.periodCycles : oneShot));
	}

	/** pit_timer_fn(), and the work that raises the interrupt. */
	callback(): void {
		if (this.channels[0].isPeriodic)
			this.vm.kernel.hrtimers.start(this, this.expiresCycles + this.periodCycles);
		pulseIrq(this.vm, 0);
	}
}
