/* Pairs of processors that wake each other: one halts until the other's IPI, answers with one, and halts again. */
#include "smp.h"

#define WAKE_VECTOR 0x41
#define CPUS_MAX 32

static volatile u32 turn[CPUS_MAX / 2];

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
	turn[cpu / 2] = !(cpu & 1);
	send_ipi(cpu ^ 1, WAKE_VECTOR);
}

void ap_main(u32 cpu)
{
	ap_ready();
	for (;;) {
		wait_turn(cpu);
		pass_turn(cpu);
	}
}

int guest_main(const struct params *params)
{
	enable_features(params);
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	if (cpu_count(params) < 2 || cpu_count(params) % 2)
		return EXIT_WRONG_RESULT;
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
