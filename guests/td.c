/* Calls from a TD to its host, and the console and exit on top of them. */
#include "td.h"

/* Which registers the host sees: R10 to R15. */
#define REGISTER_MASK 0xfc00ul

void tdvmcall(struct tdvmcall *args)
{
	register u64 r10 __asm__("r10") = args->r10;
	register u64 r11 __asm__("r11") = args->r11;
	register u64 r12 __asm__("r12") = args->r12;
	register u64 r13 __asm__("r13") = args->r13;
	register u64 r14 __asm__("r14") = args->r14;
	register u64 r15 __asm__("r15") = args->r15;
	u64 rax = 0; /* TDG.VP.VMCALL */
	u64 rcx = REGISTER_MASK;
	__asm__ volatile(".byte 0x66, 0x0f, 0x01, 0xcc" /* TDCALL */
			 : "+a"(rax), "+c"(rcx), "+r"(r10), "+r"(r11), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
			 :
			 : "memory", "rdx", "rbx", "rsi", "rdi", "r8", "r9");
	args->r10 = r10;
	args->r11 = r11;
	args->r12 = r12;
	args->r13 = r13;
	args->r14 = r14;
	args->r15 = r15;
}

void td_cpuid(u32 leaf, u32 subleaf)
{
	struct tdvmcall args = { .r11 = TDVMCALL_CPUID, .r12 = leaf, .r13 = subleaf };
	tdvmcall(&args);
}

void td_outb(u16 port, u8 value)
{
	struct tdvmcall args = { .r11 = TDVMCALL_IO, .r12 = 1, .r13 = 1, .r14 = port, .r15 = value };
	tdvmcall(&args);
}

/* A call of KVM's own: its number in R10, which is not 0. */
u64 td_hypercall(u64 number)
{
	struct tdvmcall args = { .r10 = number };
	tdvmcall(&args);
	return args.r10;
}

void put_byte(u8 byte)
{
	td_outb(COM1, byte);
}

void guest_exit(int code)
{
	for (;;)
		td_outb(EXIT_PORT, (u8)code);
}
