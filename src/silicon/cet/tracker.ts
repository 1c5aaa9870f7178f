/** Indirect-branch tracking: the state machine that wants an ENDBRANCH where an indirect branch lands (SDM Vol. 1, 17.3). */
import { CET, CP, cetControl, cetControlAt, endbranchEnabled } from "../cpu/cet.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { raise, VECTOR } from "../cpu/fault.ts";
import * as L from "../cpu/layout.ts";
import { cpl, is64Bit } from "../cpu/modes.ts";
import { segmentBase } from "../cpu/segments.ts";
import { explicitAccess, faulted, readLinear } from "../paging/access.ts";
import { Mnemonic } from "../translate/decode.ts";

const AWAITS = CET.ENDBR_EN | CET.TRACKER;

/** A far transfer to a privilege level, or an event delivered to it: an ENDBRANCH must follow if it is tracked. */
export function trackFar(cpu: Cpu, level: number): void {
	if (!endbranchEnabled(cpu, level)) return;
	const at = cetControlAt(level);
	cpu.write32(at, (cpu.read32(at) | CET.TRACKER) & ~CET.SUPPRESS);
}

/** An indirect near JMP or CALL. @param noTrack it has the prefix that exempts it where NO_TRACK_EN is set */
export function trackNear(cpu: Cpu, noTrack: boolean): void {
	const level = cpl(cpu);
	const control = cetControl(cpu, level);
	if ((control & (CET.ENDBR_EN | CET.SUPPRESS)) !== CET.ENDBR_EN) return;
	if (noTrack && (control & CET.NO_TRACK_EN) !== 0) return;
	cpu.write32(cetControlAt(level), control | CET.TRACKER);
}

/** ENDBR32 or ENDBR64, which must be that of the mode. @param long ENDBR64 */
export function endbranch(cpu: Cpu, long: boolean): void {
	const level = cpl(cpu);
	if (long !== is64Bit(cpu) || !endbranchEnabled(cpu, level)) return;
	const at = cetControlAt(level);
	cpu.write32(at, cpu.read32(at) & ~(CET.TRACKER | CET.SUPPRESS));
}

/** Whether the next instruction must be an ENDBRANCH. */
export function awaitsEndbranch(cpu: Cpu): boolean {
	return (cetControl(cpu, cpl(cpu)) & AWAITS) === AWAITS;
}

/**
 * Looks at the next instruction while the processor waits for an ENDBRANCH: #CP(ENDBRANCH) is noted if it is another, and
 * its page none of the legacy bitmap's. INT3 may stand in an ENDBRANCH's place, as debuggers put it.
 * @param mnemonic iced-x86's, of the instruction at RIP
 * @returns whether it may run
 */
export function checkEndbranch(cpu: Cpu, mnemonic: number): boolean {
	if (!awaitsEndbranch(cpu)) return true;
	const wanted = is64Bit(cpu) ? Mnemonic.Endbr64 : Mnemonic.Endbr32;
	if (mnemonic === wanted || mnemonic === Mnemonic.Int3 || isLegacyPage(cpu)) return true;
	if (!faulted(cpu)) raise(cpu, VECTOR.CP, CP.endbranch);
	return false;
}

/** Whether the bitmap of legacy code has RIP's page; tracking pauses then, until the next ENDBRANCH. */
function isLegacyPage(cpu: Cpu): boolean {
	const level = cpl(cpu);
	const control = cetControl(cpu, level);
	if ((control & CET.LEG_IW_EN) === 0) return false;
	const base = cpu.read64(cetControlAt(level)) & ~0xfffn;
	const rip = cpu.read64(L.RIP);
	const linear = is64Bit(cpu) ? BigInt.asUintN(48, rip) : BigInt.asUintN(32, rip + segmentBase(cpu, L.CS));
	const byte = readLinear(cpu, base + (linear >> 15n), 1, explicitAccess(cpu));
	if (faulted(cpu) || ((byte >> ((linear >> 12n) & 7n)) & 1n) === 0n) return false;
	const suppress = (control & CET.SUPPRESS_DIS) === 0 ? CET.SUPPRESS : 0;
	cpu.write32(cetControlAt(level), (control & ~(CET.TRACKER | CET.SUPPRESS)) | suppress);
	return true;
}
