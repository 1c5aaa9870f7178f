/**
 * The structs of KVM's user API on x86-64 (linux/kvm.h and asm/kvm.h, Linux v6.18). Names and order of fields are
 * the header's. test/uapi/ compares every size and offset with what a C compiler says.
 */
import { type StructValue, struct } from "./layout.ts";

// ---- registers -------------------------------------------------------------------------------------

// biome-ignore format: one row a group of registers
export const kvmRegs = struct("kvm_regs", {
	rax: "u64", rbx: "u64", rcx: "u64", rdx: "u64",
	rsi: "u64", rdi: "u64", rsp: "u64", rbp: "u64",
	r8:  "u64", r9:  "u64", r10: "u64", r11: "u64",
	r12: "u64", r13: "u64", r14: "u64", r15: "u64",
	rip: "u64", rflags: "u64",
});
export type KvmRegs = StructValue<typeof kvmRegs>;

// biome-ignore format: one row a group
export const kvmSegment = struct("kvm_segment", {
	base: "u64", limit: "u32", selector: "u16", type: "u8",
	present: "u8", dpl: "u8", db: "u8", s: "u8", l: "u8", g: "u8", avl: "u8", unusable: "u8", padding: "u8",
});
export type KvmSegment = StructValue<typeof kvmSegment>;

export const kvmDtable = struct("kvm_dtable", { base: "u64", limit: "u16", padding: ["u16", 3] });
export type KvmDtable = StructValue<typeof kvmDtable>;

// biome-ignore format: one row a group
export const kvmSregs = struct("kvm_sregs", {
	cs: kvmSegment, ds: kvmSegment, es: kvmSegment, fs: kvmSegment, gs: kvmSegment, ss: kvmSegment,
	tr: kvmSegment, ldt: kvmSegment,
	gdt: kvmDtable, idt: kvmDtable,
	cr0: "u64", cr2: "u64", cr3: "u64", cr4: "u64", cr8: "u64", efer: "u64", apic_base: "u64",
	interrupt_bitmap: ["u64", 4],
});
export type KvmSregs = StructValue<typeof kvmSregs>;

const bytes16 = struct("", { bytes: ["u8", 16] });

export const kvmFpu = struct("kvm_fpu", {
	fpr: [bytes16, 8],
	fcw: "u16",
	fsw: "u16",
	ftwx: "u8",
	pad1: "u8",
	last_opcode: "u16",
	last_ip: "u64",
	last_dp: "u64",
	xmm: [bytes16, 16],
	mxcsr: "u32",
	pad2: "u32",
});
export type KvmFpu = StructValue<typeof kvmFpu>;

/** The XSAVE area in its standard form; KVM_GET_XSAVE2 may give more than these 4096 bytes. */
export const kvmXsave = struct("kvm_xsave", { region: ["u32", 1024] });

export const kvmXcr = struct("kvm_xcr", { xcr: "u32", reserved: "u32", value: "u64" });
export const kvmXcrs = struct("kvm_xcrs", {
	nr_xcrs: "u32",
	flags: "u32",
	xcrs: [kvmXcr, 16],
	padding: ["u64", 16],
});

export const kvmDebugregs = struct("kvm_debugregs", {
	db: ["u64", 4],
	dr6: "u64",
	dr7: "u64",
	flags: "u64",
	reserved: ["u64", 9],
});
export type KvmDebugregs = StructValue<typeof kvmDebugregs>;

export const kvmMsrEntry = struct("kvm_msr_entry", { index: "u32", reserved: "u32", data: "u64" });
/** Followed by `nmsrs` entries. */
export const kvmMsrs = struct("kvm_msrs", { nmsrs: "u32", pad: "u32" });
export const kvmOneReg = struct("kvm_one_reg", { id: "u64", addr: "u64" });
/** Followed by `n` ids of 8 bytes. */
export const kvmRegList = struct("kvm_reg_list", { n: "u64" });
/** Followed by `nmsrs` indices of 4 bytes. */
export const kvmMsrList = struct("kvm_msr_list", { nmsrs: "u32" });

// biome-ignore format: one row a group
export const kvmCpuidEntry2 = struct("kvm_cpuid_entry2", {
	function: "u32", index: "u32", flags: "u32",
	eax: "u32", ebx: "u32", ecx: "u32", edx: "u32",
	padding: ["u32", 3],
});
export type KvmCpuidEntry2 = StructValue<typeof kvmCpuidEntry2>;
/** Followed by `nent` entries. */
export const kvmCpuid2 = struct("kvm_cpuid2", { nent: "u32", padding: "u32" });

export const kvmMpState = struct("kvm_mp_state", { mp_state: "u32" });

// biome-ignore format: one row a group
const eventException = struct("", { injected: "u8", nr: "u8", has_error_code: "u8", pending: "u8", error_code: "u32" });
const eventInterrupt = struct("", { injected: "u8", nr: "u8", soft: "u8", shadow: "u8" });
const eventNmi = struct("", { injected: "u8", pending: "u8", masked: "u8", pad: "u8" });
const eventSmi = struct("", { smm: "u8", pending: "u8", smm_inside_nmi: "u8", latched_init: "u8" });
const eventTripleFault = struct("", { pending: "u8" });

export const kvmVcpuEvents = struct("kvm_vcpu_events", {
	exception: eventException,
	interrupt: eventInterrupt,
	nmi: eventNmi,
	sipi_vector: "u32",
	flags: "u32",
	smi: eventSmi,
	triple_fault: eventTripleFault,
	reserved: ["u8", 26],
	exception_has_payload: "u8",
	exception_payload: "u64",
});
export type KvmVcpuEvents = StructValue<typeof kvmVcpuEvents>;

export const kvmInterrupt = struct("kvm_interrupt", { irq: "u32" });

export const kvmTranslation = struct("kvm_translation", {
	linear_address: "u64",
	physical_address: "u64",
	valid: "u8",
	writeable: "u8",
	usermode: "u8",
	pad: ["u8", 5],
});

export const kvmGuestDebug = struct("kvm_guest_debug", {
	control: "u32",
	pad: "u32",
	debugreg: ["u64", 8],
});

/** Followed by `len` bytes of a kernel sigset. */
export const kvmSignalMask = struct("kvm_signal_mask", { len: "u32" });

// ---- the VM ----------------------------------------------------------------------------------------

export const kvmUserspaceMemoryRegion = struct("kvm_userspace_memory_region", {
	slot: "u32",
	flags: "u32",
	guest_phys_addr: "u64",
	memory_size: "u64",
	userspace_addr: "u64",
});

/** `dirty_bitmap` is a pointer. */
export const kvmDirtyLog = struct("kvm_dirty_log", { slot: "u32", padding1: "u32", dirty_bitmap: "u64" });

export const kvmIrqLevel = struct("kvm_irq_level", { irq: "u32", level: "u32" });

// biome-ignore format: one row a group
export const kvmPicState = struct("kvm_pic_state", {
	last_irr: "u8", irr: "u8", imr: "u8", isr: "u8", priority_add: "u8", irq_base: "u8", read_reg_select: "u8", poll: "u8",
	special_mask: "u8", init_state: "u8", auto_eoi: "u8", rotate_on_auto_eoi: "u8", special_fully_nested_mode: "u8",
	init4: "u8", elcr: "u8", elcr_mask: "u8",
});
export const kvmIoapicState = struct("kvm_ioapic_state", {
	base_address: "u64",
	ioregsel: "u32",
	id: "u32",
	irr: "u32",
	pad: "u32",
	redirtbl: ["u64", 24],
});
/** The chip's own state, 512 bytes at most, lies in `chip`. */
export const kvmIrqchip = struct("kvm_irqchip", { chip_id: "u32", pad: "u32", chip: ["u64", 64] });

export const kvmLapicState = struct("kvm_lapic_state", { regs: ["u8", 1024] });

export const kvmPitConfig = struct("kvm_pit_config", { flags: "u32", pad: ["u32", 15] });
// biome-ignore format: one row a group
export const kvmPitChannelState = struct("kvm_pit_channel_state", {
	count: "u32", latched_count: "u16", count_latched: "u8", status_latched: "u8", status: "u8", read_state: "u8",
	write_state: "u8", write_latch: "u8", rw_mode: "u8", mode: "u8", bcd: "u8", gate: "u8", count_load_time: "s64",
});
export const kvmPitState2 = struct("kvm_pit_state2", {
	channels: [kvmPitChannelState, 3],
	flags: "u32",
	reserved: ["u32", 9],
});
export type KvmPitState2 = StructValue<typeof kvmPitState2>;

export const kvmClockData = struct("kvm_clock_data", {
	clock: "u64",
	flags: "u32",
	pad0: "u32",
	realtime: "u64",
	host_tsc: "u64",
	pad: ["u32", 4],
});

export const kvmMsi = struct("kvm_msi", {
	address_lo: "u32",
	address_hi: "u32",
	data: "u32",
	flags: "u32",
	devid: "u32",
	pad: ["u8", 12],
});

export const kvmIoeventfd = struct("kvm_ioeventfd", {
	datamatch: "u64",
	addr: "u64",
	len: "u32",
	fd: "u32",
	flags: "u32",
	pad: ["u8", 36],
});

export const kvmIrqfd = struct("kvm_irqfd", {
	fd: "u32",
	gsi: "u32",
	flags: "u32",
	resamplefd: "u32",
	pad: ["u8", 16],
});

export const kvmCoalescedMmioZone = struct("kvm_coalesced_mmio_zone", {
	addr: "u64",
	size: "u32",
	pio: "u32",
});
export const kvmCoalescedMmio = struct("kvm_coalesced_mmio", {
	phys_addr: "u64",
	len: "u32",
	pio: "u32",
	data: ["u8", 8],
});
/** Followed by as many kvm_coalesced_mmio as its page has room for. */
export const kvmCoalescedMmioRing = struct("kvm_coalesced_mmio_ring", { first: "u32", last: "u32" });

export const kvmEnableCap = struct("kvm_enable_cap", {
	cap: "u32",
	flags: "u32",
	args: ["u64", 4],
	pad: ["u8", 64],
});

// ---- struct kvm_run --------------------------------------------------------------------------------

/** What stands before the union. */
export const kvmRunHead = struct("kvm_run", {
	request_interrupt_window: "u8",
	immediate_exit: "u8",
	padding1: ["u8", 6],
	exit_reason: "u32",
	ready_for_interrupt_injection: "u8",
	if_flag: "u8",
	flags: "u16",
	cr8: "u64",
	apic_base: "u64",
});

/** Where the union of struct kvm_run begins; its members below are laid out from there. */
export const KVM_RUN_UNION = kvmRunHead.bytes;

// biome-ignore format: one row a member
export const KVM_RUN_MEMBERS = {
	hw:            struct("", { hardware_exit_reason: "u64" }),
	fail_entry:    struct("", { hardware_entry_failure_reason: "u64", cpu: "u32" }),
	ex:            struct("", { exception: "u32", error_code: "u32" }),
	io:            struct("", { direction: "u8", size: "u8", port: "u16", count: "u32", data_offset: "u64" }),
	debug:         struct("", { exception: "u32", pad: "u32", pc: "u64", dr6: "u64", dr7: "u64" }),
	mmio:          struct("", { phys_addr: "u64", data: ["u8", 8], len: "u32", is_write: "u8" }),
	hypercall:     struct("", { nr: "u64", args: ["u64", 6], ret: "u64", longmode: "u32", pad: "u32" }),
	tpr_access:    struct("", { rip: "u64", is_write: "u32", pad: "u32" }),
	internal:      struct("", { suberror: "u32", ndata: "u32", data: ["u64", 16] }),
	system_event:  struct("", { type: "u32", ndata: "u32", data: ["u64", 16] }),
	eoi:           struct("", { vector: "u8" }),
	msr:           struct("", { error: "u8", pad: ["u8", 7], reason: "u32", index: "u32", data: "u64" }),
	notify:        struct("", { flags: "u32" }),
} as const;

/** Every struct above, for the test that asks a C compiler. */
export const STRUCTS = [
	kvmRegs,
	kvmSegment,
	kvmDtable,
	kvmSregs,
	kvmFpu,
	kvmXsave,
	kvmXcr,
	kvmXcrs,
	kvmDebugregs,
	kvmMsrEntry,
	kvmMsrs,
	kvmMsrList,
	kvmOneReg,
	kvmRegList,
	kvmCpuidEntry2,
	kvmCpuid2,
	kvmMpState,
	kvmVcpuEvents,
	kvmInterrupt,
	kvmTranslation,
	kvmSignalMask,
	kvmUserspaceMemoryRegion,
	kvmDirtyLog,
	kvmIrqLevel,
	kvmPicState,
	kvmIoapicState,
	kvmIrqchip,
	kvmLapicState,
	kvmPitConfig,
	kvmPitChannelState,
	kvmPitState2,
	kvmClockData,
	kvmMsi,
	kvmIoeventfd,
	kvmIrqfd,
	kvmCoalescedMmioZone,
	kvmCoalescedMmio,
	kvmCoalescedMmioRing,
	kvmEnableCap,
	kvmGuestDebug,
] as const;
