/*
 * A program that opens a region of memory for each piece of work and guards it in between. With FLAG_PKE it does so by
 * WRPKRU; without, by the page table: the entry's write bit, INVLPG, and a shoot-down of the other processors' TLBs.
 */
#include "smp.h"

#define SHOOT_VECTOR 0x42
/* The 2 MiB page at 16 MiB, and its entry in the boot tables. */
#define REGION ((volatile u64 *)(16ul << 20))
#define ENTRY ((volatile u64 *)(0x4000ul + 8 * 8))
#define PTE_WRITE 2ul
#define PTE_KEY_1 (1ul << 59)
#define PKRU_CLOSED 0x8u /* key 1: no writes */
#define PKRU_OPEN 0x0u
/* Turns of a piece of work, unless bits 63:32 of the flags say otherwise. */
#define WORK_TURNS 500

static volatile u32 acknowledged;

void shot_down(void)
{
	__asm__ volatile("invlpg (%0)" : : "r"(REGION) : "memory");
	__atomic_add_fetch(&acknowledged, 1, __ATOMIC_SEQ_CST);
}

extern char shoot_entry[];
__asm__(".globl shoot_entry\n"
	"shoot_entry:\n"
	"	push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push %r11\n"
	"	call shot_down\n"
	"	mov $0x80b, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr\n"
	"	pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax\n"
	"	iretq\n");

static void work(u32 turns)
{
	for (volatile u32 i = 0; i < turns; i++)
		;
}

void ap_main(u32 cpu)
{
	(void)cpu;
	ap_ready();
	__asm__ volatile("sti");
	for (;;)
		work(WORK_TURNS);
}

static void wrpkru(u32 value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void set_entry(u64 write, u32 others)
{
	*ENTRY = (*ENTRY & ~PTE_WRITE) | write;
	__asm__ volatile("invlpg (%0)" : : "r"(REGION) : "memory");
	u32 wanted = acknowledged + others;
	for (u32 cpu = 1; cpu <= others; cpu++)
		send_ipi(cpu, SHOOT_VECTOR);
	while (acknowledged != wanted)
		relax();
}

int guest_main(const struct params *params)
{
	u32 others = cpu_count(params) - 1;
	u32 turns = (u32)(params->flags >> 32);
	u32 uses_keys = (params->flags & FLAG_PKE) != 0;
	enable_features(params);
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	start_processors(params);
	/* Behind the others' setup_idt(), which they do to the same table. */
	set_gate(SHOOT_VECTOR, shoot_entry);
	if (uses_keys)
		*ENTRY |= PTE_KEY_1;
	__asm__ volatile("invlpg (%0)" : : "r"(REGION) : "memory");
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		if (uses_keys)
			wrpkru(PKRU_OPEN);
		else
			set_entry(PTE_WRITE, others);
		*REGION = i;
		if (uses_keys)
			wrpkru(PKRU_CLOSED);
		else
			set_entry(0, others);
		work(turns ? turns : WORK_TURNS);
	}
	report(params, "pkeys", rdtsc() - start);
	return *REGION == params->iterations - 1 ? EXIT_OK : EXIT_WRONG_RESULT;
}
