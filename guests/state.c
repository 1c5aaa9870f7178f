/* Debug registers, DEBUGCTL, SPEC_CTRL, SYSCALL's registers, TSC_AUX, PKRU by XRSTOR, XFD with AMX state. */
#include "state.h"

#define MSR_XFD 0x1c4
#define MSR_XFD_ERR 0x1c5
#define MSR_DEBUGCTL 0x1d9
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103

/* STIBP and SSBD: no host here has them set. */
#define SPEC_CTRL 6ul
#define STAR (0x0013000800000000ul)
#define LSTAR 0x100000ul
#define FMASK 0x700ul
#define GS_BASE 0x123000ul
#define TSC_AUX 0x77ul
/* Bus lock detection on Intel, branch single steps on AMD: what KVM lets a guest without a PMU have. */
#define DEBUGCTL_INTEL 4ul
#define DEBUGCTL_AMD 2ul

#define XFEATURE_PKRU (1u << 9)
#define XFEATURE_XTILEDATA (1u << 18)
/* Offsets in the standard format: Intel's, and AMD's of PKRU (SDM Vol. 1, 13.5; CPUID leaf 0DH). */
#define PKRU_INTEL 2688
#define PKRU_AMD 2432
#define XTILEDATA 2816
#define TILE_PATTERN 0xa3c5a3c5u
#define NM_VECTOR 7

#define DR6_INIT 0xffff0ff0ul

static struct {
	u8 bytes[11008];
} __attribute__((aligned(64))) area;
static int is_intel;
static u64 dr6;
volatile u32 nm_faults;
volatile u64 nm_xfd_err;

static u32 *word(unsigned offset)
{
	return (u32 *)&area.bytes[offset];
}

static void xrstor(u32 features)
{
	*(u64 *)&area.bytes[512] = features;
	__asm__ volatile("xrstor %0" : : "m"(area), "a"(features), "d"(0));
}

static void xsave(u32 features)
{
	__asm__ volatile("xsave %0" : "+m"(area) : "a"(features), "d"(0));
}

static u64 read_dr6(void)
{
	u64 value;
	__asm__ volatile("mov %%db6, %0" : "=r"(value));
	return value;
}

static void write_dr6(u64 value)
{
	__asm__ volatile("mov %0, %%db6" : : "r"(value));
}

static u32 rdtscp_aux(void)
{
	u32 low, high, aux;
	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
	return aux;
}

/* #NM: what an operating system does that gives AMX to who uses it. */
__asm__("nm_entry:\n"
	"	push %rax\n	push %rcx\n	push %rdx\n"
	"	incl nm_faults(%rip)\n"
	"	mov $0x1c5, %ecx\n	rdmsr\n"
	"	mov %eax, nm_xfd_err(%rip)\n"
	"	xor %eax, %eax\n	xor %edx, %edx\n	wrmsr\n"
	"	mov $0x1c4, %ecx\n	wrmsr\n"
	"	pop %rdx\n	pop %rcx\n	pop %rax\n"
	"	iretq\n");
extern char nm_entry[];

static int mismatch(const char *what, u64 got, u64 want)
{
	put_string(what);
	put_string(" is ");
	put_number(got);
	put_string(", want ");
	put_number(want);
	put_byte('\n');
	return EXIT_STATE_MISMATCH;
}

static void load_tiles(void)
{
	*word(XTILEDATA) = TILE_PATTERN;
	xrstor(XFEATURE_XTILEDATA);
}

void setup_state(const struct params *params)
{
	u32 a = 0, b, c = 0, d;
	if (!(params->flags & (FLAG_DEBUG_REGISTERS | FLAG_MSRS | FLAG_XFD | FLAG_XRSTOR_PKRU)))
		return;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	is_intel = b == 0x756e6547;
	if (params->flags & FLAG_MSRS) {
		wrmsr(MSR_SPEC_CTRL, SPEC_CTRL);
		wrmsr(MSR_DEBUGCTL, is_intel ? DEBUGCTL_INTEL : DEBUGCTL_AMD);
		wrmsr(MSR_STAR, STAR);
		wrmsr(MSR_LSTAR, LSTAR);
		wrmsr(MSR_FMASK, FMASK);
		wrmsr(MSR_KERNEL_GS_BASE, GS_BASE);
		wrmsr(MSR_TSC_AUX, TSC_AUX);
	}
	if (params->flags & FLAG_DEBUG_REGISTERS) {
		/* Breakpoint 0, local, at an address that nothing executes. */
		__asm__ volatile("mov %0, %%db0" : : "r"(0x7000ul));
		__asm__ volatile("mov %0, %%db1" : : "r"(0x7100ul));
		__asm__ volatile("mov %0, %%db7" : : "r"(0x401ul));
		dr6 = DR6_INIT;
	}
	if (params->flags & FLAG_XRSTOR_PKRU) {
		*word(is_intel ? PKRU_INTEL : PKRU_AMD) = (u32)params->pkru;
		xrstor(XFEATURE_PKRU);
	}
	if (params->flags & FLAG_XFD) {
		setup_idt();
		set_gate(NM_VECTOR, nm_entry);
		load_tiles();
		wrmsr(MSR_XFD, XFEATURE_XTILEDATA);
	}
}

static int use_debug_registers(u64 round)
{
	/* The first access exits, and the others until KVM reads the registers back do not. */
	u64 old = read_dr6();
	if (old != dr6)
		return mismatch("dr6", old, dr6);
	dr6 = DR6_INIT | (round & 1 ? 2 : 1);
	write_dr6(dr6);
	invd();
	if (read_dr6() != dr6)
		return mismatch("dr6 behind a fastpath exit", read_dr6(), dr6);
	return EXIT_OK;
}

static int use_tiles(void)
{
	u32 faults = nm_faults;
	u64 xfd = rdmsr(MSR_XFD);
	if (xfd != XFEATURE_XTILEDATA)
		return mismatch("xfd", xfd, XFEATURE_XTILEDATA);
	/* #NM: the handler clears XFD, and XRSTOR loads the tiles when it runs again. */
	load_tiles();
	if (nm_faults != faults + 1)
		return mismatch("count of #NM", nm_faults, faults + 1);
	if (nm_xfd_err != XFEATURE_XTILEDATA)
		return mismatch("xfd_err", nm_xfd_err, XFEATURE_XTILEDATA);
	invd();
	cpuid(0);
	xsave(XFEATURE_XTILEDATA);
	if (*word(XTILEDATA) != TILE_PATTERN)
		return mismatch("tile data", *word(XTILEDATA), TILE_PATTERN);
	wrmsr(MSR_XFD, XFEATURE_XTILEDATA);
	return EXIT_OK;
}

int use_state(const struct params *params, u64 round)
{
	int code = EXIT_OK;
	if (params->flags & FLAG_DEBUG_REGISTERS)
		code = use_debug_registers(round);
	if (!code && (params->flags & FLAG_XFD))
		code = use_tiles();
	return code ? code : check_registers(params);
}

int check_registers(const struct params *params)
{
	if (params->flags & FLAG_MSRS) {
		if (rdmsr(MSR_SPEC_CTRL) != SPEC_CTRL)
			return mismatch("spec_ctrl", rdmsr(MSR_SPEC_CTRL), SPEC_CTRL);
		if (rdmsr(MSR_KERNEL_GS_BASE) != GS_BASE)
			return mismatch("kernel_gs_base", rdmsr(MSR_KERNEL_GS_BASE), GS_BASE);
		if (rdtscp_aux() != TSC_AUX)
			return mismatch("tsc_aux", rdtscp_aux(), TSC_AUX);
	}
	if (params->flags & FLAG_XRSTOR_PKRU) {
		unsigned at = is_intel ? PKRU_INTEL : PKRU_AMD;
		xsave(XFEATURE_PKRU);
		if (*word(at) != (u32)params->pkru)
			return mismatch("pkru", *word(at), (u32)params->pkru);
	}
	return EXIT_OK;
}
