/** Intel Xeon Scalable, 5th generation (Emerald Rapids): VMX and TDX. */
import { COMMON_COSTS, COMMON_GUEST_COSTS } from "./common-costs.ts";
import { absent, guestCosts, opCosts, WHY } from "./costs.ts";
import type { CpuModel } from "./model.ts";

const RATIO = `${WHY.swap}; 300 cycles with the tests, split 54:144 as the uops of XSETBV and WRMSR in LLVM's Sapphire Rapids model`;
const PKRU = `${WHY.pkru}; 40 cycles with the tests, WRPKRU taken as twice RDPKRU`;

// biome-ignore format: a table reads by columns
const costs = opCosts([
	["xsetbv",                   39,   "calibrated", RATIO],
	["rdpkru",                   6,    "calibrated", PKRU],
	["wrpkru",                   12,   "calibrated", PKRU],
	["xsaves",                   80,   "assumed",    "LLVM's Sapphire Rapids model: 42 cycles latency; doubled for AVX-512 state in use"],
	["xrstors",                  75,   "assumed",    "LLVM's Sapphire Rapids model: 37 cycles latency; doubled for AVX-512 state in use"],
	["wrmsr",                    100,  "assumed",    "4 user-return MSRs in 300-500 cycles (TDX patch c0711f8c610e)"],
	["wrmsr(ia32_xss)",          104,  "calibrated", RATIO],
	["rdmsr(ia32_xfd)",          40,   "assumed",    WHY.msr],
	["wrmsr(ia32_xfd)",          125,  "assumed",    "a round trip grows from 1500 to over 2000 cycles with XFD and XFD_ERR switched both ways (mailing list, May 2021)"],
	["rdmsr(ia32_xfd_err)",      40,   "assumed",    WHY.msr],
	["wrmsr(ia32_xfd_err)",      125,  "assumed",    "as WRMSR(IA32_XFD)"],
	["rdtsc",                    27,   "assumed",    "27.0 cycles measured on Ice Lake-SP (InstLatx64); no figure for this model"],
	["pause",                    40,   "assumed",    "10.3 ns on a Xeon Gold 5415+, of the same core (Alois-xx/OpenMPTest, README), some 40 cycles at its clock; 40 on Cascade Lake, 138 to 140 on Skylake and Ice Lake (uops.info); no figure for this model"],
	["vmread",                   10,   "assumed",    "CR3 and CR4 checks elided save some 20 cycles seen from the host (mailing list); VMCS accesses are of that order"],
	["vmwrite",                  12,   "assumed",    "as VMREAD"],
	["vmptrld",                  100,  "assumed",    WHY.rare],
	["vmclear",                  100,  "assumed",    WHY.rare],
	["vmlaunch",                 363,  "calibrated", WHY.loop],
	["vmresume",                 274,  "calibrated", WHY.loop],
	["vmexit",                   291,  "calibrated", WHY.loop],
	...absent("SVM"),
	["seamcall",                 1500, "assumed",    "\"thousands of cycles\" for a round trip (TDX patch c0711f8c610e); no closer figure is published"],
	["seamret",                  1500, "assumed",    "as SEAMCALL"],
	...COMMON_COSTS,
]);

// biome-ignore format: a table reads by columns
const guest = guestCosts([
	["rdtsc",       27,   "assumed", "27.0 cycles measured on Ice Lake-SP (InstLatx64)"],
	...COMMON_GUEST_COSTS,
]);

/** Xeon Platinum 8592+. The time stamp counter runs at the base frequency, 1.9 GHz (Intel's product page). */
export const emeraldRapids: CpuModel = {
	name: "emerald-rapids",
	title: "INTEL(R) XEON(R) PLATINUM 8592+",
	vendorString: "GenuineIntel",
	vendors: ["vmx", "tdx"],
	tscHz: 1_900_000_000,
	// Family 6, model CFH, stepping 2.
	signature: 0xc06f2,
	features: {
		// x87, SSE, AVX, AVX-512 (5-7), PKRU (9), XTILECFG and XTILEDATA (17, 18).
		xcr0: 0x602e7,
		// CET_U and CET_S.
		xss: 0x1800,
		xfd: 1 << 18,
		pku: true,
		pks: true,
		la57: true,
		xsaves: true,
		cetSs: true,
		cetIbt: true,
		physicalAddressBits: 52,
		nrips: false,
		vSpecCtrl: false,
		ibpbExitToUser: true,
		vnmi: false,
		lbrv: false,
	},
	costs,
	guestCosts: guest,
};
