import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { XFEATURE } from "../../../src/silicon/cpu/control.ts";
import type { Cpu } from "../../../src/silicon/cpu/cpu.ts";
import { GP0, NM } from "../../../src/silicon/cpu/fault.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { compactedSize, STATE_COMPONENTS } from "../../../src/silicon/cpu/state-components.ts";
import { emeraldRapids } from "../../../src/silicon/models/emerald-rapids.ts";
import type { CpuModel } from "../../../src/silicon/models/model.ts";
import { turin } from "../../../src/silicon/models/turin.ts";
import { XsaveImage } from "../../../src/silicon/xsave/image.ts";
import { xrstorFrom, xrstorsFrom } from "../../../src/silicon/xsave/restore.ts";
import { xsavesTo, xsaveTo } from "../../../src/silicon/xsave/save.ts";
import { freshCpu } from "../machine-code.ts";

const AVX512 = XFEATURE.opmask | XFEATURE.zmmHi256 | XFEATURE.hi16Zmm;
const CET = XFEATURE.cetUser | XFEATURE.cetSupervisor;

/** A processor with everything enabled that its model offers. */
function enabledCpu(model: CpuModel = emeraldRapids): Cpu {
	const cpu = freshCpu(model);
	cpu.writeNumber(L.XCR0, model.features.xcr0);
	cpu.writeNumber(L.XSS, model.features.xss);
	return cpu;
}

/** An image in the compacted format whose components hold `seed` in every byte that may hold anything. */
function filledImage(components: number, seed: number): XsaveImage {
	const image = new XsaveImage();
	image.bytes.fill(seed, 0, compactedSize(components));
	image.bytes.fill(0, 512, 576);
	image.words[6] = 0x1f80;
	image.xstateBv = components;
	image.setCompacted(components);
	// IA32_U_CET, and pointers of shadow stacks.
	if ((components & XFEATURE.cetUser) !== 0) setQuadwords(image, XFEATURE.cetUser, [1n, BigInt(8 * seed)]);
	if ((components & XFEATURE.cetSupervisor) !== 0) {
		setQuadwords(image, XFEATURE.cetSupervisor, [BigInt(8 * seed), 0x1000n, -4n]);
	}
	return image;
}

/** Sets what a component of an image in the compacted format begins with. */
function setQuadwords(image: XsaveImage, component: number, values: readonly bigint[]): void {
	// None of what lies before those of CET is aligned.
	const at = compactedSize(image.xcompBv & (component - 1));
	for (const [number, value] of values.entries())
		new DataView(image.bytes.buffer).setBigInt64(at + 8 * number, value, true);
}

/** An image that puts every component into its initial configuration. */
function initialImage(): XsaveImage {
	const image = new XsaveImage();
	image.setCompacted(3);
	return image;
}

const everything = (cpu: Cpu) => cpu.xcr0 | cpu.xss;

describe("XSAVES and XRSTORS", () => {
	it("bring back what was there, for every set of components, on both vendors", () => {
		for (const model of [emeraldRapids, turin]) {
			const cpu = enabledCpu(model);
			const all = everything(cpu);
			fc.assert(
				fc.property(fc.integer(), fc.integer({ min: 1, max: 255 }), (choice, seed) => {
					const components = choice & all;
					expect(xrstorsFrom(cpu, initialImage(), all)).toBeNull();
					expect(xrstorsFrom(cpu, filledImage(components, seed), all)).toBeNull();
					const saved = new XsaveImage();
					xsavesTo(cpu, saved, all);
					expect(saved.xstateBv).toBe(components >>> 0);
					xrstorsFrom(cpu, initialImage(), all);
					expect(xrstorsFrom(cpu, saved, all)).toBeNull();
					const again = new XsaveImage();
					xsavesTo(cpu, again, all);
					expect(again.words.every((word, at) => word === saved.words[at])).toBe(true);
				}),
				{ seed: 3, numRuns: 60 },
			);
		}
	});

	it("keep what the request leaves out", () => {
		const cpu = enabledCpu();
		cpu.write32(L.PKRU, 0x55555554);
		xrstorsFrom(cpu, filledImage(everything(cpu), 7), everything(cpu) & ~XFEATURE.pkru);
		expect(cpu.pkru).toBe(0x55555554);
	});

	it("place components one behind the other, XTILEDATA at a multiple of 64", () => {
		const cpu = enabledCpu();
		const components = XFEATURE.pkru | XFEATURE.xtilecfg | XFEATURE.xtiledata;
		xrstorsFrom(cpu, filledImage(components, 9), components);
		const image = new XsaveImage();
		xsavesTo(cpu, image, components);
		expect(image.bytes[576]).toBe(9);
		expect(image.bytes[576 + 8]).toBe(0);
		expect(image.bytes[640]).toBe(9);
		expect(image.bytes[704]).toBe(9);
		expect(compactedSize(components)).toBe(704 + 8192);
	});

	it("XRSTORS is #GP for an image with a component that XCR0 | IA32_XSS lacks", () => {
		for (const component of STATE_COMPONENTS) {
			const cpu = enabledCpu();
			const bit = 1 << component.index;
			if ((everything(cpu) & bit) === 0) continue;
			const image = filledImage(3 | bit, 1);
			cpu.writeNumber(L.XCR0, cpu.xcr0 & ~bit);
			cpu.writeNumber(L.XSS, cpu.xss & ~bit);
			expect(xrstorsFrom(cpu, image, everything(cpu))).toBe(GP0);
			image.xstateBv = 3;
			// The layout alone is enough: nothing of the component is even there.
			expect(xrstorsFrom(cpu, image, everything(cpu))).toBe(GP0);
		}
	});

	it("XRSTORS is #GP for what WRMSR refuses to the MSRs of CET, and then restores nothing", () => {
		const cpu = enabledCpu();
		const high = 1n << 62n;
		const bad = [
			...[0x40n, 0xc00n, high].map((value) => [XFEATURE.cetUser, [value, 0n]] as const),
			...[1n, 2n, high].map((value) => [XFEATURE.cetUser, [0n, value]] as const),
			...[0, 1, 2].flatMap((at) =>
				[1n, 2n, high].map(
					(value) => [XFEATURE.cetSupervisor, [0, 1, 2].map((other) => (other === at ? value : 0n))] as const,
				),
			),
		];
		for (const [component, values] of bad) {
			xrstorsFrom(cpu, filledImage(3 | CET, 5), everything(cpu));
			const image = filledImage(3 | CET, 9);
			setQuadwords(image, component, values);
			expect(xrstorsFrom(cpu, image, everything(cpu)), String(values)).toBe(GP0);
			expect([cpu.read64(L.PL3_SSP), cpu.read64(L.PL0_SSP)]).toEqual([40n, 40n]);
			expect(xrstorsFrom(cpu, image, 3)).toBeNull();
		}
	});

	it("XRSTORS is #GP for the standard format, for XSTATE_BV outside XCOMP_BV, and for header bytes that are set", () => {
		const cpu = enabledCpu();
		const standard = new XsaveImage();
		expect(xrstorsFrom(cpu, standard, 3)).toBe(GP0);
		const outside = filledImage(3, 1);
		outside.xstateBv = 7;
		expect(xrstorsFrom(cpu, outside, 3)).toBe(GP0);
		for (let at = 528; at < 576; at++) {
			const image = filledImage(3, 1);
			image.bytes[at] = 1;
			expect(xrstorsFrom(cpu, image, 3)).toBe(GP0);
		}
	});

	it("are #GP for reserved MXCSR bits, only if SSE is loaded", () => {
		const cpu = enabledCpu();
		const image = filledImage(3, 1);
		image.words[6] = 0x10000;
		expect(xrstorsFrom(cpu, image, 3)).toBe(GP0);
		expect(xrstorsFrom(cpu, image, 1)).toBeNull();
	});

	it("a fault restores nothing", () => {
		const cpu = enabledCpu();
		const before = cpu.memory.u8.slice(cpu.base + L.XSTATE, cpu.base + L.XSTATE + L.XSTATE_BYTES);
		const image = filledImage(everything(cpu), 5);
		image.words[6] = 0x10000;
		xrstorsFrom(cpu, image, everything(cpu));
		expect(cpu.memory.u8.slice(cpu.base + L.XSTATE, cpu.base + L.XSTATE + L.XSTATE_BYTES)).toEqual(before);
		expect(cpu.pkru).toBe(0);
	});

	it("save no initial component: its bytes in the image stay", () => {
		const cpu = enabledCpu();
		const image = new XsaveImage();
		image.bytes.fill(0xaa);
		xsavesTo(cpu, image, everything(cpu));
		expect(image.xstateBv).toBe(0);
		expect(image.bytes[600]).toBe(0xaa);
	});

	it("save SSE when MXCSR alone differs from 1F80H", () => {
		const cpu = enabledCpu();
		cpu.write32(L.XSTATE + 24, 0x1fa0);
		const image = new XsaveImage();
		xsavesTo(cpu, image, 3);
		expect(image.xstateBv).toBe(XFEATURE.sse);
	});

	it("refuse an image that is too small for what they would write", () => {
		const cpu = enabledCpu();
		xrstorsFrom(cpu, filledImage(AVX512, 1), AVX512);
		expect(() => xsavesTo(cpu, new XsaveImage(640), AVX512)).toThrow(RangeError);
	});
});

describe("XFD", () => {
	it("restoring a disabled component is #NM with XFD_ERR, unless it is initial", () => {
		const cpu = enabledCpu();
		cpu.writeNumber(L.XFD, XFEATURE.xtiledata);
		const image = filledImage(3 | XFEATURE.xtilecfg | XFEATURE.xtiledata, 4);
		expect(xrstorsFrom(cpu, image, cpu.xcr0)).toBe(NM);
		expect(cpu.read32(L.XFD_ERR)).toBe(XFEATURE.xtiledata);
		cpu.write32(L.XFD_ERR, 0);
		image.xstateBv &= ~XFEATURE.xtiledata;
		expect(xrstorsFrom(cpu, image, cpu.xcr0)).toBeNull();
		expect(cpu.read32(L.XFD_ERR)).toBe(0);
	});

	it("saving a disabled component loses it: XSTATE_BV says initial", () => {
		const cpu = enabledCpu();
		xrstorsFrom(cpu, filledImage(XFEATURE.xtilecfg | XFEATURE.xtiledata, 4), cpu.xcr0);
		cpu.writeNumber(L.XFD, XFEATURE.xtiledata);
		const image = new XsaveImage();
		xsavesTo(cpu, image, cpu.xcr0);
		expect(image.xstateBv).toBe(XFEATURE.xtilecfg);
	});
});

describe("XSAVE and XRSTOR, standard format", () => {
	it("bring back user components at the offsets of CPUID leaf 0DH", () => {
		for (const model of [emeraldRapids, turin]) {
			const cpu = enabledCpu(model);
			xrstorsFrom(cpu, filledImage(cpu.xcr0, 0x11), cpu.xcr0);
			const image = new XsaveImage();
			xsaveTo(cpu, image, cpu.xcr0);
			expect(image.compacted).toBe(false);
			expect(image.bytes[model === turin ? 2432 : 2688]).toBe(0x11);
			xrstorsFrom(cpu, initialImage(), cpu.xcr0);
			expect(xrstorFrom(cpu, image, cpu.xcr0)).toBeNull();
			expect(cpu.pkru).toBe(0x11111111);
		}
	});

	it("XSAVE leaves XSTATE_BV bits outside the request alone", () => {
		const cpu = enabledCpu();
		const image = new XsaveImage();
		image.xstateBv = XFEATURE.avx | XFEATURE.sse;
		xsaveTo(cpu, image, XFEATURE.sse);
		expect(image.xstateBv).toBe(XFEATURE.avx);
	});

	it("XRSTOR is #GP for XSTATE_BV outside XCR0 and for XCOMP_BV without bit 63", () => {
		const cpu = enabledCpu();
		const image = new XsaveImage();
		image.xstateBv = CET;
		expect(xrstorFrom(cpu, image, cpu.xcr0)).toBe(GP0);
		image.xstateBv = 3;
		image.words[130] = 3;
		expect(xrstorFrom(cpu, image, cpu.xcr0)).toBe(GP0);
	});

	it("XRSTOR loads MXCSR with SSE or AVX even when XSTATE_BV says both are initial", () => {
		const cpu = enabledCpu();
		const image = new XsaveImage();
		image.words[6] = 0x1fa0;
		expect(xrstorFrom(cpu, image, XFEATURE.avx)).toBeNull();
		expect(cpu.read32(L.XSTATE + 24)).toBe(0x1fa0);
	});
});
