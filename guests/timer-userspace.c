/*
 * A timer at a high rate, and work for user space at each tick: arm, write to a port, halt until the interrupt. Bits 63:32
 * of the flags are how often the timer is moved before, as a kernel does whose timers come and go.
 */
#include "guest.h"

#define DEADLINE_CYCLES 20000

int guest_main(const struct params *params)
{
	enable_features(params);
	setup_idt();
	setup_x2apic_timer(LVTT_TSC_DEADLINE | TIMER_VECTOR);
	u32 moves = (u32)(params->flags >> 32);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		u32 before = interrupts;
		for (u32 j = 0; j <= moves; j++)
			wrmsr(MSR_TSC_DEADLINE, rdtsc() + DEADLINE_CYCLES);
		outb(PORT_UNCLAIMED, (u8)i);
		while (interrupts == before)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	report(params, "timer-userspace", rdtsc() - start);
	return interrupts == params->iterations ? EXIT_OK : EXIT_WRONG_RESULT;
}
