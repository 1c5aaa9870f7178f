/**
 * The guests of the check: lists of exits. A guest is machine code; the check carries it out one instruction at a time
 * with the processor's own handlers (executor.ts), which needs no translation, and the same bytes run as any guest does
 * (a test compares the two). What is in it depends on the vendor and the configuration.
 */
import { exitReasonName as svmExitName } from "../../kvm/svm/exit-names.ts";
import { exitReasonName as vmxExitName } from "../../kvm/vmx/exit-names.ts";
import { EXIT_CODE } from "../../silicon/svm/exit-codes.ts";
import { EXIT_REASON } from "../../silicon/vmx/controls.ts";
import type { Image } from "../../guests/image.ts";
import { image as tdStart } from "../../guests/images/td-script.ts";
import { loadImage } from "../../guests/load.ts";
import * as L from "../../silicon/cpu/layout.ts";
import { SHARED_BIT } from "../../silicon/tdx/td.ts";
import { MSR } from "../../silicon/cpu/msr.ts";
import type { GuestParameters } from "../../guests/boot.ts";
import type { CpuModel, Vendor } from "../../silicon/models/model.ts";
import { type Configuration, guestParameters } from "../configuration.ts";
import {
	LOW_VECTOR,
	debugHandler,
	exchangeWithDevice,
	outsFromNowhere,
	pageFaultHandler,
	raisedPriority,
	sleepUnderPriority,
	steppedCpuid,
} from "./rare-stages.ts";
import {
	I,
	type Line,
	assemble,
	copy,
	fromDr,
	inb,
	outb,
	pop,
	push,
	rdmsr,
	set,
	store32,
	wrmsr,
	wrpkru,
	writeCr,
	writeDr,
	xrstor,
	xsetbv,
} from "./assemble.ts";

/** A guest of the check. */
export interface Script {
	readonly image: Image;
	/** Where its code lies, in guest linear addresses, and the code. */
	readonly base: number;
	readonly code: Uint8Array;
	/** Stacks of the vCPUs, if they take interrupts: guest physical addresses; the check saves them with the machine. */
	readonly stacks: readonly { readonly firstGpa: number; readonly endGpa: number }[];
	/** Where the second vCPU begins, if there is one. */
	readonly secondEntry: number;
	/** What it ends with when it has read what it should. */
	readonly exitCode: number;
	/** Exits, by the vendor's names, that a run without events has. One that does not occur makes the check vacuous. */
	readonly exits: readonly string[];
}

/** The name of these guests in reports and tokens. */
export const SCRIPT_GUEST = "script";
/** The clock of a check stands still here. */
export const SCRIPT_NOW_CYCLES = 1 << 20;
/** Vector of the guest's local APIC timer. */
export const SCRIPT_TIMER_VECTOR = 0x40;

const CODE_GPA = 0x10_0000;
const HANDLER_BYTES = 64;
/** One page with the IDT, behind it the operand of LIDT, the handlers, and operands of XRSTOR. */
const IDT_GPA = 0x10_2000;
const IDTR_GPA = 0x10_3000;
const HANDLERS_GPA = 0x10_4000;
const TILES_GPA = 0x10_5000;
const PKRU_GPA = 0x10_8000;
const SSE_GPA = 0x10_c000;
const SECOND_GPA = 0x10_b000;
const END_GPA = 0x10_d000;
const STACK_END = 0x9_0000;
const SECOND_STACK_END = 0x8_f000;
const STACK_BYTES = 256;
/**
 * A TD's last two pages: code and stack in the first, in the second the IDT, its LIDT operand and handlers; what follows is its
 * start's.
 */
const TD_CODE = 0xffff_e000;
const TD_STACK_END = 0xffff_f000;
const TD_IDT = 0xffff_f000;
const TD_IDT_BYTES = 0x540;
const TD_IDTR = 0xffff_f600;
const TD_HANDLERS = 0xffff_f800;

/** Ports: nobody's, and the one that ends a run. */
const PORT_UNCLAIMED = 0x1234;
const PORT_EXIT = 0xf4;
/** Guest physical address that no memory slot holds, in the page tables' reach. */
const MMIO_GPA = 0xfee0_8000;

const IPI_VECTOR = 0x41;
/** Of an interrupt that a device, or another CPU, has for the guest: of a higher class than all others. */
export const SCRIPT_DEVICE_VECTOR = 0x53;
/** Of interrupts that the two vCPUs send each other. */
const PEER_VECTOR = 0x42;
const LVTT_TSC_DEADLINE = 2 << 17;
const X2APIC = { tpr: 0x808, eoi: 0x80b, spiv: 0x80f, icr: 0x830, lvtt: 0x832 } as const;
const SPIV_ENABLED = 0x1ff;
/**
 * A deadline that does not come by itself, near enough for VMX's preemption timer, which counts 2^37 cycles; and one so near that
 * it starts at 0.
 */
const DEADLINE_FAR = 1n << 36n;
const DEADLINE_NEAR = SCRIPT_NOW_CYCLES + 8;

const CR4 = { base: 0x220, osxsave: 1 << 18, pke: 1 << 22 } as const;
const XFEATURE = { sse: 1 << 1, pkru: 1 << 9, xtiledata: 1 << 18 } as const;
/** XCR0 with x87 and SSE alone: what the guest changes to on the way. */
const XCR0_SSE = 3;
/** PKRU that the guest changes to on the way, without an exit, and back: all keys but 0 and 2 denied. */
const LATER_PKRU = 0x5555_5544;
/** STIBP and SSBD; bus lock detection on Intel, branch single steps on AMD: what the guest's CPUID offers. */
const SPEC_CTRL = 6;
const DEBUGCTL = { vmx: 4, svm: 2 } as const;
/** EFER of 64-bit mode, and SYSCALL on: user space has handed it over without that. */
const EFER_WITH_SCE = 0xd01;
/** DR6 with breakpoint 0 hit. */
const DR6_HIT = 0xffff_0ff1;

const eoiHandler = (): Line[] => [
	push(L.RAX),
	push(L.RCX),
	push(L.RDX),
	...wrmsr(X2APIC.eoi, 0),
	pop(L.RDX),
	pop(L.RCX),
	pop(L.RAX),
	I.iretq,
];

/** #NM: what an operating system does that gives AMX to who uses it. */
const deviceNotAvailable = (): Line[] => [
	push(L.RAX),
	push(L.RCX),
	push(L.RDX),
	...rdmsr(MSR.IA32_XFD_ERR),
	...wrmsr(MSR.IA32_XFD_ERR, 0),
	...wrmsr(MSR.IA32_XFD, 0),
	pop(L.RDX),
	pop(L.RCX),
	pop(L.RAX),
	I.iretq,
];

type Handlers = readonly (readonly [vector: number, lines: () => Line[]])[];

/** Vectors and their handlers. */
const HANDLERS: Handlers = [
	[2, () => [I.iretq]],
	[1, debugHandler],
	[7, deviceNotAvailable],
	[14, () => pageFaultHandler(CODE_GPA)],
	[18, () => [I.iretq]],
	[LOW_VECTOR, eoiHandler],
	[SCRIPT_TIMER_VECTOR, eoiHandler],
	[IPI_VECTOR, eoiHandler],
	[PEER_VECTOR, eoiHandler],
	[SCRIPT_DEVICE_VECTOR, eoiHandler],
];
/** A TD's. */
const TD_HANDLERS_OF: Handlers = [
	[SCRIPT_TIMER_VECTOR, eoiHandler],
	[SCRIPT_DEVICE_VECTOR, eoiHandler],
];

/**
 * 64-bit interrupt gates into the flat code segment (SDM Vol. 3A, figure 7-8).
 * @param first address of the first handler
 */
function idt(handlers: Handlers, first: number, bytes = 4096): Uint8Array {
	const table = new BigUint64Array(bytes / 8);
	for (const [index, [vector]] of handlers.entries()) {
		const at = BigInt(first + index * HANDLER_BYTES);
		table[vector * 2] = (at & 0xffffn) | (8n << 16n) | (0x8e00n << 32n) | (((at >> 16n) & 0xffffn) << 48n);
		table[vector * 2 + 1] = at >> 32n;
	}
	return new Uint8Array(table.buffer);
}

function handlerCode(handlers: Handlers): Uint8Array {
	const bytes = new Uint8Array(handlers.length * HANDLER_BYTES);
	for (const [index, [, lines]] of handlers.entries()) bytes.set(assemble(lines()), index * HANDLER_BYTES);
	return bytes;
}

/** The operand of LIDT: limit and base. */
function idtr(base: number, limit = 0xfff): Uint8Array {
	const bytes = new Uint8Array(10);
	new DataView(bytes.buffer).setUint16(0, limit, true);
	new DataView(bytes.buffer).setUint32(2, base, true);
	return bytes;
}

/** An XSAVE area in the standard format with one component. */
function xsaveArea(component: number, offset: number, value: number): Uint8Array {
	const words = new Uint32Array(11_008 / 4);
	words[128] = component;
	words[offset >> 2] = value;
	return new Uint8Array(words.buffer);
}

/** An operand in whose middle there are no instructions: who skips too much takes a #UD there. */
const NO_WAY_IN = 0x0606_0606;
/** What a port reads that nobody has. */
const NOBODY_ANSWERS = 0xff;
/** What the guest keeps in XMM0, and where an XSAVE area has it. */
const OWN_XMM0 = 0x0b5e_55ed;
const XMM0_OFFSET = 160;
/** What the guest keeps in CR2. */
const OWN_CR2 = 0x5000;

/** Features and registers that the configuration asks for. */
function setup(parameters: GuestParameters, vendor: Vendor): Line[] {
	const { osxsave, xcr0, xss, pke, pkru, msrs, debugRegisters, xrstorPkru, xfd } = parameters;
	const lines: Line[] = [];
	const cr4 = CR4.base | (osxsave === true ? CR4.osxsave : 0) | (pke === true ? CR4.pke : 0);
	if (cr4 !== CR4.base) lines.push(...writeCr(4, cr4));
	if (pke === true) lines.push(...wrpkru(pkru!));
	if (osxsave === true) lines.push(...xsetbv(xcr0!), ...xrstor(SSE_GPA, XFEATURE.sse));
	if (xss !== 0) lines.push(...wrmsr(MSR.IA32_XSS, xss!));
	if (xrstorPkru === true) lines.push(...xrstor(PKRU_GPA, XFEATURE.pkru));
	if (xfd === true) {
		lines.push(...xrstor(TILES_GPA, XFEATURE.xtiledata), ...wrmsr(MSR.IA32_XFD, XFEATURE.xtiledata));
	}
	if (debugRegisters === true) lines.push(...writeDr(0, 0x7000), ...writeDr(7, 0x401));
	if (msrs === true) {
		lines.push(
			...wrmsr(MSR.IA32_EFER, EFER_WITH_SCE),
			...wrmsr(MSR.IA32_SPEC_CTRL, SPEC_CTRL),
			...wrmsr(MSR.IA32_DEBUGCTL, vendor === "svm" ? DEBUGCTL.svm : DEBUGCTL.vmx),
			...wrmsr(MSR.IA32_STAR, 0x0013_0008_0000_0000n),
			...wrmsr(MSR.IA32_KERNEL_GS_BASE, 0x12_3000),
			...wrmsr(MSR.IA32_TSC_AUX, 0x77),
		);
	}
	if (pke === true) lines.push(...wrpkru(LATER_PKRU));
	lines.push(...writeCr(2, OWN_CR2), set(L.RAX, IDTR_GPA), I.lidt);
	return lines;
}

/** An interrupt for the vCPU of this APIC id, by x2APIC's ICR. */
const interruptPeer = (apicId: number): Line[] =>
	wrmsr(X2APIC.icr, (BigInt(apicId) << 32n) | BigInt(PEER_VECTOR));

/** The second vCPU: it exits to KVM, interrupts the first, and waits for what the first one sends. */
function secondBody(): Line[] {
	return [set(L.RAX, IDTR_GPA), I.lidt, I.sti, I.cpuid, ...interruptPeer(0), I.hlt, I.hlt, I.cli, I.hlt];
}

/** What exits, and as which of KVM's exits it is counted on the vendor. */
// biome-ignore format: a table reads by columns
const EXITS = {
	invd:  { vmx: vmxExitName(EXIT_REASON.invd),            svm: svmExitName(EXIT_CODE.invd) },
	wrmsr: { vmx: vmxExitName(EXIT_REASON.wrmsr),           svm: svmExitName(EXIT_CODE.msr) },
	timer: { vmx: vmxExitName(EXIT_REASON.preemptionTimer), svm: svmExitName(EXIT_CODE.msr) },
	cpuid: { vmx: vmxExitName(EXIT_REASON.cpuid),           svm: svmExitName(EXIT_CODE.cpuid) },
	io:    { vmx: vmxExitName(EXIT_REASON.ioInstruction),   svm: svmExitName(EXIT_CODE.ioio) },
	mmio:  { vmx: vmxExitName(EXIT_REASON.eptViolation),    svm: svmExitName(EXIT_CODE.npf) },
	rdmsr: { vmx: vmxExitName(EXIT_REASON.rdmsr),           svm: svmExitName(EXIT_CODE.msr) },
	hlt:   { vmx: vmxExitName(EXIT_REASON.hlt),             svm: svmExitName(EXIT_CODE.hlt) },
} as const satisfies Readonly<Record<string, { readonly vmx: string; readonly svm: string }>>;

/** What few guests do, in front of the rest. */
function rareStages(vendor: "vmx" | "svm"): Stage[] {
	const names = (...exits: (keyof typeof EXITS)[]) => exits.map((exit) => EXITS[exit][vendor]);
	return [
		[exchangeWithDevice(MMIO_GPA), ...names("mmio")],
		[outsFromNowhere(PORT_UNCLAIMED), ...names("io")],
		[steppedCpuid(), ...names("cpuid")],
		[raisedPriority(X2APIC.icr, X2APIC.tpr), ...names("wrmsr", "invd")],
		[sleepUnderPriority(X2APIC.icr), ...names("wrmsr", "hlt")],
	];
}

/** Instructions, of which at least the last one exits, and what they exit as. */
type Stage = readonly [lines: readonly Line[], ...exits: string[]];

/** What a guest does between its start and its end, cut where the configuration says. */
function cut(stages: readonly Stage[], { exits }: Configuration): readonly Stage[] {
	return exits === "all" ? stages : stages.slice(0, Number(exits));
}

/** Exits of all kinds: those that the fastpath handles, those that KVM handles, and those for user space. */
function body(
	{ osxsave, xfd, debugRegisters, pke, pkru }: GuestParameters,
	vendor: "vmx" | "svm",
	vcpus: number,
	steps: boolean,
): Stage[] {
	const names = (...exits: (keyof typeof EXITS)[]) => exits.map((exit) => EXITS[exit][vendor]);
	return [
		// To itself: the interrupt waits when the fastpath looks, is injected, and its EOI exits.
		[wrmsr(X2APIC.icr, IPI_VECTOR), ...names("wrmsr")],
		[
			[
				...(debugRegisters === true ? [fromDr(6), ...writeDr(6, DR6_HIT)] : []),
				I.invd,
				...(debugRegisters === true ? [fromDr(6)] : []),
				...(vcpus === 2 ? interruptPeer(1) : []),
			],
			...names("invd"),
		],
		// The preemption timer fires at the next entry; without one an hrtimer is armed.
		[
			wrmsr(MSR.IA32_TSC_DEADLINE, vendor === "vmx" ? DEADLINE_NEAR : DEADLINE_FAR),
			...names("wrmsr", "timer"),
		],
		[
			[
				...(xfd === true ? xrstor(TILES_GPA, XFEATURE.xtiledata) : []),
				...(pke === true ? wrpkru(pkru!) : []),
				set(L.RAX, 0),
				I.cpuid,
			],
			...names("cpuid"),
		],
		// In the shadow of STI: MOV DR exits, and is done once more.
		...(steps ? [[[I.cli, I.sti, fromDr(6)]] as const] : []),
		[
			[
				...(debugRegisters === true ? [fromDr(6)] : []),
				...(pke === true ? wrpkru(LATER_PKRU) : []),
				...outb(PORT_UNCLAIMED, 0x5a),
				...(xfd === true ? wrmsr(MSR.IA32_XFD, XFEATURE.xtiledata) : []),
				...(osxsave === true ? xsetbv(XCR0_SSE) : []),
			],
			...names("io"),
		],
		[store32(MMIO_GPA, 0x1234), ...names("mmio")],
		// Where a debugger steps: the shadow of STI, and an exit that the fastpath handles.
		...(steps ? [[[I.cli, I.sti, I.invd], ...names("invd")] as const] : []),
		[rdmsr(MSR.IA32_APIC_BASE), ...names("rdmsr")],
		// The deadline is armed: the vCPU blocks, the host idles to the timer, and its interrupt wakes the guest.
		[[...wrmsr(MSR.IA32_TSC_DEADLINE, DEADLINE_FAR), I.hlt], ...names("wrmsr", "hlt")],
	];
}

/** What is read from a port that nobody has is what the guest ends with. */
const end = (): Line[] => [set(L.RBX, NO_WAY_IN), ...inb(PORT_UNCLAIMED), set(L.RDX, PORT_EXIT), I.out];

/** Exits of stages, each once, and the last one's. */
function exitsOf(stages: readonly Stage[], last: string): readonly string[] {
	return [...new Set([...stages.flatMap(([, ...exits]) => exits), last])];
}

function vmScript(vendor: "vmx" | "svm", configuration: Configuration, model: CpuModel): Script {
	const parameters = guestParameters(configuration, model, vendor);
	const vcpus = Number(configuration.vcpus);
	const rare = configuration.instructions === "rare" ? rareStages(vendor) : [];
	const steps = configuration.debugger === "steps";
	const stages = [...rare, ...cut(body(parameters, vendor, vcpus, steps), configuration)];
	const lines = stages.flatMap(([own]) => own);
	const code = assemble([...setup(parameters, vendor), I.sti, ...lines, ...end()]);
	const pkruOffset = model.vendorString === "AuthenticAMD" ? 2432 : 2688;
	const image: Image = {
		protocol: "long-mode",
		entry: CODE_GPA,
		segments: [
			{ gpa: CODE_GPA, bytes: code },
			{ gpa: IDT_GPA, bytes: idt(HANDLERS, HANDLERS_GPA) },
			{ gpa: IDTR_GPA, bytes: idtr(IDT_GPA) },
			{ gpa: HANDLERS_GPA, bytes: handlerCode(HANDLERS) },
			{ gpa: TILES_GPA, bytes: xsaveArea(XFEATURE.xtiledata, 2816, 0xa3c5_a3c5) },
			{ gpa: SSE_GPA, bytes: xsaveArea(XFEATURE.sse, XMM0_OFFSET, OWN_XMM0) },
			{ gpa: PKRU_GPA, bytes: xsaveArea(XFEATURE.pkru, pkruOffset, parameters.pkru!) },
			{ gpa: SECOND_GPA, bytes: assemble(secondBody()) },
		],
		endGpa: END_GPA,
	};
	return {
		image,
		base: CODE_GPA,
		code,
		stacks: [STACK_END, SECOND_STACK_END]
			.slice(0, vcpus)
			.map((endGpa) => ({ firstGpa: endGpa - STACK_BYTES, endGpa })),
		secondEntry: SECOND_GPA,
		exitCode: NOBODY_ANSWERS,
		exits: exitsOf(stages, EXITS.io[vendor]),
	};
}

// ---- TDs ---------------------------------------------------------------------------------------------

const R10 = 10;
const R11 = 11;
const R12 = 12;
const R13 = 13;
const R14 = 14;
const R15 = 15;
/** Registers that a call exposes: R10 to R15. */
const VMCALL_MASK = 0xfc00;
/** The sub-function MapGPA, and a guest physical address without memory. */
const TDVMCALL_MAP_GPA = 0x10001;
const NO_MEMORY = 2 ** 33;
/** Sub-functions: exit reasons of the instructions that they stand for (GHCI, table 2-3). */
const TDVMCALL = { cpuid: 10, hlt: 12, io: 30, rdmsr: 31, wrmsr: 32 } as const;

/** TDG.VP.VMCALL with arguments in R12 and up, values or what brings them there. @param id R10: 0 for a standard call */
function tdvmcall(id: number, subfunction: number, ...operands: (number | Line)[]): Line[] {
	return [
		set(L.RAX, 0),
		set(L.RCX, VMCALL_MASK),
		set(R10, id),
		set(R11, subfunction),
		...[R12, R13, R14, R15].map((register, at) => {
			const operand = operands[at] ?? 0;
			return typeof operand === "number" ? set(register, operand) : operand;
		}),
		I.tdcall,
	];
}

/** What is read from a port that nobody has, which comes in R11, is what the TD ends with. */
const tdEnd = (): Line[] => [
	...tdvmcall(0, TDVMCALL.io, 1, 0, PORT_UNCLAIMED),
	copy(L.RBX, R11),
	...tdvmcall(0, TDVMCALL.io, 1, 1, PORT_EXIT, copy(R15, L.RBX)),
];

/** What waits for a TD's interrupts, as an operating system idles: closed, told to the host as open, and opened behind. */
const tdHalt = (): Line[] => [I.cli, ...tdvmcall(0, TDVMCALL.hlt, 0), I.sti, I.nop];

const tdWrmsr = (index: number, value: number): Line[] => tdvmcall(0, TDVMCALL.wrmsr, index, value);

/** CR4, XCR0 and PKRU are set up by guests/td-script.c, as its parameters say. */
function tdScript(configuration: Configuration): Script {
	const call = (reason: number, lines: Line[]): Stage => [lines, vmxExitName(reason)];
	// User space is asked 2 MiB at a time.
	const mapGpa = tdvmcall(0, TDVMCALL_MAP_GPA, SHARED_BIT + NO_MEMORY, 4 << 20);
	const rare = configuration.instructions === "rare" ? [call(EXIT_REASON.tdcall, mapGpa)] : [];
	const stages = cut(
		[
			...rare,
			call(EXIT_REASON.cpuid, tdvmcall(0, TDVMCALL.cpuid, 0x4000_0000, 0)),
			call(EXIT_REASON.vmcall, tdvmcall(1, 0)),
			call(EXIT_REASON.rdmsr, tdvmcall(0, TDVMCALL.rdmsr, X2APIC.lvtt)),
			call(EXIT_REASON.wrmsr, tdWrmsr(X2APIC.spiv, SPIV_ENABLED)),
			call(EXIT_REASON.wrmsr, tdWrmsr(X2APIC.lvtt, LVTT_TSC_DEADLINE | SCRIPT_TIMER_VECTOR)),
			call(EXIT_REASON.wrmsr, tdWrmsr(MSR.IA32_TSC_DEADLINE, Number(DEADLINE_FAR))),
			// The host idles to the timer, whose interrupt is posted and ends the TD's HLT.
			call(EXIT_REASON.hlt, tdHalt()),
		],
		configuration,
	);
	const begin = [set(L.RSP, TD_STACK_END), set(L.RAX, TD_IDTR), I.lidt, I.sti];
	const code = assemble([...begin, ...stages.flatMap(([own]) => own), ...tdEnd()]);
	const own = [
		{ gpa: TD_CODE, bytes: code },
		{ gpa: TD_IDT, bytes: idt(TD_HANDLERS_OF, TD_HANDLERS, TD_IDT_BYTES) },
		{ gpa: TD_IDTR, bytes: idtr(TD_IDT, TD_IDT_BYTES - 1) },
		{ gpa: TD_HANDLERS, bytes: handlerCode(TD_HANDLERS_OF) },
	];
	const start = loadImage(Uint8Array.from(atob(tdStart), (char) => char.charCodeAt(0)));
	const image: Image = { ...start, segments: [...start.segments, ...own] };
	return {
		image,
		base: TD_CODE,
		code,
		stacks: [{ firstGpa: TD_STACK_END - STACK_BYTES, endGpa: TD_STACK_END }],
		secondEntry: 0,
		exitCode: NOBODY_ANSWERS,
		exits: exitsOf(stages, vmxExitName(EXIT_REASON.ioInstruction)),
	};
}

/** The guest of a vendor and configuration. */
export function scriptFor(vendor: Vendor, configuration: Configuration, model: CpuModel): Script {
	return vendor === "tdx" ? tdScript(configuration) : vmScript(vendor, configuration, model);
}
