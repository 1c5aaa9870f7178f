/**
 * The virtual-machine control structure (SDM Vol. 3C, chapter 25), and VMREAD, VMWRITE, VMPTRLD, VMCLEAR.
 *
 *     const vmcs = new Vmcs();
 *     vmptrld(cpu, vmcs);
 *     vmwrite(cpu, vmcs, F.GUEST_RIP, 0x1000n);
 */
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import { OP } from "../ops.ts";
import { CPU_BASED, VM_ERROR } from "./controls.ts";
import {
	F,
	FIELD_BYTES,
	FIELD_GROUP,
	FIELD_OFFSET,
	fieldName,
	GROUP,
	GUEST_AREA,
	HOST_AREA,
	O,
	SWITCHED_BYTES,
	VMCS_BYTES,
	type VmcsFieldName,
} from "./fields.ts";
import type { VmxGuestMode } from "./guest-mode.ts";

const TWO_32 = 2 ** 32;

/** VMREAD or VMWRITE of a field that does not exist or cannot be written: VMfailValid (SDM 31.3). */
export class VmcsFieldError extends Error {
	/** VM-instruction error number. */
	readonly error: number;
	constructor(instruction: string, encoding: number, error: number) {
		const why = error === VM_ERROR.writeReadOnlyComponent ? "is read-only" : "is not a field of this VMCS";
		super(
			`${instruction}: ${fieldName(encoding)} (encoding 0x${encoding.toString(16)}) ${why}; VMfail error ${error}`,
		);
		this.name = "VmcsFieldError";
		this.error = error;
	}
}

export class Vmcs {
	readonly u8: Uint8Array;
	readonly u32: Uint32Array;
	readonly u64: BigUint64Array;
	/** Guest-state area, laid out as the state block from SWITCHED to SWITCHED_END. */
	readonly guestArea: Uint8Array;
	/** Host-state area, laid out likewise. */
	readonly hostArea: Uint8Array;
	/** Launch state: set by VMLAUNCH, cleared by VMCLEAR. */
	launched = false;
	/** The processor on which it is active, by its number; -1: on none. Software keeps it from being active on two (SDM 25.1). */
	activeOn = -1;
	/** GROUPs with fields that were written since they last passed the checks of VM entry. */
	dirty: number = GROUP.all;
	/** The check that failed at the last VM entry, by its SDM section; null if none did. */
	failedCheck: string | null = null;
	/** TSC_OFFSET as a signed number, refreshed at VM entry. */
	tscOffset = 0;
	/** Whether `tscOffset` and what else is derived from fields must be computed again. */
	derivedStale = true;
	/** The non-root operation that runs this VMCS on the processor where it ran last. */
	guestMode: VmxGuestMode | null = null;

	constructor() {
		const buffer = new ArrayBuffer(VMCS_BYTES);
		this.u8 = new Uint8Array(buffer);
		this.u32 = new Uint32Array(buffer);
		this.u64 = new BigUint64Array(buffer);
		this.guestArea = new Uint8Array(buffer, GUEST_AREA, SWITCHED_BYTES);
		this.hostArea = new Uint8Array(buffer, HOST_AREA, SWITCHED_BYTES);
		this.u64[O.VMCS_LINK_POINTER >> 3] = 0xffff_ffff_ffff_ffffn;
		this.fixHostArea();
	}

	/** What VM exit loads that no field says (SDM 28.5.1-28.5.3): RFLAGS, DR7, DEBUGCTL, segment limits and rights. */
	private fixHostArea(): void {
		const set = (offset: number, value: number) => {
			this.u32[(HOST_AREA + offset - L.SWITCHED) >> 2] = value;
		};
		const segment = (index: number, limit: number, attributes: number) => {
			set(L.SEG + index * L.SEG_BYTES + L.SEG_LIMIT, limit);
			set(L.SEG + index * L.SEG_BYTES + L.SEG_ATTR, attributes);
		};
		set(L.RFLAGS, 2);
		set(L.DR7, 0x400);
		segment(L.CS, 0xffffffff, 0xa09b);
		for (const index of [L.ES, L.SS, L.DS, L.FS, L.GS]) segment(index, 0xffffffff, 0xc093);
		segment(L.TR, 0x67, 0x8b);
		segment(L.LDTR, 0, 0x10000);
		segment(L.GDTR, 0xffff, 0);
		segment(L.IDTR, 0xffff, 0);
	}

	/** Reads a field for dumps and tests: passes no door. */
	get(name: VmcsFieldName): bigint {
		const offset = O[name];
		switch (FIELD_BYTES[F[name]]) {
			case 8:
				return this.u64[offset >> 3]!;
			case 4:
				return BigInt(this.u32[offset >> 2]!);
			default:
				return BigInt(this.u32[offset >> 2]! & 0xffff);
		}
	}

	/** Writes a field for tests and for the TDX module: passes no door, checks nothing. */
	set(name: VmcsFieldName, value: bigint | number): void {
		store(this, F[name], O[name], BigInt.asUintN(64, BigInt(value)));
	}

	/** VM-instruction error of the last VMfailValid. */
	get instructionError(): number {
		return this.u32[O.VM_INSTRUCTION_ERROR >> 2]!;
	}
}

function store(vmcs: Vmcs, encoding: number, offset: number, value: bigint): void {
	if (FIELD_BYTES[encoding] === 8) vmcs.u64[offset >> 3] = value;
	else vmcs.u32[offset >> 2] = Number(value & (FIELD_BYTES[encoding] === 4 ? 0xffff_ffffn : 0xffffn));
	noteWrite(vmcs, encoding);
}

function noteWrite(vmcs: Vmcs, encoding: number): void {
	const group = FIELD_GROUP[encoding]!;
	vmcs.dirty |= group;
	if ((group & GROUP.controls) !== 0 || encoding === F.TSC_OFFSET) vmcs.derivedStale = true;
}

function fail(vmcs: Vmcs, instruction: string, encoding: number, error: number): never {
	vmcs.u32[O.VM_INSTRUCTION_ERROR >> 2] = error;
	throw new VmcsFieldError(instruction, encoding, error);
}

function readOffset(cpu: Cpu, vmcs: Vmcs, encoding: number): number {
	cpu.op(OP.vmread);
	const offset = FIELD_OFFSET[encoding]!;
	if (offset < 0) fail(vmcs, "VMREAD", encoding, VM_ERROR.unsupportedComponent);
	return offset;
}

function writeOffset(cpu: Cpu, vmcs: Vmcs, encoding: number): number {
	cpu.op(OP.vmwrite);
	const offset = FIELD_OFFSET[encoding]!;
	if (offset < 0) fail(vmcs, "VMWRITE", encoding, VM_ERROR.unsupportedComponent);
	if (FIELD_GROUP[encoding] === GROUP.readOnly)
		fail(vmcs, "VMWRITE", encoding, VM_ERROR.writeReadOnlyComponent);
	return offset;
}

/**
 * VMREAD.
 * @param encoding one of `F`
 * @throws VmcsFieldError for a field that does not exist
 */
export function vmread(cpu: Cpu, vmcs: Vmcs, encoding: number): bigint {
	const offset = readOffset(cpu, vmcs, encoding);
	return FIELD_BYTES[encoding] === 8 ? vmcs.u64[offset >> 3]! : BigInt(vmcs.u32[offset >> 2]!);
}

/** VMREAD of the low 32 bits, unsigned. */
export function vmread32(cpu: Cpu, vmcs: Vmcs, encoding: number): number {
	return vmcs.u32[readOffset(cpu, vmcs, encoding) >> 2]!;
}

/** VMREAD of a value below 2^53, such as a guest physical address. */
export function vmreadNumber(cpu: Cpu, vmcs: Vmcs, encoding: number): number {
	const at = readOffset(cpu, vmcs, encoding) >> 2;
	return FIELD_BYTES[encoding] === 8 ? vmcs.u32[at]! + vmcs.u32[at + 1]! * TWO_32 : vmcs.u32[at]!;
}

/**
 * VMWRITE.
 * @param value taken modulo the field's width
 * @throws VmcsFieldError for a field that does not exist or is read-only
 */
export function vmwrite(cpu: Cpu, vmcs: Vmcs, encoding: number, value: bigint): void {
	store(vmcs, encoding, writeOffset(cpu, vmcs, encoding), value);
}

/** VMWRITE of 32 bits; the upper half of a 64-bit field becomes 0. */
export function vmwrite32(cpu: Cpu, vmcs: Vmcs, encoding: number, value: number): void {
	vmwritePair(cpu, vmcs, encoding, value, 0);
}

/** VMWRITE of a non-negative number below 2^53. */
export function vmwriteNumber(cpu: Cpu, vmcs: Vmcs, encoding: number, value: number): void {
	vmwritePair(cpu, vmcs, encoding, value >>> 0, Math.floor(value / TWO_32));
}

/** What a hypervisor switches at every turn: interrupt-window and NMI-window exiting. */
const WINDOWS = CPU_BASED.interruptWindowExiting | CPU_BASED.nmiWindowExiting;

/** VMWRITE of a 64-bit value given as two halves, without a BigInt. */
export function vmwritePair(cpu: Cpu, vmcs: Vmcs, encoding: number, low: number, high: number): void {
	const at = writeOffset(cpu, vmcs, encoding) >> 2;
	if (encoding === F.CPU_BASED_VM_EXEC_CONTROL && ((vmcs.u32[at]! ^ low) & ~WINDOWS) === 0) {
		vmcs.u32[at] = low;
		vmcs.dirty |= GROUP.windows;
		vmcs.derivedStale = true;
		return;
	}
	vmcs.u32[at] = FIELD_BYTES[encoding] === 2 ? low & 0xffff : low;
	if (FIELD_BYTES[encoding] === 8) vmcs.u32[at + 1] = high;
	noteWrite(vmcs, encoding);
}

/**
 * What KVM's skip_emulated_instruction() does to RIP: a VMREAD, an addition, a VMWRITE, without a BigInt.
 * @param length instruction length in bytes
 */
export function advanceGuestRip(cpu: Cpu, vmcs: Vmcs, length: number): void {
	const at = readOffset(cpu, vmcs, F.GUEST_RIP) >> 2;
	const low = vmcs.u32[at]! + length;
	vmwritePair(cpu, vmcs, F.GUEST_RIP, low >>> 0, vmcs.u32[at + 1]! + (low > 0xffffffff ? 1 : 0));
}

/** VMPTRLD: makes a VMCS the current one. Here every instruction names its VMCS, so only the op remains. */
export function vmptrld(cpu: Cpu, vmcs: Vmcs): void {
	cpu.op(OP.vmptrld);
	cpu.currentVmcs = vmcs;
	vmcs.activeOn = cpu.number;
}

/** VMCLEAR: launch state becomes clear, and the VMCS is active nowhere. */
export function vmclear(cpu: Cpu, vmcs: Vmcs): void {
	cpu.op(OP.vmclear);
	if (cpu.currentVmcs === vmcs) cpu.currentVmcs = null;
	vmcs.launched = false;
	vmcs.activeOn = -1;
}
