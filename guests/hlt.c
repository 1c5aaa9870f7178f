/* HLT until the TSC deadline that was armed before it: an iteration is WRMSR, HLT, wake-up, interrupt, EOI. */
#include "guest.h"

#define DEADLINE_CYCLES 4000

int guest_main(const struct params *params)
{
	enable_features(params);
	setup_idt();
	setup_x2apic_timer(LVTT_TSC_DEADLINE | TIMER_VECTOR);
	u64 start = rdtsc();
	for (u64 i = 0; i < params->iterations; i++) {
		u32 before = interrupts;
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + DEADLINE_CYCLES);
		/* STI holds interrupts back until HLT, so the wake-up cannot come too early. */
		while (interrupts == before)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	report(params, "hlt", rdtsc() - start);
	return interrupts == params->iterations ? EXIT_OK : EXIT_WRONG_RESULT;
}
