/**
 * A trust domain and its virtual CPUs as the TDX module keeps them, and the SEAMCALLs that build them (TDX Module
 * ABI Specification, TDH.MNG.*, TDH.VP.*, TDH.MEM.*, TDH.MR.FINALIZE). Keys, measurement and attestation are left
 * out: no property here depends on them.
 *
 *     const td = tdhMngInit(cpu, { xfam, rootHpa, msrBitmapHpa });
 *     const vcpu = tdhVpInit(cpu, td, virtualApicHpa);
 *     tdhMemSeptAdd(cpu, td, gpa, 3, tableHpa); …; tdhMemPageAdd(cpu, td, gpa, pageHpa, bytes);
 *     tdhMrFinalize(cpu, td);
 */
import { isValidXcr0, XFEATURE } from "../cpu/control.ts";
import type { Cpu } from "../cpu/cpu.ts";
import * as L from "../cpu/layout.ts";
import type { MachineMemory } from "../machine.ts";
import type { Vmcs } from "../vmx/vmcs.ts";
import { XsaveImage } from "../xsave/image.ts";
import { entryOffset, seamcall, TDX_STATUS } from "./module.ts";
import type { Features } from "../models/model.ts";
import { makeTdVmcs } from "./td-vmcs.ts";

/** Width of a TD's guest physical addresses; the highest bit says shared. */
export const GPA_WIDTH = 48;
/** First shared guest physical address. */
export const SHARED_BIT = 2 ** (GPA_WIDTH - 1);

const PAGE_BYTES = 4096;
/** An S-EPT entry that is present: readable, writable, executable. */
const EPT_RWX = 7;
/** Leaf: write-back memory type. */
const EPT_LEAF = EPT_RWX | (6 << 3);

/** What TDH.MNG.INIT is told. */
export interface TdParameters {
	/** Extended features available to the TD: XCR0 and IA32_XSS components. */
	readonly xfam: number;
	/** A zeroed page of host memory for the root of the secure EPT. */
	readonly rootHpa: number;
	/** A page for the MSR bitmap. */
	readonly msrBitmapHpa: number;
	readonly attributes?: bigint;
}

/** What TDG.VP.VEINFO.GET returns. */
export interface VeInfo {
	valid: boolean;
	exitReason: number;
	exitQualification: bigint;
	guestLinear: bigint;
	guestPhysical: bigint;
	instructionLength: number;
}

export class Td {
	readonly memory: MachineMemory;
	readonly xfam: number;
	readonly attributes: bigint;
	/** Root of the secure EPT, host physical. */
	readonly secureEptRoot: number;
	/** Root of the VMM's EPT for shared addresses; -1: none. */
	sharedEptRoot = -1;
	readonly msrBitmapHpa: number;
	readonly vcpus: TdVcpu[] = [];
	/** Extended state in its initial configuration: what the VMM gets back from a TD exit. */
	readonly initialImage = new XsaveImage();
	finalized = false;
	/** An #MC hit it, and its memory may be poisoned: the module does not enter it again. */
	fatal = false;
	/** Another processor holds a lock that an entry needs, as in TDH.MEM.TRACK: TDX_OPERAND_BUSY. */
	busy = false;
	/** The same, and gone when the next TDH.VP.ENTER has found it so. */
	busyOnce = false;

	constructor(memory: MachineMemory, parameters: TdParameters) {
		this.memory = memory;
		this.xfam = parameters.xfam;
		this.attributes = parameters.attributes ?? 0n;
		this.secureEptRoot = parameters.rootHpa;
		this.msrBitmapHpa = parameters.msrBitmapHpa;
		this.initialImage.setCompacted(parameters.xfam);
	}
}

/** XMM0-XMM15 as words: what a TDG.VP.VMCALL may pass besides GPRs. */
const XMM_WORDS = 64;

/** A virtual CPU of a TD: TDVPS. */
export class TdVcpu {
	readonly td: Td;
	readonly index: number;
	readonly vmcs: Vmcs;
	/** Its virtual-APIC page, host physical. */
	readonly virtualApicHpa: number;
	/** GPRs while the TD does not run; RSP is in the VMCS. */
	readonly gprs = new BigUint64Array(16);
	/** Extended state while the TD does not run. */
	readonly image = new XsaveImage();
	/** Values of td-state.ts PRIVATE_FIELDS while the TD does not run, two words each. */
	readonly fields: Uint32Array;
	/** XMM registers on their way through a TDG.VP.VMCALL. */
	readonly xmm = new Uint32Array(XMM_WORDS);
	/** While the TD runs: the VMM's IA32_SPEC_CTRL, and its bytes that VM entry would switch. */
	hostSpecCtrl = 0;
	/** XFD and XFD_ERR of the VMM while the TD runs. */
	hostXfd = 0;
	hostXfdErr = 0;
	readonly hostState = new Uint8Array(L.SWITCHED_END - L.SWITCHED);
	readonly veInfo: VeInfo = {
		valid: false,
		exitReason: 0,
		exitQualification: 0n,
		guestLinear: 0n,
		guestPhysical: 0n,
		instructionLength: 0,
	};
	/** The processor that holds its state in caches and translations, by its number; -1: none, since TDH.VP.FLUSH. */
	associatedWith = -1;
	/** A TDG.VP.VMCALL waits for the VMM's answer. */
	inVmcall = false;
	/** Registers that it exposes, one bit each: GPRs in 15:0, XMM0-XMM15 in 31:16. */
	vmcallMask = 0;

	// ---- the last TD exit, as TDH.VP.ENTER's outputs say ----
	exitReason = 0;
	exitIntrInfo = 0;
	exitQualification = 0;

	constructor(td: Td, index: number, fields: Uint32Array, features: Features, virtualApicHpa: number) {
		this.td = td;
		this.virtualApicHpa = virtualApicHpa;
		this.index = index;
		this.fields = fields;
		this.vmcs = makeTdVmcs(td, index, features, virtualApicHpa);
		this.image.setCompacted(td.xfam);
	}

	/** The TD's. */
	get xfam(): number {
		return this.td.xfam;
	}
}

const CET = XFEATURE.cetUser | XFEATURE.cetSupervisor;

/** Whether TDs can have these features here: x87 and SSE are a must, PASID never, groups go together. */
function isValidXfam(cpu: Cpu, xfam: number): boolean {
	const { xcr0, xss } = cpu.model.features;
	if ((xfam & ~(xcr0 | xss)) !== 0 || (xfam & 3) !== 3 || (xfam & XFEATURE.pasid) !== 0) return false;
	return isValidXcr0(cpu, xfam & xcr0) && ((xfam & CET) === 0 || (xfam & CET) === CET);
}

/**
 * TDH.MNG.CREATE, .KEY.CONFIG, .ADDCX and .INIT in one.
 * @param parameters XFAM must be a valid combination for this processor
 * @throws RangeError for an XFAM that the processor does not support
 */
export function tdhMngInit(cpu: Cpu, parameters: TdParameters): Td {
	if (!isValidXfam(cpu, parameters.xfam)) {
		const supported = cpu.model.features.xcr0 | cpu.model.features.xss;
		throw new RangeError(
			`XFAM 0x${parameters.xfam.toString(16)} is no valid combination of what this processor has, 0x${supported.toString(16)}; x87 and SSE are a must`,
		);
	}
	return seamcall(cpu, () => new Td(cpu.memory, parameters));
}

function tableAt(td: Td, gpa: number, level: number): number {
	const { memory } = td;
	let table = td.secureEptRoot;
	for (let at = 4; at > level; at--) {
		const entry = (memory.ramBase + table + entryOffset(gpa, at)) >> 2;
		const low = memory.u32[entry]!;
		if ((low & EPT_RWX) === 0) return -1;
		table = ((low & 0xfffff000) >>> 0) + (memory.u32[entry + 1]! & 0xfffff) * 2 ** 32;
	}
	return table;
}

function setEntry(td: Td, gpa: number, level: number, hpa: number, bits: number): number {
	const table = tableAt(td, gpa, level);
	if (table < 0) return TDX_STATUS.eptWalkFailed;
	const entry = (td.memory.ramBase + table + entryOffset(gpa, level)) >> 2;
	if ((td.memory.u32[entry]! & EPT_RWX) !== 0) return TDX_STATUS.eptEntryStateIncorrect;
	td.memory.u32[entry] = (hpa | bits) >>> 0;
	td.memory.u32[entry + 1] = Math.floor(hpa / 2 ** 32);
	return TDX_STATUS.success;
}

/** Whether a page has a source's content already. */
function holds(memory: MachineMemory, at: number, source: Uint8Array, offset: number): boolean {
	const given = Math.min(PAGE_BYTES, source.length - offset);
	for (let i = 0; i < given; i++) if (memory.u8[at + i] !== source[offset + i]) return false;
	for (let i = given; i < PAGE_BYTES; i++) if (memory.u8[at + i] !== 0) return false;
	return true;
}

/**
 * Gives a page of host memory new content. Writes, and drops code that was translated from the page, only when
 * the content changes.
 * @param source its bytes from `offset`; what lies behind its end is 0
 */
function fillPage(memory: MachineMemory, hpa: number, source: Uint8Array, offset: number): void {
	const at = memory.ramBase + hpa;
	if (holds(memory, at, source, offset)) return;
	const page = hpa / PAGE_BYTES;
	if (memory.codePages[page] !== 0) memory.onCodeWrite(page);
	memory.u8.fill(0, at, at + PAGE_BYTES);
	memory.u8.set(source.subarray(offset, offset + PAGE_BYTES), at);
}

const NOTHING = new Uint8Array(0);

const isPrivatePage = (gpa: number) => gpa < SHARED_BIT && gpa % PAGE_BYTES === 0;

/**
 * TDH.MEM.SEPT.ADD: a page becomes a table of the secure EPT.
 * @param gpa a multiple of 4 KiB below SHARED_BIT
 * @param level of the entry that will point to it: 2 to 4
 * @param hpa a page of host memory; its content is lost if the table is added
 * @returns a TDX_STATUS
 */
export function tdhMemSeptAdd(cpu: Cpu, td: Td, gpa: number, level: number, hpa: number): number {
	return seamcall(cpu, () => {
		if (!isPrivatePage(gpa) || level < 2 || level > 4) return TDX_STATUS.operandInvalid;
		const status = setEntry(td, gpa, level, hpa, EPT_RWX);
		if (status === TDX_STATUS.success) fillPage(td.memory, hpa, NOTHING, 0);
		return status;
	});
}

/** Where a page of the TD's private memory lies, host physical; -1: it was not added. For the VMM's own bookkeeping. */
export function septPageHpa(td: Td, gpa: number): number {
	const table = tableAt(td, gpa, 1);
	if (table < 0) return -1;
	const entry = (td.memory.ramBase + table + entryOffset(gpa, 1)) >> 2;
	const low = td.memory.u32[entry]!;
	if ((low & EPT_RWX) === 0) return -1;
	return ((low & 0xffff_f000) >>> 0) + (td.memory.u32[entry + 1]! & 0xfffff) * 2 ** 32;
}

/** Whether the secure EPT has the table that an entry of this level lies in. For the VMM's own bookkeeping. */
export function hasSeptTable(td: Td, gpa: number, level: number): boolean {
	return tableAt(td, gpa, level) >= 0;
}

/**
 * TDH.MEM.PAGE.ADD: a page becomes private memory of the TD, with the content of a source page.
 * @param gpa a multiple of 4 KiB below SHARED_BIT
 * @param hpa the page
 * @param source its first 4096 bytes from `offset`; what lies behind its end is 0
 * @returns a TDX_STATUS: operandInvalid for a shared address, opStateIncorrect after TDH.MR.FINALIZE
 */
export function tdhMemPageAdd(
	cpu: Cpu,
	td: Td,
	gpa: number,
	hpa: number,
	source: Uint8Array,
	offset = 0,
): number {
	return seamcall(cpu, () => {
		if (td.finalized) return TDX_STATUS.opStateIncorrect;
		if (!isPrivatePage(gpa)) return TDX_STATUS.operandInvalid;
		const status = setEntry(td, gpa, 1, hpa, EPT_LEAF);
		if (status === TDX_STATUS.success) fillPage(td.memory, hpa, source, offset);
		return status;
	});
}

/** TDH.MR.FINALIZE: nothing can be added any more, and the TD may run. */
export function tdhMrFinalize(cpu: Cpu, td: Td): number {
	return seamcall(cpu, () => {
		if (td.finalized) return TDX_STATUS.opStateIncorrect;
		td.finalized = true;
		return TDX_STATUS.success;
	});
}
