/**
 * Machine code for guests of the check: a list of lines, each an instruction or a register's value, becomes 64-bit code.
 * Only what these guests need is here.
 */
import * as L from "../../silicon/cpu/layout.ts";

/** A general-purpose register by its encoding number. */
export type Gpr = number;

/** One line of a guest: bytes, and what they say. */
export interface Line {
	readonly text: string;
	readonly bytes: readonly number[];
}

function littleEndian(value: bigint, bytes: number): number[] {
	return Array.from({ length: bytes }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn));
}

const GPR_NAMES = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];

/** The name of a register, for listings. */
export function gprName(register: Gpr): string {
	return GPR_NAMES[register] ?? `r${register}`;
}

/** MOV r64, imm64, or MOV r32, imm32, which clears the upper half, when the value fits. */
export function set(register: Gpr, value: bigint | number): Line {
	const wide = BigInt.asUintN(64, BigInt(value));
	const text = `mov ${gprName(register)}, 0x${wide.toString(16)}`;
	const opcode = 0xb8 + (register & 7);
	if (wide > 0xffff_ffffn) {
		return { text, bytes: [register < 8 ? 0x48 : 0x49, opcode, ...littleEndian(wide, 8)] };
	}
	return { text, bytes: [...(register < 8 ? [] : [0x41]), opcode, ...littleEndian(wide, 4)] };
}

/** An instruction without operands, or whose operands are fixed. */
function fixed(text: string, ...bytes: number[]): Line {
	return { text, bytes };
}

// biome-ignore format: a table reads by columns
/** Instructions by name. */
export const I = {
	cli:       fixed("cli",              0xfa),
	cpuid:     fixed("cpuid",            0x0f, 0xa2),
	hlt:       fixed("hlt",              0xf4),
	in:        fixed("in al, dx",        0xec),
	invd:      fixed("invd",             0x0f, 0x08),
	iretq:     fixed("iretq",            0x48, 0xcf),
	lidt:      fixed("lidt [rax]",       0x0f, 0x01, 0x18),
	nop:       fixed("nop",              0x90),
	out:       fixed("out dx, al",       0xee),
	outsb:     fixed("outsb",            0x6e),
	popfq:     fixed("popfq",            0x9d),
	rdmsr:     fixed("rdmsr",            0x0f, 0x32),
	sti:       fixed("sti",              0xfb),
	store:     fixed("mov [rax], ecx",   0x89, 0x08),
	tdcall:    fixed("tdcall",           0x66, 0x0f, 0x01, 0xcc),
	vmcall:    fixed("vmcall",           0x0f, 0x01, 0xc1),
	wbinvd:    fixed("wbinvd",           0x0f, 0x09),
	wrmsr:     fixed("wrmsr",            0x0f, 0x30),
	wrpkru:    fixed("wrpkru",           0x0f, 0x01, 0xef),
	xchg:      fixed("xchg [rax], ecx",  0x87, 0x08),
	xrstor:    fixed("xrstor [rcx]",     0x0f, 0xae, 0x29),
	xsetbv:    fixed("xsetbv",           0x0f, 0x01, 0xd1),
} as const;

/** MOV to or from a control or debug register, through RAX. */
export const toCr = (cr: number): Line => fixed(`mov cr${cr}, rax`, 0x0f, 0x22, 0xc0 | (cr << 3));
/** MOV CR8, RAX. */
export const toCr8: Line = fixed("mov cr8, rax", 0x44, 0x0f, 0x22, 0xc0);
export const toDr = (dr: number): Line => fixed(`mov dr${dr}, rax`, 0x0f, 0x23, 0xc0 | (dr << 3));
export const fromDr = (dr: number): Line => fixed(`mov rax, dr${dr}`, 0x0f, 0x21, 0xc0 | (dr << 3));

/** MOV r64, r64. */
export function copy(to: Gpr, from: Gpr): Line {
	const rex = 0x48 | (from < 8 ? 0 : 4) | (to < 8 ? 0 : 1);
	const modrm = 0xc0 | ((from & 7) << 3) | (to & 7);
	return fixed(`mov ${gprName(to)}, ${gprName(from)}`, rex, 0x89, modrm);
}

/** PUSH and POP of one of the first eight registers. */
export const push = (register: Gpr): Line => fixed(`push ${gprName(register)}`, 0x50 + register);
export const pop = (register: Gpr): Line => fixed(`pop ${gprName(register)}`, 0x58 + register);

/** WRMSR of a value. */
export function wrmsr(index: number, value: bigint | number): Line[] {
	const wide = BigInt.asUintN(64, BigInt(value));
	return [set(L.RCX, index), set(L.RAX, wide & 0xffff_ffffn), set(L.RDX, wide >> 32n), I.wrmsr];
}

/** RDMSR. */
export function rdmsr(index: number): Line[] {
	return [set(L.RCX, index), I.rdmsr];
}

/** XSETBV of XCR0. */
export function xsetbv(xcr0: number): Line[] {
	return [set(L.RCX, 0), set(L.RAX, xcr0), set(L.RDX, 0), I.xsetbv];
}

/** XRSTOR of components from an area. */
export function xrstor(area: number, components: number): Line[] {
	return [set(L.RCX, area), set(L.RAX, components), set(L.RDX, 0), I.xrstor];
}

/** WRPKRU. */
export function wrpkru(pkru: number): Line[] {
	return [set(L.RCX, 0), set(L.RAX, pkru), set(L.RDX, 0), I.wrpkru];
}

/** MOV of a value to a control register. */
export const writeCr = (cr: number, value: number): Line[] => [set(L.RAX, value), toCr(cr)];
/** MOV of a value to a debug register. */
export const writeDr = (dr: number, value: number): Line[] => [set(L.RAX, value), toDr(dr)];

/** OUT of a byte to a port. */
export const outb = (port: number, value: number): Line[] => [set(L.RDX, port), set(L.RAX, value), I.out];
/** IN of a byte. */
export const inb = (port: number): Line[] => [set(L.RDX, port), I.in];

/** A 32-bit store. */
export const store32 = (address: number, value: number): Line[] => [
	set(L.RAX, address),
	set(L.RCX, value),
	I.store,
];

/** The bytes of lines, one behind the other. */
export function assemble(lines: readonly Line[]): Uint8Array {
	return Uint8Array.from(lines.flatMap(({ bytes }) => bytes));
}
