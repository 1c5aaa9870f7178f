/** Registers, fields and modes of the local APIC (SDM Vol. 3A, chapter 12; arch/x86/include/asm/apicdef.h). */

/** Register offsets in the xAPIC page; the x2APIC MSR is 0x800 + offset / 16. */
export const APIC = {
	ID: 0x20,
	LVR: 0x30,
	TASKPRI: 0x80,
	ARBPRI: 0x90,
	PROCPRI: 0xa0,
	EOI: 0xb0,
	LDR: 0xd0,
	DFR: 0xe0,
	SPIV: 0xf0,
	ISR: 0x100,
	TMR: 0x180,
	IRR: 0x200,
	ESR: 0x280,
	ICR: 0x300,
	ICR2: 0x310,
	LVTT: 0x320,
	LVTTHMR: 0x330,
	LVTPC: 0x340,
	LVT0: 0x350,
	LVT1: 0x360,
	LVTERR: 0x370,
	TMICT: 0x380,
	TMCCT: 0x390,
	TDCR: 0x3e0,
	SELF_IPI: 0x3f0,
} as const;

export const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000;
export const APIC_BASE_MSR = 0x800;

/** IA32_APIC_BASE. */
export const APIC_BASE = { BSP: 1 << 8, EXTD: 1 << 10, ENABLE: 1 << 11 } as const;

export const APIC_SPIV_ENABLED = 1 << 8;
export const APIC_LVT_MASKED = 1 << 16;
export const APIC_ICR_BUSY = 1 << 12;
export const APIC_INT_ASSERT = 1 << 14;
export const APIC_INT_LEVELTRIG = 1 << 15;
export const APIC_DEST_LOGICAL = 1 << 11;
export const APIC_SHORT_MASK = 3 << 18;
export const APIC_SHORTHAND = { none: 0, self: 1 << 18, all: 2 << 18, allButSelf: 3 << 18 } as const;

/** Delivery modes: ICR and LVT bits 10:8. */
export const APIC_DM = {
	FIXED: 0x000,
	LOWEST: 0x100,
	SMI: 0x200,
	REMRD: 0x300,
	NMI: 0x400,
	INIT: 0x500,
	STARTUP: 0x600,
	EXTINT: 0x700,
} as const;
export const APIC_DM_MASK = 0x700;

/** Timer modes: LVTT bits 18:17. */
export const APIC_TIMER_MODE_MASK = 3 << 17;
export const APIC_TIMER = { ONESHOT: 0, PERIODIC: 1 << 17, TSCDEADLINE: 2 << 17 } as const;

/** update_divide_count(). @param tdcr the divide configuration register @returns 1, 2, 4 … 128 */
export function divideCount(tdcr: number): number {
	const code = (tdcr & 3) | ((tdcr & 8) >> 1);
	return 1 << ((code + 1) & 7);
}

export const XAPIC_BROADCAST = 0xff;
export const X2APIC_BROADCAST = 0xffff_ffff;

/** Version 0x14 with six LVT entries (max entry 5), as KVM's. */
export const APIC_VERSION = 0x14 | (5 << 16);

/** Writable bits of the LVT registers, by offset: vector, mode, mask and what the entry has. */
export const LVT_MASK: Readonly<Record<number, number>> = {
	[APIC.LVTT]: 0x310ff | APIC_TIMER_MODE_MASK,
	[APIC.LVTTHMR]: 0x117ff,
	[APIC.LVTPC]: 0x117ff,
	[APIC.LVT0]: 0x1f7ff,
	[APIC.LVT1]: 0x1f7ff,
	[APIC.LVTERR]: 0x110ff,
};

/** The local vector table. */
export const LVT_OFFSETS = [APIC.LVTT, APIC.LVTTHMR, APIC.LVTPC, APIC.LVT0, APIC.LVT1, APIC.LVTERR] as const;

const READABLE_IN_X2APIC: ReadonlySet<number> = new Set([
	APIC.ID,
	APIC.LVR,
	APIC.TASKPRI,
	APIC.PROCPRI,
	APIC.LDR,
	APIC.SPIV,
	APIC.ESR,
	APIC.ICR,
	APIC.LVTT,
	APIC.LVTTHMR,
	APIC.LVTPC,
	APIC.LVT0,
	APIC.LVT1,
	APIC.LVTERR,
	APIC.TMICT,
	APIC.TMCCT,
	APIC.TDCR,
]);

/** Whether an x2APIC MSR at this offset can be read: kvm_lapic_readable_reg_mask(). */
export function x2apicReadable(offset: number): boolean {
	return READABLE_IN_X2APIC.has(offset) || (offset >= APIC.ISR && offset < APIC.IRR + 0x80);
}
