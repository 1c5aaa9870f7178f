/**
 * x86_emulate_insn() (arch/x86/kvm/emulate.c) for whatever instruction touched memory that is not RAM. What an
 * instruction does is said once, by the silicon: it is carried out there on a spare processor that has the guest's
 * registers and KVM's view of memory. Reads of devices that user space has are asked for one at a time, and the
 * instruction begins again with the answers; its writes take effect when it is complete.
 */
import { EFER } from "../../silicon/cpu/control.ts";
import { copyBlock } from "../../silicon/cpu/copy.ts";
import type { Cpu } from "../../silicon/cpu/cpu.ts";
import type { EmulatedMemory } from "../../silicon/cpu/guest-mode.ts";
import { raise, VECTOR } from "../../silicon/cpu/fault.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { resetState } from "../../silicon/cpu/modes.ts";
import { isCanonical } from "../../silicon/cpu/msr.ts";
import { FLAG, readRflags, writeRflags } from "../../silicon/cpu/rflags.ts";
import { setSegment } from "../../silicon/cpu/segments.ts";
import type { MachineMemory } from "../../silicon/machine.ts";
import { STACK } from "../../silicon/paging/access.ts";
import { protectCodePage } from "../../silicon/paging/tlb.ts";
import type { CpuModel } from "../../silicon/models/model.ts";
import { createProcessor } from "../../silicon/processor.ts";
import type { Vcpu } from "../vcpu.ts";
import { srcuDereference } from "../x86/srcu.ts";
import { kvmSetCr0 } from "./control.ts";
import { kvmVcpuDoSinglestep } from "./guest-debug.ts";
import { GuestFault } from "./guest-fault.ts";
import { ACCESS, gvaToGpa, readGuestPhysical, writeGuestPhysical } from "./guest-memory.ts";
import { kvmQueueException } from "./inject.ts";
import { exitToUserForMmio, kernelMmioRead, kernelMmioWrite, mmioAnswer } from "./mmio-bus.ts";

const SEGMENTS = [L.GDTR, L.IDTR, L.ES, L.CS, L.SS, L.DS, L.FS, L.GS, L.LDTR, L.TR] as const;
const ACCESS_BITS = ACCESS.write | ACCESS.user | ACCESS.fetch;
const PAGE_BYTES = 4096;
/** A breakpoint that no access meets: with one on, a string instruction is done after each element, as KVM does it. */
const ONE_ELEMENT = { dr0: 1n << 62n, dr7: 0x401 } as const;

type Maker = CpuModel["vendorString"];

/** The spare processors of each machine, by maker: all in the place behind those that run. */
const emulators = new WeakMap<MachineMemory, Map<Maker, Cpu>>();

function emulatorOf(v: Vcpu, maker: Maker): Cpu {
	const { memory } = v.vm;
	let made = emulators.get(memory);
	if (made === undefined) {
		made = new Map();
		emulators.set(memory, made);
	}
	let cpu = made.get(maker);
	if (cpu === undefined) {
		const model = { ...v.cpu.model, vendorString: maker };
		cpu = createProcessor(memory, model, memory.ramBase / L.CPU_AREA_BYTES - 1);
		made.set(maker, cpu);
	}
	return cpu;
}

/** What an instruction needs of the spare processor beside the usual. */
export interface Emulation {
	/** Whose processor it is to be; default the host's. */
	readonly maker?: Maker;
	/** Further registers, by their place in the state block. */
	readonly registers?: readonly (readonly [offset: number, value: bigint])[];
}

/** A write to guest physical memory or to a device there, of at most 8 bytes. */
export interface Write {
	readonly gpa: number;
	readonly bytes: number;
	readonly value: bigint;
}

/** KVM's view of guest memory, for one instruction. */
class EmulatorMemory implements EmulatedMemory {
	/** What devices answered so far, in order. */
	readonly answers: bigint[];
	readonly writes: Write[] = [];
	/** The read that user space has to answer. */
	request: { readonly gpa: number; readonly bytes: number } | null = null;
	private next = 0;
	private readonly v: Vcpu;

	constructor(v: Vcpu, answers: bigint[]) {
		this.v = v;
		this.answers = answers;
	}

	/** Guest physical address of a linear one, or -1 with the fault noted. */
	private translate(cpu: Cpu, linear: bigint, access: number): number {
		if ((cpu.read32(L.EFER) & EFER.LMA) !== 0 && !isCanonical(linear, cpu)) {
			raise(cpu, (access & STACK) !== 0 ? VECTOR.SS : VECTOR.GP, 0);
			return -1;
		}
		try {
			return gvaToGpa(this.v, linear, access & ACCESS_BITS);
		} catch (fault) {
			if (!(fault instanceof GuestFault)) throw fault;
			raise(cpu, fault.vector, fault.errorCode);
			cpu.write64(L.FAULT_LINEAR, fault.linear);
			return -1;
		}
	}

	/** Calls back for the part of a range in each page. @returns false with a fault noted */
	private parts(
		cpu: Cpu,
		linear: bigint,
		bytes: number,
		access: number,
		part: (gpa: number, first: number, bytes: number) => void,
	): boolean {
		for (let done = 0; done < bytes; ) {
			const address = BigInt.asUintN(64, linear + BigInt(done));
			const gpa = this.translate(cpu, address, access);
			if (gpa < 0) return false;
			const count = Math.min(bytes - done, PAGE_BYTES - (gpa % PAGE_BYTES));
			part(gpa, done, count);
			done += count;
		}
		return true;
	}

	private readPart(cpu: Cpu, gpa: number, bytes: number): bigint {
		const { v } = this;
		if (v.vm.gpaToHpa(gpa) >= 0) {
			const data = new Uint8Array(8);
			readGuestPhysical(v.vm, gpa, data.subarray(0, bytes));
			return new DataView(data.buffer).getBigUint64(0, true);
		}
		if (this.next === this.answers.length && this.request === null) {
			const value = kernelMmioRead(v, gpa, bytes);
			if (value >= 0) this.answers.push(BigInt(value));
			else {
				this.request = { gpa, bytes };
				// The instruction stops here; what it stops with is never delivered.
				raise(cpu, VECTOR.UD);
			}
		}
		return this.answers[this.next++] ?? 0n;
	}

	read(cpu: Cpu, linear: bigint, bytes: number, access: number): bigint {
		let value = 0n;
		const complete = this.parts(cpu, linear, bytes, access, (gpa, first, count) => {
			value |= BigInt.asUintN(8 * count, this.readPart(cpu, gpa, count)) << BigInt(8 * first);
		});
		return complete ? value : 0n;
	}

	write(cpu: Cpu, linear: bigint, bytes: number, value: bigint, access: number): void {
		if (!this.probe(cpu, linear, bytes, access | ACCESS.write)) return;
		this.parts(cpu, linear, bytes, access | ACCESS.write, (gpa, first, count) => {
			const part = BigInt.asUintN(8 * count, value >> BigInt(8 * first));
			this.writes.push({ gpa, bytes: count, value: part });
		});
	}

	probe(cpu: Cpu, linear: bigint, bytes: number, access: number): boolean {
		return this.parts(cpu, linear, bytes, access, () => {});
	}

	fetch(cpu: Cpu, linear: bigint): number {
		const user = this.v.vm.ops.getCpl(this.v) === 3 ? ACCESS.user : 0;
		const gpa = this.translate(cpu, linear, ACCESS.fetch | user);
		if (gpa < 0) return -1;
		const hpa = this.v.vm.gpaToHpa(gpa);
		if (hpa < 0) {
			raise(cpu, VECTOR.UD);
			return -1;
		}
		if (cpu.memory.codePages[hpa >>> 12] === 0) protectCodePage(cpu, hpa >>> 12);
		return cpu.memory.ramBase + hpa;
	}
}

/** The guest's registers into the spare processor: init_emulate_ctxt(). */
function loadRegisters(v: Vcpu, cpu: Cpu): void {
	const { ops } = v.vm;
	resetState(cpu);
	copyBlock(v.regs8, cpu.gprs);
	cpu.setGpr(L.RSP, ops.getRsp(v));
	cpu.write64(L.RIP, ops.getRip(v));
	cpu.write64(L.CR0, v.cr0);
	cpu.write64(L.CR2, v.cr2);
	cpu.write64(L.CR3, v.cr3);
	cpu.write64(L.CR4, v.cr4);
	cpu.write64(L.EFER, v.efer);
	writeRflags(cpu, ops.getRflags(v));
	for (const segment of SEGMENTS) {
		const { selector, base, limit, attributes } = ops.getSegment(v, segment);
		setSegment(cpu, segment, selector, base, limit, attributes);
	}
	copyExtended(v.cpu, cpu);
	cpu.write32(L.XCR0, v.xcr0);
	cpu.write64(L.DR0, ONE_ELEMENT.dr0);
	cpu.write32(L.DR7, ONE_ELEMENT.dr7);
}

/** The guest's extended registers are in its physical CPU while it is in KVM_RUN. */
function copyExtended(from: Cpu, to: Cpu): void {
	const { u8 } = from.memory;
	const start = from.base + L.XSTATE;
	u8.copyWithin(to.base + L.XSTATE, start, start + L.XSTATE_BYTES);
	to.write32(L.XINUSE, from.read32(L.XINUSE));
}

/** writeback_registers() and what else the instruction changed. */
function storeRegisters(v: Vcpu, cpu: Cpu): void {
	const { ops } = v.vm;
	copyBlock(cpu.gprs, v.regs8);
	ops.setRsp(v, cpu.gpr(L.RSP));
	ops.setRip(v, cpu.read64(L.RIP));
	ops.setRflags(v, readRflags(cpu));
	for (const segment of SEGMENTS) {
		const at = L.SEG + segment * L.SEG_BYTES;
		const now = {
			base: cpu.read64(at + L.SEG_BASE),
			limit: cpu.read32(at + L.SEG_LIMIT),
			attributes: cpu.read32(at + L.SEG_ATTR),
			selector: cpu.read32(at + L.SEG_SELECTOR),
		};
		const old = ops.getSegment(v, segment);
		const same = old.base === now.base && old.limit === now.limit && old.selector === now.selector;
		if (!same || old.attributes !== now.attributes) ops.setSegment(v, segment, now);
	}
	const cr0 = BigInt(cpu.read32(L.CR0));
	if (cr0 !== v.cr0) kvmSetCr0(v, cr0);
	copyExtended(cpu, v.cpu);
}

/**
 * The writes that store bytes at a linear address.
 * @param access ACCESS.user or 0
 * @throws GuestFault #PF
 */
export function writesOf(v: Vcpu, linear: bigint, data: Uint8Array, access: number): Write[] {
	const writes: Write[] = [];
	for (let done = 0; done < data.length; ) {
		const gpa = gvaToGpa(v, linear + BigInt(done), access | ACCESS.write);
		const bytes = Math.min(8, data.length - done, PAGE_BYTES - (gpa % PAGE_BYTES));
		let value = 0n;
		for (let at = bytes - 1; at >= 0; at--) value = (value << 8n) | BigInt(data[done + at]!);
		writes.push({ gpa, bytes, value });
		done += bytes;
	}
	return writes;
}

/**
 * Carries writes out; those of user space's devices one exit each.
 * @param from the first to be done
 * @param done what follows the last
 * @returns what `done` does, or 0 for KVM_EXIT_MMIO
 */
export function finishWrites(
	v: Vcpu,
	writes: readonly Write[],
	from: number,
	done: () => number = () => 1,
): number {
	for (let at = from; at < writes.length; at++) {
		const { gpa, bytes, value } = writes[at]!;
		if (v.vm.gpaToHpa(gpa) >= 0) {
			const data = new Uint8Array(8);
			new DataView(data.buffer).setBigUint64(0, value, true);
			writeGuestPhysical(v.vm, gpa, data.subarray(0, bytes));
		} else if (!kernelMmioWrite(v, gpa, bytes, value)) {
			exitToUserForMmio(v, gpa, bytes, value);
			v.completeUserspaceIo = () => finishWrites(v, writes, at + 1, done);
			return 0;
		}
	}
	return done();
}

/**
 * Emulates the instruction at RIP.
 * @param answers of devices to reads that it made before
 * @param emulation on what
 * @returns 1 to go on, 0 to leave to user space
 */
export function emulateOnSilicon(v: Vcpu, answers: bigint[] = [], emulation: Emulation = {}): number {
	const cpu = emulatorOf(v, emulation.maker ?? v.cpu.model.vendorString);
	const memory = new EmulatorMemory(v, answers);
	// The instruction, page tables and operands are in memory slots.
	srcuDereference(v);
	loadRegisters(v, cpu);
	for (const [offset, value] of emulation.registers ?? []) cpu.write64(offset, value);
	cpu.emulated = memory;
	const complete = cpu.executeOne(cpu);
	cpu.emulated = null;
	if (memory.request !== null) {
		const { gpa, bytes } = memory.request;
		exitToUserForMmio(v, gpa, bytes, null);
		v.completeUserspaceIo = () => {
			memory.answers.push(mmioAnswer(v));
			return emulateOnSilicon(v, memory.answers, emulation);
		};
		return 0;
	}
	if (!complete) {
		const code = cpu.read32(L.FAULT_HAS_ERROR_CODE) !== 0 ? cpu.read32(L.FAULT_ERROR_CODE) : null;
		kvmQueueException(v, cpu.read32(L.FAULT_VECTOR), code, cpu.read64(L.FAULT_LINEAR));
		return 1;
	}
	const before = v.vm.ops.getRflags(v);
	storeRegisters(v, cpu);
	// Each time that registers are written back, of a string too that has elements left (x86_emulate_instruction()).
	if (v.pmu.countsInstructions) v.vm.tree.helpers.kvm_pmu_instruction_retired(v);
	// An instruction that clears TF, as SYSCALL can, is not stepped over (em_syscall()).
	const stepped = (before & v.vm.ops.getRflags(v) & FLAG.TF) !== 0;
	return finishWrites(v, memory.writes, 0, () => (stepped ? kvmVcpuDoSinglestep(v) : 1));
}
