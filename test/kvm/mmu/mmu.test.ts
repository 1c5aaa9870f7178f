import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeFakeVm } from "../support/fake-vm.ts";

const MIB = 2 ** 20;

describe.each(["vmx", "svm"] as const)("second-level tables of %s", (vendor) => {
	test("give for every mapped address what its slot gives", () => {
		const { vm } = makeFakeVm({ vendor, ramBytes: 4 * MIB });
		vm.slots.push({ gpa: 16 * MIB + 4096, bytes: 8 * 4096, hpa: vm.reserve(8 * 4096), readOnly: false });
		const inSlot = fc.oneof(
			fc.integer({ min: 0, max: 4 * MIB - 1 }),
			fc.integer({ min: 16 * MIB + 4096, max: 16 * MIB + 9 * 4096 - 1 }),
		);
		fc.assert(
			fc.property(inSlot, fc.boolean(), (gpa, write) => {
				expect(vm.mmu.pageFault(null, gpa, write, false)).toBe("fixed");
				expect(vm.mmu.translate(gpa)).toBe(vm.gpaToHpa(gpa));
			}),
		);
	});

	test("use a 2 MiB page where slot and alignment permit, 4 KiB pages elsewhere", () => {
		const { vm } = makeFakeVm({ vendor, ramBytes: 4 * MIB });
		vm.slots.push({ gpa: 8 * MIB, bytes: 2 * MIB, hpa: vm.reserve(2 * MIB, 4096) + 0, readOnly: false });
		vm.slots.push({ gpa: 32 * MIB, bytes: 4096, hpa: vm.reserve(4096), readOnly: false });
		vm.mmu.pageFault(null, 0x1234, false, false);
		expect(vm.mmu.stat).toEqual({ pages4k: 0, pages2m: 1 });
		vm.mmu.pageFault(null, 32 * MIB, true, false);
		expect(vm.mmu.stat).toEqual({ pages4k: 1, pages2m: 1 });
		expect(vm.mmu.translate(2 * MIB - 1)).toBe(vm.gpaToHpa(2 * MIB - 1));
		expect(vm.mmu.translate(2 * MIB)).toBe(-1);
	});

	test("an address without a slot is MMIO, and so is a write to a read-only slot", () => {
		const { vm } = makeFakeVm({ vendor });
		vm.slots.push({ gpa: 0xf000_0000, bytes: 4096, hpa: vm.reserve(4096), readOnly: true });
		expect(vm.mmu.pageFault(null, 0xfee0_0000, false, false)).toBe("mmio");
		expect(vm.mmu.pageFault(null, 0xf000_0000, true, false)).toBe("mmio");
		expect(vm.mmu.pageFault(null, 0xf000_0000, false, false)).toBe("fixed");
	});

	test("a zap drops every mapping and keeps the root", () => {
		const { vm } = makeFakeVm({ vendor });
		const { rootHpa } = vm.mmu;
		vm.mmu.pageFault(null, 0, false, true);
		vm.mmu.zap();
		expect(vm.mmu.translate(0)).toBe(-1);
		expect(vm.mmu.rootHpa).toBe(rootHpa);
		vm.mmu.pageFault(null, 0, false, true);
		expect(vm.mmu.translate(5)).toBe(vm.gpaToHpa(5));
	});
});

test("a leaf is what the manuals say: EPT RWX write-back, NPT P RW U", () => {
	for (const [vendor, bits] of [
		["vmx", 0x3f7],
		["svm", 0xe7],
	] as const) {
		const { vm } = makeFakeVm({ vendor });
		vm.mmu.pageFault(null, 0, true, false);
		const entry = (hpa: number) => Number(vm.memory.u64[(vm.memory.ramBase + hpa) / 8]!);
		const pdpt = entry(vm.mmu.rootHpa) & ~0xfff;
		const pd = entry(pdpt) & ~0xfff;
		expect(entry(pd) & 0xfff).toBe(bits);
	}
});

test("a TD's shared bit does not change the slot", () => {
	const { vm } = makeFakeVm({ vendor: "tdx" });
	expect(vm.mmu.pageFault(null, 2 ** 47 + 0x3000, true, false)).toBe("fixed");
	expect(vm.mmu.translate(2 ** 47 + 0x3000)).toBe(vm.gpaToHpa(0x3000));
	expect(vm.mmu.translate(0x3000)).toBe(-1);
});
