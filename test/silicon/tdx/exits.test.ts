/**
 * What the TDX module does with a TD's instructions (TDX Module Base Architecture, "TD non-root mode instructions
 * and features"; TDX Module ABI, TDG.*). Figures that the specification leaves open: intel/tdx-module, td_dispatcher.
 */
import { describe, expect, it } from "vitest";
import { XFEATURE } from "../../../src/silicon/cpu/control.ts";
import { tdExtendedState } from "../../../src/silicon/tdx/td-state.ts";
import {
	ALL_GPRS,
	copy,
	CPUID,
	EXCEPTION,
	edxEaxEcx,
	JMP_SELF,
	mov,
	R,
	RDMSR,
	TD_AT,
	type TdCode,
	tdg,
	vmcall,
	WRMSR,
	XGETBV,
	XSETBV,
} from "./td-code.ts";
import { enterTd, FULL_XFAM, makeTd, SMALL_XFAM, type TestTd } from "./td-machine.ts";

const VE = 20n;
const GP = 13n;
const UD = 6n;
const DF = 8n;
const TDCALL_EXIT = 77;

/** Runs a program that ends in an exception: its vector, and the two topmost words of the stack. */
function exceptionOf(code: TdCode, xfam = SMALL_XFAM): { vector: bigint; top: bigint; next: bigint } {
	const made = makeTd(code, xfam);
	expect(enterTd(made)).toBe(TDCALL_EXIT);
	const { regs } = made;
	expect(regs[12]).toBe(EXCEPTION);
	return { vector: regs[15]!, top: regs[13]!, next: regs[14]! };
}

/** #VE handler: TDG.VP.VEINFO.GET, then once more. */
const veHandler = [
	...tdg(3),
	...copy(R.rbx, R.rcx),
	...copy(12, R.rax),
	...vmcall((1 << R.rbx) | (1 << R.rdx) | 0x700 | (1 << 12)),
	...tdg(3),
	...copy(12, R.rax),
	...vmcall(1 << 12),
];

function veInfoOf(program: readonly number[]): {
	made: TestTd;
	reason: bigint;
	qualification: bigint;
	length: bigint;
} {
	const made = makeTd({ program, handlers: { 20: veHandler } });
	expect(enterTd(made)).toBe(TDCALL_EXIT);
	const { regs } = made;
	expect(regs[12]).toBe(0n);
	return { made, reason: regs[R.rbx]!, qualification: regs[R.rdx]!, length: regs[10]! };
}

// biome-ignore format: a table
const VE_INSTRUCTIONS: readonly (readonly [string, number, readonly number[], number, bigint])[] = [
	["HLT",                    12, [0xf4],             1, 0n],
	["INVD",                   13, [0x0f, 0x08],       2, 0n],
	["WBINVD",                 54, [0x0f, 0x09],       2, 0n],
	["VMCALL",                 18, [0x0f, 0x01, 0xc1], 3, 0n],
	["MONITOR",                39, [0x0f, 0x01, 0xc8], 3, 0n],
	["MWAIT",                  36, [0x0f, 0x01, 0xc9], 3, 0n],
	["IN AL, 60H",             30, [0xe4, 0x60],       2, 0x60_0048n],
	["OUT 80H, EAX",           30, [0xe7, 0x80],       2, 0x80_0043n],
];

describe("#VE", () => {
	it.each(VE_INSTRUCTIONS)(
		"%s: the TD finds out what it was by TDG.VP.VEINFO.GET",
		(_name, reason, code, length, qualification) => {
			const info = veInfoOf(code);
			expect(info).toMatchObject({ reason: BigInt(reason), length: BigInt(length), qualification });
		},
	);

	it("is a fault: RIP is the instruction's", () => {
		expect(exceptionOf({ program: [0x90, 0xf4] })).toMatchObject({
			vector: VE,
			top: BigInt(TD_AT.program + 1),
		});
	});

	it("has its information once", () => {
		const { made } = veInfoOf([0xf4]);
		enterTd(made);
		expect(made.regs[12]! >> 32n).toBe(0xc000_0704n);
	});

	it("before the information of the one before it was fetched is a #DF", () => {
		expect(exceptionOf({ program: [0xf4], handlers: { 20: [0xf4] } })).toMatchObject({ vector: DF, top: 0n });
	});

	it("comes again once it was fetched", () => {
		const handler = [...tdg(3), 0xf4];
		const made = makeTd({ program: [0xf4], handlers: { 20: [...handler, ...JMP_SELF] } });
		// The handler's own HLT gives the second #VE, the second handler's a third: the stack runs out, not #DF.
		const { cpu } = made;
		const depth = () => Number(BigInt(TD_AT.stackTop) - made.vcpu.vmcs.get("GUEST_RSP"));
		cpu.deadline = 2000;
		cpu.onDeadline = (one) => {
			one.deadline = Number.POSITIVE_INFINITY;
			one.pending |= 2;
		};
		expect(enterTd(made)).toBe(0);
		expect(depth()).toBeGreaterThan(80);
	});

	it.each([
		["RDMSR of IA32_APIC_BASE", 31, [...mov(R.rcx, 0x1b), ...RDMSR]],
		["RDMSR of an MSR outside both halves of the bitmap", 31, [...mov(R.rcx, 0x4000_0000), ...RDMSR]],
		["WRMSR of IA32_TSC_DEADLINE", 32, [...edxEaxEcx(1n, 0x6e0), ...WRMSR]],
		["WRMSR of IA32_TIME_STAMP_COUNTER", 32, [...edxEaxEcx(1n, 0x10), ...WRMSR]],
		["WRMSR that clears EFER.NXE", 32, [...edxEaxEcx(0x501n, 0xc000_0080), ...WRMSR]],
		["MOV to CR4 that clears MCE", 28, [0x0f, 0x20, 0xe0, 0x48, 0x83, 0xe0, 0xbf, 0x0f, 0x22, 0xe0]],
		["MOV to CR0 that sets CD", 28, [0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x40, 0x0f, 0x22, 0xc0]],
	])("%s", (_name, reason, program) => {
		expect(veInfoOf(program).reason).toBe(BigInt(reason));
	});
});

describe("CPUID", () => {
	const run = (leaf: number, subleaf = 0, options: Partial<TdCode> = {}, xfam = SMALL_XFAM) => {
		const program = [
			...mov(R.rax, leaf),
			...mov(R.rcx, subleaf),
			...CPUID,
			...copy(R.rsi, R.rax),
			...copy(R.rdi, R.rcx),
			...vmcall((1 << R.rsi) | (1 << R.rbx) | (1 << R.rdi) | (1 << R.rdx)),
		];
		const made = makeTd({ ...options, program }, xfam);
		expect(enterTd(made)).toBe(TDCALL_EXIT);
		const { regs } = made;
		const [eax, ebx, ecx, edx] = [R.rsi, R.rbx, R.rdi, R.rdx].map((at) => Number(regs[at]!));
		return { eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! };
	};
	const text = (...words: number[]) => new TextDecoder().decode(Uint32Array.from(words));

	it("leaf 21H names the module, and leaf 0 says that there is one", () => {
		expect(run(0).eax).toBe(0x21);
		const { eax, ebx, ecx, edx } = run(0x21);
		expect([eax, text(ebx, edx, ecx)]).toEqual([0, "IntelTDX    "]);
		expect(run(0x21, 1)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
	});

	it.each([0x22, 0x3fff_ffff, 0x5000_0000, 0x8000_0009])(
		"leaf %i is beyond its range: as the last basic one",
		(leaf) => {
			const { ebx, ecx, edx } = run(leaf);
			expect(text(ebx, edx, ecx)).toBe("IntelTDX    ");
		},
	);

	it.each([0x4000_0000, 0x4fff_ffff, 2, 6, 0xb, 0x16, 0x8000_0002])("leaf %i is the VMM's: #VE", (leaf) => {
		const info = veInfoOf([...mov(R.rax, leaf), ...CPUID]);
		expect(info).toMatchObject({ reason: 10n, length: 2n });
	});

	it("leaf 1 shows a hypervisor, no VMX, and the TD's own CR4.OSXSAVE, not the module's", () => {
		const bits = ({ ecx }: { ecx: number }) => [(ecx >>> 5) & 1, (ecx >>> 27) & 1, ecx >>> 31];
		expect(bits(run(1))).toEqual([0, 1, 1]);
		expect(bits(run(1, 0, { cr4: 0 }))).toEqual([0, 0, 1]);
	});

	it("leaf 7 shows the TD's own CR4.PKE", () => {
		const ospke = ({ ecx }: { ecx: number }) => (ecx >>> 4) & 1;
		expect([ospke(run(7)), ospke(run(7, 0, { cr4: 1 << 18 }))]).toEqual([1, 0]);
	});

	it("leaf 0DH offers XFAM's components and no others", () => {
		expect(run(0xd).eax).toBe(SMALL_XFAM & ~0x1000);
		expect(run(0xd, 1).ecx).toBe(0);
		expect(run(0xd, 18)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
		expect(run(0xd, 0, {}, FULL_XFAM).eax).toBe(0x602e7);
		expect(run(0xd, 1, {}, FULL_XFAM).ecx).toBe(XFEATURE.cetUser | XFEATURE.cetSupervisor);
		expect(run(0xd, 18, {}, FULL_XFAM).eax).toBe(8192);
	});
});

describe("XCR0 and IA32_XSS", () => {
	it("XSETBV takes effect within XFAM, and XGETBV reads it", () => {
		const made = makeTd({
			program: [
				...edxEaxEcx(7n, 0),
				...XSETBV,
				...mov(R.rcx, 0),
				...XGETBV,
				...copy(R.rbx, R.rax),
				...vmcall(1 << R.rbx),
			],
		});
		enterTd(made);
		expect(made.regs[R.rbx]).toBe(7n);
		expect(tdExtendedState(made.vcpu).xcr0).toBe(7);
	});

	it.each([
		["a component outside XFAM that the processor has (AMX)", 0x60007n, 0],
		["without x87", 2n, 0],
		["AVX without SSE", 5n, 0],
		["an upper half", 1n << 32n, 0],
		["a register other than XCR0", 1n, 1],
	])("XSETBV: %s is #GP(0)", (_what, value, index) => {
		expect(exceptionOf({ program: [...edxEaxEcx(value, index), ...XSETBV] })).toMatchObject({
			vector: GP,
			top: 0n,
		});
	});

	it("XSETBV without CR4.OSXSAVE is #UD, whatever the module runs with", () => {
		expect(exceptionOf({ program: [...edxEaxEcx(1n, 0), ...XSETBV], cr4: 0 }).vector).toBe(UD);
	});

	it("WRMSR of IA32_XSS takes effect within XFAM, and RDMSR reads it", () => {
		const program = [
			...edxEaxEcx(0x1800n, 0xda0),
			...WRMSR,
			...RDMSR,
			...copy(R.rbx, R.rax),
			...vmcall(1 << R.rbx),
		];
		const made = makeTd({ program }, FULL_XFAM);
		enterTd(made);
		expect(made.regs[R.rbx]).toBe(0x1800n);
		expect(tdExtendedState(made.vcpu).xss).toBe(0x1800);
	});

	it.each([
		["a component outside XFAM that the processor has (CET)", 0x1800n],
		["a user component", 4n],
		["an upper half", 1n << 32n],
	])("WRMSR of IA32_XSS: %s is #GP(0)", (_what, value) => {
		expect(exceptionOf({ program: [...edxEaxEcx(value, 0xda0), ...WRMSR] })).toMatchObject({
			vector: GP,
			top: 0n,
		});
	});
});

describe("MSRs of the TD's own", () => {
	it.each([
		["IA32_SPEC_CTRL", 0x48, 1n],
		["IA32_SYSENTER_EIP", 0x176, 0xffff_8000_0000_1234n],
		["IA32_PAT", 0x277, 0x0606_0606_0606_0606n],
		["IA32_STAR", 0xc000_0081, 0x1234_5678_0000_0000n],
		["IA32_LSTAR", 0xc000_0082, 0xffff_8000_0000_4321n],
		["IA32_FMASK", 0xc000_0084, 0x700n],
		["IA32_KERNEL_GS_BASE", 0xc000_0102, 0xffff_8000_0000_9999n],
		["IA32_TSC_AUX", 0xc000_0103, 77n],
		["EFER, of which SCE can change", 0xc000_0080, 0xd00n],
	])("%s is there to be written and read without the VMM, also behind a TD exit", (_name, index, value) => {
		const program = [
			...edxEaxEcx(value, index),
			...WRMSR,
			...vmcall(0),
			...mov(R.rcx, index),
			...RDMSR,
			...copy(R.rbx, R.rax),
			...vmcall((1 << R.rbx) | (1 << R.rdx)),
		];
		const made = makeTd({ program });
		expect([enterTd(made), made.regs[12]]).toEqual([TDCALL_EXIT, 0n]);
		expect([enterTd(made), made.regs[12]]).toEqual([TDCALL_EXIT, 0n]);
		expect((made.regs[R.rdx]! << 32n) | made.regs[R.rbx]!).toBe(value);
	});

	it("IA32_XFD belongs to AMX: #GP without it in XFAM", () => {
		const program = [...edxEaxEcx(1n << 18n, 0x1c4), ...WRMSR];
		expect(exceptionOf({ program }).vector).toBe(GP);
		const made = makeTd({ program: [...program, ...vmcall(0)] }, FULL_XFAM);
		expect([enterTd(made), made.regs[12]]).toEqual([TDCALL_EXIT, 0n]);
		expect(made.cpu.xfd).toBe(0);
	});
});

describe("instructions that a TD does not have", () => {
	it.each([
		["VMLAUNCH", [0x0f, 0x01, 0xc2], UD],
		["VMFUNC", [0x0f, 0x01, 0xd4], UD],
		["RSM", [0x0f, 0xaa], UD],
		["RDPMC", [0x0f, 0x33], GP],
	])("%s", (_name, program, vector) => {
		expect(exceptionOf({ program }).vector).toBe(vector);
	});

	it("MOV to CR4 that sets VMXE is #GP", () => {
		const program = [0x0f, 0x20, 0xe0, 0x0d, 0, 0x20, 0, 0, 0x0f, 0x22, 0xe0];
		expect(exceptionOf({ program })).toMatchObject({ vector: GP, top: 0n });
	});

	it("TDCALL outside 64-bit mode is #GP, which is a triple fault for want of an IDT", () => {
		const made = makeTd({ program: [], start32: [0x66, 0x0f, 0x01, 0xcc] });
		expect(enterTd(made)).toBe(2);
	});
});

describe("TDG.VP.INFO", () => {
	it("gives GPAW, attributes, the number of vCPUs and this one's index", () => {
		const made = makeTd({
			program: [...tdg(1), ...copy(R.rbx, R.rcx), ...copy(12, R.rax), ...vmcall(ALL_GPRS)],
		});
		enterTd(made);
		const { regs } = made;
		expect([regs[12], regs[R.rbx], regs[R.rdx], regs[8], regs[9]]).toEqual([0n, 48n, 0n, 0x1_0000_0001n, 0n]);
	});
});

describe("TDG.VP.VMCALL", () => {
	it.each([
		["RAX", 1n],
		["RCX", 2n],
		["RSP", 0x10n],
		["RBP, which stays the VMM's (CONFIG_FLAGS.NO_RBP_MOD)", 0x20n],
		["anything above XMM15", 1n << 32n],
	])("cannot expose %s: TDX_OPERAND_INVALID for RCX, and no exit", (_what, mask) => {
		const made = makeTd({
			program: [...mov(R.rcx, mask), ...tdg(0), ...copy(R.rbx, R.rax), ...vmcall(1 << R.rbx)],
		});
		enterTd(made);
		expect(made.regs[R.rbx]).toBe(0xc000_0100_0000_0001n);
	});

	it.each([0x3ff, 0x1_0000, 0x100_0000])("leaf %i does not exist: TDX_OPERAND_INVALID for RAX", (leaf) => {
		const made = makeTd({ program: [...tdg(leaf), ...copy(R.rbx, R.rax), ...vmcall(1 << R.rbx)] });
		enterTd(made);
		expect(made.regs[R.rbx]).toBe(0xc000_0100_0000_0000n);
	});

	it("goes on behind the TDCALL with RAX 0 and RCX as it was, whatever the VMM has there", () => {
		const program = [
			...mov(R.rbx, 5),
			...vmcall(1 << R.rbx),
			...copy(R.rsi, R.rax),
			...copy(R.rdi, R.rcx),
			...vmcall((1 << R.rsi) | (1 << R.rdi)),
		];
		const made = makeTd({ program });
		enterTd(made);
		expect(made.vcpu.vmcs.get("GUEST_RIP")).toBe(BigInt(TD_AT.program + mov(0, 0).length + vmcall(0).length));
		made.regs.fill(0x9999n);
		enterTd(made);
		expect([made.regs[R.rsi], made.regs[R.rdi]]).toEqual([0n, BigInt(1 << R.rbx)]);
		expect(made.regs[R.rcx]).toBe(BigInt((1 << R.rsi) | (1 << R.rdi)));
	});
});
