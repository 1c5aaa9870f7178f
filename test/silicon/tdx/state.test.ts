/**
 * What of the processor's state a TD has of its own, and what a TD exit leaves to the VMM (TDX Module Base
 * Architecture, "CPU state preservation following a successful TD entry and a TD exit"; bugs 22, 24 and 33 of KVM's).
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { xinuse } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { ALL_GPRS, JMP_SELF, mov, R, TDCALL, vmcall } from "./td-code.ts";
import { enterTd, FULL_XFAM, makeTd, SMALL_XFAM, type TestTd } from "./td-machine.ts";

/** Registers with a value of the TD's: offset, mask of what they can hold. */
// biome-ignore format: a table
const FIELDS: readonly (readonly [string, number, bigint])[] = [
	["PKRU", L.PKRU, 0xffff_ffffn], ["XFD", L.XFD, 0x40000n], ["XFD_ERR", L.XFD_ERR, 0x40000n], ["SPEC_CTRL", L.SPEC_CTRL, 7n],
	["KERNEL_GS_BASE", L.KERNEL_GS_BASE, ~0n], ["CR2", L.CR2, ~0n], ["DR0", L.DR0, ~0n], ["DR1", L.DR0 + 8, ~0n],
	["DR2", L.DR0 + 16, ~0n], ["DR3", L.DR0 + 24, ~0n], ["DR6", L.DR6, 0xffff_ffffn], ["SFMASK", L.SFMASK, 0xffff_ffffn],
	["STAR", L.STAR, ~0n], ["LSTAR", L.LSTAR, ~0n], ["TSC_AUX", L.TSC_AUX, 0xffff_ffffn],
	["FS base", L.SEG + L.FS * L.SEG_BYTES, ~0n], ["GS base", L.SEG + L.GS * L.SEG_BYTES, ~0n],
	["U_CET", L.U_CET, 3n], ["PL0_SSP", L.PL0_SSP, 0x7fff_ffff_fffcn], ["PL3_SSP", L.PL3_SSP, 0x7fff_ffff_fffcn],
];
/** What a TD exit leaves in them; the others keep the VMM's value. */
const LEFT: Readonly<Record<string, bigint>> = {
	PKRU: 0n,
	XFD: 0n,
	XFD_ERR: 0n,
	KERNEL_GS_BASE: 0n,
	CR2: 0n,
	DR0: 0n,
	DR1: 0n,
	DR2: 0n,
	DR3: 0n,
	DR6: 0xffff_0ff0n,
	SFMASK: 0x20200n,
	STAR: 0n,
	LSTAR: 0n,
	TSC_AUX: 0n,
	U_CET: 0n,
	PL0_SSP: 0n,
	PL3_SSP: 0n,
};

/** Byte ranges of the register file, with the component that each is: MXCSR apart, since bits of it are reserved. */
// biome-ignore format: a table
const REGISTERS: readonly (readonly [name: string, component: number, at: number, bytes: number])[] = [
	["ST0-ST7", 1, 32, 128], ["XMM", 2, 160, 256], ["YMM high", 4, 576, 256], ["opmask", 0x20, 1088, 64],
	["ZMM high", 0x40, 1152, 512], ["ZMM16-31", 0x80, 1664, 1024], ["tile config", 0x20000, 2752, 64], ["tiles", 0x40000, 2816, 8192],
];

/** Gives every register a value from a seed; the register file is in use from then on. */
function scramble(cpu: Cpu, seed: number, components: number): void {
	let state = BigInt(seed) | 1n;
	const next = () => {
		state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
		return state ^ (state >> 29n);
	};
	for (const [, offset, mask] of FIELDS) cpu.write64(offset, next() & BigInt.asUintN(64, mask));
	for (const [, component, at, bytes] of REGISTERS) {
		if ((components & component) === 0) continue;
		for (let n = 0; n < bytes; n += 8) cpu.write64(L.XSTATE + at + n, next());
		cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | component);
	}
}

function snapshot(cpu: Cpu, components: number): Record<string, bigint | string> {
	const seen: Record<string, bigint | string> = {};
	for (const [name, offset] of FIELDS) seen[name] = cpu.read64(offset);
	for (const [name, component, at, bytes] of REGISTERS) {
		if ((components & component) === 0) continue;
		const from = cpu.base + L.XSTATE + at;
		seen[name] = Buffer.from(cpu.memory.u8.subarray(from, from + bytes)).toString("hex");
	}
	return seen;
}

/** Runs `inside` when the TD has been entered, before its next instruction, once. */
function onEntry({ cpu }: TestTd, inside: (cpu: Cpu) => void): void {
	cpu.observer = {
		onOp: () => {},
		onGuestEntry: (one) => {
			one.observer = null;
			inside(one);
		},
	};
}

/** A TD that does nothing but TDCALL. */
const CALLS = { program: [...vmcall(0), ...TDCALL, 0xeb, 0xfa] };
const settings = { seed: 20_25_11, numRuns: 25 };

describe.each([
	["XFAM of KVM's TDs here", SMALL_XFAM],
	["all of XFAM", FULL_XFAM],
])("%s", (_name, xfam) => {
	it("the TD finds its own state again, and the VMM never sees it", () => {
		const made = makeTd(CALLS, xfam);
		const { cpu } = made;
		enterTd(made);
		fc.assert(
			fc.property(fc.nat(), fc.nat(), (tdSeed, vmmSeed) => {
				let before = {};
				onEntry(made, () => {
					scramble(cpu, tdSeed, xfam);
					before = snapshot(cpu, xfam);
				});
				cpu.writeNumber(L.XFD, 0);
				enterTd(made);
				const left = snapshot(cpu, xfam);
				for (const [name, component, , bytes] of REGISTERS)
					if ((xfam & component) !== 0) expect([name, left[name]]).toEqual([name, "00".repeat(bytes)]);
				scramble(cpu, vmmSeed, xfam);
				let after = {};
				onEntry(made, () => {
					after = snapshot(cpu, xfam);
				});
				enterTd(made);
				const own = (state: Record<string, bigint | string>) =>
					xfam === FULL_XFAM ? state : { ...state, U_CET: 0n, PL0_SSP: 0n, PL3_SSP: 0n };
				expect(own(after)).toEqual(own(before));
			}),
			settings,
		);
	});

	it("a TD exit leaves the module's values, whatever the TD and the VMM had", () => {
		const made = makeTd(CALLS, xfam);
		const { cpu } = made;
		enterTd(made);
		fc.assert(
			fc.property(fc.nat(), fc.nat(), (tdSeed, vmmSeed) => {
				scramble(cpu, vmmSeed, xfam);
				cpu.write32(L.XFD, 0);
				const vmm = snapshot(cpu, 0);
				onEntry(made, () => scramble(cpu, tdSeed, xfam));
				enterTd(made);
				const left = snapshot(cpu, 0);
				const cet = (name: string) => xfam !== FULL_XFAM && /CET|SSP/.test(name);
				// The module leaves XFD alone when no TD state needs it.
				const kept = (name: string) => (xfam & 0x60000) === 0 && /^XFD/.test(name);
				for (const [name] of FIELDS)
					if (!cet(name))
						expect([name, left[name]]).toEqual([name, kept(name) ? vmm[name] : (LEFT[name] ?? vmm[name])]);
				expect(xinuse(cpu) & xfam).toBe(0);
				expect([cpu.xcr0, cpu.xss]).toEqual([xfam & ~0x1800, xfam & 0x1800]);
			}),
			settings,
		);
	});
});

describe("extended state", () => {
	it("x87 and SSE are left as FNINIT and LDMXCSR of 1F80H would", () => {
		const made = makeTd(CALLS);
		const { cpu } = made;
		enterTd(made);
		onEntry(made, () => {
			cpu.write32(L.XSTATE, 0x0000_0040);
			cpu.write32(L.XSTATE + 24, 0x1fa0);
			cpu.write32(L.XINUSE, 3);
		});
		enterTd(made);
		expect(cpu.read32(L.XSTATE) & 0xffff).toBe(0x37f);
		expect(cpu.read32(L.XSTATE + 24)).toBe(0x1f80);
		let control = 0;
		let mxcsr = 0;
		onEntry(made, () => {
			control = cpu.read32(L.XSTATE) & 0xffff;
			mxcsr = cpu.read32(L.XSTATE + 24);
		});
		enterTd(made);
		expect([control, mxcsr]).toEqual([0x40, 0x1fa0]);
	});

	it("a component outside XFAM stays the VMM's: the module does not touch it", () => {
		const made = makeTd(CALLS);
		const { cpu } = made;
		cpu.write64(L.XSTATE + 2816, 0x1234n);
		cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | 0x40000);
		enterTd(made);
		expect(cpu.read64(L.XSTATE + 2816)).toBe(0x1234n);
		expect(xinuse(cpu) & 0x40000).toBe(0x40000);
	});

	it("tile data that the TD's own XFD disables is kept for it", () => {
		const made = makeTd(CALLS, FULL_XFAM);
		const { cpu } = made;
		enterTd(made);
		onEntry(made, () => {
			cpu.write64(L.XSTATE + 2816, 0x77n);
			cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | 0x40000);
			cpu.writeNumber(L.XFD, 0x40000);
		});
		enterTd(made);
		expect([cpu.xfd, cpu.read64(L.XSTATE + 2816)]).toEqual([0, 0n]);
		let seen: unknown = null;
		onEntry(made, () => {
			seen = [cpu.xfd, cpu.read64(L.XSTATE + 2816)];
		});
		enterTd(made);
		expect(seen).toEqual([0x40000, 0x77n]);
	});
});

describe("debug state", () => {
	it("DEBUGCTL keeps the VMM's BTF, FREEZE_PERFMON_ON_PMI and FREEZE_IN_SMM and loses the rest; DR7 is 400H", () => {
		const made = makeTd(CALLS);
		const { cpu } = made;
		for (const value of [0, 0x5fc7, 1, 2, 0x1000, 0x4000, 0x41]) {
			cpu.write64(L.DEBUGCTL, BigInt(value));
			cpu.write64(L.DR7, 0x401n);
			enterTd(made);
			expect(cpu.readNumber(L.DEBUGCTL)).toBe(value & 0x5002);
			expect(cpu.readNumber(L.DR7)).toBe(0x400);
		}
	});

	it("the TD runs without the VMM's DEBUGCTL and DR7", () => {
		const made = makeTd(CALLS);
		const { cpu } = made;
		cpu.write64(L.DEBUGCTL, 0x4041n);
		cpu.write64(L.DR7, 0x401n);
		let seen: unknown = null;
		onEntry(made, () => {
			seen = [cpu.readNumber(L.DEBUGCTL), cpu.readNumber(L.DR7)];
		});
		enterTd(made);
		expect(seen).toEqual([0, 0x400]);
	});
});

describe("GPRs", () => {
	const words = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
	const gprs = fc.array(words, { minLength: 16, maxLength: 16 });

	it("only the registers of a TDG.VP.VMCALL's mask pass, either way", () => {
		const made = makeTd(CALLS);
		const { cpu, regs } = made;
		enterTd(made);
		fc.assert(
			fc.property(gprs, gprs, fc.integer({ min: 0, max: 0xffff }), (td, vmm, wide) => {
				const mask = wide & ALL_GPRS;
				onEntry(made, () => {
					for (let n = 0; n < 16; n++) if (n !== R.rsp) cpu.setGpr(n, td[n]!);
					cpu.setGpr(R.rax, 0n);
					cpu.setGpr(R.rcx, BigInt(mask));
				});
				regs.set(vmm);
				enterTd(made);
				for (let n = 0; n < 16; n++) {
					const kept = n === R.rsp || n === R.rbp;
					const passed = (mask & (1 << n)) !== 0 ? td[n]! : 0n;
					expect([n, regs[n]]).toEqual([n, n === R.rcx ? BigInt(mask) : kept ? vmm[n] : passed]);
				}
				regs.set(vmm);
				let back: bigint[] = [];
				onEntry(made, () => {
					back = Array.from({ length: 16 }, (_, n) => cpu.gpr(n));
					cpu.setGpr(R.rax, 0n);
					cpu.setGpr(R.rcx, 0n);
				});
				enterTd(made);
				for (let n = 2; n < 16; n++)
					if (n !== R.rsp) expect([n, back[n]]).toEqual([n, (mask & (1 << n)) !== 0 ? vmm[n] : td[n]]);
				expect([back[R.rax], back[R.rcx]]).toEqual([0n, BigInt(mask)]);
			}),
			{ ...settings, numRuns: 40 },
		);
	});

	it("none pass with an exit that is the module's: RCX, R8 and R9 describe it, the rest is 0", () => {
		const made = makeTd({ program: [...mov(R.rbx, 0x1111), ...JMP_SELF] });
		const { cpu, regs, vcpu } = made;
		cpu.pending |= 2;
		regs.fill(0x2222n);
		expect(enterTd(made)).toBe(0);
		expect([...regs]).toEqual(
			Array.from({ length: 16 }, (_, n) =>
				n === R.rsp || n === R.rbp ? 0x2222n : n === 9 ? BigInt(vcpu.exitIntrInfo) : 0n,
			),
		);
		expect(vcpu.exitIntrInfo).toBe(0x8000_0202);
	});

	it("the VMM's own GPR in RSP survives the TD's", () => {
		const made = makeTd(CALLS);
		made.cpu.setGpr(R.rsp, 0xffff_8000_0000_2000n);
		enterTd(made);
		expect(made.cpu.gpr(R.rsp)).toBe(0xffff_8000_0000_2000n);
	});

	it("XMM registers pass by bits 31:16 of the mask; the others are 0 for the VMM and unchanged for the TD", () => {
		const made = makeTd(CALLS);
		const { cpu } = made;
		enterTd(made);
		const xmm = (n: number) => cpu.read64(L.XSTATE + 160 + 16 * n);
		const setAll = (base: bigint) => {
			for (let n = 0; n < 16; n++) cpu.write64(L.XSTATE + 160 + 16 * n, base + BigInt(n));
			cpu.write32(L.XINUSE, cpu.read32(L.XINUSE) | 2);
		};
		onEntry(made, () => {
			setAll(0x100n);
			cpu.setGpr(R.rax, 0n);
			cpu.setGpr(R.rcx, 0x8002_0000n);
		});
		enterTd(made);
		expect([xmm(0), xmm(1), xmm(2), xmm(15)]).toEqual([0n, 0x101n, 0n, 0x10fn]);
		expect(made.regs[R.rcx]).toBe(0x8002_0000n);
		setAll(0x200n);
		let seen: bigint[] = [];
		onEntry(made, () => {
			seen = [xmm(0), xmm(1), xmm(2), xmm(15)];
		});
		enterTd(made);
		expect(seen).toEqual([0x100n, 0x201n, 0x102n, 0x20fn]);
	});
});
