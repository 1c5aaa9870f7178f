/** General registers of a guest as instruction operands, for the emulator. */
import * as L from "../../silicon/cpu/layout.ts";
import type { Vcpu } from "../vcpu.ts";

/** A general register in 64 bits. RSP is the vendor's while the guest's state is loaded. */
export function readGpr(v: Vcpu, index: number): bigint {
	return index === L.RSP ? v.vm.ops.getRsp(v) : v.regs[index]!;
}

/**
 * Writes a general register as an instruction of the given operand size does: 32 bits clear the upper half,
 * 8 and 16 bits leave the rest alone.
 * @param highByte AH, CH, DH, BH: `index` is the register they lie in
 */
export function writeGpr(v: Vcpu, index: number, bytes: number, value: bigint, highByte = false): void {
	let result = BigInt.asUintN(bytes * 8, value);
	if (highByte) result = (readGpr(v, index) & ~0xff00n) | (result << 8n);
	else if (bytes < 4) result |= readGpr(v, index) & ~((1n << BigInt(bytes * 8)) - 1n);
	if (index === L.RSP) v.vm.ops.setRsp(v, result);
	else v.regs[index] = result;
}
