/**
 * The state components that the XSAVE feature set manages (SDM Vol. 1, 13.1 and 13.4; APM Vol. 2, 11.5): sizes
 * and offsets as CPUID leaf 0DH reports them.
 */
import type { CpuModel } from "../models/model.ts";

/** Bytes of the legacy region and the XSAVE header, which every XSAVE area begins with. */
export const XSAVE_FIXED_BYTES = 576;

export interface StateComponent {
	/** Its bit in XCR0 or IA32_XSS. */
	readonly index: number;
	readonly name: string;
	readonly bytes: number;
	/** Offset in the standard format, by vendor; 0 for supervisor components, which have none. */
	readonly intelOffset: number;
	readonly amdOffset: number;
	/** Enabled by IA32_XSS, not by XCR0. */
	readonly supervisor: boolean;
	/** Begins at a multiple of 64 in the compacted format. */
	readonly aligned: boolean;
	/** IA32_XFD has a bit for it. */
	readonly xfd: boolean;
}

// biome-ignore format: a table
const rows = [
	// bit name         bytes  Intel   AMD  super  align  XFD
	[ 2, "AVX",          256,   576,   576, false, false, false],
	[ 5, "opmask",        64,  1088,   832, false, false, false],
	[ 6, "ZMM_Hi256",    512,  1152,   896, false, false, false],
	[ 7, "Hi16_ZMM",    1024,  1664,  1408, false, false, false],
	[ 9, "PKRU",           8,  2688,  2432, false, false, false],
	[10, "PASID",          8,     0,     0, true,  false, false],
	[11, "CET_U",         16,     0,     0, true,  false, false],
	[12, "CET_S",         24,     0,     0, true,  false, false],
	[17, "XTILECFG",      64,  2752,  2752, false, true,  false],
	[18, "XTILEDATA",   8192,  2816,  2816, false, true,  true ],
] as const;

/** The components above the legacy region, by rising bit. x87 and SSE have fixed places within it. */
export const STATE_COMPONENTS: readonly StateComponent[] = rows.map((row) => ({
	index: row[0],
	name: row[1],
	bytes: row[2],
	intelOffset: row[3],
	amdOffset: row[4],
	supervisor: row[5],
	aligned: row[6],
	xfd: row[7],
}));

/** Mask of the components that this machine implements; a model offers a subset. */
export const IMPLEMENTED_COMPONENTS = STATE_COMPONENTS.reduce(
	(bits, component) => bits | (1 << component.index),
	3,
);

/** Offset of a component in the standard format on a model. */
export function standardOffset(model: CpuModel, component: StateComponent): number {
	return model.vendorString === "GenuineIntel" ? component.intelOffset : component.amdOffset;
}

/**
 * Bytes of an XSAVE area in the standard format that holds the given components.
 * @param xcr0 mask of user components
 */
export function standardSize(model: CpuModel, xcr0: number): number {
	let size = XSAVE_FIXED_BYTES;
	for (const component of STATE_COMPONENTS) {
		if ((xcr0 & (1 << component.index)) === 0 || component.supervisor) continue;
		size = Math.max(size, standardOffset(model, component) + component.bytes);
	}
	return size;
}

/**
 * Bytes of an XSAVE area in the compacted format (SDM Vol. 1, 13.4.3).
 * @param xcompBv the components that have a place in it, as in XCOMP_BV; bit 63 does not matter
 */
export function compactedSize(xcompBv: number): number {
	let size = XSAVE_FIXED_BYTES;
	for (const component of STATE_COMPONENTS) {
		if ((xcompBv & (1 << component.index)) === 0) continue;
		if (component.aligned) size = (size + 63) & ~63;
		size += component.bytes;
	}
	return size;
}

/**
 * Where a component lies in an XSAVE area in the compacted format.
 * @param xcompBv as for `compactedSize`; has the component
 * @param index of the component: its bit
 */
export function compactedOffset(xcompBv: number, index: number): number {
	const { aligned } = STATE_COMPONENTS.find((component) => component.index === index)!;
	const before = compactedSize(xcompBv & ((1 << index) - 1));
	return aligned ? (before + 63) & ~63 : before;
}
