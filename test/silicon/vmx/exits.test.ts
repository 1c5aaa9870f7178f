import { describe, expect, it } from "vitest";
import { CR0, CR4, XFEATURE } from "../../../src/silicon/cpu/control.ts";
import * as L from "../../../src/silicon/cpu/layout.ts";
import { FLAG } from "../../../src/silicon/cpu/rflags.ts";
import { CPU_BASED, EXIT_REASON, SECONDARY } from "../../../src/silicon/vmx/controls.ts";
import type { Vmcs } from "../../../src/silicon/vmx/vmcs.ts";
import { AT, poke64 } from "../machine-code.ts";
import {
	ASM,
	adjust,
	enterVmx,
	field,
	type Guest,
	HOST_AT,
	HOST_RIP,
	mapPage,
	program,
	vmxExit,
	vmxGuest,
} from "../guest-machine.ts";

/** A guest that executes one piece of code, then HLT. */
function running(code: readonly number[], change: (guest: Guest<Vmcs>) => void = () => {}): Guest<Vmcs> {
	const guest = vmxGuest();
	program(guest.cpu, code);
	change(guest);
	return guest;
}

const bitmapBit = (guest: Guest<Vmcs>, hpa: number, bit: number) => {
	const { u8, ramBase } = guest.cpu.memory;
	u8[ramBase + hpa + (bit >> 3)]! |= 1 << (bit & 7);
};

describe("instructions that exit", () => {
	it("CPUID, INVD, XSETBV and VMX instructions always do, at the instruction, with its length (SDM 26.1.2)", () => {
		for (const [code, reason] of [
			[ASM.cpuid, EXIT_REASON.cpuid],
			[ASM.invd, EXIT_REASON.invd],
			[ASM.xsetbv, EXIT_REASON.xsetbv],
			[ASM.vmcall, EXIT_REASON.vmcall],
		] as const) {
			const guest = running(code, ({ cpu }) => cpu.setGpr(L.RCX, 0n));
			expect(vmxExit(guest)).toEqual({ reason, qualification: 0n, length: code.length });
			expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code));
			expect(guest.cpu.read64(L.RIP)).toBe(HOST_RIP);
		}
	});

	it.each([
		["HLT", ASM.hlt, EXIT_REASON.hlt, CPU_BASED.hltExiting, 0],
		["RDTSC", ASM.rdtsc, EXIT_REASON.rdtsc, CPU_BASED.rdtscExiting, 0],
		["RDTSCP", ASM.rdtscp, EXIT_REASON.rdtscp, CPU_BASED.rdtscExiting, 0],
		["INVLPG", ASM.invlpgRax, EXIT_REASON.invlpg, CPU_BASED.invlpgExiting, 0],
		["MONITOR", ASM.monitor, EXIT_REASON.monitor, CPU_BASED.monitorExiting, 0],
		["MWAIT", ASM.mwait, EXIT_REASON.mwait, CPU_BASED.mwaitExiting, 0],
		["PAUSE", ASM.pause, EXIT_REASON.pause, CPU_BASED.pauseExiting, 0],
		["MOV DR7", ASM.movDr7Rax, EXIT_REASON.movDr, CPU_BASED.movDrExiting, 0],
		["WBINVD", ASM.wbinvd, EXIT_REASON.wbinvd, 0, SECONDARY.wbinvdExiting],
		["RDRAND", ASM.rdrandRax, EXIT_REASON.rdrand, 0, SECONDARY.rdrandExiting],
		["RDSEED", ASM.rdseedRax, EXIT_REASON.rdseed, 0, SECONDARY.rdseedExiting],
		["LGDT", ASM.lgdtRax, EXIT_REASON.gdtrOrIdtr, 0, SECONDARY.descriptorTableExiting],
		["STR", ASM.strAx, EXIT_REASON.ldtrOrTr, 0, SECONDARY.descriptorTableExiting],
	] as const)(
		"%s exits exactly if its control says so (SDM 26.1.3)",
		(_name, code, reason, primary, secondary) => {
			for (const on of [true, false]) {
				const guest = running(code, ({ cpu, control }) => {
					cpu.setGpr(L.RAX, BigInt(AT.data));
					poke64(cpu, AT.data, (BigInt(AT.gdt) << 16n) | 63n);
					adjust(control, "CPU_BASED_VM_EXEC_CONTROL", on ? primary : 0, primary);
					adjust(control, "SECONDARY_VM_EXEC_CONTROL", on ? secondary : 0, secondary);
					adjust(control, "CPU_BASED_VM_EXEC_CONTROL", code === ASM.hlt && !on ? CPU_BASED.rdtscExiting : 0);
				});
				if (code === ASM.hlt && !on) continue;
				const exit = vmxExit(guest);
				expect(exit.reason).toBe(on ? reason : EXIT_REASON.hlt);
				if (on) expect(exit.length).toBe(code.length);
				const moved = on ? 0 : code.length;
				expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code + moved));
			}
		},
	);

	it.each([
		["RDTSCP", ASM.rdtscp, SECONDARY.rdtscp],
		["RDPID", [0xf3, 0x0f, 0xc7, 0xf8], SECONDARY.rdtscp],
		["INVPCID", [0x66, 0x0f, 0x38, 0x82, 0x08], SECONDARY.invpcid],
		["XSAVES", [0x0f, 0xc7, 0x28], SECONDARY.xsaves],
		["XRSTORS", [0x0f, 0xc7, 0x18], SECONDARY.xsaves],
	] as const)("%s is #UD where no secondary control enables it (SDM 26.3)", (_name, code, control) => {
		for (const on of [true, false]) {
			const guest = running(code, (one) => {
				one.cpu.setGpr(L.RAX, BigInt(AT.data));
				one.cpu.setGpr(L.RCX, 2n);
				adjust(one.control, "SECONDARY_VM_EXEC_CONTROL", on ? control : 0, control);
			});
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
			const undefinedOpcode = BigInt(AT.handler + 6 * 16);
			expect(guest.control.get("GUEST_RIP") === undefinedOpcode).toBe(!on);
		}
	});

	it("MOV DR gives the register, the direction and the GPR (SDM table 28-4)", () => {
		const movDr = ({ control }: Guest<Vmcs>) =>
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.movDrExiting);
		expect(vmxExit(running(ASM.movDr7Rax, movDr)).qualification).toBe(7n);
		expect(vmxExit(running(ASM.movRaxDr6, movDr)).qualification).toBe(0x16n);
	});

	it("faults of level 3 come before exits (SDM 26.1.1)", () => {
		for (const code of [ASM.invd, ASM.hlt, ASM.rdmsr, ASM.movRaxCr3, ASM.xsetbv]) {
			const guest = running(code, ({ control }) => {
				control.set("GUEST_CS_AR_BYTES", 0xa0fb);
				control.set("GUEST_CS_SELECTOR", 0x23);
				control.set("GUEST_SS_AR_BYTES", 0xc0f3);
				control.set("GUEST_SS_SELECTOR", 0x1b);
			});
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
			expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.handler + 13 * 16));
		}
	});
});

describe("I/O (SDM 26.1.3, table 28-5)", () => {
	const io = (bits: number, port: number) => BigInt((bits | (port << 16)) >>> 0);
	const port = ({ cpu }: Guest<Vmcs>, value: number) => {
		cpu.setGpr(L.RDX, BigInt(value));
		cpu.setGpr(L.RSI, BigInt(AT.data));
		cpu.setGpr(L.RDI, BigInt(AT.data));
		cpu.setGpr(L.RCX, 3n);
	};

	it.each([
		["OUT DX, AL", ASM.outDxAl, 0, 0x3f8],
		["OUT DX, EAX", ASM.outDxEax, 3, 0x3f8],
		["IN EAX, DX", ASM.inEaxDx, 3 | 8, 0x3f8],
		["IN AL, 60h", ASM.inAl60, 8 | 64, 0x60],
		["REP OUTSB", ASM.repOutsb, 16 | 32, 0x3f8],
		["INSD", ASM.insd, 3 | 8 | 16, 0x3f8],
	] as const)("unconditional exiting: %s says what it is", (_name, code, bits, number) => {
		const guest = running(code, (one) => {
			port(one, 0x3f8);
			adjust(one.control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.unconditionalIoExiting);
		});
		expect(vmxExit(guest)).toEqual({
			reason: EXIT_REASON.ioInstruction,
			qualification: io(bits, number),
			length: code.length,
		});
		expect(guest.cpu.gpr(L.RCX)).toBe(3n);
	});

	it("with bitmaps, an access exits exactly if one of its ports is marked, A below 8000H and B above; they override unconditional exiting", () => {
		for (const marked of [0x3f8, 0x7fff, 0x8000, 0xfffb]) {
			for (const first of [marked - 4, marked - 3, marked, marked + 1]) {
				const guest = running(ASM.outDxEax, (one) => {
					port(one, first);
					adjust(
						one.control,
						"CPU_BASED_VM_EXEC_CONTROL",
						CPU_BASED.useIoBitmaps | CPU_BASED.unconditionalIoExiting,
					);
					bitmapBit(one, marked < 0x8000 ? HOST_AT.ioA : HOST_AT.ioB, marked & 0x7fff);
				});
				const hits = first <= marked && marked < first + 4;
				expect(vmxExit(guest).reason, `${first} against ${marked}`).toBe(
					hits ? EXIT_REASON.ioInstruction : EXIT_REASON.hlt,
				);
			}
		}
	});

	it("an access that wraps around the port space exits whatever the bitmaps say", () => {
		const guest = running(ASM.outDxEax, (one) => {
			port(one, 0xfffe);
			adjust(one.control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useIoBitmaps);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.ioInstruction);
	});
});

describe("MSRs (SDM 25.6.9)", () => {
	const LSTAR = 0xc0000082;

	it("without bitmaps every access exits; with them low, high, reads and writes are told apart, and others exit", () => {
		const at = (msr: number, write: boolean) => (write ? 2048 : 0) + (msr >= 0xc0000000 ? 1024 : 0);
		for (const marked of [0x10, 0x1fff, LSTAR, 0xc0001fff]) {
			for (const write of [false, true]) {
				for (const access of [false, true]) {
					const guest = running(access ? ASM.wrmsr : ASM.rdmsr, (one) => {
						one.cpu.setGpr(L.RCX, BigInt(marked));
						adjust(one.control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useMsrBitmaps);
						bitmapBit(one, HOST_AT.msr + at(marked, write), marked & 0x1fff);
					});
					const expected =
						access === write ? (write ? EXIT_REASON.wrmsr : EXIT_REASON.rdmsr) : EXIT_REASON.hlt;
					expect(vmxExit(guest).reason).toBe(expected);
				}
			}
		}
		for (const msr of [0x2000, 0x4000_0000, 0xc0002000]) {
			const guest = running(ASM.rdmsr, (one) => {
				one.cpu.setGpr(L.RCX, BigInt(msr));
				adjust(one.control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.useMsrBitmaps);
			});
			expect(vmxExit(guest)).toEqual({ reason: EXIT_REASON.rdmsr, qualification: 0n, length: 2 });
		}
		expect(vmxExit(running(ASM.wrmsr)).reason).toBe(EXIT_REASON.wrmsr);
	});
});

describe("control registers (SDM 26.1.3, table 28-3)", () => {
	const real = BigInt(CR0.PE | CR0.WP | CR0.NE | CR0.ET) | (1n << 31n);

	it("MOV to CR0 and CR4 exits exactly if it changes a masked bit against the shadow", () => {
		for (const [code, cr, mask, shadow] of [
			[ASM.movCr0Rax, 0, "CR0_GUEST_HOST_MASK", "CR0_READ_SHADOW"],
			[ASM.movCr4Rax, 4, "CR4_GUEST_HOST_MASK", "CR4_READ_SHADOW"],
		] as const) {
			const own = cr === 0 ? CR0.TS : CR4.DE;
			for (const [masked, shadowed, written] of [
				[0, 0, own],
				[own, 0, own],
				[own, own, own],
				[own, own, 0],
				[own, 0, 0],
			] as const) {
				const guest = running(code, ({ cpu, control }) => {
					const value = cr === 0 ? real : BigInt(CR4.PAE | CR4.VMXE | CR4.OSXSAVE | CR4.OSFXSR | CR4.PGE);
					control.set(mask, masked);
					control.set(shadow, (value & BigInt(~own >>> 0)) | BigInt(shadowed));
					cpu.setGpr(L.RAX, value | BigInt(written));
				});
				const exits = (masked & (shadowed ^ written)) !== 0;
				expect(vmxExit(guest)).toMatchObject(
					exits ? { reason: EXIT_REASON.crAccess, qualification: BigInt(cr) } : { reason: EXIT_REASON.hlt },
				);
				if (!exits) {
					const now = guest.control.get(cr === 0 ? "GUEST_CR0" : "GUEST_CR4") & BigInt(own);
					expect(now, "the host's bits stay").toBe(masked === 0 ? BigInt(written) : 0n);
				}
			}
		}
	});

	it("MOV from CR0 and CR4 reads the shadow where the mask is set (SDM 26.3)", () => {
		for (const [code, name] of [
			[ASM.movRaxCr0, "CR0"],
			[ASM.movRaxCr4, "CR4"],
		] as const) {
			const guest = running(code, ({ control }) => {
				control.set(`${name}_GUEST_HOST_MASK`, 0x2008);
				control.set(`${name}_READ_SHADOW`, 0xffff_ffffn & ~0x2000n);
			});
			vmxExit(guest);
			const wanted = (guest.control.get(`GUEST_${name}`) & ~0x2008n) | 8n;
			expect(guest.cpu.gpr(L.RAX)).toBe(wanted);
		}
	});

	it("CLTS exits if mask and shadow of TS are both set, LMSW by the bits it would change", () => {
		for (const [mask, shadow, exits] of [
			[0, 0, false],
			[8, 0, false],
			[8, 8, true],
			[0, 8, false],
		] as const) {
			const guest = running(ASM.clts, ({ control }) => {
				adjust(control, "GUEST_CR0", CR0.TS);
				control.set("CR0_GUEST_HOST_MASK", mask);
				control.set("CR0_READ_SHADOW", shadow);
			});
			const exit = vmxExit(guest);
			expect(exit.reason).toBe(exits ? EXIT_REASON.crAccess : EXIT_REASON.hlt);
			if (exits) expect(exit.qualification).toBe(0x20n);
			else expect(guest.control.get("GUEST_CR0") & 8n).toBe(mask === 8 ? 8n : 0n);
		}
		for (const [source, exits] of [
			[1, false],
			[0, false],
			[9, true],
		] as const) {
			const guest = running(ASM.lmswAx, ({ cpu, control }) => {
				cpu.setGpr(L.RAX, BigInt(source));
				control.set("CR0_GUEST_HOST_MASK", 9);
				control.set("CR0_READ_SHADOW", 1);
			});
			const exit = vmxExit(guest);
			expect(exit.reason).toBe(exits ? EXIT_REASON.crAccess : EXIT_REASON.hlt);
			if (exits) expect(exit.qualification).toBe(0x30n | (BigInt(source) << 16n));
		}
	});

	it("MOV to CR3 exits unless the value is one of the targets; from CR3 by its own control", () => {
		for (const [target, count, exits] of [
			[AT.pml4, 1, false],
			[AT.pml4, 0, true],
			[0x9000, 1, true],
		] as const) {
			const guest = running(ASM.movCr3Rax, ({ cpu, control }) => {
				cpu.setGpr(L.RAX, BigInt(AT.pml4));
				adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.cr3LoadExiting);
				control.set("CR3_TARGET_COUNT", count);
				control.set("CR3_TARGET_VALUE0", target);
			});
			expect(vmxExit(guest).reason).toBe(exits ? EXIT_REASON.crAccess : EXIT_REASON.hlt);
		}
		const read = running(ASM.movRaxCr3, ({ control }) =>
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.cr3StoreExiting),
		);
		expect(vmxExit(read).qualification).toBe(0x13n);
	});

	it("CR8 exits by its controls; with a TPR shadow it is VTPR, and a value above 15 is #GP(0)", () => {
		const load = running(ASM.movCr8Rax, ({ control }) =>
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.cr8LoadExiting),
		);
		expect(vmxExit(load).qualification).toBe(8n);
		const store = running(ASM.movRaxCr8, ({ control }) =>
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.cr8StoreExiting),
		);
		expect(vmxExit(store).qualification).toBe(0x18n);

		const shadow = running([...ASM.movCr8Rax, ...ASM.movRaxCr8], ({ cpu, control }) => {
			cpu.setGpr(L.RAX, 9n);
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow);
		});
		expect(vmxExit(shadow).reason).toBe(EXIT_REASON.hlt);
		const { cpu } = shadow;
		expect(cpu.memory.u8[cpu.memory.ramBase + HOST_AT.virtualApic + 0x80]).toBe(0x90);
		expect([cpu.gpr(L.RAX), cpu.read64(L.CR8)]).toEqual([9n, 0n]);

		const bad = running(ASM.movCr8Rax, (one) => {
			one.cpu.setGpr(L.RAX, 16n);
			adjust(one.control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow);
		});
		vmxExit(bad);
		expect(bad.control.get("GUEST_RIP")).toBe(BigInt(AT.handler + 13 * 16));
	});

	it("MOV to CR8 that puts VTPR below the threshold exits behind the instruction (SDM 30.1.2)", () => {
		const guest = running(ASM.movCr8Rax, ({ cpu, control }) => {
			adjust(control, "CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.tprShadow);
			cpu.memory.u8[cpu.memory.ramBase + HOST_AT.virtualApic + 0x80] = 0x90;
			control.set("TPR_THRESHOLD", 5);
			cpu.setGpr(L.RAX, 4n);
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.tprBelowThreshold);
		expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code + ASM.movCr8Rax.length));
		guest.control.set("TPR_THRESHOLD", 4);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
	});
});

describe("EPT (SDM 29.3.3, table 28-7)", () => {
	it("a violation gives access, rights, both addresses; the instruction is not executed and runs when the page is mapped", () => {
		for (const [code, access] of [
			[ASM.movRaxMemRbx, 1],
			[ASM.movMemRbxRax, 2],
		] as const) {
			const guest = running(code, ({ cpu }) => {
				cpu.setGpr(L.RBX, BigInt(AT.data + 8));
				cpu.setGpr(L.RAX, 0x77n);
				poke64(cpu, AT.data + 8, 0x55n);
				mapPage(cpu, AT.data >> 12, access === 1 ? 0n : BigInt(AT.data) | 0x31n);
			});
			const rights = access === 1 ? 0n : 8n;
			expect(vmxExit(guest)).toMatchObject({
				reason: EXIT_REASON.eptViolation,
				qualification: 0x180n | BigInt(access) | rights,
			});
			expect(guest.control.get("GUEST_PHYSICAL_ADDRESS")).toBe(BigInt(AT.data + 8));
			expect(guest.control.get("GUEST_LINEAR_ADDRESS")).toBe(BigInt(AT.data + 8));
			expect(guest.control.get("GUEST_RIP")).toBe(BigInt(AT.code));
			mapPage(guest.cpu, AT.data >> 12, BigInt(AT.data) | 0x37n);
			expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
			expect(guest.cpu.gpr(L.RAX)).toBe(access === 1 ? 0x55n : 0x77n);
		}
	});

	it("fetches, and accesses to the guest's own tables, are told from data", () => {
		const fetch = running([], ({ cpu }) => mapPage(cpu, AT.code >> 12, BigInt(AT.code) | 0x33n));
		expect(vmxExit(fetch)).toMatchObject({
			reason: EXIT_REASON.eptViolation,
			qualification: 0x180n | 4n | 0x18n,
		});
		const walk = running([], ({ cpu }) => mapPage(cpu, AT.pdpt >> 12, 0n));
		expect(vmxExit(walk)).toMatchObject({ reason: EXIT_REASON.eptViolation, qualification: 0x81n });
		expect(walk.control.get("GUEST_PHYSICAL_ADDRESS")).toBe(BigInt(AT.pdpt));
	});

	it("a misconfiguration has its own reason and no qualification (SDM 29.3.3.1)", () => {
		const entries = [
			BigInt(AT.data) | 0x32n,
			BigInt(AT.data) | 0x36n,
			BigInt(AT.data) | 0x17n,
			BigInt(AT.data) | 0x3fn,
		];
		for (const entry of entries) {
			const guest = running(ASM.movRaxMemRbx, ({ cpu }) => {
				cpu.setGpr(L.RBX, BigInt(AT.data));
				mapPage(cpu, AT.data >> 12, entry);
			});
			expect(vmxExit(guest), entry.toString(16)).toMatchObject({
				reason: EXIT_REASON.eptMisconfiguration,
				qualification: 0n,
			});
			expect(guest.control.get("GUEST_PHYSICAL_ADDRESS")).toBe(BigInt(AT.data));
		}
	});

	it("with EPTP bit 6, accessed and dirty flags are kept, and table walks count as writes (SDM 29.3.5)", () => {
		const leaf = (guest: Guest<Vmcs>, page: number) => {
			const { view, ramBase } = guest.cpu.memory;
			return view.getUint32(ramBase + HOST_AT.root + 3 * 4096 + page * 8, true) & 0x300;
		};
		const guest = running([...ASM.movRaxMemRbx], ({ cpu, control }) => {
			control.set("EPT_POINTER", HOST_AT.root | 0x5e);
			cpu.setGpr(L.RBX, BigInt(AT.data));
		});
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.hlt);
		expect(leaf(guest, AT.data >> 12)).toBe(0x100);
		expect(leaf(guest, AT.table >> 12)).toBe(0x300);
		expect(leaf(guest, (AT.data >> 12) + 1)).toBe(0);
		const readOnly = running([], ({ cpu, control }) => {
			control.set("EPT_POINTER", HOST_AT.root | 0x5e);
			mapPage(cpu, AT.pdpt >> 12, BigInt(AT.pdpt) | 0x35n);
		});
		expect(vmxExit(readOnly).qualification).toBe(0x83n | 0x28n);
	});
});

describe("what VM entry and exit leave alone (SDM 27.3.2, 28.5)", () => {
	it("XCR0, IA32_XSS, PKRU and IA32_XFD: the guest sees the host's values and leaves its own behind", () => {
		const physical = [L.XCR0, L.XSS, L.PKRU, L.XFD] as const;
		const guest = running([...ASM.xgetbv, ...ASM.cpuid], ({ cpu }) => {
			cpu.setGpr(L.RCX, 0n);
			cpu.writeNumber(L.XCR0, 7);
			cpu.writeNumber(L.XSS, XFEATURE.cetUser);
			cpu.write32(L.PKRU, 0x55555554);
			cpu.writeNumber(L.XFD, XFEATURE.xtiledata);
		});
		const before = physical.map((offset) => guest.cpu.read64(offset));
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.cpuid);
		expect(guest.cpu.gpr(L.RAX)).toBe(7n);
		expect(physical.map((offset) => guest.cpu.read64(offset))).toEqual(before);
		guest.cpu.writeNumber(L.XCR0, 3);
		guest.control.set("GUEST_RIP", AT.code);
		enterVmx(guest);
		expect(guest.cpu.gpr(L.RAX)).toBe(3n);
		expect(guest.cpu.xcr0).toBe(3);
	});

	it("exits restore what the host-state area says and save what the guest had, RFLAGS and segments included", () => {
		const guest = running([...ASM.sti, ...ASM.nop, ...ASM.cpuid], ({ control }) =>
			control.set("GUEST_RFLAGS", 0x893),
		);
		expect(vmxExit(guest).reason).toBe(EXIT_REASON.cpuid);
		const { cpu, control } = guest;
		expect(control.get("GUEST_RFLAGS")).toBe(BigInt(0x893 | FLAG.IF));
		expect(control.get("GUEST_CS_SELECTOR")).toBe(8n);
		expect(cpu.read32(L.RFLAGS)).toBe(2);
		expect([cpu.read64(L.CR3), cpu.read32(L.SEG + L.CS * L.SEG_BYTES + L.SEG_SELECTOR)]).toEqual([
			0x5000n,
			0x10,
		]);
		expect(cpu.read32(L.DR7)).toBe(0x400);
	});

	it("the guest's TSC is the host's plus the offset, if offsetting is on", () => {
		for (const on of [true, false]) {
			const guest = running(ASM.rdtsc, ({ cpu, control }) => {
				cpu.cycles = 1e6;
				control.set("TSC_OFFSET", -999_000n);
				adjust(control, "CPU_BASED_VM_EXEC_CONTROL", on ? CPU_BASED.useTscOffsetting : 0);
			});
			vmxExit(guest);
			const tsc = Number(guest.cpu.gpr(L.RAX));
			if (on) expect(tsc).toBeLessThan(100_000);
			else expect(tsc).toBeGreaterThan(1e6);
		}
	});
});

describe("a triple fault", () => {
	it("exits with reason 2 and no vectoring information (SDM 28.2.4)", () => {
		const guest = running(ASM.ud2, ({ control }) => control.set("GUEST_IDTR_LIMIT", 0));
		expect(vmxExit(guest)).toEqual({ reason: EXIT_REASON.tripleFault, qualification: 0n, length: 0 });
		expect(field(guest.control, "IDT_VECTORING_INFO_FIELD")).toBe(0);
	});
});
