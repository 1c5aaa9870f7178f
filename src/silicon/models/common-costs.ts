/**
 * Costs that no source tells apart by model: kernel primitives, rare instructions, plain code. All are assumed.
 */
import type { OpName } from "../ops.ts";
import { type CostRow, WHY } from "./costs.ts";
import type { GuestCostClass } from "./model.ts";

// biome-ignore format: a table reads by columns
export const COMMON_COSTS: readonly CostRow<OpName>[] = [
	["rdmsr",                    40,   "assumed",    WHY.msr],
	["rdmsr(ia32_debugctl)",     40,   "assumed",    WHY.msr],
	["wrmsr(ia32_debugctl)",     100,  "assumed",    WHY.msr],
	["rdmsr(ia32_spec_ctrl)",    40,   "assumed",    WHY.msr],
	["wrmsr(ia32_spec_ctrl)",    100,  "assumed",    WHY.msr],
	["wrmsr(ia32_pred_cmd)",     2000, "assumed",    "no published figure; IBPB clears the branch predictors, which takes thousands of cycles"],
	["sti",                      3,    "assumed",    WHY.cheap],
	["cli",                      3,    "assumed",    WHY.cheap],
	["mov_to_cr",                60,   "assumed",    WHY.rare],
	["mov_from_cr",              4,    "assumed",    WHY.cheap],
	["mov_to_dr",                60,   "assumed",    WHY.rare],
	["mov_from_dr",              10,   "assumed",    WHY.rare],
	["swap_segment_base",        20,   "assumed",    WHY.rare],
	["smi",                      20000, "assumed",   "no published figure; to SMM and back, of the order of ten microseconds"],
	["rsb_fill",                 20,   "assumed",    "32 calls without their returns, or eIBRS's single one"],
	["ret",                      1,    "assumed",    WHY.cheap],
	["gpr_swap",                 12,   "assumed",    "16 loads or stores that hit the first-level cache"],
	["lock_rmw",                 20,   "assumed",    "a LOCKed read-modify-write that hits the first-level cache: 18 to 20 cycles on recent cores (Agner Fog's tables)"],
	["cacheline_transfer",       120,  "assumed",    "a line of the cache that another core of the socket has written: about 60 ns"],
	["user_transition",          102.8, "assumed",   "250 cycles to user space and back, assumed, less do_syscall_64 and __x64_sys_ioctl (host/shares.ts)"],
	["preempt_disable",          1,    "assumed",    WHY.kernel],
	["preempt_enable",           2,    "assumed",    WHY.kernel],
	["srcu_read_lock",           22.8, "assumed",    "a per-CPU increment and a full barrier: smp_mb() is a LOCKed add, 20 cycles as any LOCKed read-modify-write, and seven instructions"],
	["srcu_read_unlock",         21.2, "assumed",    "a full barrier and a per-CPU increment, as srcu_read_lock, whose index need not be looked up: three instructions"],
	["srcu_dereference",         1,    "assumed",    "a load"],
	["vcpu_mode",                1,    "assumed",    "a store that other CPUs look at"],
	["guest_timing_enter",       12,   "assumed",    WHY.kernel],
	["guest_timing_exit",        12,   "assumed",    WHY.kernel],
	["context_tracking_enter",   6,    "assumed",    WHY.kernel],
	["context_tracking_exit",    6,    "assumed",    WHY.kernel],
	["switch_to",                266.4, "assumed",   "a switch of the order of a microsecond, 1500 cycles, less the scheduler's functions around __switch_to (host/shares.ts)"],
	["task_work_add",            40,   "assumed",    WHY.kernel],
	["task_work_run",            40,   "assumed",    WHY.kernel],
	["hrtimer_start",            200,  "assumed",    WHY.kernel],
	["hrtimer_cancel",           100,  "assumed",    WHY.kernel],
	["send_ipi",                 200,  "assumed",    WHY.kernel],
	["apic_eoi",                 40,   "assumed",    "one x2APIC write"],
	["do_machine_check",         5000, "assumed",    WHY.handler],
	["nmi_handler",              1500, "assumed",    WHY.handler],
	["copy_from_user_nmi",       100,  "assumed",    WHY.kernel],
	["kvm_make_request",         20,   "assumed",    "a locked OR"],
	["kvm_vcpu_kick",            20,   "assumed",    "a locked compare and exchange of vcpu->mode"],
	["irq_handler",              400,  "assumed",    "an interrupt of the order of a microsecond, 1000 cycles, less what its entry calls (host/shares.ts)"],
	["code",                     0.4,  "assumed",    "cycles of an instruction of compiled kernel code: 2.5 instructions a cycle"],
];

// biome-ignore format: a table reads by columns
export const COMMON_GUEST_COSTS: readonly CostRow<GuestCostClass>[] = [
	["simple",      0.25, "assumed", "four instructions a cycle"],
	["multiply",    1,    "assumed", "one a cycle"],
	["divide",      10,   "assumed", "latency of a 64-bit division"],
	["string",      2,    "assumed", "an iteration of a short REP loop"],
	["serializing", 100,  "assumed", WHY.rare],
	["system",      30,   "assumed", WHY.rare],
	["far",         60,   "assumed", WHY.rare],
];
