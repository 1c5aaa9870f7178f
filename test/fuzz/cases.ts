/**
 * Cases of the fuzzer: whatever a guest's image, its page tables, a VMCS or a VMCB holds, a run ends in one of the
 * documented ways, without an exception and in bounded memory. A case is its number: the same number, the same case.
 */
import { ImageError, type Image } from "../../src/guests/image.ts";
import { BOOT } from "../../src/guests/boot.ts";
import { loadImage } from "../../src/guests/load.ts";
import { findProgram } from "../../src/guests/programs.ts";
import { programImage } from "../../src/guests/program-image.ts";
import { createMachine, createSilicon, type Silicon } from "../../src/kvm/api/kvm.ts";
import { Vmm, type VmmResult } from "../../src/kvm/api/vmm.ts";
import { writeGuestPhysical } from "../../src/kvm/emulate/guest-memory.ts";
import { findTree } from "../../src/kvm/trees/trees.ts";
import * as L from "../../src/silicon/cpu/layout.ts";
import { defaultModel } from "../../src/silicon/models/models.ts";
import type { MachineMemory } from "../../src/silicon/machine.ts";
import { translatorOf } from "../../src/silicon/processor.ts";
import { beginVmrun, endVmrun } from "../../src/silicon/svm/instructions.ts";
import { runGuest } from "../../src/silicon/system/interrupts.ts";
import { beginVmEntry, endVmEntry, VMX_RESULT } from "../../src/silicon/vmx/entry.ts";
import { F, type VmcsFieldName } from "../../src/silicon/vmx/fields.ts";
import { VmxAbort } from "../../src/silicon/vmx/msr-areas.ts";
import { AT } from "../silicon/machine-code.ts";
import { svmGuest, vmxGuest, HOST_AT } from "../silicon/guest-machine.ts";
import { Random } from "../silicon/translate/random.ts";
import { mutate, randomCode, randomPageTables } from "./material.ts";

const GUEST_RAM = 2 << 20;
const BUDGET_INSTRUCTIONS = 20_000;
const SLICE_CYCLES = 3000;
const CODE_GPA = 0x10_0000;

/** How a run may end: VmmResult's kinds, and what loading and VM entry say. */
const ENDINGS: ReadonlySet<string> = new Set<
	VmmResult["kind"] | "refused" | "VMfail" | "VMX abort" | "vm-exit" | "slice"
>([
	"exit",
	"power-off",
	"reset",
	"triple-fault",
	"halted",
	"entry-failure",
	"internal-error",
	"budget",
	"refused",
	"VMfail",
	"VMX abort",
	"vm-exit",
	"slice",
]);

const PROGRAMS = [
	"compute",
	"cpuid",
	"hlt",
	"invd",
	"mixed",
	"mmio",
	"page-fault",
	"pio",
	"xstate",
	"self-ipi",
] as const;
const VENDORS = ["vmx", "svm"] as const;
const tree = findTree("v6.18");

/** Host memory for the translated code of a machine: each case brings its own, and hardly any comes twice. */
const CODE_BYTES_MAX = 32 << 20;

function limitCode(memory: MachineMemory): void {
	translatorOf(memory).codeBytesMax = CODE_BYTES_MAX;
}

/** Made once a vendor: a machine's memory takes longer than a case. */
const silicons = new Map<string, Silicon>();

function silicon(vendor: "vmx" | "svm"): Silicon {
	let made = silicons.get(vendor);
	if (made === undefined) {
		made = createSilicon(defaultModel(vendor), 8 << 20);
		limitCode(made.memory);
		silicons.set(vendor, made);
	}
	return made;
}

/** Runs an image for a while. @param change what is done to the guest between its loading and its start */
function runFor(random: Random, image: Image, change: (vmm: Vmm) => void = () => {}): VmmResult["kind"] {
	const vendor = random.pick(VENDORS);
	const machine = createMachine({ model: defaultModel(vendor), vendor, tree, silicon: silicon(vendor) });
	const vmm = new Vmm(machine, { guestRamBytes: GUEST_RAM });
	vmm.load(image, {
		parameters: { iterations: 3, osxsave: random.oneIn(2), pke: random.oneIn(2), quiet: random.oneIn(2) },
	});
	change(vmm);
	const result = vmm.run(BUDGET_INSTRUCTIONS);
	// KVM knows every exit that it asks for.
	if (result.kind === "internal-error" && result.message.startsWith("unexpected"))
		throw new Error(result.message);
	return result.kind;
}

function codeImage(bytes: Uint8Array): Image {
	const segments = [{ gpa: CODE_GPA, bytes }];
	return { protocol: "long-mode", entry: CODE_GPA, segments, endGpa: CODE_GPA + bytes.length };
}

/** Random instructions in long mode. */
function code(random: Random): string {
	return runFor(random, codeImage(randomCode(random, 64 + random.below(960))));
}

/** A guest program with some of its bytes changed. */
function mutated(random: Random): string {
	const program = programImage(findProgram(random.pick(PROGRAMS))!.name);
	const segments = program.segments.map(({ gpa, bytes }) => ({ gpa, bytes: mutate(random, bytes) }));
	return runFor(random, { ...program, segments });
}

/** Random entries in the page tables that the guest starts with. */
function pageTables(random: Random): string {
	const image = random.oneIn(2) ? codeImage(randomCode(random, 512)) : programImage(random.pick(PROGRAMS));
	return runFor(random, image, (vmm) => {
		const { vm } = vmm.machine;
		for (const { table, index, entry } of randomPageTables(random, GUEST_RAM)) {
			const bytes = new Uint8Array(BigUint64Array.of(entry).buffer);
			writeGuestPhysical(vm, BOOT.pml4 + table * 4096 + index * 8, bytes);
		}
	});
}

/** The bytes of a file that calls itself an ELF file, a multiboot kernel or a bzImage. */
function file(random: Random): string {
	const bytes = new Uint8Array(1024 + random.below(8192));
	for (let at = 0; at < bytes.length; at += 1 + random.below(8)) bytes[at] = random.below(256);
	const view = new DataView(bytes.buffer);
	const kind = random.below(3);
	if (kind === 0) {
		bytes.set([0x7f, 0x45, 0x4c, 0x46, 1 + random.below(2), 1, 1]);
		view.setUint16(16, 2, true);
		view.setUint16(18, random.pick([3, 62]), true);
		view.setUint32(20, 1, true);
		for (const at of [28, 32]) view.setUint32(at, random.below(256), true);
		view.setUint16(random.pick([42, 54]), random.pick([32, 56]), true);
		view.setUint16(random.pick([44, 56]), random.below(5), true);
	} else if (kind === 1) {
		const flags = random.pick([0, 3, 0x1_0003]);
		view.setUint32(64, 0x1bad_b002, true);
		view.setUint32(68, flags, true);
		view.setUint32(72, (-0x1bad_b002 - flags) >>> 0, true);
		for (const at of [76, 80, 84, 88, 92]) view.setUint32(at, CODE_GPA + random.below(9000), true);
	} else {
		view.setUint16(0x1fe, 0xaa55, true);
		view.setUint32(0x202, 0x5372_6448, true);
		view.setUint16(0x206, random.pick([0x204, 0x206, 0x20f]), true);
		bytes[0x1f1] = random.below(4);
	}
	const image = loadImage(bytes);
	return image.protocol === "long-mode" ? runFor(random, image) : "refused";
}

const FIELDS = Object.keys(F) as VmcsFieldName[];

function randomValue(random: Random, old: bigint): bigint {
	const low = BigInt(random.below(64));
	switch (random.below(6)) {
		case 0:
			return old ^ (1n << low);
		case 1:
			return 1n << low;
		case 2:
			return BigInt(random.below(0x10_0000));
		case 3:
			return 0xffff_8000_0000_0000n | BigInt(random.next());
		case 4:
			return 0n;
		default:
			return random.bits64();
	}
}

/** A VMCS that is right but for some fields, and a guest of random instructions. */
function vmcs(random: Random): string {
	const guest = vmxGuest();
	limitCode(guest.cpu.memory);
	const { cpu, control } = guest;
	cpu.memory.u8.set(randomCode(random, 256), cpu.memory.ramBase + AT.code);
	let ending = "vm-exit";
	for (let entry = 0; entry < 4; entry++) {
		for (let count = random.below(5); count > 0; count--) {
			const name = random.pick(FIELDS);
			const bits = name.includes("SELECTOR") ? 16 : 64;
			control.set(name, BigInt.asUintN(bits, randomValue(random, control.get(name))));
		}
		cpu.beginSlice(Number.POSITIVE_INFINITY, cpu.cycles + SLICE_CYCLES);
		const begun = beginVmEntry(cpu, control);
		// A guest that does not leave within the slice stays in it: the next case resets the processor.
		if (begun === VMX_RESULT.entered && !runGuest(cpu)) return "slice";
		ending = endVmEntry(cpu, control, begun) === 0 ? "vm-exit" : "VMfail";
	}
	return ending;
}

const STATE_FIELDS = [
	L.RIP,
	L.CR0,
	L.CR3,
	L.CR4,
	L.EFER,
	L.DR7,
	L.PAT,
	L.RFLAGS,
	L.DEBUGCTL,
	L.INTERRUPTIBILITY,
] as const;
const CONTROLS = [
	"asid",
	"tlbControl",
	"vTpr",
	"vIntrPriority",
	"vIntrVector",
	"eventInj",
	"eventInjErr",
	"specCtrl",
] as const;
const SWITCHES = [
	"vIntrMasking",
	"vIrq",
	"vIgnoreTpr",
	"vNmiEnable",
	"vNmiPending",
	"lbrVirtualization",
] as const;

/** A VMCB that is right but for some fields, and a guest of random instructions. */
function vmcb(random: Random): string {
	const guest = svmGuest();
	limitCode(guest.cpu.memory);
	const { cpu, control } = guest;
	cpu.memory.u8.set(randomCode(random, 256), cpu.memory.ramBase + AT.code);
	for (let entry = 0; entry < 4; entry++) {
		for (let count = random.below(5); count > 0; count--) {
			switch (random.below(5)) {
				case 0: {
					const at = random.pick(STATE_FIELDS) >> 3;
					control.u64[at] = BigInt.asUintN(64, randomValue(random, control.u64[at]!));
					break;
				}
				case 1: {
					const at = (L.SEG + random.below(10) * L.SEG_BYTES + 4 * random.below(6)) >> 2;
					control.u32[at] = Number(BigInt.asUintN(32, randomValue(random, BigInt(control.u32[at]!))));
					break;
				}
				case 2:
					control.intercepts[random.below(6)] = random.next();
					break;
				case 3:
					control[random.pick(CONTROLS)] = random.oneIn(2) ? random.next() : random.below(0x800);
					break;
				default:
					control[random.pick(SWITCHES)] = random.oneIn(2);
					if (random.oneIn(4)) control.nestedCr3 = random.pick([-1, HOST_AT.root, random.next() & ~0xfff]);
			}
		}
		cpu.beginSlice(Number.POSITIVE_INFINITY, cpu.cycles + SLICE_CYCLES);
		beginVmrun(cpu, control);
		if (!runGuest(cpu)) return "slice";
		endVmrun(cpu, control);
	}
	return "vm-exit";
}

/** The kinds of cases, in turn. */
export const KINDS: Readonly<Record<string, (random: Random) => string>> = {
	code,
	mutated,
	pageTables,
	file,
	vmcs,
	vmcb,
};

/**
 * Runs one case.
 * @param kind of KINDS
 * @returns how it ended
 * @throws whatever escapes, and Error for an ending that is not documented
 */
export function fuzzCase(kind: string, seed: number): string {
	const make = KINDS[kind];
	if (make === undefined)
		throw new RangeError(`no kind "${kind}"; there are ${Object.keys(KINDS).join(", ")}`);
	let ending: string;
	try {
		ending = make(new Random(seed));
	} catch (error) {
		if (error instanceof VmxAbort) ending = "VMX abort";
		else if (error instanceof ImageError) ending = "refused";
		else throw error;
	}
	if (!ENDINGS.has(ending)) throw new Error(`the ending "${ending}" is not documented`);
	return ending;
}
