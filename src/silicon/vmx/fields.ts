/**
 * The fields of a VMCS: encoding (SDM Vol. 3D, Appendix B), width, and where the value lies in a Vmcs's
 * buffer. The guest- and host-state areas have the layout of the state block's bytes SWITCHED to
 * SWITCHED_END, so that VM entry and VM exit are block copies.
 */
import * as L from "../cpu/layout.ts";

/** Bytes of the block that entry and exit switch. */
export const SWITCHED_BYTES = L.SWITCHED_END - L.SWITCHED;
/** Offset of the guest-state area in a Vmcs's buffer. */
export const GUEST_AREA = 0;
/** Offset of the host-state area. */
export const HOST_AREA = 0x200;
/** Offset of everything else. */
const REST = 0x400;

/** Groups of fields that are checked together at VM entry. A VMWRITE marks its field's group. */
export const GROUP = {
	/** No check depends on it. */
	free: 0,
	/** VM-execution, VM-exit and VM-entry controls (SDM 27.2.1). */
	controls: 1,
	/** Host-state area (SDM 27.2.2-27.2.4). */
	host: 2,
	/** Guest control registers, debug registers and MSRs (SDM 27.3.1.1). */
	guestControl: 4,
	/** Guest segment and descriptor-table registers (SDM 27.3.1.2-3). */
	guestSegments: 8,
	/** Guest RIP and RFLAGS (SDM 27.3.1.4). */
	guestRip: 16,
	/** Guest non-register state (SDM 27.3.1.5). */
	guestNonRegister: 32,
	/** VM-entry interruption information (SDM 27.2.1.3). */
	event: 64,
	all: 127,
	/** VM-exit information: VMWRITE fails. */
	readOnly: 128,
	/** Only the windows among the VM-execution controls: no check of host or guest state depends on them. */
	windows: 256,
} as const;

/** One field of the VMCS. */
export interface VmcsField {
	readonly name: string;
	readonly encoding: number;
	/** Bytes that VMREAD returns and VMWRITE takes: 2, 4 or 8. */
	readonly bytes: 2 | 4 | 8;
	/** Byte offset in a Vmcs's buffer. */
	readonly offset: number;
	readonly group: number;
}

const seg = (index: number, part: number) => L.SEG - L.SWITCHED + index * L.SEG_BYTES + part;
const at = (offset: number) => offset - L.SWITCHED;
let restNext = REST;
const rest = () => {
	restNext += 8;
	return restNext - 8;
};

/** RSP of the guest and of the host stand behind their areas: the state block keeps RSP with the GPRs. */
export const GUEST_RSP_OFFSET = rest();
export const HOST_RSP_OFFSET = rest();

const { free, controls, host, guestControl, guestSegments, guestRip, guestNonRegister, event, readOnly } =
	GROUP;

type Row = readonly [name: string, encoding: number, bytes: 2 | 4 | 8, offset: number, group: number];

// biome-ignore format: one row a field, in the order of the appendix
const rows = [
	// ---- B.1 16-bit fields ----
	["VIRTUAL_PROCESSOR_ID",          0x0000, 2, rest(), controls],
	["POSTED_INTR_NV",                0x0002, 2, rest(), controls],
	["EPTP_INDEX",                    0x0004, 2, rest(), free],
	["GUEST_ES_SELECTOR",             0x0800, 2, seg(L.ES, L.SEG_SELECTOR), guestSegments],
	["GUEST_CS_SELECTOR",             0x0802, 2, seg(L.CS, L.SEG_SELECTOR), guestSegments],
	["GUEST_SS_SELECTOR",             0x0804, 2, seg(L.SS, L.SEG_SELECTOR), guestSegments],
	["GUEST_DS_SELECTOR",             0x0806, 2, seg(L.DS, L.SEG_SELECTOR), guestSegments],
	["GUEST_FS_SELECTOR",             0x0808, 2, seg(L.FS, L.SEG_SELECTOR), guestSegments],
	["GUEST_GS_SELECTOR",             0x080a, 2, seg(L.GS, L.SEG_SELECTOR), guestSegments],
	["GUEST_LDTR_SELECTOR",           0x080c, 2, seg(L.LDTR, L.SEG_SELECTOR), guestSegments],
	["GUEST_TR_SELECTOR",             0x080e, 2, seg(L.TR, L.SEG_SELECTOR), guestSegments],
	["GUEST_INTR_STATUS",             0x0810, 2, rest(), free],
	["HOST_ES_SELECTOR",              0x0c00, 2, HOST_AREA + seg(L.ES, L.SEG_SELECTOR), host],
	["HOST_CS_SELECTOR",              0x0c02, 2, HOST_AREA + seg(L.CS, L.SEG_SELECTOR), host],
	["HOST_SS_SELECTOR",              0x0c04, 2, HOST_AREA + seg(L.SS, L.SEG_SELECTOR), host],
	["HOST_DS_SELECTOR",              0x0c06, 2, HOST_AREA + seg(L.DS, L.SEG_SELECTOR), host],
	["HOST_FS_SELECTOR",              0x0c08, 2, HOST_AREA + seg(L.FS, L.SEG_SELECTOR), host],
	["HOST_GS_SELECTOR",              0x0c0a, 2, HOST_AREA + seg(L.GS, L.SEG_SELECTOR), host],
	["HOST_TR_SELECTOR",              0x0c0c, 2, HOST_AREA + seg(L.TR, L.SEG_SELECTOR), host],
	// ---- B.2 64-bit fields ----
	["IO_BITMAP_A",                   0x2000, 8, rest(), controls],
	["IO_BITMAP_B",                   0x2002, 8, rest(), controls],
	["MSR_BITMAP",                    0x2004, 8, rest(), controls],
	["VM_EXIT_MSR_STORE_ADDR",        0x2006, 8, rest(), controls],
	["VM_EXIT_MSR_LOAD_ADDR",         0x2008, 8, rest(), controls],
	["VM_ENTRY_MSR_LOAD_ADDR",        0x200a, 8, rest(), controls],
	["TSC_OFFSET",                    0x2010, 8, rest(), free],
	["VIRTUAL_APIC_PAGE_ADDR",        0x2012, 8, rest(), controls],
	["APIC_ACCESS_ADDR",              0x2014, 8, rest(), controls],
	["POSTED_INTR_DESC_ADDR",         0x2016, 8, rest(), controls],
	["EPT_POINTER",                   0x201a, 8, rest(), controls],
	["EOI_EXIT_BITMAP0",              0x201c, 8, rest(), free],
	["EOI_EXIT_BITMAP1",              0x201e, 8, rest(), free],
	["EOI_EXIT_BITMAP2",              0x2020, 8, rest(), free],
	["EOI_EXIT_BITMAP3",              0x2022, 8, rest(), free],
	["VE_INFORMATION_ADDRESS",        0x202a, 8, rest(), controls],
	["XSS_EXIT_BITMAP",               0x202c, 8, rest(), free],
	["TSC_MULTIPLIER",                0x2032, 8, rest(), controls],
	["GUEST_PHYSICAL_ADDRESS",        0x2400, 8, rest(), readOnly],
	["VMCS_LINK_POINTER",             0x2800, 8, rest(), guestNonRegister],
	["GUEST_IA32_DEBUGCTL",           0x2802, 8, at(L.DEBUGCTL), guestControl],
	["GUEST_IA32_PAT",                0x2804, 8, at(L.PAT), guestControl],
	["GUEST_IA32_EFER",               0x2806, 8, at(L.EFER), guestControl],
	["GUEST_IA32_PERF_GLOBAL_CTRL",   0x2808, 8, rest(), guestControl],
	["GUEST_PDPTR0",                  0x280a, 8, at(L.PDPTE), guestControl],
	["GUEST_PDPTR1",                  0x280c, 8, at(L.PDPTE) + 8, guestControl],
	["GUEST_PDPTR2",                  0x280e, 8, at(L.PDPTE) + 16, guestControl],
	["GUEST_PDPTR3",                  0x2810, 8, at(L.PDPTE) + 24, guestControl],
	["GUEST_IA32_PKRS",               0x2818, 4, at(L.PKRS), guestControl],
	["HOST_IA32_PKRS",                0x2c06, 4, HOST_AREA + at(L.PKRS), host],
	["HOST_IA32_PAT",                 0x2c00, 8, HOST_AREA + at(L.PAT), host],
	["HOST_IA32_EFER",                0x2c02, 8, HOST_AREA + at(L.EFER), host],
	["HOST_IA32_PERF_GLOBAL_CTRL",    0x2c04, 8, rest(), host],
	// ---- B.3 32-bit fields ----
	["PIN_BASED_VM_EXEC_CONTROL",     0x4000, 4, rest(), controls],
	["CPU_BASED_VM_EXEC_CONTROL",     0x4002, 4, rest(), controls],
	["EXCEPTION_BITMAP",              0x4004, 4, rest(), free],
	["PAGE_FAULT_ERROR_CODE_MASK",    0x4006, 4, rest(), free],
	["PAGE_FAULT_ERROR_CODE_MATCH",   0x4008, 4, rest(), free],
	["CR3_TARGET_COUNT",              0x400a, 4, rest(), controls],
	["VM_EXIT_CONTROLS",              0x400c, 4, rest(), controls],
	["VM_EXIT_MSR_STORE_COUNT",       0x400e, 4, rest(), controls],
	["VM_EXIT_MSR_LOAD_COUNT",        0x4010, 4, rest(), controls],
	["VM_ENTRY_CONTROLS",             0x4012, 4, rest(), controls | guestControl | guestSegments],
	["VM_ENTRY_MSR_LOAD_COUNT",       0x4014, 4, rest(), controls],
	["VM_ENTRY_INTR_INFO_FIELD",      0x4016, 4, rest(), event],
	["VM_ENTRY_EXCEPTION_ERROR_CODE", 0x4018, 4, rest(), event],
	["VM_ENTRY_INSTRUCTION_LEN",      0x401a, 4, rest(), event],
	["TPR_THRESHOLD",                 0x401c, 4, rest(), controls],
	["SECONDARY_VM_EXEC_CONTROL",     0x401e, 4, rest(), controls],
	["PLE_GAP",                       0x4020, 4, rest(), free],
	["PLE_WINDOW",                    0x4022, 4, rest(), free],
	["VM_INSTRUCTION_ERROR",          0x4400, 4, rest(), readOnly],
	["VM_EXIT_REASON",                0x4402, 4, rest(), readOnly],
	["VM_EXIT_INTR_INFO",             0x4404, 4, rest(), readOnly],
	["VM_EXIT_INTR_ERROR_CODE",       0x4406, 4, rest(), readOnly],
	["IDT_VECTORING_INFO_FIELD",      0x4408, 4, rest(), readOnly],
	["IDT_VECTORING_ERROR_CODE",      0x440a, 4, rest(), readOnly],
	["VM_EXIT_INSTRUCTION_LEN",       0x440c, 4, rest(), readOnly],
	["VMX_INSTRUCTION_INFO",          0x440e, 4, rest(), readOnly],
	["GUEST_ES_LIMIT",                0x4800, 4, seg(L.ES, L.SEG_LIMIT), guestSegments],
	["GUEST_CS_LIMIT",                0x4802, 4, seg(L.CS, L.SEG_LIMIT), guestSegments],
	["GUEST_SS_LIMIT",                0x4804, 4, seg(L.SS, L.SEG_LIMIT), guestSegments],
	["GUEST_DS_LIMIT",                0x4806, 4, seg(L.DS, L.SEG_LIMIT), guestSegments],
	["GUEST_FS_LIMIT",                0x4808, 4, seg(L.FS, L.SEG_LIMIT), guestSegments],
	["GUEST_GS_LIMIT",                0x480a, 4, seg(L.GS, L.SEG_LIMIT), guestSegments],
	["GUEST_LDTR_LIMIT",              0x480c, 4, seg(L.LDTR, L.SEG_LIMIT), guestSegments],
	["GUEST_TR_LIMIT",                0x480e, 4, seg(L.TR, L.SEG_LIMIT), guestSegments],
	["GUEST_GDTR_LIMIT",              0x4810, 4, seg(L.GDTR, L.SEG_LIMIT), guestSegments],
	["GUEST_IDTR_LIMIT",              0x4812, 4, seg(L.IDTR, L.SEG_LIMIT), guestSegments],
	["GUEST_ES_AR_BYTES",             0x4814, 4, seg(L.ES, L.SEG_ATTR), guestSegments],
	["GUEST_CS_AR_BYTES",             0x4816, 4, seg(L.CS, L.SEG_ATTR), guestSegments],
	["GUEST_SS_AR_BYTES",             0x4818, 4, seg(L.SS, L.SEG_ATTR), guestSegments],
	["GUEST_DS_AR_BYTES",             0x481a, 4, seg(L.DS, L.SEG_ATTR), guestSegments],
	["GUEST_FS_AR_BYTES",             0x481c, 4, seg(L.FS, L.SEG_ATTR), guestSegments],
	["GUEST_GS_AR_BYTES",             0x481e, 4, seg(L.GS, L.SEG_ATTR), guestSegments],
	["GUEST_LDTR_AR_BYTES",           0x4820, 4, seg(L.LDTR, L.SEG_ATTR), guestSegments],
	["GUEST_TR_AR_BYTES",             0x4822, 4, seg(L.TR, L.SEG_ATTR), guestSegments],
	["GUEST_INTERRUPTIBILITY_INFO",   0x4824, 4, at(L.INTERRUPTIBILITY), guestNonRegister],
	["GUEST_ACTIVITY_STATE",          0x4826, 4, at(L.ACTIVITY), guestNonRegister],
	["GUEST_SYSENTER_CS",             0x482a, 4, at(L.SYSENTER_CS), free],
	["VMX_PREEMPTION_TIMER_VALUE",    0x482e, 4, rest(), free],
	["HOST_IA32_SYSENTER_CS",         0x4c00, 4, HOST_AREA + at(L.SYSENTER_CS), host],
	// ---- B.4 natural-width fields ----
	["CR0_GUEST_HOST_MASK",           0x6000, 8, rest(), free],
	["CR4_GUEST_HOST_MASK",           0x6002, 8, rest(), free],
	["CR0_READ_SHADOW",               0x6004, 8, rest(), free],
	["CR4_READ_SHADOW",               0x6006, 8, rest(), free],
	["CR3_TARGET_VALUE0",             0x6008, 8, rest(), free],
	["CR3_TARGET_VALUE1",             0x600a, 8, rest(), free],
	["CR3_TARGET_VALUE2",             0x600c, 8, rest(), free],
	["CR3_TARGET_VALUE3",             0x600e, 8, rest(), free],
	["EXIT_QUALIFICATION",            0x6400, 8, rest(), readOnly],
	["GUEST_LINEAR_ADDRESS",          0x640a, 8, rest(), readOnly],
	["GUEST_CR0",                     0x6800, 8, at(L.CR0), guestControl],
	["GUEST_CR3",                     0x6802, 8, at(L.CR3), guestControl],
	["GUEST_CR4",                     0x6804, 8, at(L.CR4), guestControl],
	["GUEST_ES_BASE",                 0x6806, 8, seg(L.ES, L.SEG_BASE), guestSegments],
	["GUEST_CS_BASE",                 0x6808, 8, seg(L.CS, L.SEG_BASE), guestSegments],
	["GUEST_SS_BASE",                 0x680a, 8, seg(L.SS, L.SEG_BASE), guestSegments],
	["GUEST_DS_BASE",                 0x680c, 8, seg(L.DS, L.SEG_BASE), guestSegments],
	["GUEST_FS_BASE",                 0x680e, 8, seg(L.FS, L.SEG_BASE), guestSegments],
	["GUEST_GS_BASE",                 0x6810, 8, seg(L.GS, L.SEG_BASE), guestSegments],
	["GUEST_LDTR_BASE",               0x6812, 8, seg(L.LDTR, L.SEG_BASE), guestSegments],
	["GUEST_TR_BASE",                 0x6814, 8, seg(L.TR, L.SEG_BASE), guestSegments],
	["GUEST_GDTR_BASE",               0x6816, 8, seg(L.GDTR, L.SEG_BASE), guestSegments],
	["GUEST_IDTR_BASE",               0x6818, 8, seg(L.IDTR, L.SEG_BASE), guestSegments],
	["GUEST_DR7",                     0x681a, 8, at(L.DR7), guestControl],
	["GUEST_RSP",                     0x681c, 8, GUEST_RSP_OFFSET, free],
	["GUEST_RIP",                     0x681e, 8, at(L.RIP), guestRip],
	["GUEST_RFLAGS",                  0x6820, 8, at(L.RFLAGS), guestRip | guestNonRegister],
	["GUEST_PENDING_DBG_EXCEPTIONS",  0x6822, 8, at(L.PENDING_DBG), guestNonRegister],
	["GUEST_SYSENTER_ESP",            0x6824, 8, at(L.SYSENTER_ESP), guestControl],
	["GUEST_SYSENTER_EIP",            0x6826, 8, at(L.SYSENTER_EIP), guestControl],
	["GUEST_S_CET",                   0x6828, 8, at(L.S_CET), guestControl],
	["GUEST_SSP",                     0x682a, 8, at(L.SSP), guestControl],
	["GUEST_INTR_SSP_TABLE",          0x682c, 8, at(L.INTERRUPT_SSP_TABLE), guestControl],
	["HOST_CR0",                      0x6c00, 8, HOST_AREA + at(L.CR0), host],
	["HOST_CR3",                      0x6c02, 8, HOST_AREA + at(L.CR3), host],
	["HOST_CR4",                      0x6c04, 8, HOST_AREA + at(L.CR4), host],
	["HOST_FS_BASE",                  0x6c06, 8, HOST_AREA + seg(L.FS, L.SEG_BASE), host],
	["HOST_GS_BASE",                  0x6c08, 8, HOST_AREA + seg(L.GS, L.SEG_BASE), host],
	["HOST_TR_BASE",                  0x6c0a, 8, HOST_AREA + seg(L.TR, L.SEG_BASE), host],
	["HOST_GDTR_BASE",                0x6c0c, 8, HOST_AREA + seg(L.GDTR, L.SEG_BASE), host],
	["HOST_IDTR_BASE",                0x6c0e, 8, HOST_AREA + seg(L.IDTR, L.SEG_BASE), host],
	["HOST_IA32_SYSENTER_ESP",        0x6c10, 8, HOST_AREA + at(L.SYSENTER_ESP), host],
	["HOST_IA32_SYSENTER_EIP",        0x6c12, 8, HOST_AREA + at(L.SYSENTER_EIP), host],
	["HOST_RSP",                      0x6c14, 8, HOST_RSP_OFFSET, free],
	["HOST_RIP",                      0x6c16, 8, HOST_AREA + at(L.RIP), host],
	["HOST_S_CET",                    0x6c18, 8, HOST_AREA + at(L.S_CET), host],
	["HOST_SSP",                      0x6c1a, 8, HOST_AREA + at(L.SSP), host],
	["HOST_INTR_SSP_TABLE",           0x6c1c, 8, HOST_AREA + at(L.INTERRUPT_SSP_TABLE), host],
] as const satisfies readonly Row[];

/** Bytes of a Vmcs's buffer. */
export const VMCS_BYTES = restNext;

/** All fields, in the order of Appendix B. */
export const VMCS_FIELDS: readonly VmcsField[] = rows.map(([name, encoding, bytes, offset, group]) => ({
	name,
	encoding,
	bytes,
	offset,
	group,
}));

const ENCODINGS = 0x8000;
/** Byte offset by encoding, -1 where no field is. */
export const FIELD_OFFSET = new Int16Array(ENCODINGS).fill(-1);
/** Bytes by encoding. */
export const FIELD_BYTES = new Uint8Array(ENCODINGS);
/** Check group by encoding. */
export const FIELD_GROUP = new Uint8Array(ENCODINGS);
for (const field of VMCS_FIELDS) {
	FIELD_OFFSET[field.encoding] = field.offset;
	FIELD_BYTES[field.encoding] = field.bytes;
	FIELD_GROUP[field.encoding] = field.group;
}

export type VmcsFieldName = (typeof rows)[number][0];

/** Encodings by name, with the kernel's names of the fields: `F.GUEST_RIP`. */
export const F = Object.fromEntries(rows.map((row) => [row[0], row[1]])) as Record<VmcsFieldName, number>;

/** Offsets in a Vmcs's buffer by name, for hardware's own accesses: those pass no door. */
export const O = Object.fromEntries(rows.map((row) => [row[0], row[3]])) as Record<VmcsFieldName, number>;

/** The name of an encoding, for messages. */
export function fieldName(encoding: number): string {
	return VMCS_FIELDS.find((field) => field.encoding === encoding)?.name ?? `field 0x${encoding.toString(16)}`;
}
