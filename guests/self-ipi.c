/* One x2APIC self-IPI an iteration, by the ICR, and the interrupt that it brings. */
#include "guest.h"

#define ICR_SELF (1u << 18)

int guest_main(const struct params *params)
{
	enable_features(params);
	setup_idt();
	setup_x2apic_timer(LVT_MASKED);
	__asm__ volatile("sti");
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		u32 before = interrupts;
		wrmsr(MSR_X2APIC_ICR, ICR_SELF | TIMER_VECTOR);
		while (interrupts == before)
			__asm__ volatile("" : : : "memory");
	}
	report(params, "self-ipi", rdtsc() - start);
	return interrupts == params->iterations ? EXIT_OK : EXIT_WRONG_RESULT;
}
