/*
 * Pairs of processors that wake each other: one halts until the other's IPI, works for a while, answers with an IPI, and
 * halts again. Bits 63:32 of the flags are the turns of the work's loop.
 */
#include "smp.h"

#define WAKE_VECTOR 0x41
#define CPUS_MAX 32

static volatile u32 turn[CPUS_MAX / 2];
static u32 work_turns;

/* Halts until it is this processor's turn. STI holds interrupts back until HLT, so no wake-up is lost. */
static void wait_turn(u32 cpu)
{
	__asm__ volatile("cli");
	while (turn[cpu / 2] != (cpu & 1))
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	__asm__ volatile("sti");
}

static void pass_turn(u32 cpu)
{
	for (volatile u32 i = 0; i < work_turns; i++)
		;
	turn[cpu / 2] = !(cpu & 1);
	send_ipi(cpu ^ 1, WAKE_VECTOR);
}

void ap_main(u32 cpu)
{
	set_ibrs();
	ap_ready();
	for (;;) {
		wait_turn(cpu);
		pass_turn(cpu);
	}
}

int guest_main(const struct params *params)
{
	enable_features(params);
	set_ibrs();
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	if (cpu_count(params) < 2 || cpu_count(params) % 2)
		return EXIT_WRONG_RESULT;
	work_turns = (u32)(params->flags >> 32);
	start_processors(params);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		wait_turn(0);
		pass_turn(0);
	}
	wait_turn(0);
	report(params, "halt-poll", rdtsc() - start);
	return EXIT_OK;
}
