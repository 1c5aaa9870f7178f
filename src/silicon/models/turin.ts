/** AMD EPYC, 5th generation (Turin, Zen 5): SVM. */
import { COMMON_COSTS, COMMON_GUEST_COSTS } from "./common-costs.ts";
import { absent, guestCosts, opCosts, WHY } from "./costs.ts";
import type { CpuModel } from "./model.ts";

const RATIO = `${WHY.swap}; 500 cycles with the tests, split 54:144: no uop counts are published for Zen 5, so Sapphire Rapids' ratio stands in`;
const PKRU = `${WHY.pkru}; 60 cycles with the tests, WRPKRU taken as twice RDPKRU`;

// biome-ignore format: a table reads by columns
const costs = opCosts([
	["xsetbv",                   66,   "calibrated", RATIO],
	["rdpkru",                   10,   "calibrated", PKRU],
	["wrpkru",                   20,   "calibrated", PKRU],
	["xsaves",                   100,  "assumed",    WHY.rare],
	["xrstors",                  90,   "assumed",    WHY.rare],
	["wrmsr",                    150,  "assumed",    WHY.msr],
	["wrmsr(ia32_xss)",          177,  "calibrated", RATIO],
	...absent("XFD"),
	["rdtsc",                    37,   "assumed",    "35.3 cycles measured on Genoa, 37.8 on Granite Ridge (InstLatx64); no figure for this model"],
	["pause",                    65,   "assumed",    "65 cycles on Zen 2 to Zen 4 (uops.info); no figure for this model"],
	...absent("VMX"),
	["vmrun",                    573,  "calibrated", WHY.loop],
	["#vmexit",                  528,  "calibrated", WHY.loop],
	["vmload",                   60,   "assumed",    "WRGSBASE instead of VMLOAD saves 20-30 cycles (EPYC, mailing list, December 2020)"],
	["vmsave",                   60,   "assumed",    "as VMLOAD"],
	["clgi",                     20,   "assumed",    WHY.rare],
	["stgi",                     40,   "assumed",    "taken by Xen as sufficiently serializing; no figure is published"],
	...absent("TDX"),
	...COMMON_COSTS,
]);

// biome-ignore format: a table reads by columns
const guest = guestCosts([
	["rdtsc",       37,   "assumed", "35.3 cycles measured on Genoa, 37.8 on Granite Ridge (InstLatx64)"],
	...COMMON_GUEST_COSTS,
]);

/** EPYC 9755. The time stamp counter runs at the base frequency, 2.7 GHz (AMD's product page). */
export const turin: CpuModel = {
	name: "turin",
	title: "AMD EPYC 9755 128-Core Processor",
	vendorString: "AuthenticAMD",
	vendors: ["svm"],
	tscHz: 2_700_000_000,
	// Family 1AH, model 02H, stepping 1.
	signature: 0xb00f21,
	features: {
		// x87, SSE, AVX, AVX-512 (5-7), PKRU (9).
		xcr0: 0x2e7,
		// CET_U and CET_S.
		xss: 0x1800,
		xfd: 0,
		pku: true,
		pks: false,
		la57: true,
		xsaves: true,
		cetSs: true,
		cetIbt: false,
		physicalAddressBits: 52,
		nrips: true,
		vSpecCtrl: true,
		ibpbExitToUser: true,
		vnmi: true,
		lbrv: false,
	},
	costs,
	guestCosts: guest,
};
