import { expect } from "vitest";
import { gapOf } from "../../../src/backends/gaps.ts";
import { KVM_X86_REG_GUEST_SSP, kvmX86RegMsr } from "../../../src/uapi/constants.ts";
import { ASM, onEachMachine, realModeGuest } from "./driver.ts";

const XSTATE_BV = 512;

onEachMachine("a vCPU's registers", (bench) => {
	const vcpuOf = () => realModeGuest(bench.kvm, ASM.hlt).vcpu;

	bench.states("are those of a reset processor (SDM Vol. 3A, table 10-1)", () => {
		const vcpu = bench.kvm.createVm().createVcpu(0);
		expect(vcpu.getRegs()).toMatchObject({ rip: 0xfff0n, rflags: 2n, rdx: 0x600n, rax: 0n, rsp: 0n });
		const sregs = vcpu.getSregs();
		expect(sregs).toMatchObject({ cr0: 0x6000_0010n, cr3: 0n, cr4: 0n, efer: 0n, apic_base: 0xfee0_0900n });
		expect(sregs.cs).toMatchObject({ selector: 0xf000, base: 0xffff_0000n, limit: 0xffff, type: 0xb });
		expect(sregs.ss).toMatchObject({ selector: 0, base: 0n, limit: 0xffff, type: 3, present: 1, db: 0 });
		expect(sregs.gdt).toMatchObject({ base: 0n, limit: 0xffff });
		expect(vcpu.getDebugregs()).toMatchObject({ db: [0n, 0n, 0n, 0n], dr6: 0xffff_0ff0n, dr7: 0x400n });
		expect(vcpu.getXcrs()).toEqual([{ xcr: 0, value: 1n }]);
	});

	bench.states("KVM_SET_REGS: all are kept, and bit 1 of RFLAGS is always set", () => {
		const vcpu = vcpuOf();
		const names = Object.keys(vcpu.getRegs());
		const regs = Object.fromEntries(
			names.map((name, at) => [name, 0x1122_3344_5566_0000n + BigInt(at)]),
		) as unknown as ReturnType<typeof vcpu.getRegs>;
		vcpu.setRegs({ ...regs, rip: 0x1234n, rflags: 0x246n });
		expect(vcpu.getRegs()).toEqual({ ...regs, rip: 0x1234n, rflags: 0x246n });
		vcpu.setRegs({ ...regs, rflags: 0n });
		expect(vcpu.getRegs().rflags).toBe(2n);
	});

	bench.states("KVM_SET_SREGS: segments, tables and control registers are kept", () => {
		const vcpu = vcpuOf();
		const before = vcpu.getSregs();
		const sregs = {
			...before,
			ds: { ...before.ds, base: 0x1230n, selector: 0x123, limit: 0xfffff },
			gdt: { ...before.gdt, base: 0x5000n, limit: 0x27 },
			idt: { ...before.idt, base: 0x6000n, limit: 0xff },
			cr2: 0xdead_beefn,
			cr3: 0x7000n,
			cr4: 0x20n,
			cr8: 5n,
		};
		vcpu.setSregs(sregs);
		expect(vcpu.getSregs()).toEqual(sregs);
	});

	bench.states("KVM_SET_SREGS refuses what no processor would hold", () => {
		const vcpu = vcpuOf();
		const good = vcpu.getSregs();
		for (const bad of [
			{ cr4: 1n << 14n },
			{ cr0: 0x8000_0010n },
			{ cr0: 0x2000_0010n },
			{ cr0: 0x8000_0011n, efer: 0x500n },
			{ efer: 0x400n },
			{ cr4: 1n << 40n },
		]) {
			expect(() => vcpu.setSregs({ ...good, ...bad }), JSON.stringify(Object.keys(bad))).toThrow(
				/KVM_SET_SREGS: EINVAL/,
			);
		}
		expect(vcpu.getSregs()).toEqual(good);
	});

	bench.states("KVM_SET_FPU: x87 and XMM registers are kept", () => {
		const vcpu = vcpuOf();
		const before = vcpu.getFpu();
		expect(before.fcw).toBe(0x37f);
		const pattern = (bytes: number, first: number) =>
			Uint8Array.from({ length: 16 }, (_, at) => (at < bytes ? first + at : 0));
		const fpu = {
			...before,
			fcw: 0x27f,
			ftwx: 0x80,
			fpr: before.fpr.map((_, at) => ({ bytes: pattern(10, at * 3) })),
			xmm: before.xmm.map((_, at) => ({ bytes: pattern(16, at) })),
		};
		vcpu.setFpu(fpu);
		expect(vcpu.getFpu()).toEqual(fpu);
	});

	bench.states("KVM_GET_FPU has what KVM_SET_XSAVE set", () => {
		const vcpu = vcpuOf();
		const area = vcpu.getXsave();
		area[XSTATE_BV] = area[XSTATE_BV]! | 3;
		new DataView(area.buffer).setUint16(0, 0x27f, true);
		area.set([1, 2, 3, 4], 160 + 48);
		vcpu.setXsave(area);
		const fpu = vcpu.getFpu();
		expect(fpu.fcw).toBe(0x27f);
		expect([...fpu.xmm[3]!.bytes.subarray(0, 5)]).toEqual([1, 2, 3, 4, 0]);
	});

	bench.states("KVM_SET_XSAVE: AVX's upper halves and MXCSR are kept", () => {
		const vcpu = vcpuOf();
		const area = vcpu.getXsave();
		const view = new DataView(area.buffer);
		area[XSTATE_BV] = area[XSTATE_BV]! | 7;
		view.setUint32(24, 0x1fa0, true);
		area.fill(0x3c, 576, 576 + 256);
		vcpu.setXsave(area);
		const after = vcpu.getXsave();
		expect(new DataView(after.buffer).getUint32(24, true)).toBe(0x1fa0);
		expect([...after.subarray(576, 832)].every((byte) => byte === 0x3c)).toBe(true);
	});

	bench.states(
		"KVM_SET_XSAVE refuses components that there are not, a header of its own, and MXCSR's reserved bits",
		() => {
			const vcpu = vcpuOf();
			const change = (at: number, value: number) => {
				const area = vcpu.getXsave();
				area[XSTATE_BV] = area[XSTATE_BV]! | 3;
				area[at] = value;
				return area;
			};
			expect(() => vcpu.setXsave(change(XSTATE_BV + 7, 0x80))).toThrow(/KVM_SET_XSAVE: EINVAL/);
			expect(() => vcpu.setXsave(change(520, 1))).toThrow(/KVM_SET_XSAVE: EINVAL/);
			expect(() => vcpu.setXsave(change(530, 1))).toThrow(/KVM_SET_XSAVE: EINVAL/);
			expect(() => vcpu.setXsave(change(27, 0xff))).toThrow(/KVM_SET_XSAVE: EINVAL/);
		},
	);

	bench.states("KVM_SET_XCRS takes what the guest's CPUID offers, by XSETBV's rules", () => {
		const vcpu = vcpuOf();
		vcpu.setXcrs([{ xcr: 0, value: 7n }]);
		expect(vcpu.getXcrs()).toEqual([{ xcr: 0, value: 7n }]);
		for (const value of [0n, 2n, 5n, 1n << 62n]) {
			expect(() => vcpu.setXcrs([{ xcr: 0, value }]), value.toString(16)).toThrow(/KVM_SET_XCRS: EINVAL/);
		}
		const bare = bench.kvm.createVm().createVcpu(0);
		expect(() => bare.setXcrs([{ xcr: 0, value: 3n }])).toThrow(/EINVAL/);
	});

	bench.states("KVM_SET_MSRS: MSRs are kept, and the first that cannot be written is named", () => {
		const vcpu = vcpuOf();
		const msrs = [
			{ index: 0x174, data: 8n },
			{ index: 0xc000_0081, data: 0x23_0010_0000_0000n },
			{ index: 0xc000_0082, data: 0xffff_ffff_8000_0000n },
			{ index: 0xc000_0084, data: 0x47700n },
			{ index: 0xc000_0102, data: 0xffff_8000_0000_1000n },
			{ index: 0x277, data: 0x0007_0406_0007_0406n },
		];
		vcpu.setMsrs(msrs);
		expect(vcpu.getMsrs(msrs.map(({ index }) => index))).toEqual(msrs);
		expect(() => vcpu.setMsrs([msrs[0]!, { index: 0xdead, data: 1n }])).toThrow(
			/KVM_SET_MSRS: EINVAL: MSR 0xdead := 0x1/,
		);
		expect(() => vcpu.getMsrs([0xdead])).toThrow(/KVM_GET_MSRS: EINVAL: MSR 0xdead/);
		expect(() => vcpu.setMsrs([{ index: 0xc000_0082, data: 1n << 60n }])).toThrow(/EINVAL: MSR 0xc0000082/);
	});

	bench.states("KVM_SET_ONE_REG: MSRs, and the SSP of guests with shadow stacks, are kept", () => {
		const vcpu = vcpuOf();
		const sysenterCs = kvmX86RegMsr(0x174);
		if (bench.kvm.checkExtension("ONE_REG") === 0) {
			expect(() => vcpu.getOneReg(sysenterCs)).toThrow(/KVM_GET_ONE_REG: E/);
			return;
		}
		vcpu.setOneReg(sysenterCs, 0x10n);
		expect([vcpu.getOneReg(sysenterCs), vcpu.getMsrs([0x174])[0]!.data]).toEqual([0x10n, 0x10n]);
		expect(() => vcpu.getOneReg(sysenterCs | (1n << 56n))).toThrow(/KVM_GET_ONE_REG: EINVAL/);
		const cpuid = bench.kvm.supportedCpuid();
		const leaf7 = cpuid.find((entry) => entry.function === 7 && entry.index === 0);
		vcpu.setCpuid2(
			cpuid.map((entry) => (entry === leaf7 ? { ...entry, ecx: entry.ecx & ~(1 << 7) } : entry)),
		);
		expect(vcpu.getRegList(), "without shadow stacks").toEqual([]);
		expect(() => vcpu.setOneReg(KVM_X86_REG_GUEST_SSP, 8n)).toThrow(/KVM_SET_ONE_REG: EINVAL/);
		vcpu.setCpuid2(cpuid);
		const hasShadowStacks = ((leaf7?.ecx ?? 0) & (1 << 7)) !== 0;
		expect(vcpu.getRegList()).toEqual(hasShadowStacks ? [KVM_X86_REG_GUEST_SSP] : []);
		if (!hasShadowStacks) return;
		vcpu.setOneReg(KVM_X86_REG_GUEST_SSP, 0xffff_8000_0000_1004n);
		expect(vcpu.getOneReg(KVM_X86_REG_GUEST_SSP)).toBe(0xffff_8000_0000_1004n);
		for (const bad of [2n, 1n << 62n])
			expect(() => vcpu.setOneReg(KVM_X86_REG_GUEST_SSP, bad)).toThrow(/KVM_SET_ONE_REG: EINVAL/);
	});

	bench.states(
		"KVM_SET_MSRS of IA32_TSC: the counter goes on from there",
		() => {
			const vcpu = vcpuOf();
			vcpu.setMsrs([{ index: 0x10, data: 1n << 44n }]);
			const [now] = vcpu.getMsrs([0x10]);
			expect(now!.data).toBeGreaterThanOrEqual(1n << 44n);
			expect(now!.data).toBeLessThan((1n << 44n) + (1n << 40n));
		},
		gapOf(bench.machine.module, "tsc-offset"),
	);

	bench.states("KVM_SET_CPUID2: the table is kept, and the guest reads it", () => {
		const { vcpu } = realModeGuest(bench.kvm, [0x66, ...[0xb8, 1, 0, 0, 0x40], ...ASM.cpuid, ...ASM.hlt]);
		const entries = bench.kvm.supportedCpuid().filter((entry) => entry.function !== 0x4000_0001);
		const mine = {
			...entries[0]!,
			function: 0x4000_0001,
			index: 0,
			flags: 0,
			eax: 0x1234,
			ebx: 5,
			ecx: 6,
			edx: 7,
		};
		vcpu.setCpuid2([...entries, mine]);
		expect(vcpu.getCpuid2()).toHaveLength(entries.length + 1);
		expect(vcpu.run().reason).toBe("hlt");
		expect(vcpu.getRegs()).toMatchObject({ rax: 0x1234n, rbx: 5n, rcx: 6n, rdx: 7n });
	});

	bench.states("KVM_SET_CPUID2 has room for 256 entries", () => {
		const [entry] = bench.kvm.supportedCpuid();
		const many = Array.from({ length: 257 }, (_, at) => ({ ...entry!, function: 0x1000 + at }));
		expect(() => vcpuOf().setCpuid2(many)).toThrow(/KVM_SET_CPUID2: E2BIG/);
	});

	bench.states("KVM_SET_DEBUGREGS: kept; flags and upper halves are refused", () => {
		const vcpu = vcpuOf();
		const debugregs = { ...vcpu.getDebugregs(), db: [1n, 2n, 3n, 4n], dr7: 0x455n };
		vcpu.setDebugregs(debugregs);
		expect(vcpu.getDebugregs()).toEqual(debugregs);
		expect(() => vcpu.setDebugregs({ ...debugregs, dr7: 1n << 32n })).toThrow(/KVM_SET_DEBUGREGS: EINVAL/);
		expect(() => vcpu.setDebugregs({ ...debugregs, flags: 1n })).toThrow(/KVM_SET_DEBUGREGS: EINVAL/);
	});

	bench.states("KVM_TRANSLATE without paging gives the address itself", () => {
		expect(vcpuOf().translate(0x1234n)).toBe(0x1234n);
	});

	bench.states(
		"KVM_TRANSLATE walks the guest's page tables",
		() => {
			const { memory, vcpu } = realModeGuest(bench.kvm, ASM.hlt);
			const tables = new Uint32Array(2048);
			tables[3] = 0x4000 | 3;
			tables[1024 + 5] = 0x9000 | 3;
			memory.write(0x3000, new Uint8Array(tables.buffer));
			vcpu.setSregs({ ...vcpu.getSregs(), cr0: 0x8000_0011n, cr3: 0x3000n });
			expect(vcpu.translate(0x00c0_5678n)).toBe(0x9678n);
			expect(vcpu.translate(0x00c0_6000n)).toBeNull();
		},
		gapOf(bench.machine.module, "translate-32-bit-paging"),
	);

	bench.states("KVM_TRANSLATE walks the four levels of long mode", () => {
		const { memory, vcpu } = realModeGuest(bench.kvm, ASM.hlt);
		const entry = (gpa: number, value: number) =>
			memory.write(gpa, new Uint8Array(Uint32Array.of(value, 0).buffer));
		entry(0x3000, 0x4003);
		entry(0x4000, 0x5003);
		entry(0x5000 + 6 * 8, 0x6003);
		entry(0x6000 + 5 * 8, 0x9003);
		vcpu.setSregs({ ...vcpu.getSregs(), cr0: 0x8000_0011n, cr3: 0x3000n, cr4: 0x20n, efer: 0x500n });
		expect(vcpu.translate(0xc0_5678n)).toBe(0x9678n);
		expect(vcpu.translate(0xc0_6678n)).toBeNull();
	});

	bench.states("KVM_SET_TSC_KHZ takes the host's own frequency", () => {
		const vcpu = vcpuOf();
		const khz = vcpu.getTscKhz();
		expect(khz).toBeGreaterThan(100_000);
		vcpu.setTscKhz(khz);
		expect(vcpu.getTscKhz()).toBe(khz);
	});
});
