/** The 8254 timer's ports (arch/x86/kvm/i8254.c): counters count, no interrupt is raised. */

const PIT_HZ = 1_193_182;
const PORT_COUNTER_0 = 0x40;
const PORT_CONTROL = 0x43;
const PORT_SPEAKER = 0x61;

interface Channel {
	reload: number;
	startCycles: number;
	/** 1 low byte, 2 high byte, 3 low then high. */
	access: number;
	highNext: boolean;
	/** A latched count, or -1. */
	latched: number;
}

export class Pit {
	private readonly tscHz: number;
	private readonly channels: Channel[];
	private speaker = 0;

	/** @param tscHz cycles a second of the clock that `read` and `write` are given */
	constructor(tscHz: number) {
		this.tscHz = tscHz;
		const channel = () => ({ reload: 0x10000, startCycles: 0, access: 3, highNext: false, latched: -1 });
		this.channels = [channel(), channel(), channel()];
	}

	private count(channel: Channel, cycles: number): number {
		const ticks = Math.floor(((cycles - channel.startCycles) * PIT_HZ) / this.tscHz);
		return channel.reload - (ticks % channel.reload);
	}

	/** @param cycles the time @returns the byte, or -1 for a port that is not the timer's */
	read(port: number, cycles: number): number {
		if (port === PORT_SPEAKER) {
			// Bit 4 toggles with each refresh request, bit 5 is the output of counter 2.
			const refresh = Math.floor((cycles * 66_287) / this.tscHz) & 1;
			const output = this.count(this.channels[2]!, cycles) <= 1 ? 1 : 0;
			return (this.speaker & 3) | (refresh << 4) | (output << 5);
		}
		const channel = this.channels[port - PORT_COUNTER_0];
		if (channel === undefined) return port === PORT_CONTROL ? 0 : -1;
		const count = channel.latched >= 0 ? channel.latched : this.count(channel, cycles);
		if (channel.access === 2 || (channel.access === 3 && channel.highNext)) {
			channel.highNext = false;
			channel.latched = -1;
			return (count >> 8) & 0xff;
		}
		if (channel.access === 3) channel.highNext = true;
		else channel.latched = -1;
		return count & 0xff;
	}

	/** @returns whether the port is the timer's */
	write(port: number, value: number, cycles: number): boolean {
		if (port === PORT_SPEAKER) {
			this.speaker = value & 3;
			return true;
		}
		if (port === PORT_CONTROL) {
			const channel = this.channels[value >> 6];
			if (channel === undefined) return true;
			const access = (value >> 4) & 3;
			if (access === 0) channel.latched = this.count(channel, cycles);
			else channel.access = access;
			channel.highNext = false;
			return true;
		}
		const channel = this.channels[port - PORT_COUNTER_0];
		if (channel === undefined) return false;
		this.load(channel, value, cycles);
		return true;
	}

	private load(channel: Channel, value: number, cycles: number): void {
		const high = channel.access === 2 || (channel.access === 3 && channel.highNext);
		const old = channel.reload & 0xffff;
		const reload = high ? (old & 0xff) | (value << 8) : channel.access === 1 ? value : (old & 0xff00) | value;
		channel.reload = reload === 0 ? 0x10000 : reload;
		channel.startCycles = cycles;
		if (channel.access === 3) channel.highNext = !channel.highNext;
	}
}
