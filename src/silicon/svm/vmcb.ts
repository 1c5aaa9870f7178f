/**
 * The virtual machine control block (APM Vol. 2, Appendix B): intercepts and controls, what an exit recorded, and
 * the state save area, which has the layout of the state block.
 *
 *     const vmcb = new Vmcb();
 *     vmcb.intercept("cpuid", "hlt", "vmrun");
 *     vmrun(cpu, vmcb);          // vmcb.exitCode says why it came back
 */
import * as L from "../cpu/layout.ts";
import { EXIT_CODE, type ExitCodeName } from "./exit-codes.ts";
import type { SvmGuestMode } from "./guest-mode.ts";

/** A segment register as VMCB and VMCS hold it: attributes in the VMCS's access-rights format. */
export interface SegmentState {
	readonly base: bigint;
	readonly limit: number;
	readonly attributes: number;
	readonly selector: number;
}

/** VM_CR and the like: EFER.SVME, without which VMRUN refuses a VMCB. */
const EFER_SVME = 0x1000n;

const segmentOffset = (segment: number) => L.SEG + segment * L.SEG_BYTES;

/** Blocking by NMI, as INTERRUPTIBILITY has it. */
const BLOCKING_NMI = 8;

const AREA_BYTES = L.PHYSICAL;

export class Vmcb {
	/** Intercept bits by exit code, 32 a word. */
	readonly intercepts = new Uint32Array(6);

	// ---- controls ----
	/** Host physical address of the MSR permissions map; -1: every MSR access exits. */
	msrpm = -1;
	/** Host physical address of the I/O permissions map; -1: every port access exits. */
	iopm = -1;
	/** Added to the time stamp counter that the guest reads, in cycles. */
	tscOffset = 0;
	asid = 0;
	/** TLB_CONTROL: not 0 flushes at VMRUN. */
	tlbControl = 0;
	/** Physical interrupts are masked by the host's RFLAGS.IF, and CR8 is V_TPR. */
	vIntrMasking = false;
	vTpr = 0;
	vIrq = false;
	vIntrPriority = 0;
	vIgnoreTpr = false;
	vIntrVector = 0;
	/** V_NMI_ENABLE: NMIs of the guest are masked and unmasked without the hypervisor (APM 15.21.10). */
	vNmiEnable = false;
	/** V_NMI: one waits to be delivered. */
	vNmiPending = false;
	/** Host physical address of the nested page tables' root; -1: nested paging is off. */
	nestedCr3 = -1;
	lbrVirtualization = false;
	/** IA32_SPEC_CTRL of the guest, where the model has V_SPEC_CTRL. */
	specCtrl = 0;
	/** EVENTINJ: vector, type 10:8, error code valid 11, valid 31; and its error code. Unsigned. */
	eventInj = 0;
	eventInjErr = 0;

	// ---- what the last exit recorded ----
	/** One of EXIT_CODE, or the base of its kind plus a number. */
	exitCode = 0;
	exitInfo1Low = 0;
	exitInfo1High = 0;
	/** EXITINFO2 in halves: the guest physical address of a nested page fault, the linear address of a #PF, the next RIP of IOIO. */
	exitInfo2Low = 0;
	exitInfo2High = 0;
	/** EXITINTINFO and its error code. Unsigned. */
	exitIntInfo = 0;
	exitIntInfoErr = 0;
	nextRipLow = 0;
	nextRipHigh = 0;
	/** The last #VMEXIT interrupted an injection, and the interrupt shadow in the save area is the host's STI's. */
	shadowOfHost = false;
	/** The consistency check that the last VMRUN failed, by its APM section; null if none. */
	failedCheck: string | null = null;

	// ---- state save area ----
	/** DR6. Unsigned. */
	dr6 = 0xffff_0ff0;
	/** DEBUGCTL, which VMRUN switches only with LBR virtualization. */
	debugctl = 0;
	private readonly state = new Uint8Array(AREA_BYTES);
	readonly u32 = new Uint32Array(this.state.buffer);
	readonly u64 = new BigUint64Array(this.state.buffer);
	/** What VMRUN and #VMEXIT move: the state block's bytes SWITCHED to VMLOADED. */
	readonly switched = this.state.subarray(L.SWITCHED, L.VMLOADED);
	/** What VMLOAD and VMSAVE move: its bytes VMLOADED to VMLOADED_END. */
	readonly vmloaded = this.state.subarray(L.VMLOADED, L.VMLOADED_END);
	/** The guest mode that runs this VMCB on the processor where it ran last. */
	guestMode: SvmGuestMode | null = null;

	constructor() {
		this.efer = EFER_SVME;
		this.dr7 = 0x400;
		this.rflags = 2n;
		this.pat = 0x0007040600070406n;
	}

	// ---- intercepts ----------------------------------------------------------------------------------

	/** Whether the intercept of an exit code below 0xc0 is on. */
	intercepted(code: number): boolean {
		return (this.intercepts[code >>> 5]! & (1 << (code & 31))) !== 0;
	}

	/** Turns the intercept of an exit code on or off. */
	setIntercept(code: number, on: boolean): void {
		const word = code >>> 5;
		const bit = 1 << (code & 31);
		this.intercepts[word] = on ? this.intercepts[word]! | bit : this.intercepts[word]! & ~bit;
	}

	/** Whether the intercept of an exit code is on. */
	isIntercepted(code: number): boolean {
		return ((this.intercepts[code >>> 5]! >>> (code & 31)) & 1) !== 0;
	}

	/** Turns intercepts on, by the names of their exit codes. */
	intercept(...names: readonly ExitCodeName[]): void {
		for (const name of names) this.setIntercept(EXIT_CODE[name], true);
	}

	/** Turns on the intercepts of control register accesses. */
	interceptCr(registers: { readonly read: readonly number[]; readonly write: readonly number[] }): void {
		for (const cr of registers.read) this.setIntercept(EXIT_CODE.crReadBase + cr, true);
		for (const cr of registers.write) this.setIntercept(EXIT_CODE.crWriteBase + cr, true);
	}

	/** Turns the intercepts of all debug register accesses on or off. */
	interceptDr(on: boolean): void {
		this.intercepts[1] = on ? 0xffffffff : 0;
	}

	/** Turns the intercept of an exception on or off. @param vector 0-31 */
	interceptException(vector: number, on: boolean): void {
		this.setIntercept(EXIT_CODE.exceptionBase + vector, on);
	}

	/** V_NMI_MASK: the guest is in its NMI handler. */
	get vNmiMask(): boolean {
		return (this.u32[L.INTERRUPTIBILITY >> 2]! & BLOCKING_NMI) !== 0;
	}

	set vNmiMask(on: boolean) {
		const at = L.INTERRUPTIBILITY >> 2;
		this.u32[at] = on ? this.u32[at]! | BLOCKING_NMI : this.u32[at]! & ~BLOCKING_NMI;
	}

	get interceptIret(): boolean {
		return this.intercepted(EXIT_CODE.iret);
	}
	set interceptIret(on: boolean) {
		this.setIntercept(EXIT_CODE.iret, on);
	}

	/** A virtual interrupt whose delivery exits: how software learns that the guest can take interrupts again. */
	openInterruptWindow(): void {
		this.vIrq = true;
		this.vIgnoreTpr = true;
		this.setIntercept(EXIT_CODE.vintr, true);
	}

	/** Takes the virtual interrupt back. */
	closeInterruptWindow(): void {
		this.vIrq = false;
		this.vIgnoreTpr = false;
		this.setIntercept(EXIT_CODE.vintr, false);
	}

	/** EXITINFO2 as a number: exact for physical addresses. */
	get exitInfo2(): number {
		return this.exitInfo2Low + this.exitInfo2High * 2 ** 32;
	}
	/** EXITINFO2 with all its bits, as linear addresses need them. */
	get exitInfo2Address(): bigint {
		return (BigInt(this.exitInfo2High) << 32n) | BigInt(this.exitInfo2Low);
	}

	/** Notes EXITINFO2. @param low unsigned @param high unsigned */
	setExitInfo2(low: number, high: number): void {
		this.exitInfo2Low = low;
		this.exitInfo2High = high;
	}

	// ---- next RIP ------------------------------------------------------------------------------------

	/** Whether the last exit was an intercepted instruction whose end the processor recorded. */
	get hasNextRip(): boolean {
		return (this.nextRipLow | this.nextRipHigh) !== 0;
	}
	get nextRip(): bigint {
		return (BigInt(this.nextRipHigh) << 32n) | BigInt(this.nextRipLow);
	}

	/** RIP moves to the recorded next RIP; with none recorded it stays. Makes no BigInt. */
	skipToNextRip(): void {
		if (!this.hasNextRip) return;
		this.u32[L.RIP >> 2] = this.nextRipLow;
		this.u32[(L.RIP >> 2) + 1] = this.nextRipHigh;
	}

	// ---- state save area -----------------------------------------------------------------------------

	/** Reads 64 bits of saved state by its offset in the state block. */
	readState(offset: number): bigint {
		if (offset === L.DEBUGCTL) return BigInt(this.debugctl);
		return this.u64[offset >> 3]!;
	}

	/** Writes 64 bits of saved state by its offset in the state block. */
	writeState(offset: number, value: bigint): void {
		if (offset === L.DEBUGCTL) this.debugctl = Number(value);
		else this.u64[offset >> 3] = value;
	}

	/** A segment register. @param segment layout.ts GDTR … TR */
	getSegment(segment: number): SegmentState {
		const at = segmentOffset(segment);
		const { u32 } = this;
		return {
			base: this.readState(at + L.SEG_BASE),
			limit: u32[(at + L.SEG_LIMIT) >> 2]!,
			attributes: u32[(at + L.SEG_ATTR) >> 2]!,
			selector: u32[(at + L.SEG_SELECTOR) >> 2]!,
		};
	}

	setSegment(segment: number, value: SegmentState): void {
		const at = segmentOffset(segment);
		const { u32 } = this;
		this.writeState(at + L.SEG_BASE, BigInt.asUintN(64, value.base));
		u32[(at + L.SEG_LIMIT) >> 2] = value.limit;
		u32[(at + L.SEG_ATTR) >> 2] = value.attributes;
		u32[(at + L.SEG_SELECTOR) >> 2] = value.selector;
	}

	/** CPL: kept as the DPL of SS, where the rest of the processor looks for it. */
	get cpl(): number {
		return (this.u32[(segmentOffset(L.SS) + L.SEG_ATTR) >> 2]! >>> 5) & 3;
	}
	set cpl(level: number) {
		const at = (segmentOffset(L.SS) + L.SEG_ATTR) >> 2;
		this.u32[at] = (this.u32[at]! & ~0x60) | ((level & 3) << 5);
	}

	/** The guest is in an interrupt shadow. */
	get interruptShadow(): boolean {
		return (this.u32[L.INTERRUPTIBILITY >> 2]! & 3) !== 0;
	}
	set interruptShadow(on: boolean) {
		const at = L.INTERRUPTIBILITY >> 2;
		this.u32[at] = (this.u32[at]! & ~3) | (on ? 1 : 0);
	}

	get dr7(): number {
		return this.u32[L.DR7 >> 2]!;
	}
	set dr7(value: number) {
		this.u32[L.DR7 >> 2] = value;
	}

	get rax(): bigint {
		return this.u64[L.RAX]!;
	}
	set rax(value: bigint) {
		this.u64[L.RAX] = value;
	}
	get rsp(): bigint {
		return this.u64[L.RSP]!;
	}
	set rsp(value: bigint) {
		this.u64[L.RSP] = value;
	}
	get rip(): bigint {
		return this.u64[L.RIP >> 3]!;
	}
	set rip(value: bigint) {
		this.u64[L.RIP >> 3] = value;
	}
	get rflags(): bigint {
		return this.u64[L.RFLAGS >> 3]!;
	}
	set rflags(value: bigint) {
		this.u64[L.RFLAGS >> 3] = value;
		// The arithmetic flags now stand in RFLAGS itself.
		this.u32[L.CC_OP >> 2] = 0;
	}
	/** RFLAGS without a BigInt: its upper half is 0. */
	get rflagsLow(): number {
		return this.u32[L.RFLAGS >> 2]!;
	}
	get cr0(): bigint {
		return this.u64[L.CR0 >> 3]!;
	}
	set cr0(value: bigint) {
		this.u64[L.CR0 >> 3] = value;
	}
	get cr2(): bigint {
		return this.u64[L.CR2 >> 3]!;
	}
	set cr2(value: bigint) {
		this.u64[L.CR2 >> 3] = value;
	}
	get cr3(): bigint {
		return this.u64[L.CR3 >> 3]!;
	}
	set cr3(value: bigint) {
		this.u64[L.CR3 >> 3] = value;
	}
	get cr4(): bigint {
		return this.u64[L.CR4 >> 3]!;
	}
	set cr4(value: bigint) {
		this.u64[L.CR4 >> 3] = value;
	}
	get efer(): bigint {
		return this.u64[L.EFER >> 3]!;
	}
	set efer(value: bigint) {
		this.u64[L.EFER >> 3] = value;
	}
	/** G_PAT: the guest's IA32_PAT under nested paging. */
	get pat(): bigint {
		return this.u64[L.PAT >> 3]!;
	}
	set pat(value: bigint) {
		this.u64[L.PAT >> 3] = value;
	}

	/** The guest's state and the exit, in the manner of the kernel's dump_vmcb(). */
	describe(): string {
		const hex = (value: bigint | number, digits = 16) => value.toString(16).padStart(digits, "0");
		const segment = (name: string, index: number) => {
			const { selector, attributes, limit, base } = this.getSegment(index);
			return `${name}:   s: ${hex(selector, 4)} a: ${hex(attributes, 4)} l: ${hex(limit, 8)} b: ${hex(base)}`;
		};
		const lines = [
			"VMCB State Save Area:",
			segment("cs", L.CS),
			segment("ss", L.SS),
			segment("ds", L.DS),
			segment("tr", L.TR),
			`cpl: ${this.cpl}  efer: ${hex(this.efer)}`,
			`cr0: ${hex(this.cr0)} cr2: ${hex(this.cr2)}`,
			`cr3: ${hex(this.cr3)} cr4: ${hex(this.cr4)}`,
			`rip: ${hex(this.rip)} rflags: ${hex(this.rflags)}`,
			`rsp: ${hex(this.rsp)} rax: ${hex(this.rax)}`,
			`exit_code: ${hex(this.exitCode >>> 0, 8)} exit_info1: ${hex(this.exitInfo1Low >>> 0)} exit_info2: ${hex(this.exitInfo2Address)}`,
		];
		if (this.failedCheck !== null) lines.push(`check failed: ${this.failedCheck}`);
		return lines.join("\n");
	}
}
