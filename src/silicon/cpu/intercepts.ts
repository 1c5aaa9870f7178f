/**
 * The instructions that a hypervisor can intercept, and what `GuestMode.instruction` is told about each
 * (`info`).
 */
export const INTERCEPT = {
	cpuid: 0,
	invd: 1,
	wbinvd: 2,
	hlt: 3,
	/** info: the I/O exit qualification of SDM table 28-5: size-1 in bits 2:0, IN bit 3, string 4, REP 5, imm 6, port 31:16. */
	io: 4,
	/** info: MSR index (ECX), unsigned. */
	rdmsr: 5,
	/** info: MSR index (ECX), unsigned. */
	wrmsr: 6,
	/** info: the CR exit qualification of SDM table 28-3: CR in 3:0, access type 5:4 (0 to, 1 from, 2 CLTS, 3 LMSW), GPR 11:8, LMSW source 31:16. */
	cr: 7,
	/** info: the DR exit qualification of SDM table 28-4: DR in 2:0, direction bit 4 (1 = from DR), GPR 11:8. */
	dr: 8,
	xsetbv: 9,
	rdtsc: 10,
	rdtscp: 11,
	rdpmc: 12,
	invlpg: 13,
	invpcid: 14,
	monitor: 15,
	mwait: 16,
	pause: 17,
	/** VMCALL (Intel) or VMMCALL (AMD). */
	vmcall: 18,
	/** Any other VMX instruction; info: 0 VMCLEAR … not distinguished further. */
	vmx: 19,
	/** Any other SVM instruction (VMRUN, VMLOAD, VMSAVE, CLGI, STGI, SKINIT, INVLPGA); info: its #VMEXIT code less VMRUN's. */
	svm: 20,
	/** TDCALL. */
	tdcall: 21,
	/** LGDT, LIDT, SGDT, SIDT. */
	descriptorTable: 22,
	/** LLDT, LTR, SLDT, STR. */
	localDescriptor: 23,
	rsm: 24,
	rdrand: 25,
	rdseed: 26,
	xsaves: 27,
	xrstors: 28,
	/** INT n. */
	softwareInterrupt: 29,
	iret: 30,
	rdpru: 31,
	encls: 32,
	loadIwkey: 33,
	/** INT1. */
	icebp: 34,
} as const;
