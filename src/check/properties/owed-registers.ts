/**
 * A guest's registers, judged by what it is owed: what it left in them when it exited, and what was written for it
 * since by an instruction that KVM emulated (kvm/ledger.ts). KVM's own copies play no part, so that one that went stale
 * is seen. At a VM entry, with the guest's state in the registers, each that the guest can see must hold that.
 */
import type { GuestRegister } from "../../kvm/ledger.ts";
import type { Machine } from "../../kvm/api/kvm.ts";
import type { Property } from "./property.ts";

/** One register. */
export interface OwedRow {
	readonly register: GuestRegister;
	/** Its place in the state block. */
	readonly field: number;
	/** Low half at reset; the upper half is 0. */
	readonly initial: number;
	/** Whether the guest can read or feel it now, with its own state in the registers. */
	readonly visible: (machine: Machine) => boolean;
	/** Bits of the low half that are the guest's. Default: all. */
	readonly mask?: (machine: Machine) => number;
}

/** Words of a row in the memory: whether it is known, then the value's halves. */
const WORDS = 3;

const hex = (high: number, low: number) =>
	high === 0
		? `0x${(low >>> 0).toString(16)}`
		: `0x${(high >>> 0).toString(16)}${(low >>> 0).toString(16).padStart(8, "0")}`;

function note(memory: Int32Array, at: number, low: number, high: number): void {
	memory[at] = 1;
	memory[at + 1] = low;
	memory[at + 2] = high;
}

/** The property that all rows hold. Protected guests are left out: their registers are firmware's. */
export function owedRegisters(name: string, title: string, rows: readonly OwedRow[]): Property {
	return {
		name,
		title,
		degree: "violation",
		words: WORDS * rows.length,
		onGuestWrite(_context, register, value, memory) {
			const at = rows.findIndex((row) => row.register === register);
			if (at < 0) return;
			const wide = BigInt.asUintN(64, BigInt(value));
			note(memory, WORDS * at, Number(wide & 0xffff_ffffn) | 0, Number(wide >> 32n) | 0);
		},
		onGuestExit({ machine }, memory) {
			if (machine.vcpu.guestStateProtected) return;
			for (const [at, row] of rows.entries()) {
				if (row.visible(machine))
					note(memory, WORDS * at, machine.cpu.read32(row.field), machine.cpu.read32(row.field + 4));
			}
		},
		onGuestEntry({ machine }, memory) {
			if (machine.vcpu.guestStateProtected) return null;
			for (const [at, row] of rows.entries()) {
				if (!row.visible(machine)) continue;
				const known = memory[WORDS * at] !== 0;
				const low = known ? memory[WORDS * at + 1]! : row.initial;
				const high = known ? memory[WORDS * at + 2]! : 0;
				const mask = row.mask?.(machine) ?? -1;
				const loaded = machine.cpu.read32(row.field);
				const loadedHigh = machine.cpu.read32(row.field + 4);
				if (((loaded ^ low) & mask) !== 0 || (mask === -1 && (loadedHigh | 0) !== (high | 0))) {
					return `the guest enters with ${row.register} ${hex(loadedHigh, loaded)}, its own is ${hex(high, low)}`;
				}
			}
			return null;
		},
	};
}
