/** Bits of the VM-execution, VM-exit and VM-entry controls (SDM Vol. 3C, 25.6-25.8), and reserved settings. */

/** Pin-based VM-execution controls (table 25-5). */
export const PIN = {
	externalInterruptExiting: 1 << 0,
	nmiExiting: 1 << 3,
	virtualNmis: 1 << 5,
	preemptionTimer: 1 << 6,
	postedInterrupts: 1 << 7,
} as const;

/** Primary processor-based VM-execution controls (table 25-6). */
export const CPU_BASED = {
	interruptWindowExiting: 1 << 2,
	useTscOffsetting: 1 << 3,
	hltExiting: 1 << 7,
	invlpgExiting: 1 << 9,
	mwaitExiting: 1 << 10,
	rdpmcExiting: 1 << 11,
	rdtscExiting: 1 << 12,
	cr3LoadExiting: 1 << 15,
	cr3StoreExiting: 1 << 16,
	cr8LoadExiting: 1 << 19,
	cr8StoreExiting: 1 << 20,
	tprShadow: 1 << 21,
	nmiWindowExiting: 1 << 22,
	movDrExiting: 1 << 23,
	unconditionalIoExiting: 1 << 24,
	useIoBitmaps: 1 << 25,
	useMsrBitmaps: 1 << 28,
	monitorExiting: 1 << 29,
	pauseExiting: 1 << 30,
	secondaryControls: 1 << 31,
} as const;

/** Secondary processor-based VM-execution controls (table 25-7). */
export const SECONDARY = {
	ept: 1 << 1,
	descriptorTableExiting: 1 << 2,
	rdtscp: 1 << 3,
	virtualizeX2apicMode: 1 << 4,
	vpid: 1 << 5,
	wbinvdExiting: 1 << 6,
	unrestrictedGuest: 1 << 7,
	apicRegisterVirtualization: 1 << 8,
	virtualInterruptDelivery: 1 << 9,
	rdrandExiting: 1 << 11,
	invpcid: 1 << 12,
	rdseedExiting: 1 << 16,
	eptViolationVe: 1 << 18,
	xsaves: 1 << 20,
} as const;

/** VM-exit controls (table 25-13). */
export const EXIT_CONTROL = {
	saveDebugControls: 1 << 2,
	hostAddressSpaceSize: 1 << 9,
	loadPerfGlobalCtrl: 1 << 12,
	acknowledgeInterrupt: 1 << 15,
	savePat: 1 << 18,
	loadPat: 1 << 19,
	saveEfer: 1 << 20,
	loadEfer: 1 << 21,
	savePreemptionTimer: 1 << 22,
	loadCetState: 1 << 28,
	loadPkrs: 1 << 29,
} as const;

/** VM-entry controls (table 25-15). */
export const ENTRY_CONTROL = {
	loadDebugControls: 1 << 2,
	ia32eModeGuest: 1 << 9,
	loadPerfGlobalCtrl: 1 << 13,
	loadPat: 1 << 14,
	loadEfer: 1 << 15,
	loadCetState: 1 << 20,
	loadPkrs: 1 << 22,
} as const;

/** Basic exit reasons (SDM Vol. 3D, Appendix C). */
export const EXIT_REASON = {
	exceptionOrNmi: 0,
	externalInterrupt: 1,
	tripleFault: 2,
	interruptWindow: 7,
	nmiWindow: 8,
	cpuid: 10,
	hlt: 12,
	invd: 13,
	invlpg: 14,
	rdpmc: 15,
	rdtsc: 16,
	rsm: 17,
	vmcall: 18,
	vmclear: 19,
	crAccess: 28,
	movDr: 29,
	ioInstruction: 30,
	rdmsr: 31,
	wrmsr: 32,
	invalidGuestState: 33,
	msrLoading: 34,
	mwait: 36,
	monitor: 39,
	pause: 40,
	machineCheckDuringEntry: 41,
	tprBelowThreshold: 43,
	eoiInduced: 45,
	gdtrOrIdtr: 46,
	ldtrOrTr: 47,
	eptViolation: 48,
	eptMisconfiguration: 49,
	rdtscp: 51,
	preemptionTimer: 52,
	wbinvd: 54,
	xsetbv: 55,
	rdrand: 57,
	invpcid: 58,
	vmfunc: 59,
	encls: 60,
	rdseed: 61,
	xsaves: 63,
	xrstors: 64,
	loadIwkey: 69,
	seamcall: 76,
	tdcall: 77,
} as const;

/** Bit 31 of the exit reason: the VM entry failed (SDM 25.9.1). */
export const ENTRY_FAILURE = 0x80000000;

/** Interruption types of VM-entry and VM-exit interruption information (table 25-16, bits 10:8). */
export const INTR_TYPE = {
	external: 0,
	nmi: 2,
	hardwareException: 3,
	softwareInterrupt: 4,
	privilegedSoftwareException: 5,
	softwareException: 6,
	other: 7,
} as const;

/** Interruption information: an error code follows, NMIs were unblocked by IRET, the field is valid. */
export const INTR_INFO = { errorCode: 1 << 11, nmiUnblocked: 1 << 12, valid: 1 << 31 } as const;

/** Reserved control bits that must be 1 (the default1 class, SDM Vol. 3D, A.2-A.5). */
export const DEFAULT1 = { pin: 0x16, cpu: 0x0401e172, exit: 0x00036dff, entry: 0x000011ff } as const;

/** Control bits that may be 1: those above, and the default1 class. What is not implemented is refused, not ignored. */
const mayBe1 = (bits: Record<string, number>, fixed: number) =>
	Object.values(bits).reduce((all, bit) => all | bit, fixed);
export const ALLOWED1 = {
	pin: mayBe1(PIN, DEFAULT1.pin),
	cpu: mayBe1(CPU_BASED, DEFAULT1.cpu),
	secondary: mayBe1(SECONDARY, 0),
	exit: mayBe1(EXIT_CONTROL, DEFAULT1.exit),
	entry: mayBe1(ENTRY_CONTROL, DEFAULT1.entry),
} as const;

/**
 * The preemption timer counts down when this bit of the TSC changes (IA32_VMX_MISC bits 4:0, SDM A.6). 5 is
 * what server processors report.
 */
export const PREEMPTION_TIMER_RATE = 5;

/** VM-instruction error numbers (SDM Vol. 3C, 31.4). */
export const VM_ERROR = {
	vmclearInvalidAddress: 2,
	vmlaunchNonClear: 4,
	vmresumeNonLaunched: 5,
	entryInvalidControls: 7,
	entryInvalidHostState: 8,
	unsupportedComponent: 12,
	writeReadOnlyComponent: 13,
	entryEventsBlockedByMovSs: 26,
} as const;
