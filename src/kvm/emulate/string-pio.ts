/** String port I/O (arch/x86/kvm/emulate.c: INS, OUTS): one exit carries as many elements as fit a page. */
import * as L from "../../silicon/cpu/layout.ts";
import { FLAG } from "../../silicon/cpu/rflags.ts";
import { Mnemonic } from "../../silicon/translate/decode.ts";
import type { Insn } from "../../silicon/translate/insn.ts";
import type { Vcpu } from "../vcpu.ts";
import { advance, emulateInstruction, emulationFailure, withGuestFaults } from "./fetch.ts";
import { ACCESS, readGuestVirtual } from "./guest-memory.ts";
import { finishWrites, writesOf } from "./instruction.ts";
import { exitToUserForIo, kernelIn, kernelOut, littleEndian } from "./pio-bus.ts";
import { readGpr, writeGpr } from "./registers.ts";

const IO_DATA_BYTES = 4096;

/** kvm_emulate_instruction() for an INS or OUTS that exited. @returns 1 to go on, 0 for KVM_EXIT_IO */
export function emulateStringPio(v: Vcpu): number {
	return emulateInstruction(v, (vcpu, insn) => {
		switch (insn.mnemonic) {
			case Mnemonic.Outsb:
			case Mnemonic.Outsw:
			case Mnemonic.Outsd:
				return emulateOuts(vcpu, insn);
			case Mnemonic.Insb:
			case Mnemonic.Insw:
			case Mnemonic.Insd:
				return emulateIns(vcpu, insn);
			default:
				return emulationFailure(vcpu, insn, -1);
		}
	});
}

/** Elements that fit before the page, the data area or the count ends: one exit carries them all. */
interface StringRun {
	readonly bytes: number;
	readonly count: number;
	readonly port: number;
	readonly linear: bigint;
	readonly access: number;
}

function addressMask(insn: Insn, value: bigint): bigint {
	return BigInt.asUintN(insn.addressBytes * 8, value);
}

function stringRun(v: Vcpu, insn: Insn, pointer: number, segment: number): StringRun {
	const { ops } = v.vm;
	const bytes =
		insn.mnemonic === Mnemonic.Outsb || insn.mnemonic === Mnemonic.Insb
			? 1
			: insn.mnemonic === Mnemonic.Outsw || insn.mnemonic === Mnemonic.Insw
				? 2
				: 4;
	const remaining = insn.rep || insn.repne ? addressMask(insn, readGpr(v, L.RCX)) : 1n;
	const base =
		insn.bitness === 64 && segment !== L.FS && segment !== L.GS ? 0n : ops.getSegment(v, segment).base;
	const linear = base + addressMask(insn, readGpr(v, pointer));
	const backward = (ops.getRflags(v) & FLAG.DF) !== 0;
	const roomBytes = Math.min(IO_DATA_BYTES, 4096 - Number(linear & 0xfffn));
	// A backward string goes one element at a time; one that crosses a page does too.
	const room = backward ? 1 : Math.max(1, Math.floor(roomBytes / bytes));
	const count = remaining < BigInt(room) ? Number(remaining) : room;
	const access = ops.getCpl(v) === 3 ? ACCESS.user : 0;
	return { bytes, count, port: v.regs32[L.RDX * 2]! & 0xffff, linear, access };
}

/** Advances pointer and count, and RIP when the string is done. */
function finishString(v: Vcpu, insn: Insn, pointer: number, { bytes, count }: StringRun): number {
	const backward = (v.vm.ops.getRflags(v) & FLAG.DF) !== 0;
	const step = BigInt(bytes * count) * (backward ? -1n : 1n);
	writeGpr(v, pointer, insn.addressBytes, readGpr(v, pointer) + step);
	if (!insn.rep && !insn.repne) return advance(v, insn);
	const left = addressMask(insn, readGpr(v, L.RCX) - BigInt(count));
	writeGpr(v, L.RCX, insn.addressBytes, left);
	return left === 0n ? advance(v, insn) : 1;
}

/** trace_kvm_pio(), of what is in the data area. */
function tracePio(v: Vcpu, { port, bytes, count }: StringRun, write: boolean): void {
	v.tracer?.tracepoint?.(v, "kvm_pio", {
		write,
		port,
		bytes,
		count,
		value: littleEndian(v.run.io.data, 0, bytes),
	});
}

function emulateOuts(v: Vcpu, insn: Insn): number {
	const run = stringRun(v, insn, L.RSI, insn.segment);
	if (run.count === 0) return advance(v, insn);
	const { data } = v.run.io;
	readGuestVirtual(v, run.linear, data.subarray(0, run.bytes * run.count), run.access);
	const element = (i: number) => littleEndian(data, i * run.bytes, run.bytes);
	tracePio(v, run, true);
	if (kernelOut(v, run.port, run.bytes, element(0))) {
		for (let i = 1; i < run.count; i++) kernelOut(v, run.port, run.bytes, element(i));
		return finishString(v, insn, L.RSI, run);
	}
	exitToUserForIo(v, true, run.port, run.bytes, run.count);
	v.completeUserspaceIo = () => finishString(v, insn, L.RSI, run);
	return 0;
}

function emulateIns(v: Vcpu, insn: Insn): number {
	const run = stringRun(v, insn, L.RDI, L.ES);
	if (run.count === 0) return advance(v, insn);
	const store = (): number => {
		tracePio(v, run, false);
		const writes = writesOf(v, run.linear, v.run.io.data.slice(0, run.bytes * run.count), run.access);
		return finishWrites(v, writes, 0, () => finishString(v, insn, L.RDI, run));
	};
	const first = kernelIn(v, run.port, 1);
	if (first >= 0) {
		v.run.io.data[0] = first;
		for (let i = 1; i < run.bytes * run.count; i++) v.run.io.data[i] = kernelIn(v, run.port, 1);
		return store();
	}
	exitToUserForIo(v, false, run.port, run.bytes, run.count);
	v.completeUserspaceIo = () => withGuestFaults(v, store);
	return 0;
}
