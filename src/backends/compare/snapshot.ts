/** The guest's state as names and values, in a form in which two machines that agree say the same. */
import type { GuestMemory, KvmVcpu } from "../../uapi/api.ts";
import type { KvmSegment } from "../../uapi/structs.ts";

/** Field by name; values as they are shown. */
export type Snapshot = ReadonlyMap<string, string>;

/** A field that differs. */
export interface FieldDifference {
	readonly field: string;
	readonly left: string;
	readonly right: string;
}

const hex = (value: number | bigint) => `0x${value.toString(16)}`;
const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;
/** MSRs that pieces write. */
const MSRS = [0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0x277, 0xc000_0102] as const;

/**
 * A segment register. One that is not usable has a selector and nothing else: the vendors keep different rests of it. The
 * accessed bit of what a test set up is not told apart either.
 */
function segmentText(segment: KvmSegment): string {
	const { base, limit, selector, type, dpl, db, s, l, g, present, unusable } = segment;
	if (unusable !== 0 || present === 0) return `${hex(selector)} unusable`;
	return `${hex(selector)} base ${hex(base)} limit ${hex(limit)} type ${hex(type)} dpl ${dpl} db ${db} s ${s} l ${l} g ${g}`;
}

// ---- the XSAVE area ------------------------------------------------------------------------------------

const AT = { fcw: 0, fsw: 2, ftw: 4, mxcsr: 24, st: 32, xmm: 160, xstateBv: 512, ymm: 576 } as const;
const FCW_INIT = 0x37f;
const MXCSR_INIT = 0x1f80;

const bytesText = (bytes: Uint8Array) =>
	Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * The XSAVE area by registers. A component that XSTATE_BV does not have is in its initial configuration, whatever lies
 * in its place. The last x87 instruction's address, operand and opcode are left out: AMD keeps them for exceptions only.
 */
function xsaveFields(area: Uint8Array, fields: Map<string, string>): void {
	const view = new DataView(area.buffer, area.byteOffset, area.length);
	const has = (bit: number) => ((area[AT.xstateBv]! >> bit) & 1) !== 0;
	fields.set("fcw", hex(has(0) ? view.getUint16(AT.fcw, true) : FCW_INIT));
	fields.set("fsw", hex(has(0) ? view.getUint16(AT.fsw, true) : 0));
	fields.set("ftw", hex(has(0) ? area[AT.ftw]! : 0));
	fields.set("mxcsr", hex(has(1) || has(2) ? view.getUint32(AT.mxcsr, true) : MXCSR_INIT));
	const zero = bytesText(new Uint8Array(16));
	for (let n = 0; n < 8; n++) {
		const at = AT.st + 16 * n;
		// An empty register holds what was in it before, or nothing.
		fields.set(`st${n}`, has(0) ? bytesText(area.subarray(at, at + 10)) : bytesText(new Uint8Array(10)));
	}
	for (let n = 0; n < 16; n++) {
		const [xmm, ymm] = [AT.xmm + 16 * n, AT.ymm + 16 * n];
		fields.set(`xmm${n}`, has(1) ? bytesText(area.subarray(xmm, xmm + 16)) : zero);
		fields.set(`ymm${n}h`, has(2) ? bytesText(area.subarray(ymm, ymm + 16)) : zero);
	}
}

// ---- memory --------------------------------------------------------------------------------------------

const PAGE_BYTES = 4096;

/** FNV-1a over the words of a page. */
function pageHash(bytes: Uint8Array): number {
	const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
	let hash = 0x811c_9dc5;
	for (const word of words) hash = Math.imul(hash ^ word, 0x0100_0193);
	return hash >>> 0;
}

/** Hashes of a memory's pages. */
export function memoryHashes(memory: GuestMemory, bytes: number): Uint32Array {
	const copy = memory.read(0, bytes);
	return Uint32Array.from({ length: bytes / PAGE_BYTES }, (_, page) =>
		pageHash(copy.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)),
	);
}

/** The first bytes that differ in pages whose hashes do. */
export function memoryDifferences(left: GuestMemory, right: GuestMemory, bytes: number): FieldDifference[] {
	const [a, b] = [memoryHashes(left, bytes), memoryHashes(right, bytes)];
	const found: FieldDifference[] = [];
	for (const [page, hash] of a.entries()) {
		if (hash === b[page]) continue;
		const [mine, yours] = [left, right].map((memory) => memory.read(page * PAGE_BYTES, PAGE_BYTES));
		const at = mine!.findIndex((byte, offset) => byte !== yours![offset]) & ~7;
		const part = (from: Uint8Array) => bytesText(from.subarray(at, at + 16));
		found.push({ field: `memory ${hex(page * PAGE_BYTES + at)}`, left: part(mine!), right: part(yours!) });
	}
	return found;
}

// ---- all of it -----------------------------------------------------------------------------------------

/** What a vCPU holds. */
export function takeSnapshot(vcpu: KvmVcpu): Snapshot {
	const fields = new Map<string, string>();
	for (const [name, value] of Object.entries(vcpu.getRegs())) fields.set(name, hex(value));
	const sregs = vcpu.getSregs();
	for (const name of SEGMENTS) fields.set(name, segmentText(sregs[name]));
	for (const name of ["gdt", "idt"] as const)
		fields.set(name, `base ${hex(sregs[name].base)} limit ${hex(sregs[name].limit)}`);
	for (const name of ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"] as const) fields.set(name, hex(sregs[name]));
	for (const { xcr, value } of vcpu.getXcrs()) fields.set(`xcr${xcr}`, hex(value));
	xsaveFields(vcpu.getXsave(), fields);
	const { db, dr6, dr7 } = vcpu.getDebugregs();
	for (const [n, value] of db.entries()) fields.set(`dr${n}`, hex(value));
	fields.set("dr6", hex(dr6));
	fields.set("dr7", hex(dr7));
	for (const { index, data } of vcpu.getMsrs(MSRS)) fields.set(`msr ${hex(index)}`, hex(data));
	const { interrupt, nmi } = vcpu.getVcpuEvents();
	fields.set("nmi masked", String(nmi.masked));
	fields.set("interrupt injected", String(interrupt.injected));
	return fields;
}

/** Fields that differ. */
export function differences(left: Snapshot, right: Snapshot): FieldDifference[] {
	const found: FieldDifference[] = [];
	for (const [field, value] of left) {
		const other = right.get(field);
		if (other !== undefined && other !== value) found.push({ field, left: value, right: other });
	}
	return found;
}
