/**
 * APIC virtualization (SDM Vol. 3C, chapter 30): the virtual-APIC page, virtual-interrupt delivery, and posted
 * interrupts. x2APIC mode alone: an access to the page of the xAPIC is an EPT violation here, and not virtualized.
 *
 *     RVI   the highest vector that waits in VIRR      SVI   the highest in service, in VISR
 */
import type { InterruptController } from "../cpu/host-vectors.ts";
import { deliverEvent } from "../system/exceptions.ts";
import { CPU_BASED, PIN, SECONDARY } from "./controls.ts";
import { O } from "./fields.ts";
import type { VmxGuestMode } from "./guest-mode.ts";
import { PostedInterruptDescriptor } from "./posted-interrupts.ts";

/** Offsets in the virtual-APIC page. */
const V = { tpr: 0x80, ppr: 0xa0, isr: 0x100, irr: 0x200 } as const;
/** x2APIC MSRs whose WRMSR is virtualized (SDM 30.5). */
const X2APIC = { first: 0x800, last: 0x8ff, tpr: 0x808, eoi: 0x80b, selfIpi: 0x83f } as const;

export class VirtualApic {
	private readonly mode: VmxGuestMode;
	/** Index in u32 of the page's first word. */
	private base = 0;
	private delivers = false;
	private x2apic = false;
	private registers = false;
	private posted: PostedInterruptDescriptor | null = null;
	private notificationVector = -1;
	/** An EOI of this vector exits behind its instruction; -1: none. */
	private eoiExit = -1;

	constructor(mode: VmxGuestMode) {
		this.mode = mode;
	}

	/** Reads the controls again. */
	refresh(): void {
		const { primary, secondary, pin, vmcs, cpu } = this.mode;
		this.delivers = (secondary & SECONDARY.virtualInterruptDelivery) !== 0;
		this.x2apic = (primary & CPU_BASED.tprShadow) !== 0 && (secondary & SECONDARY.virtualizeX2apicMode) !== 0;
		this.registers = (secondary & SECONDARY.apicRegisterVirtualization) !== 0;
		this.base = (cpu.memory.ramBase + Number(vmcs.u64[O.VIRTUAL_APIC_PAGE_ADDR >> 3]!)) >> 2;
		const posts = (pin & PIN.postedInterrupts) !== 0;
		this.posted = posts
			? new PostedInterruptDescriptor(cpu.memory, Number(vmcs.u64[O.POSTED_INTR_DESC_ADDR >> 3]!))
			: null;
		this.notificationVector = posts ? vmcs.u32[O.POSTED_INTR_NV >> 2]! & 0xff : -1;
	}

	/** VM entry: PPR virtualization, and what waits is looked at (SDM 27.7.5). */
	begin(): void {
		this.eoiExit = -1;
		if (!this.delivers) return;
		this.virtualizePpr();
	}

	// ---- state ---------------------------------------------------------------------------------------

	private get rvi(): number {
		return this.mode.vmcs.u32[O.GUEST_INTR_STATUS >> 2]! & 0xff;
	}
	private set rvi(vector: number) {
		const { u32 } = this.mode.vmcs;
		u32[O.GUEST_INTR_STATUS >> 2] = (u32[O.GUEST_INTR_STATUS >> 2]! & 0xff00) | vector;
	}
	private get svi(): number {
		return (this.mode.vmcs.u32[O.GUEST_INTR_STATUS >> 2]! >>> 8) & 0xff;
	}
	private set svi(vector: number) {
		const { u32 } = this.mode.vmcs;
		u32[O.GUEST_INTR_STATUS >> 2] = (u32[O.GUEST_INTR_STATUS >> 2]! & 0xff) | (vector << 8);
	}

	private get u32(): Uint32Array {
		return this.mode.cpu.u32;
	}
	private register(offset: number): number {
		return this.u32[this.base + (offset >> 2)]!;
	}
	private setBit(offset: number, vector: number, on: boolean): void {
		const at = this.base + (offset >> 2) + (vector >> 5) * 4;
		const bit = 1 << (vector & 31);
		this.u32[at] = on ? this.u32[at]! | bit : this.u32[at]! & ~bit;
	}
	/** The highest vector of a 256-bit register, or 0. */
	private highest(offset: number): number {
		for (let word = 7; word >= 0; word--) {
			const bits = this.register(offset + word * 16);
			if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
		}
		return 0;
	}

	// ---- virtualization (SDM 30.1.3, 30.1.4, 30.2) ---------------------------------------------------

	private virtualizePpr(): void {
		const tpr = this.register(V.tpr) & 0xff;
		const { svi } = this;
		this.u32[this.base + (V.ppr >> 2)] = tpr >> 4 >= svi >> 4 ? tpr : svi & 0xf0;
		this.evaluate();
	}

	/** Evaluation of pending virtual interrupts (SDM 30.2.1). */
	private evaluate(): void {
		if (this.isRecognized()) this.mode.noteWindow();
	}

	private isRecognized(): boolean {
		return this.rvi >> 4 > (this.register(V.ppr) & 0xff) >> 4;
	}

	/** Behind a write of the virtual TPR. @returns whether the TPR threshold plays no part */
	tprWritten(): boolean {
		if (!this.delivers) return false;
		this.virtualizePpr();
		return true;
	}

	/**
	 * Delivers the virtual interrupt that waits, at a boundary where interrupts are open (SDM 30.2.2), or takes the exit
	 * that an EOI asked for.
	 * @param open RFLAGS.IF is set and nothing blocks
	 * @returns true if the guest's run ended
	 */
	deliver(open: boolean): boolean {
		const { mode } = this;
		if (!this.delivers) return false;
		if (!this.isRecognized()) {
			mode.dropWindow();
			return false;
		}
		if (!open) return false;
		const vector = this.rvi;
		this.setBit(V.isr, vector, true);
		this.svi = vector;
		this.u32[this.base + (V.ppr >> 2)] = vector & 0xf0;
		this.setBit(V.irr, vector, false);
		this.rvi = this.highest(V.irr);
		deliverEvent(mode.cpu, vector, "hardware", null, 0);
		return mode.cpu.guest === null;
	}

	/** The vector whose EOI exits now, or -1; asked once. */
	takeEoiExit(): number {
		const vector = this.eoiExit;
		this.eoiExit = -1;
		return vector;
	}

	/** EOI virtualization (SDM 30.1.4). */
	private virtualizeEoi(): void {
		const vector = this.svi;
		this.setBit(V.isr, vector, false);
		this.svi = this.highest(V.isr);
		this.virtualizePpr();
		const bitmap = this.mode.vmcs.u32[(O.EOI_EXIT_BITMAP0 >> 2) + (vector >> 5)]!;
		if ((bitmap & (1 << (vector & 31))) === 0) return;
		this.eoiExit = vector;
		this.mode.noteWindow();
	}

	/** Self-IPI virtualization (SDM 30.1.5). */
	private virtualizeSelfIpi(vector: number): void {
		this.setBit(V.irr, vector, true);
		if (vector > this.rvi) this.rvi = vector;
		this.evaluate();
	}

	// ---- MSRs (SDM 30.5) -----------------------------------------------------------------------------

	/** RDMSR that did not exit. @returns null if it is none of the virtualized ones */
	readMsr(index: number): bigint | null {
		if (!this.x2apic || index < X2APIC.first || index > X2APIC.last) return null;
		if (!this.registers && index !== X2APIC.tpr) return null;
		return BigInt(this.register((index & 0xff) << 4));
	}

	/** WRMSR that did not exit. @returns true if done, false for #GP, null if it is none of the virtualized ones */
	writeMsr(index: number, value: number): boolean | null {
		if (!this.x2apic) return null;
		if (index === X2APIC.tpr) {
			if (value > 0xff) return false;
			this.u32[this.base + (V.tpr >> 2)] = value;
			this.tprWritten();
			return true;
		}
		if (!this.delivers || (index !== X2APIC.eoi && index !== X2APIC.selfIpi)) return null;
		if (index === X2APIC.eoi) {
			if (value !== 0) return false;
			this.virtualizeEoi();
			return true;
		}
		if (value > 0xff) return false;
		if (value >= 16) this.virtualizeSelfIpi(value);
		return true;
	}

	// ---- posted interrupts (SDM 30.6) ----------------------------------------------------------------

	/**
	 * An external interrupt that was acknowledged: with the notification vector it is the processor's, which moves PIR
	 * into VIRR.
	 * @returns whether it was
	 */
	processPosted(vector: number, apic: InterruptController): boolean {
		const { posted } = this;
		if (posted === null || vector !== this.notificationVector) return false;
		posted.clearOn();
		apic.eoi();
		for (let word = 0; word < 8; word++) {
			this.u32[this.base + ((V.irr + word * 16) >> 2)]! |= posted.takePir(word);
		}
		const highest = this.highest(V.irr);
		if (highest > this.rvi) this.rvi = highest;
		this.evaluate();
		return true;
	}
}
