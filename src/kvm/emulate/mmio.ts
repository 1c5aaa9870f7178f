/** The emulator's part for devices' memory: MOV, MOVZX and MOVSX to and from addresses without memory. */
import { Mnemonic } from "../../silicon/translate/decode.ts";
import type { Insn, Operand } from "../../silicon/translate/insn.ts";
import { placeOf } from "../../silicon/translate/registers.ts";
import type { Vcpu } from "../vcpu.ts";
import { cetForbidsEmulation } from "./cet.ts";
import { advance, emulateInstruction, emulationFailure } from "./fetch.ts";
import { emulateOnSilicon } from "./instruction.ts";
import { exitToUserForMmio, kernelMmioRead, kernelMmioWrite, mmioAnswer } from "./mmio-bus.ts";
import { readGpr, writeGpr } from "./registers.ts";

/**
 * kvm_mmu_page_fault() for an address without memory: emulates the instruction that accessed it.
 * @param gpa guest physical address of the access
 * @returns 1 to go on, 0 to leave to user space
 */
export function emulateMmio(v: Vcpu, gpa: number): number {
	v.stat.mmioExits++;
	return emulateInstruction(v, (vcpu, insn) => {
		switch (insn.mnemonic) {
			case Mnemonic.Mov:
			case Mnemonic.Movzx:
			case Mnemonic.Movsx:
			case Mnemonic.Movsxd:
				return emulateMove(vcpu, insn, gpa);
			default:
				return cetForbidsEmulation(vcpu, insn) ? emulationFailure(vcpu, insn, gpa) : emulateOnSilicon(vcpu);
		}
	});
}

function readOperand(v: Vcpu, operand: Operand): bigint {
	if (operand.kind === "immediate") return operand.value;
	if (operand.kind !== "register") return 0n;
	const place = placeOf(operand.register);
	if (place === undefined) return 0n;
	const value = readGpr(v, place.index);
	return BigInt.asUintN(place.bytes * 8, place.high ? value >> 8n : value);
}

/** Whether the memory operand lies in two pages, of which only one is known to have no memory. */
function crossesPage(v: Vcpu, insn: Insn): boolean {
	const bytes = insn.operands.reduce((most, one) => (one.kind === "memory" ? one.bytes : most), 1);
	const addressPart = (register: number) => {
		const place = placeOf(register);
		return place === undefined ? 0n : readGpr(v, place.index);
	};
	const offset = insn.displacement + addressPart(insn.base) + addressPart(insn.index) * BigInt(insn.scale);
	const linear = offset + v.vm.ops.getSegment(v, insn.segment).base;
	return Number(BigInt.asUintN(12, linear)) + bytes > 4096;
}

function emulateMove(v: Vcpu, insn: Insn, gpa: number): number {
	const [destination, source] = insn.operands;
	if (destination === undefined || source === undefined || crossesPage(v, insn)) return emulateOnSilicon(v);
	if (destination.kind === "memory") {
		const isSource =
			source.kind === "immediate" || (source.kind === "register" && placeOf(source.register) !== undefined);
		return isSource
			? storeMove(v, insn, gpa, destination.bytes, readOperand(v, source))
			: emulateOnSilicon(v);
	}
	const place = destination.kind === "register" ? placeOf(destination.register) : undefined;
	if (place === undefined || source.kind !== "memory") return emulateOnSilicon(v);
	const signed = insn.mnemonic === Mnemonic.Movsx || insn.mnemonic === Mnemonic.Movsxd;
	const finish = (value: bigint): number => {
		const extended = signed
			? BigInt.asIntN(source.bytes * 8, value)
			: BigInt.asUintN(source.bytes * 8, value);
		writeGpr(v, place.index, place.bytes, extended, place.high);
		return advance(v, insn);
	};
	const value = kernelMmioRead(v, gpa, source.bytes);
	if (value >= 0) return finish(BigInt(value));
	exitToUserForMmio(v, gpa, source.bytes, null);
	v.completeUserspaceIo = () => finish(mmioAnswer(v));
	return 0;
}

function storeMove(v: Vcpu, insn: Insn, gpa: number, bytes: number, value: bigint): number {
	if (kernelMmioWrite(v, gpa, bytes, value)) return advance(v, insn);
	exitToUserForMmio(v, gpa, bytes, value);
	v.completeUserspaceIo = () => advance(v, insn);
	return 0;
}
