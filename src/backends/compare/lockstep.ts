/**
 * One guest on two machines, from exit to exit: their states are compared whenever both have done the same accesses.
 *
 * KVM says when a guest's state is whole behind an exit for I/O: not before the next KVM_RUN has completed the instruction
 * (Documentation/virt/kvm/api.rst, KVM_EXIT_IO). So each exit is answered and completed with immediate_exit first. How many
 * elements of a string, or bytes of an access, one exit carries is KVM's choice; they are counted one by one.
 */
import { makeRandom } from "../../host/random.ts";
import { KvmError } from "../../uapi/api.ts";
import { type VcpuExit, describeExit } from "../../uapi/exit.ts";
import { type FieldDifference, differences, memoryDifferences, takeSnapshot } from "./snapshot.ts";
import type { Start, Subject } from "./subject.ts";

/** Where and how two machines differ. */
export interface Difference {
	/** Behind how many accesses and HLTs. */
	readonly event: number;
	/** What each did there. */
	readonly left: string;
	readonly right: string;
	/** What differs; empty if only what they did does. */
	readonly fields: readonly FieldDifference[];
}

/** How a guest went. */
export interface Comparison {
	/** States that were compared. */
	readonly compared: number;
	readonly difference: Difference | null;
}

/** A guest that does more is cut off. */
const EVENTS_MAX = 3000;

const RFLAGS_RF = 1n << 16n;
/** COM1's line status: a guest that prints waits for it. */
const LSR = { port: 0x3fd, transmitterEmpty: 0x60 } as const;

const hex = (value: number | bigint) => `0x${value.toString(16)}`;

/** A machine on its way through a guest. */
class Course {
	readonly subject: Subject;
	/** What it did, one a port element, a byte of MMIO, or a HLT. */
	readonly events: string[] = [];
	/** How it ended, if it has. */
	over: string | null = null;
	/** The end is one behind which the vCPU has a guest's state. */
	hasState = true;

	constructor(subject: Subject) {
		this.subject = subject;
	}

	/** KVM_RUN until something was done and completed. */
	async advance(): Promise<void> {
		let outcome = await this.run(false);
		while (outcome !== null && (outcome.reason === "io" || outcome.reason === "mmio")) {
			this.serve(outcome);
			outcome = await this.run(true);
		}
		if (outcome === null || outcome.reason === "intr") return;
		if (outcome.reason === "hlt") {
			this.events.push("hlt");
			return;
		}
		this.over = describeExit(outcome);
		this.hasState = outcome.reason !== "shutdown" && outcome.reason !== "internal-error";
	}

	/** @returns null if it is over */
	private async run(completing: boolean): Promise<VcpuExit | null> {
		try {
			const outcome = await (completing ? this.subject.complete() : this.subject.run());
			if (typeof outcome !== "string") return outcome;
			this.over = outcome;
		} catch (error) {
			if (!(error instanceof KvmError)) throw error;
			this.over = error.message;
		}
		this.hasState = false;
		return null;
	}

	/** Answers an access: what is read depends on how much was done before, so that both machines read the same. */
	private serve(exit: VcpuExit & { reason: "io" | "mmio" }): void {
		const bytes = exit.reason === "io" ? exit.size : 1;
		for (let at = 0; at < exit.data.length; at += bytes) {
			const element = exit.data.subarray(at, at + bytes);
			const random = makeRandom(this.events.length);
			if (!exit.write) for (let n = 0; n < bytes; n++) element[n] = Math.floor(random() * 256);
			if (exit.reason === "io" && exit.port === LSR.port) element[0] = LSR.transmitterEmpty;
			const data = Array.from(element, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
			this.events.push(
				exit.reason === "io"
					? `${exit.write ? "out" : "in"} ${hex(exit.port)} ${exit.size} ${data}`
					: `mmio ${exit.write ? "write" : "read"} ${hex(exit.gpa + BigInt(at))} ${data}`,
			);
		}
	}

	/** What it did at a place, or how it ended there. */
	at(event: number): string {
		return this.events[event] ?? this.over ?? "nothing";
	}
}

async function begin(subject: Subject, start: Start): Promise<string> {
	try {
		await subject.begin(start);
		return "begins";
	} catch (error) {
		if (error instanceof KvmError) return error.message;
		throw error;
	}
}

/** Lets both go on until they have done equally much. */
async function advanceTogether(left: Course, right: Course): Promise<void> {
	await Promise.all([left.advance(), right.advance()]);
	for (;;) {
		const behind = left.events.length < right.events.length ? left : right;
		const other = behind === left ? right : left;
		if (behind.over !== null || behind.events.length === other.events.length) return;
		await behind.advance();
	}
}

/** RF is set: the vCPU stands in a string instruction that has done some of its elements. */
function isWithin({ vcpu }: Subject): boolean {
	return (vcpu.getRegs().rflags & RFLAGS_RF) !== 0n;
}

/** The first event in which they differ, or -1. */
function firstDifference(left: Course, right: Course, from: number): number {
	const end = Math.max(left.events.length, right.events.length);
	for (let at = from; at < end; at++) if (left.at(at) !== right.at(at)) return at;
	return left.over !== right.over ? end : -1;
}

/** What two machines are compared by. */
export interface Guest {
	readonly start: Start;
	/** Bytes of its memory. */
	readonly ramBytes: number;
	/** Whether it has come to its end. @param events what it did @param left one of the machines */
	isOver(events: readonly string[], left: Subject): boolean;
	/** Compare what it did alone: a guest that reads the time has other registers on each machine. */
	readonly eventsOnly?: boolean;
}

/** Runs a guest on both. */
export async function lockstep(left: Subject, right: Subject, guest: Guest): Promise<Comparison> {
	const giveUp = () => Promise.all([left.discard(), right.discard()]);
	const [a, b] = [await begin(left, guest.start), await begin(right, guest.start)];
	if (a !== "begins" || b !== "begins") {
		await giveUp();
		return { compared: 0, difference: a === b ? null : { event: 0, left: a, right: b, fields: [] } };
	}
	const [mine, yours] = [new Course(left), new Course(right)];
	for (let compared = 1, done = 0; done < EVENTS_MAX; compared++) {
		await advanceTogether(mine, yours);
		const event = firstDifference(mine, yours, done);
		done = mine.events.length;
		const whole = mine.hasState && yours.hasState && mine.events.length === yours.events.length;
		const comparable = whole && guest.eventsOnly !== true && !isWithin(left) && !isWithin(right);
		const fields = comparable
			? [
					...differences(takeSnapshot(left.vcpu), takeSnapshot(right.vcpu)),
					...memoryDifferences(left.memory, right.memory, guest.ramBytes),
				]
			: [];
		if (event >= 0 || fields.length > 0) {
			await giveUp();
			const place = event >= 0 ? event : Math.max(done - 1, 0);
			return {
				compared,
				difference: { event: place, left: mine.at(place), right: yours.at(place), fields },
			};
		}
		if (mine.over !== null) {
			await giveUp();
			return { compared, difference: null };
		}
		if (guest.isOver(mine.events, left)) return { compared, difference: null };
	}
	await giveUp();
	return { compared: EVENTS_MAX, difference: null };
}
