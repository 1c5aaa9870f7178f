/**
 * Port I/O (arch/x86/kvm/x86.c: kvm_fast_pio()): devices in the kernel answer at once, all others in user
 * space, by KVM_EXIT_IO. The instruction is skipped when user space has answered.
 */
import * as L from "../../silicon/cpu/layout.ts";
import type { Vcpu } from "../vcpu.ts";
import { kvmSkipEmulatedInstruction } from "./inject.ts";
import { exitToUserForIo, kernelIn, kernelOut, littleEndian } from "./pio-bus.ts";
import { emulateStringPio } from "./string-pio.ts";

/** The completions of one vCPU, made once: an exit allocates nothing. */
interface Completions {
	readonly fastOut: () => number;
	readonly fastIn: () => number;
}

const completions = new WeakMap<Vcpu, Completions>();

function completionsOf(v: Vcpu): Completions {
	let found = completions.get(v);
	if (found === undefined) {
		found = {
			fastOut: () => kvmSkipEmulatedInstruction(v),
			fastIn: () => {
				const { bytes, data, port } = v.run.io;
				const value = littleEndian(data, 0, bytes);
				v.tracer?.tracepoint?.(v, "kvm_pio", { write: false, port, bytes, count: 1, value });
				writeIn(v, bytes, value);
				return kvmSkipEmulatedInstruction(v);
			},
		};
		completions.set(v, found);
	}
	return found;
}

/** The result of IN in AL, AX or EAX; EAX clears the upper half of RAX. */
function writeIn(v: Vcpu, bytes: number, value: number): void {
	const regs = v.regs32;
	if (bytes === 4) {
		regs[L.RAX * 2] = value;
		regs[L.RAX * 2 + 1] = 0;
	} else {
		const mask = bytes === 1 ? 0xff : 0xffff;
		regs[L.RAX * 2] = (regs[L.RAX * 2]! & ~mask) | (value & mask);
	}
}

/**
 * kvm_fast_pio(): IN or OUT without a string.
 * @param bytes 1, 2 or 4
 * @returns 1 if a device in the kernel answered, 0 for KVM_EXIT_IO
 */
export function kvmFastPio(v: Vcpu, bytes: number, port: number, isIn: boolean): number {
	v.cpu.code(90);
	if (isIn) {
		const value = kernelIn(v, port, bytes);
		if (value >= 0) {
			v.tracer?.tracepoint?.(v, "kvm_pio", { write: false, port, bytes, count: 1, value });
			writeIn(v, bytes, value);
			return kvmSkipEmulatedInstruction(v);
		}
		exitToUserForIo(v, false, port, bytes, 1);
		v.completeUserspaceIo = completionsOf(v).fastIn;
		return 0;
	}
	const value = v.regs32[L.RAX * 2]!;
	v.tracer?.tracepoint?.(v, "kvm_pio", {
		write: true,
		port,
		bytes,
		count: 1,
		value: bytes === 4 ? value : value & (bytes === 1 ? 0xff : 0xffff),
	});
	if (kernelOut(v, port, bytes, value)) return kvmSkipEmulatedInstruction(v);
	exitToUserForIo(v, true, port, bytes, 1);
	const { data } = v.run.io;
	data[0] = value;
	if (bytes > 1) data[1] = value >>> 8;
	if (bytes > 2) {
		data[2] = value >>> 16;
		data[3] = value >>> 24;
	}
	v.completeUserspaceIo = completionsOf(v).fastOut;
	return 0;
}

/**
 * kvm_emulate_instruction() for INS and OUTS. What the exit said of it, the emulator finds in the instruction.
 * @returns 1 to go on, 0 for KVM_EXIT_IO
 */
export function kvmStringPio(v: Vcpu, _bytes: number, _port: number, _isIn: boolean, _rep: boolean): number {
	return emulateStringPio(v);
}
