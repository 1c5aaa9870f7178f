/**
 * Byte offsets of a logical processor's state inside its area of the machine's memory.
 *
 *     0x0000  state block (this file)                          4 KiB
 *     0x1000  extended register file: x87 … AMX, laid out as the standard (non-compacted) XSAVE area
 *    0x10000  software TLB for reads     32768 entries × 16 bytes: tag i64, addend i32, page size i32 (log2, or 0 for 4 KiB)
 *    0x90000  software TLB for writes    the same
 *   0x110000  software TLB for fetches   8192 entries, the same
 *   0x130000  jump cache                 4096 entries × 16 bytes: rip i64, table index i32, pad
 *   0x140000  TLBs and jump cache of privilege level 3, in the same order: those above are of the levels below
 *
 * What is switched together lies together, so that each switch is one copy. VMX's entry and exit switch the bytes from
 * SWITCHED to SWITCHED_END (SDM Vol. 3C, Guest-State Area), VMRUN and #VMEXIT those up to VMLOADED (APM Vol. 2, VMCB
 * State Save Area), VMLOAD and VMSAVE those from VMLOADED to VMLOADED_END. GPRs are swapped by the hypervisor; what
 * lies from PHYSICAL on belongs to the physical processor and is switched by nobody but software.
 */

export const CPU_AREA_BYTES = 0x270000;

// General-purpose registers, i64 each, in encoding order RAX RCX RDX RBX RSP RBP RSI RDI R8…R15.
// VM entry switches RSP although it lies here (VMX, SVM), and SVM switches RAX too.
export const GPR = 0x000;
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

// ---- switched by VM entry and VM exit ------------------------------------------------------------
export const SWITCHED = 0x080;
export const RIP = 0x080;
/** RFLAGS without the six arithmetic flags unless CC_OP is CC.EXPLICIT. Use readRflags(cpu). */
export const RFLAGS = 0x088;
/** Lazy arithmetic flags: see translate/flags.ts. i32. */
export const CC_OP = 0x090;
/** Blocking by STI (bit 0), by MOV SS (bit 1), by SMI (2), by NMI (3), as in the VMCS. u32. */
export const INTERRUPTIBILITY = 0x094;
export const CC_DST = 0x098;
export const CC_SRC = 0x0a0;
export const CC_SRC2 = 0x0a8;
/** 0 active, 1 HLT, 2 shutdown, 3 wait-for-SIPI (SDM 25.4.2). u32. */
export const ACTIVITY = 0x0b0;
/** IA32_PKRS, of which 32 bits are defined. u32. */
export const PKRS = 0x0b4;
export const CR0 = 0x0b8;
export const CR3 = 0x0c0;
export const CR4 = 0x0c8;
export const EFER = 0x0d0;
export const DR7 = 0x0d8;
export const DEBUGCTL = 0x0e0;
export const PAT = 0x0e8;
/** Pending debug exceptions (VMX). */
export const PENDING_DBG = 0x0f0;
export const S_CET = 0x0f8;
export const SSP = 0x100;
export const INTERRUPT_SSP_TABLE = 0x108;
/** PDPTEs 0-3 for PAE paging, i64 each. */
export const PDPTE = 0x110;

/**
 * Segment registers: GDTR and IDTR (base and limit only), then ES CS SS DS, then FS GS LDTR TR, which are VMLOAD's.
 * base u64 +0, limit u32 +8, attributes u32 +12 (the VMCS access-rights format: type 0-3, S 4, DPL 5-6,
 * P 7, AVL 12, L 13, D/B 14, G 15, unusable 16), selector u32 +16, pad.
 */
export const SEG = 0x160;
export const SEG_BYTES = 24;
/** Numbers of the segment registers: ES to GS are those of instruction encodings, so what stands before is negative. */
export const GDTR = -2;
export const IDTR = -1;
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;
export const SEG_BASE = 0;
export const SEG_LIMIT = 8;
export const SEG_ATTR = 12;
export const SEG_SELECTOR = 16;

// ---- switched by VMX's VM entry and exit, and by VMLOAD and VMSAVE ---------------------------------
export const VMLOADED = SEG + FS * SEG_BYTES;
export const SYSENTER_CS = 0x220;
export const SYSENTER_ESP = 0x228;
export const SYSENTER_EIP = 0x230;
export const SWITCHED_END = 0x238;

// ---- switched by software, or by VMLOAD and VMSAVE -------------------------------------------------
export const KERNEL_GS_BASE = 0x238;
export const STAR = 0x240;
export const LSTAR = 0x248;
export const CSTAR = 0x250;
export const SFMASK = 0x258;
export const VMLOADED_END = 0x260;

// ---- switched by software --------------------------------------------------------------------------
export const TSC_AUX = 0x288;
export const CR2 = 0x290;
export const CR8 = 0x298;

// ---- the physical processor's own: no VM entry touches them, but for PERF_GLOBAL_CTRL where controls ask for it ----
export const PHYSICAL = 0x300;
export const XCR0 = 0x300;
export const XSS = 0x308;
export const PKRU = 0x310;
export const XFD = 0x318;
export const XFD_ERR = 0x320;
export const SPEC_CTRL = 0x328;
/** DR0-DR3, i64 each. */
export const DR0 = 0x330;
export const DR6 = 0x350;
export const APIC_BASE = 0x358;
export const MCG_STATUS = 0x368;
export const TSC_DEADLINE = 0x378;
export const MISC_ENABLE = 0x380;
export const U_CET = 0x388;
export const PL0_SSP = 0x390;
export const PL1_SSP = 0x398;
export const PL2_SSP = 0x3a0;
export const PL3_SSP = 0x3a8;
/** IA32_PASID, which XSAVES component 10 saves. */
export const PASID = 0x3b0;
/** Extended state components that may differ from their initial configuration (SDM Vol. 1, 13.6). u32. */
export const XINUSE = 0x3b8;
/** Which performance counters count: IA32_PERF_GLOBAL_CTRL. The counters themselves are not there. */
export const PERF_GLOBAL_CTRL = 0x3c0;

// ---- bookkeeping of the software machine -------------------------------------------------------------
/** Cycles since reset, f64. The time stamp counter of a processor without offset. */
export const CYCLES = 0x400;
/** Cycles at which translated code must return to the dispatcher, f64: EVENT_DEADLINE, or the slice's end if that is sooner. */
export const DEADLINE = 0x408;
/** Guest instructions retired, f64. */
export const INSTRUCTIONS = 0x410;
/** Nonzero: a slow path or helper found a fault; translated code spills and returns EXIT.FAULT. i32. */
export const FAULT = 0x418;
/** Fault details, valid while FAULT is nonzero: see cpu/fault.ts. */
export const FAULT_VECTOR = 0x41c;
export const FAULT_ERROR_CODE = 0x420;
export const FAULT_HAS_ERROR_CODE = 0x424;
/** Linear address of a page fault, or the cause of a second-level fault, u64. */
export const FAULT_LINEAR = 0x428;
/** Guest physical address of a second-level fault, u64. */
export const FAULT_GPA = 0x430;
/** Exit qualification (EPT) or error code (NPT) of a second-level fault, u64. */
export const FAULT_QUALIFICATION = 0x438;
/**
 * The event being delivered, while a fault of its delivery is handled: the IDT-vectoring information of
 * SDM table 25-17 (vector, type in 10:8, error code valid 11, valid 31), its error code and instruction
 * length. 0 otherwise. u32 each.
 */
export const VECTORING_INFO = 0x440;
export const VECTORING_ERROR_CODE = 0x444;
export const VECTORING_LENGTH = 0x448;
/** What the TLB was filled for: see paging/tlb.ts. */
export const TLB_KEY = 0x450;
/** RIP at which the interrupt shadow noted in INTERRUPTIBILITY ends, and INSTRUCTIONS when it began. */
export const SHADOW_RIP = 0x490;
export const SHADOW_AT = 0x498;
/** Added to CYCLES by RDTSC on this processor besides a guest's offset: what WRMSR(IA32_TSC) set. f64. */
export const TSC_BIAS = 0x4a0;
/** Cycles at which `Cpu.onDeadline` is due, f64. */
export const EVENT_DEADLINE = 0x4b0;
/**
 * Cycles up to which translated code carries out RDTSC, and PAUSE, by itself: `Cpu.horizon`, or -1 while the instruction is
 * intercepted. f64 each. What a guest adds to the time stamp counter, f64. Set at every entry into guest code.
 */
export const TSC_UNTIL = 0x4b8;
export const PAUSE_UNTIL = 0x4c0;
export const TSC_OFFSET = 0x4c8;
/** Numbers handed out by RDRAND and RDSEED so far. u32. */
export const RANDOM_COUNT = 0x4a8;
/** Scratch for translated code. */
export const SCRATCH = 0x500;
/** Operands of vector instructions that are carried out in TypeScript, and their result: 32 bytes each. */
export const VECTOR_A = 0xf00;
export const VECTOR_B = 0xf20;
export const VECTOR_C = 0xf40;
export const VECTOR_RESULT = 0xf60;
/** Base of the segment that a gather's elements lie in. */
export const VECTOR_SEGMENT_BASE = 0xf80;

/** Extended register file, in the standard XSAVE layout (SDM Vol. 1, 13.4). */
export const XSTATE = 0x1000;
export const XSTATE_BYTES = 11008;
export const MXCSR = XSTATE + 24;
/** XMM0 to XMM15, 16 bytes each. */
export const XMM = XSTATE + 160;
/** Bits 255:128 of YMM0 to YMM15, 16 bytes each: component 2. */
export const YMM_HIGH = XSTATE + 576;

/** For reads and for writes: 128 MiB in pages of 4 KiB. Programs that go through more than that in turn miss all the time. */
export const TLB_ENTRIES = 32768;
export const TLB_FETCH_ENTRIES = 8192;
export const TLB_ENTRY_BYTES = 16;
/**
 * An entry's offset in its table: bits of the low half of the linear address shifted right by both, XORed. With page numbers
 * alone, pages 4 MiB apart, as a program's data and its stack often are, would drive each other out.
 */
export const TLB_SHIFT = 8;
export const TLB_SHIFT_2 = 18;
/** In the tag of a write entry: the page holds code that was translated, and stores to it have to be looked at. */
export const TLB_CODE_PAGE = 0x800;
export const TLB_READ = 0x10000;
export const TLB_WRITE = 0x90000;
export const TLB_FETCH = 0x110000;
/** Added to the offsets of the TLBs and the jump cache: those of privilege level 3. */
export const USER_BANK = 0x130000;

export const JUMP_CACHE = 0x130000;
export const JUMP_CACHE_ENTRIES = 4096;
export const JUMP_CACHE_ENTRY_BYTES = 16;
