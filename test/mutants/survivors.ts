/**
 * Mutants that no check catches, each with a judgement. One row a mutant or a class of mutants; a survivor that no row names
 * makes `npm run mutants` fail.
 */
import type { Vendor } from "../../src/silicon/models/model.ts";
import type { Mutation } from "./mutations.ts";

/**
 * `equivalent`: what the hardware, the host and the guest see is the same. `performance`: they see the same, sooner or later.
 * `hole`: it is a bug, and nothing in the check shows it.
 */
export type JudgementKind = "equivalent" | "performance" | "hole";

export interface SurvivorRow {
	readonly judgement: JudgementKind;
	/** Vendors on which it may survive; absent: all. */
	readonly vendors?: readonly Vendor[];
	readonly mutations: readonly Mutation[];
	/** The flow, as a pattern of the whole name. */
	readonly flow: RegExp;
	/** The nodes, as a pattern of the whole reference without its number. */
	readonly nodes: RegExp;
	/** Where it was moved, for moves; absent: anywhere. */
	readonly to?: RegExp;
	readonly reason: string;
}

const row = (
	judgement: JudgementKind,
	mutations: string,
	flow: RegExp,
	nodes: RegExp,
	reason: string,
	more: Pick<SurvivorRow, "vendors" | "to"> = {},
): SurvivorRow => ({
	judgement,
	mutations: mutations.split(" ") as Mutation[],
	flow,
	nodes,
	reason,
	...more,
});

const ANY = /.*/;
const MOVED = "earlier later";
const NOT_TDX = { vendors: ["vmx", "svm"] } as const;
const TDX = { vendors: ["tdx"] } as const;
const VMX = { vendors: ["vmx"] } as const;
const NOT_VMX = { vendors: ["svm", "tdx"] } as const;

// biome-ignore format: one row a class
export const SURVIVORS: readonly SurvivorRow[] = [
	// What the vendor, the CPU model or the kind of guest decides once and for all.
	row("equivalent", "always never deleted twice", ANY, /is_td_vcpu|guest_state_protected|X86_FEATURE_PKU|kvm_lapic_enabled.*|X86_FEATURE_IBPB_EXIT_TO_USER|CR4\.OSXSAVE/, "The vendor, the CPU model or the kind of guest decides the guard, the same way each time, or what it guards does nothing there."),
	row("equivalent", "deleted", /vt_\w+|kvm_load_\w+(\(\w+\))?/, /return.*/, "Only the other kind of vCPU comes to this return, or nothing follows it that does anything."),
	row("equivalent", "deleted twice", /vt_\w+/, /tdx_\w+/, "Only TDs come here.", NOT_TDX),
	// Doing a thing twice that ends in the same state.
	row("equivalent", "twice", ANY, /(WRMSR|RDMSR|XSETBV|WRPKRU|RDPKRU|DR6 = |DR7 = |load CR2|save CR2|refresh HOST_|write RAX|read CR2|CR2 of|DR6 of|vmsave|vmload|read exit reason|vmcs_load|load guest debug registers|get_debugctlmsr|fpstate->xfd|xfd_update_state|xfeatures &=|host_pkru|vmx_reload_guest_debugctl|update_debugctlmsr|sync_dirty_debug_regs|kvm_update_dr|hw_breakpoint_restore|fpu_sync_guest_vmexit_xfd_state|current_save_fsgs|vmx_set_host_fs_gs|msr_host_kernel_gs_base|sync_lapic_to_cr8|sync_cr8_to_lapic|vmx_update_hv_timer).*/, "The second time it writes or reads what the first has."),
	row("equivalent", "twice", ANY, /(kvm_load_\w+(\(\w+\))?|kvm_x86_ops\.\w+|\w+_prepare_switch_to_(guest|host)|\w+_vcpu_(load|put)|kvm_arch_vcpu_(load|put)|kvm_set_user_return_msr.*|guest_state_loaded = \w+|mode = .*|enter|run_flags = 0|x86_ibpb_exit_to_user = true|EXIT_FASTPATH_EXIT_HANDLED|vcpu->cpu = cpu|KVM_REQ_\w+|new ASID|tdx_flush_vp_on_cpu|loaded_vmcs_clear|clear KVM_REQ_UNBLOCK|serve requests|sync_pir_to_irr.*|switch_fpu_return|kvm_load_guest_fpu|kvm_put_guest_fpu|svm_prepare_host_switch|tdx_load_host_xsave_state|KVM_EXIT_SHUTDOWN|r = 0|kvm_apic_accept_events|kvm_check_and_inject_events|cancel_injection|vmx_complete_interrupts|svm_complete_interrupts|kvm_lapic_expired_hv_timer|handle_fastpath_\w+|kvm_inject_pending_timer_irqs|vcpu_block|kvm_xfer_to_guest_mode_handle_work|KVM_RUN_FORCE_IMMEDIATE_EXIT|vmx_recover_nmi_blocking|svm_exit_handlers_fastpath|vmx_exit_handlers_fastpath|check_pmu_event_filter|launched = true|update_cr8_intercept|vmx_set_interrupt_shadow.*)/, "It finds that it is done already, or stores the same once more."),
	// Guards whose work is the same either way.
	row("performance", "always", ANY, /(guest XCR0 differs|guest XSS differs|guest PKRU differs|guest_fpu\.xfd_err.*|xfd_no_write_intercept|hw_breakpoint_active.*|host_debugctl|kvm_request_pending|KVM_RUN_LOAD_DEBUGCTL|!guest_uret_msrs_loaded|EXTERNAL_INTERRUPT|EXCEPTION_NMI: #NM|kvm_cpu_has_pending_timer|xfer_to_guest_mode_work|switch_db_regs|DEBUGCTL (differs|was swapped)|KVM_DEBUGREG_WONT_EXIT|host PKRU|host X\w+ differs from XFAM|!already_loaded|vcpu->cpu != cpu|current_vmcb->cpu != cpu|SVM_EXIT_INTR|SVM_EXIT_NMI.*|a counter counts instructions|r != 0)/, "It does what need not be done: the value is the same, or nobody waits for it."),
	row("performance", "always never deleted twice earlier later", /handle_fastpath_\w+|(vmx|svm)_exit_handlers_fastpath|tdx_exit_handlers_fastpath/, /(EXIT_REASON_\w+|SVM_EXIT_\w+.*|not a fastpath MSR|kvm_vcpu_running|return EXIT_FASTPATH_.*|return its result|handle_fastpath_\w+|hv_timer_soft_disabled|force_immediate_exit|no next_rip)/, "The exit is handled behind the loop instead, or no later; forced exits are not there."),
	row("performance", "never always deleted", /vcpu_enter_guest/, /not REENTER_GUEST|EXIT_FASTPATH_EXIT_HANDLED|return handle_exit/, "The loop is left where it could have gone on."),
	// Bookkeeping that nobody but a reader of statistics sees.
	row("equivalent", "deleted twice earlier later", ANY, /(\+\+stat\.exits|trace_kvm_\w+|last_guest_tsc|kvm_before_interrupt|kvm_after_interrupt)/, "Statistics, traces and perf's attribution of samples: no state of the machine."),
	row("equivalent", "deleted twice earlier later", /vcpu_run/, /run->exit_reason = KVM_EXIT_UNKNOWN/, "Whatever ends KVM_RUN sets the reason."),
	row("performance", "later", /vcpu_run/, /at_instruction_boundary = false/, "The guest learns less often that its vCPU was preempted."),
	row("performance", "deleted later earlier never", /svm_handle_exit_irqoff/, /at_instruction_boundary = true|SVM_EXIT_INTR/, "The guest learns less often that its vCPU was preempted, or as often."),
	row("equivalent", "twice", ANY, /at_instruction_boundary = \w+/, "It stores the same once more."),
	row("equivalent", "always never", /svm_vcpu_run/, /SVM_EXIT_NMI.*/, "It tells perf that an NMI came in the guest: no state of the machine."),
	// Not reached: what nothing in the check makes.
	row("equivalent", "always never deleted", /vcpu_enter_guest/, /KVM_REQ_TRIPLE_FAULT|KVM_EXIT_SHUTDOWN|return 0|EXIT_FASTPATH_EXIT_USERSPACE/, "KVM queues no exception for a TD, and its fastpath does not ask for user space.", TDX),
	row("equivalent", "earlier", /kvm_arch_vcpu_ioctl_run/, /kvm_arch_vcpu_put/, "A switch that comes between puts and loads a vCPU that is put already, and loading changes no register."),
	row("equivalent", "earlier later", /kvm_arch_vcpu_ioctl_run/, /kvm_arch_vcpu_put|preempt_notifier_unregister/, "Putting a vCPU clears a mark there; what another thread needs came with the VM exit.", { vendors: ["svm"] }),
	row("equivalent", "earlier", /(svm|vmx)_prepare_switch_to_guest/, /vmsave\(host\)|vmx_set_host_fs_gs/, "A vCPU that comes to another CPU has requests, by which the entry is given up and this is done anew."),
	row("equivalent", "always", /fpu_update_guest_xfd/, /fpstate->in_use|TIF_NEED_FPU_LOAD \(XFD\)/, "The image is in use, and one that the registers are newer than is saved anew."),
	row("equivalent", "earlier", /vcpu_enter_guest/, /run_flags = 0/, "Who needs the flags has been given them.", VMX),
	row("equivalent", "deleted", /kvm_arch_vcpu_ioctl_run/, /r = 0/, "What is completed comes behind a KVM_RUN that returned 0, and left it there."),
	row("equivalent", "twice earlier", /tdx_vcpu_run/, /pi_test_on/, "The notification is there already; and whoever posts from where the mode is IN_GUEST_MODE sends one.", TDX),
	row("hole", "deleted", /kvm_request_and_kick/, /kvm_make_request|kvm_vcpu_kick/, "A TD has one vCPU, and its timer fires on its own CPU, where KVM looks at it anyway.", TDX),
	row("equivalent", "earlier later", /kvm_arch_vcpu_ioctl_run/, /kvm_arch_vcpu_put|preempt_notifier_unregister/, "A switch that comes between saves and loads what is in KERNEL_GS_BASE, and putting gives the thread its own back.", VMX),
	row("equivalent", "later", /(vmx|tdx)_vcpu_run/, /MCE_DURING_VMENTRY/, "Interrupts stay off between the two places, and the fastpath does nothing for an entry that failed: the series handles it there.", { vendors: ["vmx", "tdx"] }),
	row("equivalent", "earlier later", /svm_vcpu_run/, /#MC in guest/, "Interrupts are off at all three places, the host's XCR0 is loaded, and the fastpath has nothing for #MC: the series handles it behind.", { vendors: ["svm"], to: /stgi|.*fastpath of vcpu_enter_guest.*/ }),
	row("performance", "deleted", /vcpu_enter_guest/, /kvm_x86_ops\.handle_exit_irqoff/, "The guest learns less often that its vCPU was preempted.", { vendors: ["svm"] }),
	row("hole", "deleted", /vmx_vcpu_run/, /vmx_recover_nmi_blocking/, "The check's guests take no NMIs, out of whose handlers IRET might fault.", VMX),
	row("equivalent", "earlier later", /vmx_vcpu_run/, /vmx_recover_nmi_blocking/, "Interrupts are off in between, and no exit that the fastpath handles comes with interruption information.", VMX),
	row("equivalent", "twice earlier", /vmx_vcpu_run/, /pt_guest_enter.*/, "The second time it writes what the first has, and nothing between the two places counts.", VMX),
	row("equivalent", "twice", /vcpu_enter_guest/, /KVM_EXIT_SHUTDOWN/, "It stores the same once more."),
	row("equivalent", "always never deleted", /vcpu_enter_guest/, /kvm_apic_accept_events|KVM_MP_STATE_INIT_RECEIVED|return 1/, "INIT and SIPI are blocked for a TD's vCPU.", TDX),
	row("equivalent", "never deleted earlier later twice", /vcpu_enter_guest/, /req_immediate_exit|KVM_RUN_FORCE_IMMEDIATE_EXIT|enter/, "Nobody asks for an immediate exit of a TD, and no other flag is for it.", TDX),
	row("equivalent", "later", /vcpu_enter_guest/, /req_immediate_exit/, "Interrupts are off at both places, and nothing between them looks at the flag."),
	row("performance", "deleted", /kvm_arch_vcpu_load/, /KVM_REQ_MIGRATE_TIMER/, "The timer fires on the CPU where it was armed, and kicks the vCPU from there."),
	row("equivalent", "deleted earlier later", /vcpu_enter_guest/, /update_cr8_intercept/, "On VMX a MOV to CR8 always exits here, and a TD's is the TDX module's.", { vendors: ["vmx", "tdx"] }),
	row("performance", "deleted", /vcpu_enter_guest/, /update_cr8_intercept/, "All of the guest's writes to CR8 exit.", { vendors: ["svm"] }),
	row("equivalent", "earlier", /vmx_vcpu_run/, /KVM_GUESTDBG_SINGLESTEP/, "While a debugger steps, the loop is passed once.", VMX),
	row("equivalent", "never deleted", /(tdx|svm)_vcpu_run/, /(TDX_SW_ERROR|TD entry failed|SVM_EXIT_ERR|return EXIT_FASTPATH_NONE.*)/, "What follows does nothing for an exit that the fastpath does not know, and returns the same."),
	// Moves within which nothing can come between.
	row("equivalent", "later", /vcpu_enter_guest/, /kvm_x86_ops\.prepare_switch_to_guest/, "Preemption is off at both places."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /local_irq_disable|mode = IN_GUEST_MODE|srcu_read_unlock/, "A kick or an interrupt between the two places is seen by the test for requests behind them."),
	row("equivalent", "earlier", /vcpu_enter_guest/, /kvm_lapic_enabled \(before entry\)/, "It still is behind the mode and before the test for requests."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /kvm_lapic_enabled.*/, "SVM has no posted interrupts here, and a TD's are the processor's to move.", NOT_VMX),
	row("equivalent", MOVED, /vcpu_enter_guest/, /TIF_NEED_FPU_LOAD|get_debugctlmsr|kvm_load_guest_pkru/, "Interrupts are off at both places, and whoever bails out between them leaves nothing behind; a perf sample between them loses its call chain, which is a finding."),
	row("equivalent", "later", /vcpu_enter_guest/, /guest_fpu\.xfd_err|kvm_load_guest_xfeatures|kvm_load_xfeatures\(guest\)|switch_db_regs/, "Interrupts are off at both places, and nothing between them looks at it."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /KVM_DEBUGREG_WONT_EXIT|hw_breakpoint_active|mode = OUTSIDE_GUEST_MODE \(after exit\)|kvm_load_host_\w+|kvm_load_xfeatures\(host\)|X86_FEATURE_IBPB_EXIT_TO_USER/, "Interrupts are off at both places, and nothing between them looks at it."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /guest_timing_enter_irqoff|run_flags = 0/, "A TD's fastpath loop is passed once.", TDX),
	row("equivalent", MOVED, /vcpu_enter_guest/, /guest_fpu\.xfd_err.*|xfd_no_write_intercept|kvm_load_guest_xfeatures|kvm_load_xfeatures\(guest\)/, "There is no XFD, or it and XCR0 are the TDX module's.", NOT_VMX),
	row("equivalent", "never deleted", /vcpu_enter_guest/, /xfd_no_write_intercept|fpu_sync_guest_vmexit_xfd_state/, "AMD has no XFD.", { vendors: ["svm"] }),
	row("performance", MOVED, /svm_vcpu_run/, /stgi/, "IF is 0 at both places; NMIs wait longer, or less long.", { vendors: ["svm"] }),
	row("equivalent", "twice", /svm_vcpu_run|__kvm_set_xcr|kvm_request_and_kick|tdx_vcpu_run/, /stgi|arch\.xcr0 = xcr0|kvm_make_request|kvm_vcpu_kick|WARN_ON_ONCE.*/, "It finds that it is done already, or stores the same once more."),
	row("equivalent", MOVED, /svm_vcpu_run/, /SVM_EXIT_NMI \(behind STGI\)/, "perf's attribution of samples: no state of the machine.", { vendors: ["svm"] }),
	row("equivalent", "earlier", /vcpu_enter_guest/, /run_flags = 0/, "Nobody looks at the flags any more.", { vendors: ["svm"] }),
	row("equivalent", MOVED, /svm_vcpu_put/, /svm_prepare_host_switch/, "It clears a mark, and a switch that comes between does so too.", { vendors: ["svm"] }),
	row("equivalent", "deleted earlier later", /tdx_vcpu_run/, /WARN_ON_ONCE.*/, "A good tree gives no reason to warn.", TDX),
	row("equivalent", "earlier", /vcpu_enter_guest/, /xfd_no_write_intercept|guest_fpu\.xfd_err \(after exit\)/, "Interrupts are off at both places, and nothing between them looks at it."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /kvm_x86_ops\.handle_exit_irqoff/, "No handler of an interrupt runs there, and the one of an #MC does not mind.", NOT_VMX),
	row("equivalent", MOVED, /kvm_load_(guest|host)_\w+|kvm_load_xfeatures\(\w+\)/, /CR4\.OSXSAVE|guest PKRU differs|guest can use PKRU/, "The same for what these functions hold."),
	row("equivalent", "later", /(vmx|svm|tdx|vt)_prepare_switch_to_guest/, ANY, "Preemption is off at both places, and user space's registers are not in use."),
	row("equivalent", "earlier", /(vmx|tdx)_prepare_switch_to_guest/, /current_save_fsgs|msr_host_kernel_gs_base/, "What it notes is the thread's, wherever that is."),
	row("equivalent", MOVED, /vcpu_enter_guest/, /(local_irq_(en|dis)able.*|guest_timing_exit_irqoff|preempt_enable|srcu_read_lock)/, "The interrupt window is as long, or preemption comes one step sooner or later."),
	row("equivalent", MOVED, /kvm_arch_vcpu_ioctl_run/, /(preempt_(dis|en)able.*|kvm_load_guest_fpu|kvm_put_guest_fpu|srcu_read_(un)?lock)/, "Nothing between the two places needs it, or a switch between them does it once more."),
	row("equivalent", "earlier later", /kvm_arch_vcpu_ioctl_run/, /complete_userspace_io/, "What completes a TD's access writes its registers and no more.", TDX),
	row("equivalent", MOVED, /kvm_arch_vcpu_load/, /X86_FEATURE_PKU/, "The thread's PKRU is the same wherever it is read."),
	row("equivalent", MOVED, /kvm_arch_vcpu_put|vt_vcpu_put|(vmx|tdx)_(vcpu_put|prepare_switch_to_host)/, ANY, "A switch that comes between puts the vCPU, and it is loaded no more."),
	row("equivalent", MOVED, /(vmx|svm|tdx)_vcpu_(run|enter_exit)/, /(trace_\w+|KVM_RUN_LOAD_\w+|refresh HOST_CR[34]|host_debugctl|load CR2|save CR2|vmx_complete_interrupts|svm_complete_interrupts|kvm_load_\w+|DEBUGCTL.*|write RAX.*|CR2 of the VMCB|DR6 of the VMCB|sync_\w+|read CR2.*|tdx_load_host_xsave_state|raw_local_irq_\w+|clgi|vmx_update_hv_timer)/, "Interrupts stay off between the two places, and nothing there looks at it."),
	row("equivalent", "earlier", /(vmx|svm)_handle_exit_irqoff/, /.*#MC.*|MCE_DURING_VMENTRY|EXCEPTION_NMI: #NM|SVM_EXIT_EXCP.*/, "Interrupts are off at both places, and today's #MC handler neither sleeps nor uses the FPU."),
	row("equivalent", MOVED, /vmx_handle_exit_irqoff/, ANY, "XFD, XCR0 and debug registers are the TDX module's, so that the handler may run there.", TDX),
	row("equivalent", MOVED, /vcpu_run/, /clear KVM_REQ_UNBLOCK|kvm_vcpu_running/, "The request is served by the next round, if not here."),
	row("equivalent", "earlier", /vcpu_run/, /kvm_cpu_has_pending_timer/, "It is one step sooner."),
	row("performance", "deleted", /vcpu_run/, /clear KVM_REQ_UNBLOCK/, "The next round serves the request and goes on."),
	row("equivalent", "deleted", /vcpu_enter_guest/, /cancel_injection/, "The event stays in the entry field and is injected by the next entry."),
	row("equivalent", MOVED, /fpu_update_guest_xfd/, /(fpstate->in_use|TIF_NEED_FPU_LOAD \(XFD\))/, "The switch that may come between saves what is right by then."),
	row("equivalent", "earlier", /kvm_arch_vcpu_ioctl_run/, /preempt_notifier_register/, "A switch that comes between puts and loads a vCPU that is not loaded yet."),
	row("equivalent", "later", /kvm_arch_vcpu_ioctl_run/, /preempt_notifier_unregister/, "A switch that comes between puts and loads a vCPU that is put already."),
	row("equivalent", MOVED, /tdx_load_host_xsave_state/, ANY, "Interrupts are off at both places, and nothing between them uses the registers."),
	row("performance", "never deleted", /(svm|tdx)_prepare_switch_to_guest/, /guest_state_loaded( = true)?|return/, "What is loaded already is loaded once more."),
	row("equivalent", "earlier later twice", /svm_vcpu_(run|enter_exit)/, /(guest_state_\w+|raw_local_irq_\w+|clgi|SVM_EXIT_NMI)/, "GIF is 0 at both places; IF and GIF stay what they are."),
	row("performance", "always", /vcpu_enter_guest/, /TIF_NEED_FPU_LOAD/, "A TD exit leaves the registers as an image that was never saved has them.", TDX),
	row("equivalent", "never always deleted", /vcpu_enter_guest/, /guest_fpu\.xfd_err.*|WRMSR\(guest XFD_ERR\)|WRMSR\(XFD_ERR, 0\)/, "AMD has no XFD.", { vendors: ["svm"] }),
	row("equivalent", "deleted", /vcpu_enter_guest/, /sync_pir_to_irr.*/, "SVM has no posted interrupts here, and a TD's are the processor's to move.", { vendors: ["svm", "tdx"] }),
	// TDs: what KVM keeps for other guests does nothing for them.
	row("equivalent", "always never deleted twice earlier later", /kvm_load_(guest|host)_\w+|kvm_load_xfeatures\(\w+\)|kvm_load_(guest|host)_xsave_state/, ANY, "A TD's registers are the TDX module's: the function returns at once.", TDX),
	row("equivalent", "always never deleted twice", /vcpu_enter_guest/, /(kvm_load_\w+(\(\w+\))?|switch_db_regs|KVM_DEBUGREG_WONT_EXIT|xfd_no_write_intercept|guest_fpu\.xfd_err.*|load guest debug registers|kvm_lapic_enabled.*)/, "A TD's debug registers and XFD are the TDX module's.", TDX),
	row("equivalent", "always never deleted", /vcpu_enter_guest/, /(KVM_REQ_EVENT|kvm_check_and_inject_events|TIF_NEED_FPU_LOAD|switch_fpu_return|fpu_sync_guest_vmexit_xfd_state|sync_dirty_debug_regs|kvm_update_dr\w+|WRMSR\(.*XFD_ERR.*\))/, "KVM injects nothing into a TD, and does not have its registers.", TDX),
	row("equivalent", "always never deleted earlier later", /vcpu_enter_guest|tdx_vcpu_\w+/, /(kvm_vcpu_exit_request|break fastpath|run_flags = 0|kvm_x86_ops\.vcpu_run|tdx_vcpu_enter_exit|guest_state_enter_irqoff)/, "A TD's fastpath loop is passed once.", TDX),
	row("equivalent", "deleted twice", /vt_\w+/, /vmx_\w+/, "Only VMX guests come here.", TDX),
	row("equivalent", "always never deleted twice", /vmx_handle_exit_irqoff/, /(EXCEPTION_NMI: #NM|RDMSR\(XFD_ERR\))/, "A TD's #NM does not exit.", TDX),
];

/** The row that names a survivor; undefined if none does. */
export function rowFor(
	{ mutation, flow, reference, to }: { mutation: Mutation; flow: string; reference: string; to: string },
	vendor: Vendor,
): SurvivorRow | undefined {
	const whole = (pattern: RegExp, text: string) => new RegExp(`^(?:${pattern.source})$`).test(text);
	const name = reference.replace(/#\d+$/, "");
	return SURVIVORS.find(
		(one) =>
			(one.vendors?.includes(vendor) ?? true) &&
			one.mutations.includes(mutation) &&
			whole(one.flow, flow) &&
			whole(one.nodes, name) &&
			(one.to === undefined || one.to.test(to)),
	);
}
